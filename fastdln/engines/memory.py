"""How much memory results take, counted as they are laid out, and in what blocks they are worked on.

Estimates count the arrays that are there at the same time; what is worked on by blocks takes a block.
"""

from __future__ import annotations

from collections.abc import Iterator

from fastdln.engines.base import Problem

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
    records = len(problem.times) * problem.n_columns
    numbers = 7 + problem.watched + len(problem.network.widths)  # reached, status, counts, certified, enlargements
    history = problem.options.max_steps if problem.options.history else 0
    final = 0 if problem.overwrite else problem.network.n_parameters
    return n * ((records + final) * problem.start.itemsize + 8 * (numbers + history))
