"""What kind of point of the landscape weights are.

Every critical point is a global minimum or a saddle. A saddle is strict if the Hessian has a negative eigenvalue there,
which the ranks of partial products tell (E. M. Achour, F. Malgouyres & S. Gerchinovitz, JMLR 25 (2024) 242; survey,
arXiv 2511.10362, section on critical points).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.checked import checked
from fastdln.field import gradient_norm, product, value
from fastdln.linalg import Floats, reproducible, transpose
from fastdln.losses import Loss, Quadratic
from fastdln.network import Network, Weights, check_weights
from fastdln.theory.landscape.parts import Parts, decide, split
from fastdln.theory.landscape.spectrum import Spectrum, check_sizes, check_tolerance, in_units, spectrum
from fastdln.theory.residual import relative_gradient
from fastdln.theory.whitening import whiten

__all__ = ["CriticalPoint", "Kind", "classify"]

Kind = Literal["global_minimum", "strict_saddle", "nonstrict_saddle", "not_critical"]

# How far the learned part of a level may be from a whole number of modes.
_CLEAR = 0.05
# Entries of partial products that are in memory at the same time: 32 MB.
_ENTRIES = 4_000_000


@dataclass(frozen=True, eq=False)
class CriticalPoint:
    """What `classify` found out about weights.

    Parameters
    ----------
    is_critical : bool
        Whether the gradient vanishes.
    learned : tuple of int or None
        The learned modes; None when not critical, and where only some of several modes with equal sigma are learned:
        then the learned part is a subspace and no set.
    value : float
        The loss, always.
    kind : str
        "global_minimum", "strict_saddle", "nonstrict_saddle" or "not_critical".
    gradient_norm : float
        The norm of the gradient of the loss.
    ranks : ndarray of int, shape (h+1, h+1)
        The rank of W_b ... W_{a+1} at [a, b], d_a at [a, a] and 0 below, as `invariants.ranks` gives them.
    tightened : dict
        By (i, j), h >= i > j >= 1, whether this pivot is tightened: whether W_{i-1} ... W_{j+1} or W_{<j} Sigma' W_{>i}
        has the rank of the product. Empty when not critical.
    pivots : int or None
        At a saddle the least number m of layers in an open chain of pivots, 2 if and only if it is strict: the loss
        falls like alpha^m or slower along the steepest arc alpha -> A(alpha). None at minima and where not critical.
    relative_gradient : float
        The number that was compared with the tolerance.
    ambiguous : tuple of str
        Decisions that a tolerance larger or smaller by a factor of 30 would change: "gradient" (the point is nearly
        critical, or critical but for residual parts too large to be rounding and too small to be told: `refine` it),
        "learned" (whether modes are learned, or two sigma equal), "pivots" (those that the kind rests on), "ranks" (all
        other ranks, which the kind does not rest on). Usually empty.
    """

    is_critical: bool
    learned: tuple[int, ...] | None
    value: float
    kind: Kind
    gradient_norm: float
    ranks: NDArray[np.intp]
    tightened: dict[tuple[int, int], bool]
    pivots: int | None
    relative_gradient: float
    ambiguous: tuple[str, ...]


@checked
@reproducible
def classify(weights: Sequence[ArrayLike], loss: Loss, tol: float = 1e-7) -> Any:
    """Tell whether weights are critical, which modes they have learned, and what kind of point they are.

    Let r be the rank of the product at a critical point. If the loss is minimal there, it is a global minimum. If not,
    and if the learned modes are not leading ones (an unlearned sigma is larger than a learned one; equal ones count as
    leading), it is a strict saddle. Otherwise the pivots (i, j), i > j, decide: one is tightened if W_{i-1} ... W_{j+1}
    or W_{<j} Sigma' W_{>i} has rank r. If all are, the saddle is nonstrict: the Hessian is positive semidefinite.

    All tolerances are relative. In units in which ||Sigma||_2 = 1 (those of the weights are ||Sigma||_2^(1/h)) a point
    is critical if ||dL/dW_i|| <= tol prod_{k != i} max(||W_k||, 1) for every i. A product of layers has the rank r if
    its residual part (the product of the layers beyond the learned modes) is at most what changes of each layer by
    tol max(||W_k||, 1) would make of it. Values of sigma closer than tol ||Sigma||_2 are equal.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, finite; leading axes are the batch.
    loss : Loss
        The loss, with one target; for unwhitened data all but the value and the norm of the gradient is that of the
        equivalent problem in whitened inputs.
    tol : float
        The relative tolerance.

    Returns
    -------
    CriticalPoint, or ndarray of them, shape (...)
        What was found out. For a batch an array of objects, to be indexed like the batch.

    Raises
    ------
    TypeError
        If the inputs of the loss do not span R^{d_0}, or an argument is of the wrong kind.
    ValueError
        If weights are not finite, or overflow when multiplied, or do not fit the loss, or the loss has several targets.

    Examples
    --------
    >>> loss = Quadratic([[2.0, 0.0], [0.0, 1.0]])
    >>> origin = (np.zeros((2, 2)), np.zeros((2, 2)))
    >>> point = classify(origin, loss)
    >>> point.kind, point.learned, point.value, point.pivots
    ('strict_saddle', (), 2.5, 2)
    >>> deeper = (*origin, np.zeros((2, 2)))
    >>> classify(deeper, loss).kind
    'nonstrict_saddle'
    >>> batch = (np.stack([np.eye(2), np.diag([2.0, 0.0])]), np.stack([np.diag([2.0, 1.0]), np.diag([1.0, 0.0])]))
    >>> [point.kind for point in classify(batch, loss)]
    ['global_minimum', 'strict_saddle']
    """
    check_tolerance("tol", tol)
    white = whiten(loss, "classify")
    net, layers = white.there(weights)
    given = tuple(W.astype(np.float64, copy=False) for W in check_weights(weights)[1])
    scaled, Sigma, _ = in_units(layers, white.loss.target)
    check_sizes(scaled)
    modes = spectrum(white, tol)
    losses, norms = np.asarray(value(given, loss)), np.asarray(gradient_norm(given, loss))
    batch = losses.shape
    flat = [W.reshape(-1, *W.shape[-2:]) for W in scaled]
    length = max(1, _ENTRIES // sum(below * above for below, above in combinations(net.widths, 2)))
    points: list[CriticalPoint] = []
    for start in range(0, len(flat[0]), length):
        part = slice(start, start + length)
        block = tuple(W[part] for W in flat)
        points += _classified(net, block, Sigma, modes, tol, losses.reshape(-1)[part], norms.reshape(-1)[part])
    if not batch:
        return points[0]
    result = np.empty(len(points), dtype=object)
    result[:] = points
    return result.reshape(batch)


def _classified(
    net: Network, layers: Weights, Sigma: Floats, modes: Spectrum, tol: float, losses: Floats, norms: Floats
) -> list[CriticalPoint]:
    """Classify a batch of points with one batch axis, in units in which ||Sigma||_2 = 1."""
    with np.errstate(over="ignore", invalid="ignore"):
        gradient = relative_gradient(layers, Quadratic(Sigma))
    zero, near = decide(gradient, tol)
    counts, unclear = _learned(product(layers), modes, tol)
    critical = zero & np.isfinite(gradient)
    counts[~critical] = 0
    rank = counts.sum(axis=-1)
    parts = split(layers, rank, tol)
    ranks, uncertain = _ranks(net, parts, rank)
    pivots = _pivots(net, parts, _unlearned(layers, rank, Sigma), rank, tol)

    minimal = (counts == modes.leading(net.rank)).all(axis=-1)
    leading = (counts == np.stack([modes.leading(count) for count in range(modes.rank + 1)])[rank]).all(axis=-1)
    saddle = critical & ~minimal
    by_pivots = saddle & leading
    order = np.where(by_pivots, pivots.least, 2)
    flags = {
        "gradient": near | (critical & ~pivots.consistent),
        "learned": critical & unclear,
        "pivots": by_pivots & pivots.uncertain,
        "ranks": uncertain | (critical & ~by_pivots & pivots.uncertain),
    }
    kinds = np.where(~critical, 3, np.where(minimal, 0, np.where(order == 2, 1, 2)))
    names: tuple[Kind, ...] = ("global_minimum", "strict_saddle", "nonstrict_saddle", "not_critical")
    return [
        CriticalPoint(
            is_critical=bool(critical[k]),
            learned=_as_set(counts[k], modes) if critical[k] else None,
            value=float(losses[k]),
            kind=names[kinds[k]],
            gradient_norm=float(norms[k]),
            ranks=ranks[k],
            tightened={pair: bool(tight[k]) for pair, tight in pivots.tightened.items()} if critical[k] else {},
            pivots=int(order[k]) if saddle[k] else None,
            relative_gradient=float(gradient[k]),
            ambiguous=tuple(name for name, flag in flags.items() if flag[k]),
        )
        for k in range(len(gradient))
    ]


def _learned(W: Floats, modes: Spectrum, tol: float) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """How many modes of each level are learned, and whether that, or the levels themselves, are unclear."""
    unit = modes.sigma[0] if modes.rank else 1.0
    k = modes.rank
    strengths = np.einsum("oj,noi,ij->nj", modes.U[:, :k], W, modes.V[:, :k], optimize=True)
    shares = strengths / (modes.sigma[:k] / unit)
    fractions = np.zeros((len(W), len(modes.levels)))
    for level, modes_of_level in enumerate(modes.levels):
        fractions[:, level] = shares[:, modes_of_level].sum(axis=-1)
    counts = np.clip(np.rint(fractions), 0, modes.multiplicities).astype(np.intp)
    unclear = np.asarray((np.abs(fractions - counts) > _CLEAR).any(axis=-1))
    # Levels that another tolerance would join, split or take for zero concern the points that tell their modes apart.
    padded = np.append(modes.sigma / unit, 0.0)
    owner = np.searchsorted([level.stop for level in modes.levels], np.arange(len(padded)), side="right")
    full = np.column_stack([counts == modes.multiplicities, np.zeros(len(W), dtype=bool)])
    empty = np.column_stack([counts == 0, np.ones(len(W), dtype=bool)])
    _, doubtful = decide(padded[:-1] - padded[1:], tol)
    for j in np.flatnonzero(doubtful):
        c, d = owner[j], owner[j + 1]
        unclear = unclear | ~((full[:, c] & full[:, d]) | (empty[:, c] & empty[:, d]))
    return counts, unclear


def _unlearned(layers: Weights, rank: NDArray[np.intp], Sigma: Floats) -> Floats:
    """The residual (I - A A') Sigma (I - B B') beyond the column space of A and the row space of B of the product."""
    A, w, Bt = np.linalg.svd(product(layers), full_matrices=False)
    kept = np.arange(w.shape[-1]) < rank[:, None]
    A, Bt = A * kept[:, None, :], Bt * kept[:, :, None]
    R = Sigma - A @ (transpose(A) @ Sigma)
    return np.asarray(R - (R @ transpose(Bt)) @ Bt)


def _ranks(net: Network, parts: Parts, rank: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    ranks = np.zeros((len(rank), net.depth + 1, net.depth + 1), dtype=np.intp)
    ranks[:, range(net.depth + 1), range(net.depth + 1)] = net.widths
    uncertain = np.zeros(len(rank), dtype=bool)
    for a, b in parts.chains:
        beyond, unsure = parts.rank(a, b)
        ranks[:, a, b] = rank + beyond
        uncertain |= unsure
    return ranks, uncertain


class _Pivots(NamedTuple):
    tightened: dict[tuple[int, int], NDArray[np.bool_]]
    least: NDArray[np.intp]
    """The least number of layers in an open chain; h + 1 if there is none."""
    uncertain: NDArray[np.bool_]
    consistent: NDArray[np.bool_]
    """Whether the residual sees no layer, W_{<i} R' W_{>i} = 0, by the same measure as in the pivots."""


