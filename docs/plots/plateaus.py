"""T6: plateaus are at critical values."""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln

net = dln.Network((4, 5, 5, 4))
loss = dln.Quadratic.from_singular_values((4.0, 3.0, 2.0, 1.0), shape=(4, 4), rng=0)
times = np.geomspace(0.1, 1e4, 400)
sol = dln.flow(dln.inits.gaussian(net, 0.02, rng=0), loss, (0.0, 1e4), times, record=("loss",))

fig, ax = plt.subplots()
for critical in dln.theory.landscape.critical_values(net, loss):
    if critical.learned == tuple(range(len(critical.learned))):
        ax.axhline(critical.value, color="k", ls=":", lw=0.8)
        learned = ", ".join(str(j + 1) for j in critical.learned)
        height = -0.9 if critical.value == 0 else critical.value + 0.2
        ax.annotate(f"S = {{{learned}}}", (0.11, height), fontsize=8)
ax.plot(times, sol.loss)
ax.set(xlabel="time t", ylabel="loss L", xscale="log", xlim=(0.1, 1e4), ylim=(-1.2, None))
ax.grid(False)
