"""A bound of the norm of the Hessian that needs no eigenvalues of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.checked import checked
from fastdln.linalg import spectral, transpose
from fastdln.losses import Loss
from fastdln.theory.hessian.products import Point

__all__ = ["norm_bound"]


@checked
def norm_bound(weights: Sequence[ArrayLike], loss: Loss) -> NDArray[Any]:
    """Bound the spectral norm of the Hessian at any weights, critical or not.

    With R = -dL/dW, and all norms spectral,

        ||H||_2 <= sum_i a_i^2 + ||T||_2,    a_i = ||W_{>i}|| ||W_{<i}||,
        T_ij = T_ji = ||W_{<j} R' W_{>i}|| ||W_{i-1} ... W_{j+1}||  for i > j,  T_ii = 0,

    from the two parts of the Hessian block by block. For unwhitened data a_i has W_{<i} S^(1/2) instead of W_{<i},
    with S the input Gram matrix.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    loss : Loss
        The loss.

    Returns
    -------
    ndarray, shape (...,)
        The upper bound of ||H||_2.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> float(norm_bound((np.array([[1.0]]), np.array([[2.0]])), Quadratic([[3.0]])))
    6.0
    """
    point = Point(weights, loss)
    h = point.net.depth
    prefixes, suffixes = point.below(), point.above()
    T = np.zeros((*point.batch, h, h), point.dtype)
    total = np.zeros(point.batch, point.dtype)
    for i in range(h):
        total = total + (spectral(suffixes[i]) * spectral(point.whitened(prefixes[i]))) ** 2
        between = np.eye(point.net.widths[i], dtype=point.dtype)  # W_{i-1} ... W_{j+1}
        for j in range(i - 1, -1, -1):
            T[..., i, j] = spectral(point.pulled[i] @ transpose(prefixes[j])) * spectral(between)
            between = between @ point.weights[j]
    return np.asarray(total + np.linalg.eigvalsh(T)[..., -1])
