"""The plateaus of one trajectory."""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln

net = dln.Network((3, 4, 4, 3))
loss = dln.Quadratic.from_singular_values((4.0, 2.0, 1.0), shape=(3, 3), rng=0)
record = dln.theory.itinerary.records(loss)
times = np.geomspace(0.05, 2000.0, 300)
sol = dln.flow(dln.inits.gaussian(net, 0.05, rng=2), loss, (0.0, 2000.0), times, record=record)
way = dln.theory.itinerary.itinerary(sol)

fig, ax = plt.subplots()
for entry, leave in zip(way.entry, way.exit, strict=True):
    ax.axvspan(max(entry, times[0]), min(leave, times[-1]), color="0.9", lw=0)
for mode in range(3):
    ax.plot(times, sol.strengths[:, mode] / loss.modes[1][mode], label=f"mode {mode}")
ax.axhline(0.5, color="k", ls=":", lw=0.8)
ax.set(xlabel="time t", ylabel=r"strength / $\sigma_j$", xscale="log", xlim=(times[0], times[-1]))
ax.legend()
