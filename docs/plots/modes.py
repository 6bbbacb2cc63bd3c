"""T13: a balanced mode in closed form, for depths 1 to 4."""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln

sigma, start = 2.0, 0.2
times = np.linspace(0.0, 12.0, 241)

fig, ax = plt.subplots()
for depth in (1, 2, 3, 4):
    strength = np.asarray(dln.theory.exact.mode(times, start, sigma, depth)) ** depth
    ax.plot(times, strength, label=f"h = {depth}")
    loss = dln.Quadratic([[sigma]])
    w0 = dln.inits.decoupled(dln.Network((1,) * (depth + 1)), loss, start)
    sol = dln.flow(w0, loss, (0.0, 12.0), times[::12], record=("strengths",))
    ax.plot(sol.t, sol.strengths[:, 0], "o", ms=3, color=f"C{depth - 1}")
ax.set(xlabel="time t", ylabel="strength $w = s^h$")
ax.legend()
