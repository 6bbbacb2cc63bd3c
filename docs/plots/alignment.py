"""T12: alignment lasts if layers are balanced."""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln

net = dln.Network((4, 4, 4, 4))
loss = dln.Quadratic.from_singular_values((4.0, 3.0, 2.0, 1.0), shape=(4, 4), rng=0)
times = np.linspace(0.0, 4.0, 101)
starts = {
    "0-balanced": dln.inits.balanced(net, 0.4, rng=1),
    r"aligned, $\lambda$-balanced": dln.inits.lambda_balanced(net, (0.2, 0.2), 0.4, rng=1),
    "aligned, unbalanced": dln.inits.aligned(
        net, np.array([[0.8, 0.5, 0.3, 0.1], [0.3, 0.25, 0.2, 0.15], [0.9, 0.6, 0.2, 0.1]]), rng=1
    ),
}

fig, ax = plt.subplots()
for name, w0 in starts.items():
    sol = dln.flow(w0, loss, (0.0, 4.0), times, record=("layer_alignment",))
    ax.plot(times, sol.layer_alignment.min(axis=-1), label=name)
ax.set(xlabel="time t", ylabel="least alignment of adjacent layers")
ax.legend()
