"""
A way down from a saddle that the Hessian does not see
======================================================

At the origin of three layers or more all second derivatives vanish, but it is a saddle: the loss falls as soon as all
layers move together. ``escape_arc`` finds such a way down from every saddle, with the order to which the loss falls
along it (survey, arXiv 2511.10362, section on saddles; E. Achour, F. Malgouyres & S. Gerchinovitz, JMLR 2024).
"""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln
from fastdln import theory as th

plt.style.use("petroff10")

# %%
# Arcs from the origins of two to five layers; with two, the saddle is strict. And the loss around the origin of three,
# in the plane where the first two layers move alike: the flow does not leave it.

loss = dln.Quadratic(np.diag([2.0, 1.0]))
arcs = [th.saddles.escape_arc((np.zeros((2, 2)),) * depth, loss) for depth in (2, 3, 4, 5)]
origin, one, none = arcs[1].point, np.diag([1.0, 0.0]), np.zeros((2, 2))
grid = np.linspace(-2.0, 2.0, 161)
values = th.landscape.slice(origin, ((one, one, none), (none, none, one)), loss, (grid, grid))
angles = np.linspace(0.0, 2 * np.pi, 41)[:-1] + 0.03
a, b = 1.2 * np.cos(angles)[:, None, None], 1.2 * np.sin(angles)[:, None, None]
t = np.geomspace(0.01, 30.0, 300)
first, _, third = dln.flow((a * one, a * one, b * one), loss, (0.0, t[-1]), t, record=("weights",)).weights

# %%
# The descent along each arc is a power of its length, as high as there are layers.

fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.8), layout="constrained")
alpha = np.geomspace(1e-3, 0.1, 40)
for arc in arcs:
    least = th.hessian.spectrum(arc.point, loss)[0]
    label = rf"$h={len(arc.point)}$: order {arc.order}, $\lambda_{{\min}}={least:g}$"
    left.loglog(alpha, -arc.change_at(alpha), label=label)
left.set(xlabel=r"step $\alpha$ along the arc", ylabel=r"descent $L(A) - L(A(\alpha))$", ylim=(None, 1e2))
left.legend(fontsize=8.5, loc="upper left")
shades = right.contourf(grid, grid, values.T, levels=np.linspace(0, 5, 21), cmap="PuBu_r", extend="max")
fig.colorbar(shades, ax=right, label="loss $L$")
right.plot(first[:, :, 0, 0].T, third[:, :, 0, 0].T, color="C1", lw=1)
right.plot(a.ravel(), b.ravel(), ".", color="black", ms=4)
right.plot(0, 0, "X", color="C2", mec="white", ms=10)
right.set(xlabel="first and second layer", ylabel="third layer", aspect="equal", title="flows around the saddle")
plt.show()
