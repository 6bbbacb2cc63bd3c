"""T9: the origin is a strict saddle for two layers, and not for three."""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln

loss = dln.Quadratic(np.diag([2.0, 1.0]))
scale = np.linspace(0.0, 0.8, 81)

fig, ax = plt.subplots()
for depth in (2, 3, 4):
    origin = tuple(np.zeros((2, 2)) for _ in range(depth))
    kind = dln.theory.landscape.classify(origin, loss).kind
    ray = np.array([np.diag([s, 0.0]) for s in scale])
    excess = dln.value((ray,) * depth, loss) - loss.value(np.zeros((2, 2)))
    ax.plot(scale, excess, label=f"h = {depth}: {kind.replace('_', ' ')}")
ax.set(xlabel=r"$\alpha$ of the weights $\alpha\, e_1 e_1^\top$", ylabel="$L - L(0)$")
ax.legend()
