"""
The order of learning
=====================

Strong modes are learned first. For balanced decoupled starts the time at which a mode reaches half its singular
value is known in closed form (lines). Random starts of the same size hardly ever learn in another order, and their
times follow the same trend (survey, arXiv 2511.10362, section on decoupled dynamics; A. Saxe, J. McClelland &
S. Ganguli, ICLR 2014).
"""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln
from fastdln import theory as th

plt.style.use("petroff10")

# %%
# 100 starts at each of two depths. Learning times are found inside the steps, so no times need to be recorded.

sigma = np.array([8.0, 4.0, 2.0, 1.0, 0.5])
scale = 0.05
loss = dln.Quadratic.from_singular_values(sigma, shape=(5, 8), rng=0)
fig, axes = plt.subplots(1, 2, figsize=(7, 3.8), sharex=True, layout="constrained")
for ax, depth, color in zip(axes, (2, 3), ("C0", "C1"), strict=True):
    net = dln.Network((8,) * depth + (5,))
    starts = dln.inits.gaussian(net, scale, size=100, rng=0)
    sol = dln.flow(starts, loss, (0.0, 1000.0), record=("learning_times",), stop=dln.Stop(loss=0.01))
    times = sol.learning_times
    boxes = ax.boxplot(times, positions=sigma, widths=0.3 * sigma, whis=(0, 100), patch_artist=True, manage_ticks=False)
    for box, median in zip(boxes["boxes"], boxes["medians"], strict=True):
        box.set(facecolor=color, alpha=0.5)
        median.set(color="black")
    fine = np.geomspace(0.4, 10, 100)
    law = [th.exact.mode_time((s / 2) ** (1 / depth), scale, s, depth) for s in fine]
    ax.plot(fine, law, "k--", label="closed form, decoupled start")
    in_order = np.mean(np.all(np.diff(times, axis=1) > 0, axis=1))
    ax.set(xscale="log", yscale="log", xlabel=r"singular value $\sigma_j$")
    ax.set(title=f"depth {depth}: {in_order:.0%} in order", ylabel="learning time")
    ax.set_xticks(sigma, [f"{s:g}" for s in sigma], minor=False)
    ax.tick_params(axis="x", which="minor", length=0)
axes[0].set_ylim(0.35, 20)
axes[0].legend(loc="upper right")
plt.show()
