"""
Two layers in closed form
=========================

The Gram matrix of two balanced layers obeys a Riccati equation, so the product is known at any time without
integrating (survey, arXiv 2511.10362, section on exact solutions; K. Fukumizu, Neural Networks 11, 1998). Above are
all entries of the product, from the formula and from the flow; below is the distance between the two, which is the
error of the integrator, at several tolerances.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln
from fastdln import theory as th

plt.style.use("petroff10")

# %%
# Widths need not be equal: here 4-5-3.

loss = dln.Quadratic.from_singular_values((3.0, 2.0, 1.0), shape=(3, 4), rng=1)
w0 = dln.inits.balanced(dln.Network((4, 5, 3)), scale=0.05, rng=0)
t = np.linspace(0.0, 10.0, 201)
exact = th.exact.two_layer(t, w0, loss).product

fig, (top, bottom) = plt.subplots(2, 1, sharex=True, figsize=(7, 6), layout="constrained")
for k, rtol in enumerate((1e-4, 1e-6, 1e-8, 1e-10)):
    sol = dln.flow(w0, loss, (0.0, t[-1]), t, method="dop853", rtol=rtol, record=("weights",))
    product = dln.product(sol.weights)
    error = np.linalg.norm(product - exact, axis=(1, 2))
    bottom.semilogy(t[1:], error[1:], color=f"C{k}", label=f"rtol {rtol:.0e}")
for i, j in np.ndindex(3, 4):
    top.plot(t, exact[:, i, j], color="C0", lw=1.2, label="formula" if i + j == 0 else None)
    top.plot(t[::10], product[::10, i, j], ".", color="black", label="flow" if i + j == 0 else None)
top.set(ylabel="entries of the product $W_2W_1$")
top.legend()
bottom.set(xlabel="time $t$", ylabel=r"error $\|W-W_{\mathrm{exact}}\|_F$", xlim=(0, t[-1]))
bottom.legend(ncols=4, fontsize=9)
plt.show()
