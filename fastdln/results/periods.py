"""The periods of what was recorded of a descent at its end."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SERIES", "TIMES_LONGEST", "least_periods"]

SERIES = ("weights", "strengths", "singular_values")  # what tells a period, the first of those that were recorded
TIMES_LONGEST = 4  # records that are looked at, for each update of the longest period
BLOCK_BYTES = 32 << 20


def least_periods(series: NDArray[Any], tol: float, longest: int) -> NDArray[np.int64]:
    """The least period of each of n series (n, n_t, ...) over its last records; 0 where it has none.

    The period is p where ||x_(k+p) - x_k|| is at most ``tol`` times the largest ||x_k||, for all k of those records.
    """
    tails = series[:, -TIMES_LONGEST * longest :].reshape(len(series), TIMES_LONGEST * longest, -1)
    found = np.zeros(len(series), np.int64)
    together = max(1, BLOCK_BYTES // (8 * tails[0].size))
    for first in range(0, len(series), together):
        rows = slice(first, first + together)
        found[rows] = _of_block(tails[rows].astype(np.float64), tol, longest)
    return found


def _of_block(x: NDArray[np.float64], tol: float, longest: int) -> NDArray[np.int64]:
    found = np.zeros(len(x), np.int64)
    most = (tol * np.linalg.norm(x, axis=2).max(axis=1)) ** 2  # NaN where a trajectory ended before
    left = np.flatnonzero(np.isfinite(most))
    for p in range(1, longest + 1):
        changes = x[left, p:] - x[left, :-p]
        returns = np.square(changes).sum(axis=2).max(axis=1) <= most[left]
        found[left[returns]] = p
        left = left[~returns]
    return found
