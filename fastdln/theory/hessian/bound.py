"""A bound of the norm of the Hessian that needs no eigenvalues of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse.linalg
from numpy.typing import ArrayLike, NDArray

from fastdln.checked import checked
from fastdln.linalg import Floats, spectral, transpose
from fastdln.losses import Loss
from fastdln.network import Weights
from fastdln.theory.hessian.products import Point, each

__all__ = ["curvature_norm", "norm_bound"]

DENSE = 500  # entries of the product up to which the second derivative of a loss is made a matrix
ROUGH = 1e-4  # tolerance of its norm beyond, as eigenvalues may be dense there


@checked
def norm_bound(weights: Sequence[ArrayLike], loss: Loss) -> NDArray[Any]:
    """Bound the spectral norm of the Hessian at any weights, critical or not.

    With R = -dL/dW, and all norms spectral,

        ||H||_2 <= sum_i a_i^2 + ||T||_2,    a_i = ||W_{>i}|| ||W_{<i}||,
        T_ij = T_ji = ||W_{<j} R' W_{>i}|| ||W_{i-1} ... W_{j+1}||  for i > j,  T_ii = 0,

    from the two parts of the Hessian block by block. For unwhitened data a_i has W_{<i} S^(1/2) instead of W_{<i},
    with S the input Gram matrix. For a loss that is not quadratic a_i^2 is multiplied by the spectral norm of the
    second derivative of the loss by the product.

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
    norms = [_curvature_norm(one, product) for product, one in each((point.prefixes[-1],), point.loss, point.batch)]
    return np.reshape(norms, point.batch).astype(point.dtype)


def _curvature_norm(loss: Loss, product: Weights) -> float:
    """That of one loss at one product."""
    d_h, d_0 = loss.shape
    n = d_h * d_0

    def multiply(rows: Floats) -> Floats:
        return loss.curvature(product[0], rows.reshape(-1, d_h, d_0)).reshape(-1, n)

    start = np.random.default_rng(0).standard_normal(n)
    image = multiply(start)
    if not np.isfinite(image).all():
        return np.inf
    if not image.any():
        return 0.0
    if n <= DENSE:
        return float(np.abs(np.linalg.eigvalsh(multiply(np.eye(n)))).max())
    operator = scipy.sparse.linalg.LinearOperator((n, n), matvec=lambda x: multiply(x)[0], dtype=np.float64)
    (largest,) = scipy.sparse.linalg.eigsh(operator, k=1, tol=ROUGH, v0=start, return_eigenvectors=False)
    return float((1 + 10 * ROUGH) * abs(largest))
