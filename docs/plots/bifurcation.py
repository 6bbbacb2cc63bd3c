"""T15: orbits of a balanced mode of two layers against the learning rate."""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln

sigma = 1.0
rates = np.linspace(0.9, 1.5, 1400)
s = np.full(rates.shape, 0.6)
for _ in range(2000):
    s = dln.theory.descent.mode_map(s, rates, sigma, 2)
orbit = []
for _ in range(64):
    s = dln.theory.descent.mode_map(s, rates, sigma, 2)
    orbit.append(s)

fig, ax = plt.subplots()
ax.plot(rates, np.transpose(orbit), ",", color="C0", alpha=0.3, rasterized=True)
for doubling in dln.theory.descent.cascade(sigma, 2, 3):
    ax.axvline(doubling, color="C1", lw=0.8, ls="--")
ax.set(xlabel=r"learning rate $\eta$ for $\sigma = 1$", ylabel="s after 2000 updates")
ax.grid(False)
