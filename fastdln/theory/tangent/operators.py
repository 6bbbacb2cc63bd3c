"""The tangent operator: applied, as a matrix or without one, and its eigenvalues."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse.linalg import LinearOperator

from fastdln.checked import checked
from fastdln.linalg import Floats, reproducible
from fastdln.theory.tangent.kronecker import dense, eigenvalues, grams, linear_operator, read

__all__ = ["apply", "matrix", "operator", "spectrum"]


@checked
def apply(weights: Sequence[ArrayLike], direction: ArrayLike) -> Floats:
    """Apply the tangent operator to a matrix: K[R] = sum_i W_{>i} W_{>i}' R W_{<i}' W_{<i}.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    direction : array_like, shape (..., d_h, d_0)
        The matrix R; batches broadcast.

    Returns
    -------
    ndarray, shape (..., d_h, d_0)
        K[R]: for R = -dL/dW the velocity dW/dt of the product.

    Raises
    ------
    ValueError
        If `direction` is not shaped like the product.

    Examples
    --------
    >>> apply((np.array([[2.0]]), np.array([[3.0]])), [[1.0]])
    array([[13.]])
    """
    net, arrays = read(weights)
    R = np.asarray(direction, np.float64)
    if R.ndim < 2 or R.shape[-2:] != (net.widths[-1], net.widths[0]):
        raise ValueError(
            f"direction has shape {R.shape}; expected that of the product, (..., {net.widths[-1]}, {net.widths[0]})"
        )
    return np.asarray(sum(factor.outer @ R @ factor.inner for factor in grams(arrays)))


def operator(weights: Sequence[ArrayLike]) -> LinearOperator:
    """Make the tangent operator of a network, without its matrix.

    Parameters
    ----------
    weights : tuple of h arrays, shape (d_i, d_{i-1})
        The weights of one network, W_1 first.

    Returns
    -------
    scipy.sparse.linalg.LinearOperator
        K on vec(R), the columns of R one below the other (``R.ravel(order="F")``); symmetric, of shape
        (d_h d_0, d_h d_0).

    Raises
    ------
    ValueError
        If the weights have a batch axis.

    Examples
    --------
    >>> K = operator((np.array([[2.0]]), np.array([[3.0]])))
    >>> K.shape, K @ np.array([1.0])
    ((1, 1), array([13.]))
    """
    _, arrays = read(weights)
    if arrays[0].ndim != 2:
        raise ValueError(f"weights have the batch {arrays[0].shape[:-2]}; an operator is that of one network")
    return linear_operator(grams(arrays))


def matrix(weights: Sequence[ArrayLike]) -> Floats:
    """Compute the matrix of the tangent operator, K = sum_i (W_{<i}' W_{<i}) (x) (W_{>i} W_{>i}').

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.

    Returns
    -------
    ndarray, shape (..., d_h d_0, d_h d_0)
        The symmetric matrix on vec(R), the columns of R one below the other.

    Examples
    --------
    >>> matrix((np.eye(2), np.array([[1.0, 2.0]])))
    array([[6., 0.],
           [0., 6.]])
    """
    _, arrays = read(weights)
    return dense(grams(arrays))


@checked
@reproducible
def spectrum(weights: Sequence[ArrayLike], k: int | None = None) -> Floats:
    """Compute the eigenvalues of the tangent operator, the largest first.

    For balanced weights, whose product has the singular values s_j, padded by 0, they are in closed form

        sum_i s_j^{2(h-i)/h} s_l^{2(i-1)/h}    (j <= d_h, l <= d_0; 0^0 = 1),

    and at a global minimum with zero residual they are the positive eigenvalues of the Hessian J'J, and zeros.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    k : int, optional
        Only the k largest eigenvalues; by default all d_h d_0 of them. For one network whose product is large this is
        the Lanczos method, which needs no matrix.

    Returns
    -------
    ndarray, shape (..., d_h d_0) or (..., k)
        The eigenvalues; none is negative but by rounding.

    Raises
    ------
    ValueError
        If ``k`` is not between 1 and d_h d_0.

    Examples
    --------
    >>> spectrum((np.diag([2.0, 1.0]), np.diag([2.0, 1.0])))
    array([8., 5., 5., 2.])
    """
    net, arrays = read(weights)
    size = net.widths[-1] * net.widths[0]
    if k is not None and not 1 <= k <= size:
        raise ValueError(f"k must lie between 1 and d_h d_0 = {size}, not {k!r}")
    return eigenvalues(grams(arrays), k)
