"""Eigenvalues of the Hessian, and its inertia."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import null_space

from fastdln.checked import checked
from fastdln.linalg import spectral
from fastdln.losses import Loss
from fastdln.network import Weights, check_weights
from fastdln.theory.hessian.bound import curvature_norm, norm_bound
from fastdln.theory.hessian.dense import matrix
from fastdln.theory.hessian.fiber import Fiber
from fastdln.theory.hessian.krylov import extreme_eigenvalues
from fastdln.theory.hessian.products import Point, each

__all__ = ["Inertia", "index", "spectrum"]

DENSE = 1000  # parameters up to which eigenvalues at the ends are taken from all
CRITICAL = 1e-6  # of the norm: what H may make of a gauge direction at a critical point


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


@checked
def spectrum(
    weights: Sequence[ArrayLike], loss: Loss, k: int | None = None, transverse: bool = False
) -> NDArray[np.float64]:
    """Compute the eigenvalues of the Hessian, all of them or those at both ends.

    Above N = 1000 parameters the ends come from Hessian-vector products alone, by a block Lanczos method that finds
    multiple eigenvalues as often as they occur, with residuals below 1e-10 ||H||_2.

    At a critical point the directions of the gauges, X_i W_i - W_i X_{i-1} with any matrices X_i in the hidden layers,
    are null vectors of H. `transverse` leaves these zeros out: the spectrum is then that of H on the orthogonal
    complement of those directions, where the least eigenvalue at a generic minimum is positive and the rate at which
    the flow approaches it.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    loss : Loss
        The loss.
    k : int, optional
        How many eigenvalues from each end; by default all.
    transverse : bool
        Only across the directions of the gauges; for one network, without batch axes, at a critical point.

    Returns
    -------
    ndarray, shape (..., N), or (..., 2 k)
        The eigenvalues with their multiplicities, the least first. With `transverse` and without `k` there are as many
        as the complement has dimensions.

    Raises
    ------
    ValueError
        If the Hessian is not finite, there are no 2 k eigenvalues, or `transverse` is asked for a batch or where the
        gauge directions are no null vectors.
    MemoryError
        If all eigenvalues are wanted and the matrix would not fit into memory.
    RuntimeError
        If eigenvalues at the ends are too clustered to be found by Lanczos steps.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> weights = np.array([[1.0]]), np.array([[1.0]])
    >>> spectrum(weights, Quadratic([[1.0]]))
    array([0., 2.])
    >>> spectrum(weights, Quadratic([[1.0]]), transverse=True)
    array([2.])
    """
    net, arrays = check_weights(weights)
    arrays = tuple(W.astype(np.float64, copy=False) for W in arrays)
    if k is not None and not 1 <= operator.index(k) <= net.n_parameters / 2:
        raise ValueError(f"k must be an integer from 1 to N/2 = {net.n_parameters / 2:g}, not {k}")
    point = Point(arrays, loss)
    batch = point.batch
    if not all(np.isfinite(x).all() for x in (*arrays, *point.pulled)):
        raise ValueError("weights must be finite, and so large only that the gradient does not overflow")
    fiber = _fiber(point) if transverse else None
    if k is None or net.n_parameters <= DENSE:
        values = _dense(arrays, loss, fiber)
        if k is None:
            return values
        if values.shape[-1] < 2 * k:
            raise ValueError(f"k must be at most half of the {values.shape[-1]} eigenvalues, not {k}")
        return np.concatenate([values[..., :k], values[..., -k:]], axis=-1)
    ends = [_by_products(Point(one, target), k, fiber) for one, target in each(arrays, loss, batch)]
    return np.reshape(ends, (*batch, 2 * k))


def _fiber(point: Point) -> Fiber:
    """The gauge directions, at one point where they are null vectors."""
    if point.batch:
        raise ValueError(f"a transverse spectrum is that of one network; weights and loss have the batch {point.batch}")
    fiber = Fiber(point.net, point.weights)
    directions = np.random.default_rng(0).standard_normal((4, point.net.n_parameters))
    along = directions - fiber.across(directions)
    size, moved = np.linalg.norm(along), np.linalg.norm(_multiply(point, along))
    if moved > CRITICAL * size * norm_bound(point.weights, point.loss):
        raise ValueError(
            f"weights must be a critical point for a transverse spectrum, but ||H v|| = {moved / size:.1e} ||v|| for "
            "directions v of gauges, which would be null vectors"
        )
    return fiber


def _multiply(point: Point, rows: NDArray[Any]) -> NDArray[Any]:
    return point.net.pack(point.apply(point.net.unpack(rows)))


def _dense(weights: Weights, loss: Loss, fiber: Fiber | None) -> NDArray[np.float64]:
    H = matrix(weights, loss)
    _require_finite(H)
    along = np.zeros((0, 0)) if fiber is None else fiber.along()
    if len(along):
        across = null_space(along)
        H = across.T @ H @ across
    return np.asarray(np.linalg.eigvalsh(H))


def _require_finite(image: NDArray[Any]) -> None:
    if not np.isfinite(image).all():
        raise ValueError("weights must give a finite Hessian, but it overflows or the loss has no second derivative")


def _by_products(point: Point, k: int, fiber: Fiber | None) -> NDArray[np.float64]:
    _require_finite(_multiply(point, np.ones((1, point.net.n_parameters))))
    project = (lambda rows: rows) if fiber is None else fiber.across
    return extreme_eigenvalues(lambda rows: _multiply(point, rows), project, point.net.n_parameters, k)


@checked
def index(weights: Sequence[ArrayLike], loss: Loss, tol: float = 1e-8) -> Inertia:
    """Count the negative, zero and positive eigenvalues of the Hessian.

    The inertia is the same along a gauge orbit, although the eigenvalues are not: gauges act linearly on the weights
    and leave L unchanged, so that H changes by a congruence (survey, arXiv 2511.10362, section on the Hessian).

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
    values = spectrum(weights, loss)  # validates
    arrays = tuple(np.asarray(W, np.float64) for W in weights)
    size = np.abs(values)
    norm = size.max(axis=-1, keepdims=True)
    terms = _size_of_terms(Point(arrays, loss))[..., None]
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


def _size_of_terms(point: Point) -> NDArray[Any]:
    """What the norms of the factors alone allow ||H||_2 to be: rounding is relative to it, also where terms cancel."""
    norms = np.stack([spectral(W) for W in point.weights])
    h = point.net.depth
    curved = curvature_norm(point)
    R = spectral(point.pulled[-1])
    total = np.zeros(point.batch)
    for i in range(h):
        others = np.delete(norms, i, axis=0)
        total = total + curved * np.prod(others, axis=0) ** 2
        for j in range(h - 1):
            total = total + R * np.prod(np.delete(others, j, axis=0), axis=0)
    return total
