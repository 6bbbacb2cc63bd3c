"""
The Hessian along a trajectory
==============================

Near each saddle that the flow passes, some eigenvalues of the Hessian are negative, fewer with each mode that is
learned. At the end the spectrum is the one known in closed form for balanced minima (survey, arXiv 2511.10362,
section on the Hessian). The zeros that remain belong to directions along the fiber of minima.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln
from fastdln import theory as th

plt.style.use("petroff10")

# %%
# All eigenvalues at all recorded times, in one call.

net = dln.Network((3, 3, 3))
loss = dln.Quadratic.from_singular_values((3.0, 2.0, 1.0), shape=(3, 3), rng=0)
w0 = dln.inits.balanced(net, scale=1e-4, rng=1)
t = np.linspace(0.0, 24.0, 401)
sol = dln.flow(w0, loss, (0.0, t[-1]), t, record=("loss", "weights"), rtol=1e-9)
spectrum = th.hessian.spectrum(sol.weights, loss)

# %%
# Loss above, eigenvalues below. Negative ones have a colour of their own.

fig, (top, bottom) = plt.subplots(
    2, 1, sharex=True, figsize=(7, 5.5), layout="constrained", gridspec_kw={"height_ratios": (1, 2)}
)
top.plot(t, sol.loss, color="black")
top.set(ylabel="loss $L$")
for k, curve in enumerate(spectrum.T):
    bottom.plot(t, curve, color="C0", lw=1, label="eigenvalues" if k == 0 else None)
    below = np.where(curve < -1e-6, curve, np.nan)
    bottom.plot(t, below, color="C2", lw=1.5, label="negative ones" if k == 0 else None)
known = np.unique(np.round(th.hessian.minimum_spectrum(net, loss), 9))
bottom.plot(np.full(len(known), t[-1]), known, "k_", ms=14, clip_on=False, label="balanced minimum")
bottom.set(xlabel="time $t$", ylabel="eigenvalues of the Hessian", xlim=(0, t[-1]))
bottom.legend(loc="lower right")
plt.show()
