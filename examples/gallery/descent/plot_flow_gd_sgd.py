"""
Flow, gradient descent and mini-batches in lock step
====================================================

From one start, gradient descent with a small learning rate η follows the gradient flow at the times t = ηk through
all its plateaus. Mini-batches add noise to the way, hardly to its order (survey, arXiv 2511.10362, section on
discrete updates). Widths, teacher, start and learning rate are those common in studies of saddle-to-saddle dynamics.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln

plt.style.use("petroff10")

# %%
# A linear teacher 10 diag(1, ..., 5), 100 samples, layers of deviation width^(-3/4). At full size: 2000 updates.

widths, rate, steps = (5, 50, 50, 5), 5e-4, 1000
rng = np.random.default_rng(0)
X = rng.standard_normal((5, 100))
loss = dln.Regression(X, 10 * np.diag(np.arange(1.0, 6.0)) @ X)
w0 = [50**-0.75 * rng.standard_normal(shape) for shape in dln.Network(widths).shapes]

# %%
# Weights are recorded at the same times for all, so that distances are a line.

every, draws, batch = 5, 4, 5
record = ("loss", "weights")
gd = dln.descend(w0, loss, rate, steps, record=record, record_every=every)
many = [np.broadcast_to(W, (draws, *W.shape)) for W in w0]
sgd = dln.descend(many, loss, rate, steps, batch_size=batch, rng=1, record=record, record_every=every)
flow = dln.flow(w0, loss, (0.0, gd.t[-1]), gd.t, rtol=1e-9, record=record)


def distance(weights):
    """The Frobenius norm over all layers of what separates weights from those of the flow."""
    return np.sqrt(sum(np.square(W - V).sum(axis=(-2, -1)) for W, V in zip(weights, flow.weights, strict=True)))


fig, (top, bottom) = plt.subplots(2, 1, sharex=True, figsize=(7, 5.5), layout="constrained")
top.semilogy(gd.t, gd.loss, color="C0", lw=2.5, label=rf"gradient descent, $\eta={rate:g}$")
for k, (curve, distances) in enumerate(zip(sgd.loss, distance(sgd.weights), strict=True)):
    top.semilogy(gd.t, curve, color="C1", lw=1, label=f"batches of {batch}, {draws} draws" if k == 0 else None)
    bottom.semilogy(gd.t[1:], distances[1:], color="C1", lw=1)
top.semilogy(gd.t, flow.loss, "k--", label="gradient flow")
top.set(ylabel="loss $L$", ylim=(1e-5, None))
top.legend()
bottom.semilogy(gd.t[1:], distance(gd.weights)[1:], color="C0", lw=2.5)
bottom.set(xlabel=r"time $t=\eta k$", ylabel="distance to the flow", xlim=(0, gd.t[-1]))
plt.show()
