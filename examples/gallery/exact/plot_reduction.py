"""
A wide network with the flow of a narrow one
============================================

Many wide networks never leave small subspaces: their flow is exactly that of a narrower network, and its weights,
lifted, are theirs (survey, arXiv 2511.10362, sections on invariant sets and on the adjacency matrix). On the left are
the widths of some networks and of what they reduce to; on the right the flow of one of them is computed both ways.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln
from fastdln import theory as th

plt.style.use("petroff10")

# %%
# Starts of several kinds, all with one target, and their exact reductions.

loss = dln.Quadratic.from_singular_values((4.0, 3.0, 2.0, 1.0), shape=(4, 6), rng=0)
two, three = dln.Network((6, 80, 4)), dln.Network((6, 80, 80, 4))
starts = {
    "two layers": dln.inits.gaussian(two, 0.1, rng=0),
    "balanced": dln.inits.balanced(three, 0.1, rng=0),
    "orthogonal": dln.inits.orthogonal(three, 0.3, rng=0),
    "Gaussian": dln.inits.gaussian(three, 0.1, rng=0),
}
narrow = {name: th.reduction.reduce(w0, loss) for name, w0 in starts.items()}

# %%
# The start with orthogonal layers: losses on one another, and the distance of the lifted weights.

w0, small = starts["orthogonal"], narrow["orthogonal"]
t = np.linspace(0.0, 12.0, 121)
options = {"t_eval": t, "rtol": 1e-9, "method": "dop853", "record": ("loss", "weights")}
wide = dln.flow(w0, loss, (0.0, t[-1]), engine="dense", **options)
sol = dln.flow(small.weights, small.loss, (0.0, t[-1]), **options)
lifted = small.lift(sol.weights)
distance = np.sqrt(sum(np.square(W - V).sum((1, 2)) for W, V in zip(wide.weights, lifted, strict=True)))

fig, axes = plt.subplot_mosaic([["widths", "loss"], ["widths", "error"]], figsize=(8, 4.2), layout="constrained")
ax = axes["widths"]
for row, (name, w0) in enumerate(starts.items()):
    before = (w0[0].shape[1], *map(len, w0))
    ax.barh(row + 0.2, max(before), 0.35, color="C0", alpha=0.4)
    ax.barh(row - 0.2, max(narrow[name].widths), 0.35, color="C0")
    for shift, widths in ((0.2, before), (-0.2, narrow[name].widths)):
        ax.text(max(widths) + 1, row + shift, "-".join(map(str, widths)), va="center", fontsize=9)
ax.set_yticks(range(len(starts)), starts)
ax.set(xlabel="largest width, before (light) and after", xlim=(0, 115))
axes["loss"].plot(t, wide.loss, color="C0", alpha=0.4, lw=5, label="wide")
axes["loss"].plot(t, sol.loss, color="C0", ls="--", label="narrow")
axes["loss"].set(ylabel="loss $L$", xlim=(0, t[-1]))
axes["loss"].legend(title="orthogonal start")
axes["error"].semilogy(t[1:], distance[1:], color="C2")
axes["error"].set(xlabel="time $t$", ylabel="distance of weights", xlim=(0, t[-1]))
plt.show()
