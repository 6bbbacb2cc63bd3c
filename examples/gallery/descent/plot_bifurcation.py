"""
Past the edge: a cascade and a map of basins
============================================

Beyond the edge of stability a mode of gradient descent oscillates, doubles its period again and again, and becomes
chaotic; dashed lines are the doublings of the balanced mode by ``theory.descent.cascade`` (survey, arXiv 2511.10362,
section on discrete updates). Which minimum descent comes to, and how soon, depends on the start in intricate ways: the
second picture maps a plane of starts of two scalar layers.
"""

# sphinx_gallery_thumbnail_number = 2

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln
from fastdln import theory as th

plt.style.use("petroff10")

# %%
# The orbit after a burn-in, for 700 learning rates. At full size: 16 000 rates and a burn-in of 20 000 updates.

n_rates, burn_in = 700, 1500
net = dln.Network((5, 5, 5, 5))
loss = dln.Quadratic.from_singular_values((10.0, 6.0, 3.0), shape=(5, 5))
w0 = dln.inits.decoupled(net, loss, (2.0, 1.7, 1.3, 0.0, 0.0))
rates = np.linspace(0.028, 0.042, n_rates)
sol = dln.descend(w0, loss, rates, burn_in + 100, record=("strengths", "lyapunov"), record_from=burn_in)
fig, (top, bottom) = plt.subplots(
    2, 1, sharex=True, figsize=(7, 5.5), layout="constrained", gridspec_kw={"height_ratios": (2, 1)}
)
top.plot(rates, sol.strengths[:, :, 0], ",", color="black", alpha=0.4)
for doubling in th.descent.cascade(10.0, depth=3, doublings=4):
    top.axvline(doubling, color="C0", ls="--", lw=0.8)
top.set(ylabel="strength of the leading mode", xlim=(rates[0], rates[-1]))
bottom.plot(rates, sol.lyapunov, color="C2", lw=0.8)
bottom.axhline(0, color="0.6", lw=0.8)
bottom.set(xlabel=r"learning rate $\eta$", ylabel="Lyapunov exponent\nper update")
plt.show()

# %%
# Where 300 x 300 starts end, and after how many updates. At full size: 8192 x 8192.

side = 300
loss, one, zero = dln.Quadratic([[1.0]]), [[1.0]], [[0.0]]
grid = np.linspace(-3.5, 3.5, side)
starts = dln.inits.plane((zero, zero), (one, zero), (zero, one), grid, grid)
sol = dln.descend(starts, loss, 0.4, 400, record=(), stop=dln.Stop(loss=1e-8))
ended = sol.status == dln.Status.STOPPED
fig, axes = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained", sharey=True)
for ax, values, label, look in zip(axes, (sol.final[0][:, 0, 0], sol.n_accepted), ("first layer at the end",
    "updates to loss 1e-8"), ({"cmap": "PuOr", "vmin": -3, "vmax": 3}, {"norm": "log", "cmap": "viridis_r"}),
    strict=True):  # fmt: skip
    picture = np.where(ended, values, np.nan).reshape(side, side)
    fig.colorbar(ax.pcolormesh(grid, grid, picture.T, rasterized=True, **look), label=label)
    ax.set(facecolor="0.8", aspect="equal", xlabel="first layer at the start")
axes[0].set(ylabel="second layer at the start", title="which minimum (grey: none)")
plt.show()
