"""T19: a fixed absolute tolerance spoils small starts."""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln

sigma = np.array([2.0, 1.0])
loss = dln.Quadratic(np.diag(sigma))
scales = np.geomspace(1e-2, 1e-12, 16)


def error(scale, **options):
    w0 = dln.inits.decoupled(dln.Network((2, 2, 2)), loss, scale)
    closed = [dln.theory.exact.mode_time((s / 2) ** 0.5, scale, s, 2) for s in sigma]
    sol = dln.flow(w0, loss, (0.0, 1.2 * closed[-1]), record=("learning_times",), **options)
    return np.abs(sol.learning_times / closed - 1).max()


fig, ax = plt.subplots()
ax.loglog(scales, [error(scale) for scale in scales], "o-", ms=3, label="default atol")
ax.loglog(scales, [error(scale, atol=1e-9) for scale in scales], "o-", ms=3, label="atol = 1e-9")
ax.set(xlabel="scale of the start", ylabel="relative error of learning times")
ax.invert_xaxis()
ax.legend()