def _pivots(net: Network, parts: Parts, R: Floats, rank: NDArray[np.intp], tol: float) -> _Pivots:
    """Which pivots are tightened, and the least m such that there are layers i_1 > ... > i_m with nonzero
    W_{<i_m} R' W_{>i_1} and residual parts of all W_{i_k - 1} ... W_{i_{k+1} + 1}."""
    h, n = net.depth, len(rank)
    seen = np.zeros((n, h + 1, h + 1), dtype=bool)  # [:, i, j]: W_{<j} R' W_{>i} != 0
    joined = np.zeros((n, h + 1, h + 1), dtype=bool)  # [:, i, j]: W_{i-1} ... W_{j+1} has more than rank r
    uncertain = np.zeros(n, dtype=bool)
    consistent = np.ones(n, dtype=bool)
    for j in range(1, h + 1):
        consistent &= parts.unseen(j, j, R, tol)[0]
        for i in range(j + 1, h + 1):
            zero, unsure = parts.unseen(j, i, R, tol)
            seen[:, i, j] = ~zero
            uncertain |= unsure
            if i == j + 1:
                joined[:, i, j] = net.widths[j] > rank
            else:
                zero, unsure = parts.zero(j, i - 1)
                joined[:, i, j] = ~zero
                uncertain |= unsure
    tightened = {(i, j): ~(seen & joined)[:, i, j] for j in range(1, h) for i in range(j + 1, h + 1)}
    least = np.full(n, h + 1, dtype=np.intp)
    reached = joined
    for m in range(2, h + 1):
        least[(reached & seen).any(axis=(-2, -1)) & (least > h)] = m
        reached = reached @ joined
    return _Pivots(tightened, least, uncertain, consistent)


def _as_set(counts: NDArray[np.intp], modes: Spectrum) -> tuple[int, ...] | None:
    """The learned modes, None where a level is learned in part."""
    if ((counts > 0) & (counts < modes.multiplicities)).any():
        return None
    return tuple(j for level, count in zip(modes.levels, counts, strict=True) if count for j in level)
