"""
Depth and scale
===============

How long the first plateau lasts depends on the size of the start: like its logarithm with two layers, and like the
power 2 - h of it with h layers (survey, arXiv 2511.10362, section on decoupled dynamics). On the left are the losses
of one random start, shrunk again and again; on the right is the time until the leading mode is learned, against its
closed form for a decoupled start.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln
from fastdln import theory as th

plt.style.use("petroff10")

# %%
# A batch holds all scales of one depth: multiples of one start.

sigma = (2.0, 1.0)
scales = np.geomspace(0.01, 0.5, 7)
loss = dln.Quadratic.from_singular_values(sigma, shape=(4, 4), rng=0)
t = np.geomspace(0.1, 2e4, 200)
fig, axes = plt.subplot_mosaic([[1, "t"], [2, "t"], [3, "t"], [4, "t"]], figsize=(7.5, 5.5), layout="constrained")
for depth in (1, 2, 3, 4):
    net = dln.Network((4,) * (depth + 1))
    random = [scales[:, None, None] * W for W in dln.inits.gaussian(net, 1.0, rng=1)]
    sol = dln.flow(random, loss, (0.0, t[-1]), t, certify=True)
    ax = axes[depth]
    for curve, color in zip(sol.loss, plt.cm.viridis(np.linspace(0, 0.9, len(scales))), strict=True):
        ax.plot(t, curve, color=color)
    ax.set(xscale="log", ylabel=f"$L$, $h={depth}$", ylim=(0, None), xlabel="time $t$" if depth == 4 else None)
    ax.label_outer()
    exact = [th.exact.mode_time((sigma[0] / 2) ** (1 / depth), s, sigma[0], depth) for s in scales]
    aligned = [scales[:, None, None] * W for W in dln.inits.decoupled(net, loss, 1.0)]
    times = dln.flow(aligned, loss, (0.0, t[-1]), record=("learning_times",)).learning_times[:, 0]
    axes["t"].plot(scales, exact, color=f"C{depth - 1}")
    axes["t"].plot(scales, times, "o", color=f"C{depth - 1}", label=f"$h={depth}$")
axes["t"].set(xscale="log", yscale="log", xlabel="scale of the start", ylabel="learning time of the leading mode")
axes["t"].legend(title="flow (dots), closed form")
axes[1].set_title(f"scale {scales[0]:g} (dark) to {scales[-1]:g} (light)")
plt.show()
