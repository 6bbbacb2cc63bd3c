"""T20: the sharpness of what descent converges to is below 2/eta."""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln

loss = dln.Quadratic.from_singular_values((3.0, 1.0), shape=(4, 4), rng=0)
w0 = dln.inits.gaussian(dln.Network((4, 6, 4)), 1.2, rng=3)
rates = np.array([0.05, 0.12, 0.2, 0.28])
sol = dln.descend(w0, loss, rates, steps=40, record=("sharpness",))

fig, ax = plt.subplots()
for k, rate in enumerate(rates):
    ax.plot(sol.steps, sol.sharpness[k], label=rf"$\eta = {rate}$")
    ax.axhline(2 / rate, color=f"C{k}", ls="--", lw=0.8)
ax.set(xlabel="update", ylabel=r"sharpness, and $2/\eta$ (dashed)", ylim=(0, 20))
ax.legend(ncols=2)
