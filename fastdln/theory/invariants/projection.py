"""Projection to a leaf: weights with given balance matrices, and the product that they have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from fastdln.checked import checked
from fastdln.checks import reals
from fastdln.field import balance as balance_matrices
from fastdln.linalg import Floats, frobenius, transpose
from fastdln.network import Weights, check_layer_rates, check_weights

__all__ = ["Projection", "project"]


@dataclass(frozen=True)
class Projection:
    """Weights on a leaf, and how they were reached.

    Parameters
    ----------
    weights : tuple of h ndarrays, shape (..., d_i, d_{i-1})
        The weights.
    iterations : int
        The number of Newton steps.
    residual : ndarray, shape (...)
        What is left: max_i ||C_i - wanted||_F relative to the largest ||W_i||_F^2.
    """

    weights: Weights
    iterations: int
    residual: Floats


@checked
def project(
    weights: Sequence[ArrayLike],
    balance: Sequence[ArrayLike],
    layer_rates: ArrayLike | None = None,
    max_iterations: int = 20,
) -> Projection:
    """Move weights to the leaf of given balance matrices, along the fiber of equal products.

    Gauges W_i -> P_i W_i P_{i-1}^{-1} leave the product as it is. Newton's method in symmetric X_i, P_i = exp(X_i), for
    which dW_i = X_i W_i - W_i X_{i-1}: these are, up to a factor -2, the gradients of <X_i, C_i>, so that its matrix is
    symmetric and, at generic weights, invertible. From weights near the leaf, such as those that an integrator has let
    drift, a few steps reach it to rounding (survey, arXiv 2511.10362, section on conservation laws).

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights; leading axes are trajectories and times.
    balance : tuple of h-1 arrays, shape (..., d_i, d_i)
        The balance matrices C_i to have, symmetric, as `balance` gives them.
    layer_rates : array_like, shape (h,), optional
        The learning rates eta_i, divided into the balance matrices; by default all are 1.
    max_iterations : int
        The most Newton steps.

    Returns
    -------
    Projection
        The weights with the product of the old ones, the number of steps, and the distance that remains.

    Raises
    ------
    ValueError
        If the balance matrices do not fit the weights or are not symmetric, or weights are not finite.
    ArithmeticError
        If Newton's method does not converge: the fiber does not meet the leaf near these weights.

    Examples
    --------
    >>> W = np.diag([1.0, 2.0]), np.diag([1.001, 2.0])
    >>> moved = project(W, [np.zeros((2, 2))])
    >>> moved.iterations, moved.weights[0].diagonal().round(8)
    (2, array([1.00049988, 2.        ]))
    """
    net, arrays = check_weights(weights)
    roots = np.sqrt(check_layer_rates(layer_rates, net.depth))
    if not all(np.isfinite(W).all() for W in arrays):
        raise ValueError("weights must be finite; they hold NaN or infinite entries")
    targets = _targets(balance, net.widths[1:-1])
    # With W_i / sqrt(eta_i) in place of W_i all rates are 1.
    layers = tuple(W.astype(np.float64) / root for W, root in zip(arrays, roots, strict=True))
    size = np.max([np.square(W).sum(axis=(-2, -1)) for W in layers], axis=0)
    residual = _residual(layers, targets, size)
    reached = _ROUNDING * max(net.widths) * np.finfo(np.float64).eps
    iterations, last = 0, np.full_like(residual, np.inf)
    while ((residual > reached) & (residual < last / 2)).any() and iterations < max_iterations:
        layers, last = _newton_step(layers, targets), residual
        residual = _residual(layers, targets, size)
        iterations += 1
    if not (residual <= _ACCEPTED).all():
        raise ArithmeticError(
            f"after {iterations} Newton steps the balance matrices still differ from those wanted by "
            f"{float(np.nanmax(residual)):.2g} relative to the squared layers: the leaf is too far from these weights, "
            "or has no network with their product"
        )
    moved = tuple((W * root).astype(arrays[0].dtype) for W, root in zip(layers, roots, strict=True))
    return Projection(moved, iterations, residual)


def _targets(balance: Sequence[ArrayLike], widths: Sequence[int]) -> list[Floats]:
    """Validate the balance matrices wanted."""
    if len(balance) != len(widths):
        raise ValueError(f"balance holds {len(balance)} matrices; expected one for each of {len(widths)} hidden layers")
    targets = [reals(f"C_{i} of balance", C).astype(np.float64) for i, C in enumerate(balance, start=1)]
    for i, (C, d) in enumerate(zip(targets, widths, strict=True), start=1):
        if C.shape[-2:] != (d, d):
            raise ValueError(f"C_{i} has shape {C.shape}; expected (..., {d}, {d})")
        if not (np.abs(C - transpose(C)) <= 1e-6 * np.abs(C).max(initial=0.0)).all():
            raise ValueError(f"C_{i} must be symmetric and finite")
    return targets


def _residual(layers: Weights, targets: list[Floats], size: Floats) -> Floats:
    """max_i ||C_i - target||_F / size; 0 where all layers are zero and so are the targets."""
    residual = np.zeros_like(size)
    for C, wanted in zip(balance_matrices(layers), targets, strict=True):
        norm = frobenius(C - wanted)
        with np.errstate(invalid="ignore", divide="ignore"):
            residual = np.maximum(residual, np.where(norm > 0, norm / size, 0.0))
    return residual


def _newton_step(layers: Weights, targets: list[Floats]) -> Weights:
    """Solve dC(X) = target - C for the X_i, and apply the gauges exp(X_i)."""
    wanted = [target - C for C, target in zip(balance_matrices(layers), targets, strict=True)]
    widths = [C.shape[-1] for C in wanted]
    batch = np.broadcast_shapes(*(C.shape[:-2] for C in wanted))
    ends = np.cumsum([0, *(d * d for d in widths)])
    blocks = [slice(a, b) for a, b in pairwise(ends)]
    H = np.zeros((*batch, ends[-1], ends[-1]))
    for i, (d, here) in enumerate(zip(widths, blocks, strict=True)):
        below, above = layers[i], layers[i + 1]
        S = transpose(above) @ above + below @ transpose(below)
        H[..., here, here] = -_kron(S, np.eye(d)) - _kron(np.eye(d), S)
        if i + 1 < len(widths):
            up = transpose(above)
            H[..., here, blocks[i + 1]] = 2 * _kron(up, up)
            H[..., blocks[i + 1], here] = transpose(H[..., here, blocks[i + 1]])
    flat = [np.broadcast_to(C, (*batch, d, d)).reshape(*batch, d * d, 1) for C, d in zip(wanted, widths, strict=True)]
    solution = np.linalg.pinv(H, hermitian=True) @ np.concatenate(flat, axis=-2)
    gauges, inverses = [np.eye(layers[0].shape[-1])], [np.eye(layers[0].shape[-1])]
    for here, d in zip(blocks, widths, strict=True):
        X = solution[..., here, 0].reshape(*batch, d, d)
        values, vectors = np.linalg.eigh((X + transpose(X)) / 2)
        for found, sign in ((gauges, 1), (inverses, -1)):
            stretch = np.exp(sign * np.clip(values, -_LONGEST, _LONGEST))
            found.append((vectors * stretch[..., None, :]) @ transpose(vectors))
    gauges.append(np.eye(layers[-1].shape[-2]))
    return tuple(P @ W @ Q for P, W, Q in zip(gauges[1:], layers, inverses, strict=True))


def _kron(A: Floats, B: Floats) -> Floats:
    """The matrix of X -> A X B' on matrices laid out row by row."""
    product = A[..., :, None, :, None] * B[..., None, :, None, :]
    (p, q), (r, s) = A.shape[-2:], B.shape[-2:]
    return product.reshape(*product.shape[:-4], p * r, q * s)


# With n the largest width, forming C from two squares rounds to n eps, relative to the largest squared layer. The two
# products P W P^{-1} of the last step round each layer to n eps, which moves the two squares by 4 n eps: no step comes
# surely below the sum.
_ROUNDING = 5
_ACCEPTED = 1e-12
_LONGEST = 2.0
