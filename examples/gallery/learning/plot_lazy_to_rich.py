"""
From lazy to rich
=================

A network whose weights are large but whose product is zero hardly has to move: its tangent operator stays what it
was, and all modes are learned together, as by a linear model. From small weights the operator has to grow with the
modes, which are learned one after another (survey, arXiv 2511.10362, section on convergence; L. Chizat, E. Oyallon &
F. Bach, NeurIPS 2019). One scale leads from one regime to the other.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln
from fastdln import theory as th

plt.style.use("petroff10")

# %%
# Starts with a last layer of zeros: 16 draws at each of 25 scales, as one batch.

net = dln.Network((4, 8, 8, 4))
loss = dln.Quadratic.from_singular_values((4.0, 2.0, 1.0), shape=(4, 4), rng=0)
scales, draws = np.geomspace(0.05, 5.0, 25), 16
*lower, last = dln.inits.gaussian(net, 1.0, size=draws, rng=0)
w0 = [(scales[:, None, None, None] * W).reshape(-1, *W.shape[1:]) for W in (*lower, 0 * last)]
sol = dln.flow(w0, loss, (0.0, 1000.0), stop=dln.Stop(loss=1e-4)).raise_for_status()
before, after = th.tangent.matrix(w0), th.tangent.matrix(sol.final)
change = np.linalg.norm(after - before, axis=(1, 2)) / np.linalg.norm(before, axis=(1, 2))
low, middle, high = np.quantile(change.reshape(len(scales), draws), (0.1, 0.5, 0.9), axis=1)

# %%
# The strengths of a rich and of a lazy start, and how much the tangent operator changed for all of them.

layout = [["rich", "lazy"], ["change", "change"]]
fig, axes = plt.subplot_mosaic(layout, figsize=(7, 6), layout="constrained")
for name, k in (("rich", 0), ("lazy", len(scales) - 1)):
    start = [W[k * draws] for W in w0]
    t = np.linspace(0.0, 1.2 * sol.t_final[k * draws], 200)
    curves = dln.flow(start, loss, (0.0, t[-1]), t, record=("strengths",)).strengths
    for j, sigma in enumerate((4, 2, 1)):
        axes[name].plot(t, curves[:, j], label=rf"$\sigma_{j + 1}={sigma}$")
    axes[name].set(xlabel="time $t$", ylabel="strength $u_j'Wv_j$", title=f"{name}: scale {scales[k]:g}")
axes["lazy"].legend(loc=(0.55, 0.55))
axes["change"].fill_between(scales, low, high, alpha=0.3, label=f"10 % to 90 % of {draws} draws")
axes["change"].plot(scales, middle, label="median")
axes["change"].axhline(1, color="0.6", lw=0.8, ls=":")
axes["change"].set(xscale="log", yscale="log", xlabel="scale of the start", ylabel=r"$\|K(t)-K(0)\|_F\,/\,\|K(0)\|_F$")
axes["change"].legend()
plt.show()
