"""Eigenvalues of the Hessian, and its inertia."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.losses import Loss
from fastdln.network import Weights, check_weights
from fastdln.theory.hessian.dense import matrix
from fastdln.theory.hessian.products import Point

__all__ = ["Inertia", "index", "spectrum"]


@dataclass(frozen=True)
class Inertia:
    """How many eigenvalues of a Hessian are negative, zero and positive, and how clearly.

    Parameters
    ----------
    negative, zero, positive : int or ndarray of int, shape (...,)
        The numbers; `negative` is the index of a critical point.
    gap : tuple of two floats or ndarrays, shape (...,)
        The largest |eigenvalue| that counts as zero and the least that does not, divided by ||H||_2; 0 and inf where
        there is none.
    doubtful : int or ndarray of int, shape (...,)
        How many |eigenvalues| lie within a factor of 100 of the tolerance: where this is not 0 the numbers may be off.
    """

    negative: Any
    zero: Any
    positive: Any
    gap: tuple[Any, Any]
    doubtful: Any


def spectrum(weights: Sequence[ArrayLike], loss: Loss) -> NDArray[np.float64]:
    """Compute the eigenvalues of the Hessian.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    loss : Loss
        The loss.

    Returns
    -------
    ndarray, shape (..., N)
        All eigenvalues with their multiplicities, the least first.

    Raises
    ------
    ValueError
        If the Hessian is not finite.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> spectrum((np.array([[0.0]]), np.array([[0.0]])), Quadratic([[3.0]]))
    array([-3.,  3.])
    """
    H = matrix(_double(weights), loss)
    if not np.isfinite(H).all():
        raise ValueError("weights must give a finite Hessian, but it overflows or they hold NaN")
    return np.asarray(np.linalg.eigvalsh(H))


def index(weights: Sequence[ArrayLike], loss: Loss, tol: float = 1e-8) -> Inertia:
    """Count the negative, zero and positive eigenvalues of the Hessian.

    The inertia is the same along a gauge orbit of a critical point, although the eigenvalues are not (Sylvester's law;
    survey, arXiv 2511.10362, section on the Hessian).

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    loss : Loss
        The loss.
    tol : float
        Eigenvalues count as zero up to `tol` times the largest of |H|, or up to what rounding leaves of the terms that
        cancel in H.

    Returns
    -------
    Inertia
        The numbers, with the gap in the eigenvalues that they rest on.

    Raises
    ------
    ValueError
        If `tol` is not between 0 and 1.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> found = index((np.zeros((2, 2)), np.zeros((2, 2))), Quadratic([[3.0, 0.0], [0.0, 0.0]]))
    >>> found.negative, found.zero, found.positive
    (2, 4, 2)
    """
    if not 0 < tol < 1:
        raise ValueError(f"tol must lie between 0 and 1, not {tol!r}")
    values = spectrum(weights, loss)
    size = np.abs(values)
    norm = size.max(axis=-1, keepdims=True)
    terms = _size_of_terms(Point(_double(weights), loss))[..., None]
    rounding = values.shape[-1] * np.finfo(values.dtype).eps * terms
    least = np.maximum(tol * norm, rounding)
    zero = size <= least
    scale = np.where(norm > 0, norm, 1.0)
    counts = [
        np.count_nonzero(chosen, axis=-1)
        for chosen in (
            ~zero & (values < 0),
            zero,
            ~zero & (values > 0),
            (size > least / 100) & (size < 100 * least),
        )
    ]
    gap = (np.where(zero, size / scale, 0.0).max(axis=-1), np.where(zero, np.inf, size / scale).min(axis=-1))
    if values.ndim == 1:
        counts = [int(count) for count in counts]
        gap = (float(gap[0]), float(gap[1]))
    negative, nothing, positive, doubtful = counts
    return Inertia(negative, nothing, positive, gap, doubtful)


def _double(weights: Sequence[ArrayLike]) -> Weights:
    return tuple(W.astype(np.float64, copy=False) for W in check_weights(weights)[1])


def _size_of_terms(point: Point) -> NDArray[Any]:
    """What the norms of the factors alone allow ||H||_2 to be: rounding is relative to it, also where terms cancel."""
    norms = np.stack([np.linalg.norm(W, 2, axis=(-2, -1)) for W in point.weights])
    h = point.net.depth
    gram = 1.0 if point.loss.input_gram is None else np.linalg.norm(point.loss.input_gram, 2)
    R = np.linalg.norm(point.pulled[-1], 2, axis=(-2, -1))
    total = np.zeros(point.batch)
    for i in range(h):
        others = np.delete(norms, i, axis=0)
        total = total + gram * np.prod(others, axis=0) ** 2
        for j in range(h - 1):
            total = total + R * np.prod(np.delete(others, j, axis=0), axis=0)
    return total
