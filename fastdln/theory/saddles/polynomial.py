"""The loss along an arc, as an exact polynomial."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastdln.linalg import Floats
from fastdln.network import Weights

__all__ = ["first_rise", "loss_change", "product_change"]

_NEGLIGIBLE = 1e-20  # terms of high order that are smaller at the reach, relative to the largest, are left out
_REAL = 1e-6  # roots whose imaginary part is smaller than this, relatively, count as real


def product_change(weights: Weights, directions: Weights, powers: Sequence[int]) -> Floats:
    """Multiply out the product of W_i + alpha^{p_i} V_i: P_k at [k] in W + sum_{k >= 1} P_k alpha^k."""
    product = np.eye(weights[0].shape[1])[None]
    for W, V, p in zip(weights, directions, powers, strict=True):
        below = product
        product = np.zeros((len(below) + p * bool(V.any()), len(W), below.shape[-1]))
        product[: len(below)] = W @ below
        product[len(product) - len(below) :] += V @ below if V.any() else 0
    return product


def loss_change(product: Floats, residual: Floats) -> Floats:
    """Compute the coefficients of 1/2 ||R - sum_{k >= 1} P_k alpha^k||^2 - 1/2 ||R||^2, of degree 2 deg P.

    Parameters
    ----------
    product : ndarray, shape (n+1, d_h, d_0)
        The coefficients P_k of the product.
    residual : ndarray, shape (d_h, d_0)
        R.

    Returns
    -------
    ndarray, shape (2n+1,)
        The coefficients, by rising power.
    """
    flat = product.reshape(len(product), -1).copy()
    flat[0] = 0
    coefficients = np.zeros(2 * len(flat) - 1)
    coefficients[: len(flat)] = -flat @ residual.ravel()
    for k, row in enumerate(flat @ flat.T):
        coefficients[k : k + len(flat)] += row / 2
    return coefficients


def first_rise(coefficients: Floats, order: int, reach: float) -> float:
    """Find where a polynomial that falls like -alpha^order at 0 ceases to fall, if that is before `reach`."""
    powers = np.arange(order, len(coefficients))
    slope = powers * coefficients[order:] * reach ** (powers - 1)  # in units of the reach
    slope = np.polynomial.polynomial.polytrim(slope, np.finfo(float).tiny + _NEGLIGIBLE * np.abs(slope).max())
    roots = np.polynomial.polynomial.polyroots(slope)
    real = roots.real[(roots.real > 0) & (np.abs(roots.imag) <= _REAL * np.abs(roots))]
    return reach * float(real.min()) if len(real) else np.inf
