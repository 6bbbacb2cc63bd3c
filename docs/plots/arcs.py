"""T10: the orders of escape arcs."""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln

loss = dln.Quadratic(np.diag([2.0, 1.0]))
alpha = np.geomspace(1e-3, 0.3, 40)

fig, ax = plt.subplots()
for depth in (2, 3, 4):
    arc = dln.theory.saddles.escape_arc(tuple(np.zeros((2, 2)) for _ in range(depth)), loss)
    ax.loglog(alpha, -arc.change_at(alpha), label=f"h = {depth}: m* = {arc.pivots}, p = {arc.order}")
ax.set(xlabel=r"$\alpha$", ylabel=r"$L(A) - L(A(\alpha))$")
ax.legend()
