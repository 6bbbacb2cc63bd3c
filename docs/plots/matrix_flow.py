"""T2: the product moves by the tangent operator."""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln

loss = dln.Quadratic.from_singular_values((2.0, 1.0), shape=(2, 2), rng=0)
w0 = dln.inits.gaussian(dln.Network((2, 3, 3, 2)), 0.6, rng=1)
times = np.linspace(0.0, 5.0, 251)
sol = dln.flow(w0, loss, (0.0, 5.0), times, record=("weights",))
product = dln.product(sol.weights)
slopes = dln.theory.tangent.apply(sol.weights, loss.target - product)

fig, (left, right) = plt.subplots(1, 2)
left.plot(times, product.reshape(-1, 4))
left.set(xlabel="time t", ylabel="entries of W")
for entry, (measured, predicted) in enumerate(
    zip(np.gradient(product.reshape(-1, 4), times, axis=0).T, slopes.reshape(-1, 4).T, strict=True)
):
    right.plot(times, measured, color=f"C{entry}")
    right.plot(times[::15], predicted[::15], "o", ms=3, color=f"C{entry}")
right.set(xlabel="time t", ylabel=r"$\dot W$ (lines) and $K[R]$ (dots)")
