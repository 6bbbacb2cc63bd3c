"""T11: along a fiber the loss stays, and the norm does not."""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln
from fastdln.theory import quotient

loss = dln.Quadratic.from_singular_values((3.0, 1.0), shape=(2, 2), rng=0)
balanced = dln.inits.balanced(dln.Network((2, 2, 2)), 0.8, rng=0)
s = np.linspace(-0.8, 0.8, 81)
gauge = np.array([[[np.exp(x), 0.0], [0.0, np.exp(-0.5 * x)]] for x in s])
fiber = (gauge @ balanced[0], balanced[1] @ np.linalg.inv(gauge))
least = 2 * np.linalg.svd(dln.product(balanced), compute_uv=False).sum()
assert quotient.same_fiber(tuple(W[0] for W in fiber), balanced)

fig, ax = plt.subplots()
ax.plot(s, sum(np.square(W).sum(axis=(-2, -1)) for W in fiber), label=r"$\sum_i \|W_i\|_F^2$")
ax.axhline(least, color="k", ls="--", lw=0.8, label=r"$h \sum_j \sigma_j(W)^{2/h}$")
ax.plot(s, dln.value(fiber, loss), label="loss L")
ax.plot(0.0, least, "ko", ms=4, label="balanced")
ax.set(xlabel="position s along the fiber", ylim=(0, None))
ax.legend()
