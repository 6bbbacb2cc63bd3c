"""
Towards the largest margin, on digits
=====================================

On separable data the logistic loss has no minimum: the weights grow for ever, and what they tend to in direction is
the separator with the largest margin, ever more slowly (Z. Ji & M. Telgarsky, ICLR 2019). Here two handwritten digits
are told apart; below are the directions as 8 x 8 images.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import nnls

import fastdln as dln

plt.style.use("petroff10")

# %%
# 40 images each of 3 and 5 (at full size: all), from examples/digits.npz, and the largest margin by least squares.

data = np.load(Path(sys.argv[0]).resolve().parents[2] / "digits.npz")
chosen = np.concatenate([np.flatnonzero(data["labels"] == digit)[:40] for digit in (3, 5)])
X, labels = data["X"][:, chosen] / 16.0, np.where(data["labels"][chosen] == 3, 1.0, -1.0)
signed = labels * X
multipliers, _ = nnls(np.vstack([signed, np.ones(len(chosen))]), np.append(np.zeros(64), 1.0))
best = signed @ multipliers
best /= np.linalg.norm(best)

# %%
# Flows of three depths, to times that only long steps reach.

layout = [["margin"] * 4, ["cosine"] * 4, [*"abcd"]]
fig, axes = plt.subplot_mosaic(layout, figsize=(7.5, 7.5), layout="constrained", height_ratios=(1, 1, 0.9))
t = np.geomspace(1.0, 1e6, 100)
for depth in (1, 2, 3):
    w0 = dln.inits.gaussian(dln.Network((64, *(8,) * (depth - 1), 1)), 0.3, rng=0)
    sol = dln.flow(w0, dln.Logistic(X, labels[None]), (0.0, t[-1]), t, record=("margin", "weights"))
    w = dln.product(sol.weights)[:, 0]
    w /= np.linalg.norm(w, axis=1, keepdims=True)
    axes["margin"].semilogx(t, sol.margin, label=f"depth {depth}")
    axes["cosine"].semilogx(t, w @ best)
axes["margin"].axhline((best @ signed).min(), color="black", ls=":", label="largest there is")
axes["margin"].set(ylabel="margin of the direction")
axes["margin"].legend()
axes["cosine"].set(xlabel="time $t$", ylabel="cosine to the best direction", ylim=(None, 1.02))
for name, k in zip("abc", (0, 50, 99), strict=True):
    axes[name].imshow(w[k].reshape(8, 8), cmap="PuOr", vmin=-0.4, vmax=0.4)
    axes[name].set(title=f"$t=10^{{{np.log10(t[k]):.0f}}}$", xticks=[], yticks=[], xlabel="depth 3")
axes["d"].imshow(best.reshape(8, 8), cmap="PuOr", vmin=-0.4, vmax=0.4)
axes["d"].set(title="largest margin", xticks=[], yticks=[], xlabel="exact")
plt.show()
