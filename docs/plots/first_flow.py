"""Tutorial: the flow of the first page."""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln

net = dln.Network((6, 5, 5, 3))
loss = dln.Quadratic.from_singular_values((4.0, 2.0, 1.0), shape=(3, 6), rng=0)
starts = dln.inits.gaussian(net, scale=0.1, size=100, rng=0)
sol = dln.flow(starts, loss, (0.0, 60.0), np.linspace(0.0, 60.0, 241), record=("loss", "strengths"))

fig, (left, right) = plt.subplots(1, 2)
left.plot(sol.t, sol.loss[:20].T, color="0.75", lw=0.7)
left.plot(sol.t, sol.loss[0])
left.set(xlabel="time t", ylabel="loss L")
for mode in range(3):
    right.plot(sol.t, sol.strengths[0, :, mode], label=f"mode {mode}")
right.set(xlabel="time t", ylabel=r"strength $u_j^\top W v_j$")
right.legend(loc=(0.45, 0.6))
