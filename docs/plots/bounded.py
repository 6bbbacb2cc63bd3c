"""T5: the loss falls, and layers stay bounded."""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln

loss = dln.Quadratic.from_singular_values((3.0, 1.0), shape=(3, 3), rng=0)
w0 = dln.inits.gaussian(dln.Network((3, 4, 4, 3)), 0.8, size=30, rng=0)
times = np.linspace(0.0, 6.0, 121)
sol = dln.flow(w0, loss, (0.0, 6.0), times, record=("loss", "weights"))
bounds = np.asarray(dln.theory.invariants.norm_bound(w0, loss))
norms = np.linalg.norm(sol.weights[0], 2, axis=(-2, -1))

fig, (left, right) = plt.subplots(1, 2)
left.semilogy(times, sol.loss.T, color="C0", lw=0.6)
left.set(xlabel="time t", ylabel="loss L", ylim=(1e-8, None))
right.plot(times, (norms / bounds[..., 0][:, None]).T, color="C1", lw=0.6)
right.axhline(1.0, color="k", ls="--")
right.set(xlabel="time t", ylabel=r"$\|W_1(t)\|_2$ / its bound", ylim=(0, 1.1))
