"""T1: the powers of the adjacency matrix."""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln

widths = (3, 4, 4, 2)
A = dln.theory.adjacency.matrix(dln.inits.gaussian(dln.Network(widths), 1.0, rng=0))
edges = np.cumsum((0, *widths)) - 0.5

fig, axes = plt.subplots(1, 4, figsize=(6.4, 1.9))
for k, ax in enumerate(axes, start=1):
    power = np.linalg.matrix_power(A, k)
    reach = np.abs(power).max() or 1.0
    ax.imshow(power, cmap="PuOr", vmin=-reach, vmax=reach)
    for edge in edges[1:-1]:
        ax.axhline(edge, color="0.7", lw=0.5)
        ax.axvline(edge, color="0.7", lw=0.5)
    ax.set(title="$A$" if k == 1 else f"$A^{k}$", xticks=[], yticks=[])
    ax.grid(False)
