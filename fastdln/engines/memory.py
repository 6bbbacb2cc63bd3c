"""How much memory results take, counted as they are laid out, and in what blocks they are worked on.

Estimates count the arrays that are there at the same time; what is worked on by blocks takes a block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from fastdln.engines.base import Problem, results_layout

BLOCK_BYTES = 4 << 20  # of what is computed on the way; it stays in the caches


def blocks(n: int, n_times: int, record_bytes: int) -> Iterator[tuple[slice, list[slice]]]:
    """Part records by trajectories, and by times where those of one trajectory are too many.

    ``record_bytes`` is what one record takes on the way.
    """
    together = max(1, BLOCK_BYTES // max(1, record_bytes))
    rows, times = max(1, together // max(1, n_times)), max(1, min(together, n_times))
    moments = [slice(first, min(first + times, n_times)) for first in range(0, n_times, times)]
    for first in range(0, n, rows):
        yield slice(first, min(first + rows, n)), moments


def block_bytes(n: int, n_times: int, record_bytes: int) -> int:
    """Bytes that are taken at a time by what is worked on in `blocks`."""
    return min(max(BLOCK_BYTES, record_bytes), n * n_times * record_bytes)


def results_bytes(problem: Problem, n: int) -> int:
    """Bytes of `fastdln.engines.base.Results` for n trajectories."""
    return sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype, _ in results_layout(problem, n).values())
