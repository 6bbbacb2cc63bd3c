"""T8: eigenvalues of the Hessian along a flow from a balanced start."""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln

net = dln.Network((3, 3, 3, 3))
loss = dln.Quadratic.from_singular_values((3.0, 2.0, 1.0), shape=(3, 3), rng=0)
times = np.linspace(0.0, 12.0, 121)
sol = dln.flow(dln.inits.balanced(net, 0.3, rng=0), loss, (0.0, 12.0), times, record=("weights",))
eigenvalues = np.linalg.eigvalsh(dln.theory.hessian.matrix(sol.weights, loss))

fig, ax = plt.subplots()
ax.plot(times, eigenvalues, color="C0", lw=0.6)
closed = np.asarray(dln.theory.hessian.minimum_spectrum(net, loss))
ax.plot(np.full(closed.shape, 12.3), closed, "o", ms=3, color="C1", label="closed form at the minimum", clip_on=False)
ax.axhline(0.0, color="k", lw=0.6)
ax.set(xlabel="time t", ylabel="eigenvalues of H", xlim=(0, 12.6))
ax.legend(loc="upper left")
