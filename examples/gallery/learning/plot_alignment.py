"""
Alignment and its failure
=========================

Nearly balanced layers align where the singular values of the target are well apart: the left singular vectors of each
layer become the right ones of the next. Where two of them nearly coincide, the vectors of their modes may stay mixed
(survey, arXiv 2511.10362, section on decoupled dynamics). Shown are the cosines between the vectors of adjacent layers,
of all modes and both interfaces, from one and the same start.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln

plt.style.use("petroff10")

# %%
# A start with imbalance 0.04, and two targets that differ in their singular values.

net = dln.Network((4, 4, 4, 4))
w0 = dln.inits.delta_balanced(net, delta=0.04, rng=8)
t = np.linspace(0.0, 20.0, 401)
targets = {"well apart": (5.5, 4.0, 2.5, 1.0), "in close pairs": (4.1, 4.0, 2.1, 2.0)}

fig, axes = plt.subplots(1, 2, figsize=(7, 3.6), sharey=True, layout="constrained")
for ax, (name, sigma) in zip(axes, targets.items(), strict=True):
    loss = dln.Quadratic.from_singular_values(sigma, shape=(4, 4), rng=0)
    weights = dln.flow(w0, loss, (0.0, t[-1]), t, record=("weights",)).weights
    frames = [np.linalg.svd(W) for W in weights]
    least = 1.0
    for style, below, above in zip(("-", "--"), frames[:-1], frames[1:], strict=True):
        cosines = np.abs(np.einsum("tij,tji->ti", above.Vh, below.U))
        least = min(least, cosines[-1].min())
        for j in range(4):
            ax.plot(t, cosines[:, j], style, color=f"C{j}", label=f"mode {j + 1}" if style == "-" else None)
    ax.set(xlabel="time $t$", title=rf"$\sigma$ {name}: {', '.join(map(str, sigma))}", ylim=(0, 1.03))
    ax.annotate(f"least cosine at the end: {least:.3f}", (0.97, 0.04), xycoords="axes fraction", ha="right")
axes[0].set_ylabel("cosine of adjacent layers' vectors")
axes[1].legend(loc="center right", fontsize=9, title="layers 1, 2: full\nlayers 2, 3: dashed")
plt.show()
