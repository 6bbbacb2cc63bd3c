"""Whether two networks have the same product, and whether a gauge takes one to the other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastdln.checked import checked
from fastdln.field import product
from fastdln.linalg import Floats, frobenius
from fastdln.network import Network, Weights, check_weights
from fastdln.theory.invariants import ranks
from fastdln.theory.quotient.gauges import transform

__all__ = ["connecting_gauges", "same_fiber", "same_orbit"]

_DRAWS = 5  # generic elements of the solution space that are tried; the best conditioned counts


@checked
def same_fiber(a: Sequence[ArrayLike], b: Sequence[ArrayLike], tol: float = 1e-9) -> Any:
    """Decide whether two networks have the same product, hence the same loss.

    Parameters
    ----------
    a : tuple of h arrays, shape (..., d_i, d_{i-1})
        The one network.
    b : tuple of h arrays, shape (..., d_i, d_{i-1})
        The other, of the same widths; batch axes broadcast.
    tol : float
        The distance of the products, relative to the larger of their norms, up to which they are the same. The rounding
        errors of the products themselves are granted beyond that.

    Returns
    -------
    ndarray of bool, shape (...,), or bool
        Whether the products are the same; False where one is not finite.

    Examples
    --------
    >>> bool(same_fiber((np.eye(2), np.eye(2)), (2 * np.eye(2), np.eye(2) / 2)))
    True
    """
    net, first = check_weights(a)
    _, second = check_weights(b, net)
    eps = max(float(np.finfo(W[0].dtype).eps) for W in (first, second))
    products = [product([W.astype(np.float64, copy=False) for W in layers]) for layers in (first, second)]
    with np.errstate(over="ignore", invalid="ignore"):
        size = np.maximum(*(frobenius(W) for W in products))
        rounding = np.maximum(*(_size(layers) for layers in (first, second))) * eps * net.depth * max(net.widths)
        distance = frobenius(products[0] - products[1])
        same = distance <= tol * size + rounding
        return same & np.isfinite(distance)


@checked
def same_orbit(a: Sequence[ArrayLike], b: Sequence[ArrayLike], tol: float = 1e-9) -> bool:
    """Decide whether a gauge takes one network to another.

    Networks of one orbit are in one fiber and have equal ranks of all partial products; that is necessary, not
    sufficient. See `connecting_gauges`, which finds the gauge.

    Parameters
    ----------
    a : tuple of h arrays, shape (d_i, d_{i-1})
        The one network.
    b : tuple of h arrays, shape (d_i, d_{i-1})
        The other, of the same widths.
    tol : float
        The tolerance of `connecting_gauges`.

    Returns
    -------
    bool
        Whether there is such a gauge.

    Examples
    --------
    >>> same_orbit((np.diag([1.0, 0.0]), np.eye(2)), (np.diag([2.0, 0.0]), np.diag([0.5, 3.0])))
    True
    >>> same_orbit((np.diag([1.0, 0.0]), np.eye(2)), (np.diag([1.0, 0.0]), np.diag([1.0, 0.0])))
    False
    """
    return connecting_gauges(a, b, tol) is not None


@checked
def connecting_gauges(a: Sequence[ArrayLike], b: Sequence[ArrayLike], tol: float = 1e-9) -> tuple[Floats, ...] | None:
    """Find a gauge that takes one network to another.

    P_i A_i = B_i P_{i-1}, with P_0 = P_h = I, is a linear system for P_1, ..., P_{h-1}. The networks are in one orbit
    if and only if it has an invertible solution, and then a generic solution is invertible.

    Parameters
    ----------
    a : tuple of h arrays, shape (d_i, d_{i-1})
        The network to start from.
    b : tuple of h arrays, shape (d_i, d_{i-1})
        The network to reach, of the same widths.
    tol : float
        What counts as zero, relative to the sizes of the layers: singular values of partial products and of the linear
        system, the error with which the gauge takes `a` to `b`, and the inverse of its condition number.

    Returns
    -------
    tuple of h-1 ndarrays, shape (d_i, d_i), or None
        A gauge with ``transform(a, gauges)`` equal to `b`; None where there is none.

    Raises
    ------
    ValueError
        If the networks have different widths, batch axes, or entries that are not finite.

    Examples
    --------
    >>> connecting_gauges((np.eye(2), np.eye(2)), (2 * np.eye(2), np.eye(2) / 2))[0].round(12) + 0.0
    array([[2., 0.],
           [0., 2.]])
    """
    net, first = _one("a", a)
    _, second = _one("b", b, net)
    if not same_fiber(first, second, tol) or not np.array_equal(ranks(first, tol), ranks(second, tol)):
        return None
    if net.depth == 1:
        return ()
    system, right = _system(net, first, second)
    U, s, Vt = np.linalg.svd(system)
    rank = int((s > tol * s[:1].sum()).sum())
    particular = (U[:, :rank].T @ right / s[:rank]) @ Vt[:rank]
    kernel = Vt[rank:]
    generator = np.random.default_rng(0)
    size = max(float(np.linalg.norm(particular)), 1.0)
    best, condition = None, 1 / tol
    for _ in range(_DRAWS if len(kernel) else 1):
        free = generator.standard_normal(len(kernel))
        found = _unpack(net, particular + size * (free / np.sqrt(max(len(kernel), 1))) @ kernel)
        worst = max(float(np.linalg.cond(P)) for P in found)
        if worst < condition:
            best, condition = found, worst
    if best is None or not _reaches(first, second, best, tol * condition):
        return None
    return best


def _system(net: Network, a: Weights, b: Weights) -> tuple[Floats, Floats]:
    """The system P_i A_i - B_i P_{i-1} = 0 in the entries of the gauges, each layer at its own scale."""
    ends = np.cumsum([0, *(d * d for d in net.widths[1:-1])])
    rows, right = [], []
    for i, (A, B) in enumerate(zip(a, b, strict=True), start=1):
        scale = max(float(np.linalg.norm(A)), float(np.linalg.norm(B))) or 1.0
        block = np.zeros((A.size, ends[-1]))
        known = np.zeros(A.size)
        if i < net.depth:
            block[:, ends[i - 1] : ends[i]] = np.kron(np.eye(A.shape[0]), A.T)
        else:
            known -= A.ravel()
        if i > 1:
            block[:, ends[i - 2] : ends[i - 1]] = -np.kron(B, np.eye(A.shape[1]))
        else:
            known += B.ravel()
        rows.append(block / scale)
        right.append(known / scale)
    return np.vstack(rows), np.concatenate(right)


def _unpack(net: Network, flat: Floats) -> tuple[Floats, ...]:
    hidden = net.widths[1:-1]
    ends = np.cumsum([0, *(d * d for d in hidden)])
    return tuple(flat[start:stop].reshape(d, d) for d, (start, stop) in zip(hidden, pairwise(ends), strict=True))


def _reaches(a: Weights, b: Weights, gauges: tuple[Floats, ...], tol: float) -> bool:
    """Whether the gauge takes a to b, in every layer up to `tol` of its size."""
    return all(
        np.linalg.norm(A - B) <= tol * max(np.linalg.norm(A), np.linalg.norm(B))
        for A, B in zip(transform(a, gauges), b, strict=True)
    )


def _one(name: str, weights: Sequence[ArrayLike], network: Network | None = None) -> tuple[Network, Weights]:
    """One finite network, in float64."""
    net, arrays = check_weights(weights, network)
    if arrays[0].ndim > 2:
        raise ValueError(f"{name} must be one network, not a batch of {arrays[0].shape[:-2]}")
    for i, W in enumerate(arrays, start=1):
        if not np.isfinite(W).all():
            raise ValueError(f"{name} must be finite; its W_{i} is not")
    return net, tuple(W.astype(np.float64, copy=False) for W in arrays)


def _size(weights: Weights) -> Floats:
    """The product of the norms of the layers."""
    return np.asarray(np.prod([frobenius(W) for W in weights], axis=0))
