"""
Completing a matrix, by depth
=============================

From small starts, deep networks that fit the entries seen of a matrix of low rank find its other entries too, though
many matrices would fit. A single layer leaves what it does not see as it was; depth drives the singular values beyond
the rank down, as if it looked for the simplest matrix (S. Arora, N. Cohen, W. Hu & Y. Luo, NeurIPS 2019).
"""

import matplotlib.pyplot as plt
import numpy as np

import fastdln as dln

plt.style.use("petroff10")

# %%
# A matrix of rank 2. At full size: 100 x 100, rank 5, 2000 or 5000 entries, scales down to 1e-6.

side, rank, scale = 24, 2, 1e-3
rng = np.random.default_rng(0)
truth = rng.standard_normal((side, rank)) @ rng.standard_normal((rank, side)) / np.sqrt(rank)
counts, draws = np.arange(120, 481, 60), 3
order = [rng.permutation(side**2).reshape(side, side) for _ in range(draws)]
masks = np.array([places < count for count in counts for places in order])

# %%
# All numbers of entries, with three draws each, are one batch at each depth.

fig, axes = plt.subplots(1, 3, figsize=(9.5, 3.6), layout="constrained")
for depth in (1, 2, 3, 4):
    net = dln.Network((side,) * (depth + 1))
    w0 = dln.inits.gaussian(net, scale ** (1 / depth), size=len(masks), rng=1)
    sol = dln.flow(w0, dln.Masked(truth, masks), (0.0, 1e5), rtol=1e-3, stop=dln.Stop(loss=1e-4))
    W = dln.product(sol.final)
    error = (np.linalg.norm(W - truth, axis=(1, 2)) / np.linalg.norm(truth)).reshape(-1, draws)
    values = np.linalg.svd(W, compute_uv=False)
    shares = values / values.sum(axis=1, keepdims=True)
    effective = np.exp(-(shares * np.log(shares)).sum(axis=1)).reshape(-1, draws)
    axes[0].semilogy(counts, np.median(error, axis=1), "o-", label=f"{depth}")
    axes[1].plot(counts, np.median(effective, axis=1), "o-")
    axes[2].semilogy(np.arange(1, 11), values[draws * 3, :10], "o-")
axes[0].set(xlabel=f"entries seen, of {side**2}", ylabel="relative error, median", ylim=(5e-4, 2))
axes[0].legend(title="depth")
axes[1].axhline(rank, color="0.5", ls=":")
axes[1].set(xlabel=f"entries seen, of {side**2}", ylabel="effective rank, median")
axes[2].set(xlabel="$j$", ylabel="singular value $j$ of the product", title=f"{counts[3]} entries, rank {rank}")
plt.show()
