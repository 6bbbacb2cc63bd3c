"""
The edge of stability
=====================

Gradient descent with learning rate η cannot settle where the largest eigenvalue of the Hessian, the sharpness, is
above 2/η. The flow goes to a minimum that is sharper than others, as its layers are out of balance; descent with a
larger rate is pushed off it, oscillates, and comes to rest at a flatter one, but at none below the least sharpness
of any minimum (survey, arXiv 2511.10362, section on discrete updates).
"""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln
from fastdln import theory as th

plt.style.use("petroff10")

# %%
# One start, four learning rates: a batch. The flow is there for comparison.

net = dln.Network((4, 4, 4, 4))
loss = dln.Quadratic.from_singular_values((3.0, 2.0, 1.0), shape=(4, 4), rng=0)
w0 = dln.inits.delta_balanced(net, delta=6.0, rng=1, first=5)
least = 2 / th.rates.step_limit(loss, net.depth)
t = np.linspace(0.0, 15.0, 301)
flow = dln.flow(w0, loss, (0.0, t[-1]), t, record=("loss", "sharpness"))
rates = 2 / np.array([32.0, 26.0, 21.0, 17.0])
sol = dln.descend(w0, loss, rates, steps=300, record=("loss", "sharpness"))

fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.8), layout="constrained")
left.plot(t, flow.sharpness, color="black", label="flow")
right.semilogy(t, flow.loss, color="black")
for k, rate in enumerate(rates):
    left.axhline(2 / rate, color=f"C{k}", ls="--", lw=0.8)
    left.plot(sol.t[k], sol.sharpness[k], color=f"C{k}", label=rf"$\eta={rate:.3f}$")
    right.semilogy(sol.t[k], sol.loss[k], color=f"C{k}")
left.axhline(least, color="0.5", ls=":", label="least of all minima")
left.set(xlabel=r"time $t=\eta k$", ylabel="sharpness", ylim=(11, 36), xlim=(0, t[-1]), title=r"lines $2/\eta$ dashed")
right.legend(*left.get_legend_handles_labels(), loc="lower left", fontsize=9)
right.set(xlabel=r"time $t=\eta k$", ylabel="loss $L$", xlim=(0, t[-1]), ylim=(1e-9, None))
plt.show()
