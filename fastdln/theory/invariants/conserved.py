"""Balance matrices: what the flow conserves, and how it moves the rest of A'A - AA'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.checked import checked
from fastdln.field import balance, product
from fastdln.linalg import spectral, transpose
from fastdln.losses import Loss
from fastdln.network import Weights, check_layer_rates, check_weights

__all__ = ["LambdaBalance", "corner_rates", "imbalance", "lambda_balance"]


def imbalance(weights: Sequence[ArrayLike], layer_rates: ArrayLike | None = None) -> NDArray[Any]:
    """Measure how far weights are from balanced: the spectral norms of the balance matrices.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    layer_rates : array_like, shape (h,), optional
        The learning rates eta_i, divided into the balance matrices; by default all are 1.

    Returns
    -------
    ndarray, shape (..., h-1)
        ||C_i||_2 for each hidden layer; NaN where C_i is not finite.

    Examples
    --------
    >>> imbalance((np.array([[1.0], [0.0]]), np.array([[0.0, 2.0]])))
    array([4.])
    """
    _, arrays = check_weights(weights)
    return _by_layer([_spectral_norm(C) for C in balance(arrays, layer_rates)], arrays)


@dataclass(frozen=True)
class LambdaBalance:
    """How far weights are from lambda-balanced, one entry for each hidden layer.

    Parameters
    ----------
    lambdas : ndarray, shape (..., h-1)
        lambda_i = tr C_i / d_i.
    distances : ndarray, shape (..., h-1)
        ||C_i - lambda_i I||_2.
    sizes : ndarray, shape (..., h-1)
        ||W_i||_2^2 + ||W_{i+1}||_2^2, relative to which both are known.
    """

    lambdas: NDArray[Any]
    distances: NDArray[Any]
    sizes: NDArray[Any]


def lambda_balance(weights: Sequence[ArrayLike], layer_rates: ArrayLike | None = None) -> LambdaBalance:
    """Find the multiples of the identity that are nearest to the balance matrices.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    layer_rates : array_like, shape (h,), optional
        The learning rates eta_i, divided into the balance matrices; by default all are 1.

    Returns
    -------
    LambdaBalance
        lambda_i = tr C_i / d_i, the distance that remains, and the size that rounding is relative to.

    Examples
    --------
    >>> lambda_balance((np.eye(2), 2 * np.eye(2))).lambdas
    array([3.])
    """
    net, arrays = check_weights(weights)
    squares = [
        _spectral_norm(W) ** 2 / rate for W, rate in zip(arrays, check_layer_rates(layer_rates, net.depth), strict=True)
    ]
    lambdas, distances = [], []
    for C in balance(arrays, layer_rates):
        lambdas.append(np.trace(C, axis1=-2, axis2=-1) / C.shape[-1])
        distances.append(_spectral_norm(C - lambdas[-1][..., None, None] * np.eye(C.shape[-1], dtype=C.dtype)))
    return LambdaBalance(
        *(_by_layer(entries, arrays) for entries in (lambdas, distances, [a + b for a, b in pairwise(squares)]))
    )


def _by_layer(entries: Sequence[NDArray[Any]], arrays: Weights) -> NDArray[Any]:
    """Stack what belongs to the hidden layers, of which there may be none."""
    batch, dtype = arrays[0].shape[:-2], arrays[0].dtype
    return np.stack(entries, axis=-1).astype(dtype, copy=False) if entries else np.zeros((*batch, 0), dtype=dtype)


@checked
def corner_rates(weights: Sequence[ArrayLike], loss: Loss) -> tuple[NDArray[Any], NDArray[Any]]:
    """Evaluate the two blocks of A'A - AA' that the flow changes.

    The diagonal blocks of A'A - AA' are W_1' W_1 at the input, the balance matrices in the hidden layers and
    -W_h W_h' at the output. Along the flow, with R = -dL/dW at the product W,

        d/dt (A'A - AA') = (A^h)' R + R' A^h - R (A^h)' - A^h R'    (R embedded like W),

    which is zero outside the two corners of the diagonal.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    loss : Loss
        The loss.

    Returns
    -------
    input : ndarray, shape (..., d_0, d_0)
        d/dt W_1' W_1 = W' R + R' W.
    output : ndarray, shape (..., d_h, d_h)
        d/dt (-W_h W_h') = -R W' - W R'.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> corner_rates((np.array([[1.0]]), np.array([[2.0]])), Quadratic([[3.0]]))
    (array([[4.]]), array([[-4.]]))
    """
    W = product(weights)
    R = -loss.grad(W)
    inner = transpose(W) @ R
    outer = R @ transpose(W)
    return inner + transpose(inner), -(outer + transpose(outer))


def _spectral_norm(matrices: NDArray[Any]) -> NDArray[Any]:
    """||C||_2 of each matrix; NaN for one that is not finite, which a singular value decomposition refuses."""
    norms = np.full(matrices.shape[:-2], np.nan, dtype=matrices.dtype)
    finite = np.isfinite(matrices).all(axis=(-2, -1))
    norms[finite] = spectral(matrices[finite])
    return norms
