"""
Sharpness against scale and learning rate
=========================================

Where gradient descent ends depends on the size of its start and on its learning rate η: small starts end near the least
sharpness that any minimum has (dotted), large ones in sharper minima, and none above 2/η (dashed), where descent
cannot rest; where that line is below the least sharpness, no start comes to rest at all (P. Marion & L. Chizat,
NeurIPS 2024, whose settings these are; survey, arXiv 2511.10362, section on discrete updates).
"""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln
from fastdln import theory as th

plt.style.use("petroff10")

# %%
# Ten scalar-output layers of width 5 on 50 noisy samples. Their mean squares have no factor 1/2: hence the roots of 2.

n, d, depth = 50, 5, 10
rng = np.random.default_rng(0)
X = rng.standard_normal((d, n))
teacher = rng.standard_normal(d)
Y = teacher @ X / np.linalg.norm(teacher) + rng.standard_normal(n)
loss = dln.Regression(np.sqrt(2) * X, np.sqrt(2) * Y[None])
least = 2 / th.rates.step_limit(loss, depth)

# %%
# Ten scales of one start for each learning rate, with fewer updates the larger it is. A point is a descent at rest.

net = dln.Network((d,) * depth + (1,))
scales = np.linspace(0.25, 0.6, 10)
unit = dln.inits.gaussian(net, np.sqrt(d), rng=1)
w0 = [scales[:, None, None] * W for W in unit]
fig, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
for k, (rate, steps) in enumerate({0.005: 40_000, 0.02: 10_000, 0.07: 4000, 0.1: 3000, 0.2: 2000}.items()):
    sol = dln.descend(w0, loss, rate, steps, record=("loss", "sharpness"), record_from=steps)
    ended = sol.loss[:, -1] - loss.floor < 1e-6
    label = rf"$\eta={rate:g}$: {ended.sum()} of {len(scales)} at rest"
    ax.axhline(2 / rate, color=f"C{k}", ls="--", lw=0.8)
    ax.plot(scales, np.where(ended, sol.sharpness[:, -1], np.nan), "o-", color=f"C{k}", label=label)
ax.axhline(least, color="black", ls=":", label="least of all minima")
ax.set(xlabel="standard deviation of the weights at the start", ylabel="sharpness at the end", yscale="log")
ax.legend()
plt.show()
