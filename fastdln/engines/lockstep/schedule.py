"""A method as the arrays that the integration loop reads."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdln.integrate.tableau import TERMS, Tableau
from fastdln.kernels.lockstep.stages import PAIR_TERMS
from fastdln.kernels.lockstep.workspace import CLOSING, OPENING, SINGLE


class Schedule(NamedTuple):
    """Rows (kind, terms, first index, first weight) of stages and what they point into, and the error estimates.

    Two consecutive stages are opened in one pass over the slopes that both need: the first one is complete then, the
    second one is closed by its last term, whose weight follows those of the opening.  This only saves memory traffic;
    each sum keeps its order.
    """

    stages: NDArray[np.int64]
    slopes: NDArray[np.int64]
    weights: NDArray[np.floating]  # of the stages, then of the error estimates
    estimates: int
    error_index: NDArray[np.int64]
    error_weight: int  # number of the first weight of the estimates
    sequence: NDArray[np.int64]
    joins: bool  # whether errors and continuous output are sums over the same slopes, in the same order


@functools.lru_cache(maxsize=64)
def schedule(tableau: Tableau, dtype: DTypeLike) -> Schedule:
    """Lay out a method for the loop."""
    rows, main = tableau.rows, tableau.stages
    out = np.zeros((len(rows), 4), np.int64)
    index: list[int] = []
    weights: list[float] = []

    def add(s: int, kind: int, slopes: list[int], *factors: tuple[float, ...]) -> None:
        out[s] = kind, len(slopes), len(index), len(weights)
        index.extend(slopes)
        for row in factors:
            weights.extend(row[j] if j < len(row) else 0.0 for j in slopes)

    def used(s: int, below: int) -> list[int]:
        return [j for j, weight in enumerate(rows[s][:below]) if weight != 0]

    s = 1
    while s < main:
        both = sorted({*used(s, s), *used(s + 1, s)}) if s + 1 < main else []
        if (main - s) % 2 == 0 and 0 < len(both) <= PAIR_TERMS:
            add(s, OPENING, both, rows[s], rows[s + 1])
            add(s + 1, CLOSING, [s], rows[s + 1])
            s += 2
        else:
            add(s, SINGLE, used(s, s) or [0], rows[s])
            s += 1
    for s in range(main, len(rows)):
        add(s, SINGLE, used(s, s), rows[s])

    # The slope at the end always takes part, with weight zero if need be: if it is not finite, neither is the error.
    # A method without an estimate has only that.  Two estimates are summed over the same slopes, always TERMS of them.
    estimates = tableau.errors or ((0.0,) * main,)
    # With one estimate and no extra stages all slopes take part, as they do in continuous output: one pass serves both.
    joins = len(estimates) == 1 and len(rows) == main <= TERMS
    weighed = {j for row in estimates for j, e in enumerate(row) if e != 0}
    error_index = list(range(main)) if joins else [*sorted(weighed - {main - 1}), main - 1]
    error_weights = np.array([[row[j] if j < len(row) else 0.0 for j in error_index] for row in estimates])
    if len(estimates) == 2:
        missing = TERMS - len(error_index)
        error_index += [main - 1] * missing
        error_weights = np.pad(error_weights, ((0, 0), (0, missing)))
    return Schedule(
        stages=out,
        slopes=np.array(index, np.int64),
        weights=np.array([*weights, *error_weights.ravel()], dtype),
        estimates=len(estimates),
        error_index=np.array(error_index, np.int64),
        error_weight=len(weights),
        sequence=np.arange(len(rows), dtype=np.int64),
        joins=joins,
    )
