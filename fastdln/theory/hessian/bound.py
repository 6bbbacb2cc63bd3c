"""A bound of the norm of the Hessian that needs no eigenvalues of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.checked import checked
from fastdln.linalg import spectral, transpose
from fastdln.losses import Loss
from fastdln.resources import require_memory
from fastdln.theory.hessian.products import Point

__all__ = ["curvature_norm", "norm_bound"]


@checked
def norm_bound(weights: Sequence[ArrayLike], loss: Loss) -> NDArray[Any]:
    """Bound the spectral norm of the Hessian at any weights, critical or not.

    With R = -dL/dW, and all norms spectral,

        ||H||_2 <= sum_i a_i^2 + ||T||_2,    a_i = ||W_{>i}|| ||W_{<i}||,
        T_ij = T_ji = ||W_{<j} R' W_{>i}|| ||W_{i-1} ... W_{j+1}||  for i > j,  T_ii = 0,

    from the two parts of the Hessian block by block. For unwhitened data a_i has W_{<i} S^(1/2) instead of W_{<i},
    with S the input Gram matrix. For a loss that is not quadratic a_i^2 is multiplied by the spectral norm of the
    second derivative of the loss by the product, which takes the eigenvalues of a matrix of d_h d_0 rows.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    loss : Loss
        The loss.

    Returns
    -------
    ndarray, shape (...,)
        The upper bound of ||H||_2; infinite where the loss has no second derivative.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> float(norm_bound((np.array([[1.0]]), np.array([[2.0]])), Quadratic([[3.0]])))
    6.0
    """
    point = Point(weights, loss)
    h = point.net.depth
    prefixes, suffixes = point.below(), point.above()
    quadratic = loss.quadratic is not None
    curved = 1.0 if quadratic else curvature_norm(point)
    T = np.zeros((*point.batch, h, h), point.dtype)
    total = np.zeros(point.batch, point.dtype)
    for i in range(h):
        below = point.whitened(prefixes[i]) if quadratic else prefixes[i]
        total = total + curved * (spectral(suffixes[i]) * spectral(below)) ** 2
        between = np.eye(point.net.widths[i], dtype=point.dtype)  # W_{i-1} ... W_{j+1}
        for j in range(i - 1, -1, -1):
            T[..., i, j] = spectral(point.pulled[i] @ transpose(prefixes[j])) * spectral(between)
            between = between @ point.weights[j]
    return np.asarray(total + np.linalg.eigvalsh(T)[..., -1])


def curvature_norm(point: Point) -> NDArray[Any]:
    """The spectral norm of the second derivative of the loss by the product."""
    form = point.loss.quadratic
    if form is not None:
        return np.asarray(1.0 if form.input_gram is None else spectral(form.input_gram))
    d_h, d_0 = point.loss.shape
    n = d_h * d_0
    columns = max(d_0, point.loss.form.samples)
    n_bytes = 2 * 8 * math.prod(point.batch) * n * d_h * columns
    require_memory(n_bytes, f"the second derivative of the loss, {n} x {n} entries,")
    units = np.eye(n).reshape(n, *(1,) * len(point.batch), d_h, d_0)
    bent = point.loss.curvature(point.prefixes[-1], units).reshape(n, *point.batch, n)
    matrix = np.moveaxis(bent, 0, -1)
    finite = np.isfinite(matrix).all(axis=(-2, -1))
    values = np.linalg.eigvalsh(np.where(finite[..., None, None], matrix, 0.0))
    return np.asarray(np.where(finite, np.abs(values).max(axis=-1), np.inf).astype(point.dtype))
