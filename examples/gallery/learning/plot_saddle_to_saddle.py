"""
From saddle to saddle
=====================

From small weights the gradient flow goes from one saddle to the next. On each plateau the loss is near a critical
value, half the sum of the squares of the singular values that are not learned yet, and each drop learns one more
mode of the target (survey, arXiv 2511.10362, sections on critical points and on saddle-to-saddle behaviour;
A. Jacot et al., arXiv 2106.15933). The shaded stretches are what ``itinerary`` finds in the recorded curves.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln
from fastdln import theory as th

plt.style.use("petroff10")

# %%
# One network with three layers and one small random start.

sigma = (4.0, 3.0, 2.0, 1.0)
net = dln.Network((6, 5, 5, 4))
loss = dln.Quadratic.from_singular_values(sigma, shape=(4, 6), rng=0)
w0 = dln.inits.gaussian(net, scale=0.06, rng=4)
sol = dln.flow(w0, loss, (0.0, 100.0), np.linspace(0.0, 100.0, 1001), record=th.itinerary.records(loss))
way = th.itinerary.itinerary(sol)

# %%
# Loss and strengths u'Wv of the modes, on one axis of time.

fig, (top, bottom) = plt.subplots(2, 1, sharex=True, figsize=(7, 5.5), layout="constrained")
top.plot(sol.t, sol.loss, color="black")
for value, learned, entry, leave in zip(way.value, way.learned, way.entry, way.exit, strict=True):
    top.axhline(value, color="0.6", lw=0.8, ls=":")
    for ax in (top, bottom):
        ax.axvspan(entry, min(leave, sol.t[-1]), color="0.92", zorder=0)
    top.annotate(f"{learned.sum()} learned", (entry, value), (3, 3), textcoords="offset points", fontsize=9)
top.set(ylabel="loss $L$", ylim=(-0.5, 17), title=f"{way.n_plateaus} plateaus at critical values (dotted)")
for j, strength in enumerate(sol.strengths.T):
    bottom.plot(sol.t, strength, label=rf"$\sigma_{j + 1}={sigma[j]:g}$")
bottom.set(xlabel="time $t$", ylabel="strength $u_j'Wv_j$", xlim=(0, sol.t[-1]))
bottom.legend(loc="center right")
plt.show()
