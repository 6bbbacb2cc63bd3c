"""
A phase diagram from 100 000 trajectories
=========================================

Are two modes learned one after the other, or together? That depends on how far apart their singular values are and on
how small the start is. Each cell below is the share of 25 random starts that begin with one mode only when the other
is done, as ``itinerary`` sees it; the line is where a decoupled start passes from one to the other, in closed form
(survey, arXiv 2511.10362, sections on decoupled dynamics and on saddle-to-saddle behaviour).
"""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln
from fastdln import theory as th

plt.style.use("petroff10")

# %%
# 64 x 64 cells of 25 starts: 102 400 networks with targets of their own, as one batch.

side, draws = 64, 25
ratios, scales = np.linspace(0.2, 0.99, side), np.geomspace(1e-3, 1.0, side)
ratio, scale = (x.ravel() for x in np.meshgrid(np.repeat(ratios, draws), scales, indexing="ij"))
targets = np.zeros((ratio.size, 2, 2))
targets[:, 0, 0], targets[:, 1, 1] = 1.0, ratio
loss = dln.Quadratic(targets)
w0 = [scale[:, None, None] * W for W in dln.inits.gaussian(dln.Network((2, 2, 2)), size=ratio.size, rng=0)]
t = np.geomspace(0.1, 100.0, 32)
sol = dln.flow(w0, loss, (0.0, t[-1]), t, rtol=1e-4, record=th.itinerary.records(loss)).raise_for_status()
way = th.itinerary.itinerary(sol)

# %%
# "Done" is 90 % of a singular value, "begun" 10 %.

share = way.sequential.reshape(side, draws, side).mean(axis=1)
fig, ax = plt.subplots(figsize=(6.5, 4.8), layout="constrained")
image = ax.pcolormesh(ratios, scales, share.T, cmap="viridis", vmin=0, vmax=1, rasterized=True)
fig.colorbar(image, label="share learned one after the other")
start = np.minimum(scales, 0.3)[:, None]
done = th.exact.mode_time(0.9**0.5, start, 1.0, 2)
begun = th.exact.mode_time((0.1 * ratios) ** 0.5, np.minimum(start, 0.99 * (0.1 * ratios) ** 0.5), ratios, 2)
ax.contour(ratios, scales, begun - done, levels=[0.0], colors="white", linestyles="--")
ax.set(xlabel=r"ratio $\sigma_2/\sigma_1$", ylabel="scale of the start", yscale="log")
ax.set_title(f"{len(sol):,} trajectories; dashed: decoupled starts")
plt.show()
