"""T7: the dimension of the set of minima, by the formula and by the Hessian."""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln

loss = dln.Quadratic(np.diag([3.0, 2.0]))
hidden = np.arange(2, 8)
formula, zeros = [], []
for width in hidden:
    net = dln.Network((2, int(width), 2))
    formula.append(dln.theory.landscape.dimension(net, loss))
    minimum = dln.theory.landscape.critical_point(net, loss, learned=(0, 1), rng=0)
    eigenvalues = np.linalg.eigvalsh(dln.theory.hessian.matrix(minimum, loss))
    zeros.append(int((np.abs(eigenvalues) < 1e-8).sum()))

fig, ax = plt.subplots()
ax.plot(hidden, formula, label=r"$N - r (d_0 + d_h - r)$")
ax.plot(hidden, zeros, "o", label="zero eigenvalues of the Hessian")
ax.set(xlabel="hidden width $d_1$ of 2, $d_1$, 2", ylabel="dimension of the minima")
ax.legend()
