"""T4: what is conserved, and what becomes of it otherwise."""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln

loss = dln.Quadratic.from_singular_values((3.0, 1.0), shape=(3, 3), rng=0)
w0 = dln.inits.gaussian(dln.Network((3, 4, 3)), 0.6, rng=0)
times = np.linspace(0.0, 8.0, 81)
record = ("imbalance",)
decay, rate = 0.1, 0.1
flow = dln.flow(w0, loss, (0.0, 8.0), times, record=record)
decayed = dln.flow(w0, loss, (0.0, 8.0), times, record=record, weight_decay=decay)
descent = dln.descend(w0, loss, rate, steps=80, record=record, record_every=1)

fig, ax = plt.subplots()
ax.plot(times, flow.imbalance / flow.imbalance[0], label="flow")
ax.plot(times, decayed.imbalance / decayed.imbalance[0], label=rf"flow with weight decay $\mu = {decay}$")
ax.plot(times[::8], np.exp(-2 * decay * times[::8]), "k.", label=r"$e^{-2\mu t}$")
ax.plot(descent.t, descent.imbalance / descent.imbalance[0], label=rf"descent, $\eta = {rate}$")
ax.set(xlabel="time t", ylabel=r"$\|C_1(t)\| / \|C_1(0)\|$", ylim=(0, None))
ax.legend()
