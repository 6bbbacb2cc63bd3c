"""Lazy and rich: how much the tangent operator changes, against the imbalance of the layers."""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln

loss = dln.Quadratic.from_singular_values((3.0, 2.0, 1.0), shape=(3, 3), rng=0)
imbalances = np.geomspace(0.1, 30.0, 11)

fig, ax = plt.subplots()
for depth in (2, 3):
    net = dln.Network((3,) * (depth + 1))
    changes = []
    for imbalance in imbalances:
        w0 = dln.inits.lambda_balanced(net, (imbalance,) * (depth - 1), 0.3, size=8, rng=0)
        sol = dln.flow(w0, loss, (0.0, 20.0), rtol=1e-4, record=("tangent_drift",))
        changes.append(np.median(sol.tangent_drift[:, -1]))
    ax.loglog(imbalances, changes, "o-", ms=3, label=f"h = {depth}")
ax.set(xlabel=r"imbalance $\lambda$, $C_i = \lambda I$", ylabel="relative change of K")
ax.legend()
