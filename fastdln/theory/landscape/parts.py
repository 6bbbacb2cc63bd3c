"""What critical points have beyond their learned modes, for a batch: the residual parts of layers and of products.

With the product W = A_r diag(w) B_r' of rank r, the oblique projections

    Pi_i = (W_i ... W_1) W^+ (W_h ... W_{i+1})

of the layers onto the learned part commute with the weights, Pi_i W_i = W_i Pi_{i-1}. The residual part is
K_i = W_i (I - Pi_{i-1}) = W_i - (W_i ... W_1) W^+ (W_h ... W_i), which gauges transform as they do W_i; in normal form
it is the blocks Z_i of `theory.residual`, which splits one point. So rank W_b ... W_{a+1} = r + rank K_b ... K_{a+1}.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastdln.linalg import Floats, transpose

__all__ = ["Parts", "decide", "size", "split"]

_BAND = 30.0


@dataclass(frozen=True, eq=False)
class Parts:
    """The residual parts of a batch of n points, in units in which ||Sigma||_2 = 1."""

    chains: dict[tuple[int, int], Floats]
    """K_b ... K_{a+1} by (a, b), a < b, shape (n, d_b, d_a)."""
    thresholds: dict[tuple[int, int], Floats]
    """Below which each counts as zero: what changes of the weights by `tol` make of it, to first order."""
    sizes: Floats
    """max(||K_i||, tol max(||W_i||, 1)) by layer, shape (n, h)."""
    slack: Floats
    """tol max(||W_i||, 1) by layer, shape (n, h)."""

    def zero(self, a: int, b: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether K_b ... K_{a+1} = 0, and whether that is uncertain."""
        return decide(size(self.chains[a, b]), self.thresholds[a, b])

    def rank(self, a: int, b: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """The rank of K_b ... K_{a+1}, and whether it is uncertain."""
        values = np.asarray(np.linalg.svd(self.chains[a, b], compute_uv=False), dtype=np.float64)
        zero, uncertain = decide(values, self.thresholds[a, b][:, None])
        return np.asarray((~zero).sum(axis=-1)), np.asarray(uncertain.any(axis=-1))

    def unseen(self, j: int, i: int, R: Floats, tol: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether W_{<j} R' W_{>i} = 0, and whether that is uncertain; i, j count layers from 1."""
        h = self.sizes.shape[-1]
        N = transpose(R)
        if j > 1:
            N = self.chains[0, j - 1] @ N
        if i < h:
            N = N @ self.chains[i, h]
        layers = [*range(j - 1), *range(i, h)]
        sizes = np.column_stack([self.sizes[:, layers], np.maximum(size(R), tol)])
        slack = np.column_stack([self.slack[:, layers], np.full(len(R), tol)])
        return decide(size(N), _threshold(sizes, slack))


def split(layers: Sequence[Floats], rank: NDArray[np.intp], tol: float) -> Parts:
    """Split off the learned part of rank `rank` (one number for each point) from layers of shape (n, d_i, d_{i-1})."""
    h = len(layers)
    prefixes = [layers[0]]
    for W in layers[1:]:
        prefixes.append(W @ prefixes[-1])
    suffixes = [layers[-1]]
    for W in reversed(layers[:-1]):
        suffixes.insert(0, suffixes[0] @ W)
    A, w, Bt = np.linalg.svd(prefixes[-1], full_matrices=False)
    kept = np.arange(w.shape[-1]) < rank[:, None]
    inverse = np.where(kept, 1 / np.where(kept, w, 1), 0)
    root = transpose(Bt) * inverse[:, None, :]  # W^+ = root A'
    K = [W - (P @ root) @ (transpose(A) @ S) for W, P, S in zip(layers, prefixes, suffixes, strict=True)]
    slack = tol * np.maximum(np.column_stack([size(W) for W in layers]), 1)
    sizes = np.maximum(np.column_stack([size(part) for part in K]), slack)
    chains, thresholds = {}, {}
    for a in range(h):
        chain = K[a]
        for b in range(a + 1, h + 1):
            chain = chain if b == a + 1 else K[b - 1] @ chain
            chains[a, b] = chain
            thresholds[a, b] = _threshold(sizes[:, a:b], slack[:, a:b])
    return Parts(chains, thresholds, sizes, slack)


def size(matrices: Floats) -> Floats:
    """The Frobenius norm of each matrix; infinite where it overflows."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.sqrt(np.square(matrices).sum(axis=(-2, -1))))


def decide(values: Floats, threshold: Floats | float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether values are zero, and whether that is uncertain: within a factor 30 of the threshold."""
    return values <= threshold, (values * _BAND > threshold) & (values < threshold * _BAND)


def _threshold(sizes: Floats, slack: Floats) -> Floats:
    """The first-order change of a product of factors of these sizes when each changes by its slack."""
    return np.asarray(sizes.prod(axis=-1) * (slack / sizes).sum(axis=-1))
