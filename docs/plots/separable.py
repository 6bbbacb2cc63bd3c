"""T16: separable data with the logistic loss."""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln

rng = np.random.default_rng(0)
X = rng.standard_normal((2, 40))
Y = np.sign(X[:1] + 0.5 * X[1:])
w0 = dln.inits.gaussian(dln.Network((2, 4, 3, 1)), 0.5, rng=1)
times = np.append(0.0, np.geomspace(0.1, 1e8, 91))
sol = dln.flow(w0, dln.Logistic(X, Y), (0.0, 1e8), times, record=("weights", "margin"))
values = np.linalg.svd(sol.weights[0], compute_uv=False)

fig, (left, right) = plt.subplots(1, 2)
left.semilogx(times[1:], np.linalg.norm(dln.product(sol.weights)[1:, 0], axis=-1))
left.set(xlabel="time t", ylabel=r"$\|W\|_F$")
right.semilogx(times[1:], (values[:, 1] / values[:, 0])[1:])
right.set(xlabel="time t", ylabel=r"$\sigma_2 / \sigma_1$ of the first layer", ylim=(0, 1))
