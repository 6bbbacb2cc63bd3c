"""
A loss of your own
==================

Any function of the product can be the loss: two functions that Numba compiles, its value and its gradient. Here it is
the logarithm in the negative log-likelihood of Cauchy noise, which hardly minds outliers. A network of rank two fits a
matrix of which some entries are corrupted: squares are led astray, the loss of our own finds what was underneath.
"""

import math

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln

plt.style.use("petroff10")

# %%
# What the functions need besides W comes as ``data``; the gradient goes to the last argument.


def value(W, observed, width):
    total = 0.0
    for i in range(W.shape[0]):
        for j in range(W.shape[1]):
            total += math.log1p(((W[i, j] - observed[i, j]) / width) ** 2)
    return total


def grad(W, observed, width, out):
    for i in range(W.shape[0]):
        for j in range(W.shape[1]):
            error = W[i, j] - observed[i, j]
            out[i, j] = 2 * error / (width**2 + error**2)


rng = np.random.default_rng(0)
x, y = np.linspace(0, 1, 24), np.linspace(0, 1, 16)[:, None]
truth = np.sin(2 * np.pi * x) * np.cos(np.pi * y) + 0.7 * np.cos(3 * np.pi * x) * np.sin(np.pi * y)
observed = np.where(rng.random(truth.shape) < 0.2, rng.uniform(-3, 3, truth.shape), truth)
losses = {"squares": dln.Quadratic(observed), "Cauchy": dln.Custom(value, grad, (16, 24), data=(observed, 0.1))}

# %%
# The same start for both, and what they make of it.

w0 = dln.inits.gaussian(dln.Network((24, 2, 16)), 0.1, rng=1)
found = {name: dln.product(dln.flow(w0, loss, (0.0, 30.0)).final) for name, loss in losses.items()}
fig, axes = plt.subplots(2, 2, figsize=(7.5, 5.2), sharex=True, sharey=True, layout="constrained")
for ax, (name, W) in zip(axes.flat, {"underneath": truth, "observed": observed, **found}.items(), strict=True):
    image = ax.imshow(W, cmap="PuOr", vmin=-2, vmax=2)
    error = np.linalg.norm(W - truth) / np.linalg.norm(truth)
    ax.set(title=name if W is truth else f"{name}: error {error:.2g}", xlabel="input", ylabel="output")
    ax.label_outer()
fig.colorbar(image, ax=axes, label="entries", extend="both")
plt.show()
