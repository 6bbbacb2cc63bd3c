"""T17: how narrow a network with the same flow is."""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln

hidden = np.arange(2, 33, 5)
loss = dln.Quadratic.from_singular_values((3.0, 1.0), shape=(3, 4), rng=0)


def narrow(w0):
    return max(dln.theory.reduction.reduce(w0, loss).widths[1:-1])


cases = {
    r"$4, d, 3$, Gaussian": lambda d: dln.inits.gaussian(dln.Network((4, d, 3)), 0.5, rng=0),
    r"$4, d, d, 3$, Gaussian": lambda d: dln.inits.gaussian(dln.Network((4, d, d, 3)), 0.5, rng=0),
    r"$4, d, d, 3$, balanced": lambda d: dln.inits.balanced(dln.Network((4, d, d, 3)), 0.5, rng=0),
}
fig, ax = plt.subplots()
for name, start in cases.items():
    ax.plot(hidden, [narrow(start(int(d))) for d in hidden], "o-", ms=3, label=name)
ax.set(xlabel="hidden width d", ylabel="width of the narrow network")
ax.legend()
