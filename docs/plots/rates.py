"""T14: the local exponent and a global bound."""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln

net = dln.Network((3, 3, 3))
loss = dln.Quadratic(np.diag([3.0, 2.0, 1.0]))
root = np.diag(np.sqrt([2.6, 1.7, 0.7]))
times = np.linspace(0.0, 6.0, 121)
sol = dln.flow((root, root), loss, (0.0, 6.0), times, rtol=1e-10, record=("loss",))
margin = 1.0 - np.linalg.norm(loss.target - root @ root)  # c of the bound with a margin
global_rate = 2 * margin
local_rate = 2 * 1.0  # h sigma_r^(2 - 2/h)

fig, ax = plt.subplots()
ax.semilogy(times, sol.loss, label="loss of the flow")
ax.semilogy(
    times, sol.loss[0] * np.exp(-2 * global_rate * times), "--", label=rf"global bound, $\rho = {global_rate:.2f}$"
)
tail = times > 2
ax.semilogy(
    times[tail], 2 * sol.loss[40] * np.exp(-2 * local_rate * (times[tail] - times[40])), ":",
    label=rf"local exponent, $\rho = {local_rate:.0f}$ (shifted)",
)  # fmt: skip
ax.set(xlabel="time t", ylabel=r"$L - L_{\min}$")
ax.legend()
