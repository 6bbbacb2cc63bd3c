"""
Balanced, and not
=================

The flow conserves the balance matrices :math:`C_i = W_{i+1}'W_{i+1} - W_iW_i'`: what starts out of balance stays so,
where steps of gradient descent move it (survey, arXiv 2511.10362, section on conservation laws). Imbalance is no harm:
with two layers and :math:`C_1 = \\lambda I`, the larger :math:`\\lambda`, the faster the loss falls, and the dashed
bounds know it (section on convergence).
"""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln
from fastdln import theory as th

plt.style.use("petroff10")

# %%
# Delta-balanced starts of three layers, along the flow and along gradient descent with a large learning rate.

net = dln.Network((4, 4, 4, 4))
loss = dln.Quadratic.from_singular_values((3.0, 2.0, 1.5, 1.0), shape=(4, 4), rng=0)
t, rate, deltas = np.linspace(0.0, 20.0, 201), 0.1, (0.01, 0.1, 1.0)
starts = [dln.inits.delta_balanced(net, delta, rng=1) for delta in deltas]
flows = [dln.flow(w0, loss, (0.0, t[-1]), t, record=("imbalance",)) for w0 in starts]
descents = [dln.descend(w0, loss, rate, steps=200, record=("imbalance",)) for w0 in starts]

fig, (left, right) = plt.subplots(1, 2, figsize=(7.5, 3.7), layout="constrained")
for k, (delta, flow, descent) in enumerate(zip(deltas, flows, descents, strict=True)):
    left.semilogy(t, flow.imbalance, color=f"C{k}", label=rf"$\delta={delta:g}$")
    left.semilogy(descent.t, descent.imbalance, color=f"C{k}", ls="--")
left.set(xlabel="time $t$", ylabel=r"imbalance $\max_i\|C_i\|_2$", ylim=(None, 4))
left.set_title(rf"flow (full), descent with $\eta={rate}$ (dashed)")
left.legend(loc="upper right", ncols=3, fontsize=9)

# Lambda-balanced starts of two layers, with bounds that hold from the start on.
net, t = dln.Network((4, 4, 4)), t / 2
for k, lam in enumerate((0.0, 1.0, 2.0, 4.0)):
    w0 = dln.inits.lambda_balanced(net, [lam], scale=0.05, rng=0)
    bound = th.rates.bound(w0, loss).two_layers
    right.semilogy(t, dln.flow(w0, loss, (0.0, t[-1]), t).loss, color=f"C{k}", label=rf"$\lambda={lam:g}$")
    if not bound.reason:
        right.semilogy(t, bound(t), color=f"C{k}", ls="--", lw=1)
right.set(xlabel="time $t$", ylabel="loss $L$", ylim=(1e-8, None), title="two layers, with bounds (dashed)")
right.legend()
plt.show()
