"""T3: the spectrum stays, the Jordan structure need not."""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln

loss = dln.Quadratic(np.diag([2.0, 1.0]))
w0 = (np.array([[0.5, 0.2], [-0.1, 0.4]]), np.zeros((2, 2)))
times = np.linspace(0.0, 4.0, 81)
sol = dln.flow(w0, loss, (0.0, 4.0), times, record=("weights",))
A = dln.theory.adjacency.matrix(sol.weights)
values = np.linalg.svd(A @ A, compute_uv=False)[:, :2]

fig, ax = plt.subplots()
ax.plot(times, values, label=["largest", "second"])
ax.plot(times, np.abs(np.linalg.eigvals(A)).max(axis=-1), "k--", label="largest |eigenvalue| of A")
ax.set(xlabel="time t", ylabel="singular values of $A^2$")
ax.legend()
