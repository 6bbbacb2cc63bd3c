"""A checked problem to its outcome: the engine, what it needs in memory, and observables from what it writes."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.base import Problem
from fastdln.engines.choose import choose
from fastdln.kernels.machine.announce import heard
from fastdln.losses import Loss
from fastdln.observables import LEARNING_TIMES, OBSERVABLES, Context, Observable
from fastdln.resources import Report, progress_bar, require_memory, say
from fastdln.results.derive import derive, derived_bytes

__all__ = ["Outcome", "collect"]


@dataclass
class Outcome:
    """What became of all trajectories of a problem; times are counted from the start of the span, forwards."""

    recorded: dict[str, NDArray[Any]]
    final: NDArray[Any]
    reached: NDArray[np.float64]
    status: NDArray[np.int8]
    counts: NDArray[np.int64]
    certified: NDArray[np.bool_]
    widths: NDArray[np.int64]
    enlargements: NDArray[np.int64]
    velocity: NDArray[Any]
    length: NDArray[np.float64] | None
    history: list[NDArray[np.float64]] | None


def collect(
    problem: Problem, context: Context, progress: bool | Report, what: str, times: NDArray[np.float64]
) -> Outcome:  # fmt: skip
    """Integrate a problem, chunk by chunk; ``what`` it is, a message about memory says, which counts ``times`` too."""
    network, loss, options, start = problem.network, problem.loss, problem.options, problem.start
    n, n_t = problem.n, len(problem.times)
    fields = [OBSERVABLES[name] for name in options.record]
    engine = choose(problem)
    beside = _kept_bytes(problem, fields) + derived_bytes(options.record, problem) + context.kept.nbytes + times.nbytes
    require_memory(engine.memory(problem) + beside, what)

    found = Outcome(
        recorded={
            row.name: np.empty((n, *row.shape(network, loss, n_t)), row.precision(start.dtype)) for row in fields
        },
        final=np.empty_like(start if n > 1 else start[:0]),
        reached=np.empty(n),
        status=np.empty(n, np.int8),
        counts=np.empty((n, 3), np.int64),
        certified=np.empty(n, bool),
        widths=np.empty((n, network.depth + 1), np.int64),
        enlargements=np.empty(n, np.int64),
        velocity=np.empty(
            (n if n > 1 else 0, 0 if problem.course is None else problem.course.velocity.shape[1]), start.dtype
        ),
        length=np.empty(n) if problem.measured else None,
        history=[np.empty(0)] * n if options.history else None,
    )
    learned = found.recorded.get(LEARNING_TIMES)
    with _shown(progress) as show:
        for chunk in engine.run(problem, show):
            rows = chunk.rows
            derive(chunk.records, problem.columns, context, rows, found.recorded)
            if n == 1:
                found.final, found.velocity = chunk.final, chunk.velocity  # large ones are not copied
            else:
                found.final[rows], found.velocity[rows] = chunk.final, chunk.velocity
            for name in ("reached", "status", "counts", "certified", "widths", "enlargements"):
                getattr(found, name)[rows] = getattr(chunk, name)
            if learned is not None:
                learned[rows] = chunk.learned
            if found.length is not None:
                found.length[rows] = chunk.length
            if found.history is not None:
                for own, k in enumerate(np.arange(n)[rows]):
                    found.history[k] = chunk.history[own, : chunk.counts[own, 1]].copy()
            del chunk  # before the next one is laid out
    return found


@contextlib.contextmanager
def _shown(progress: bool | Report) -> Iterator[Report | None]:
    """What hears how far a call is: of ``progress=True`` a bar, above which it is said that kernels are compiled."""
    if progress is True:
        with progress_bar("trajectories") as show, heard(say):
            yield show
    else:
        yield progress or None


def _kept_bytes(problem: Problem, recorded: Sequence[Observable]) -> int:
    """Bytes of what a call keeps: starts, final weights, what is recorded, and what is noted of each trajectory."""
    n, dtype = problem.n, problem.start.dtype
    weights = problem.start.nbytes * (1 if n == 1 else 2)  # final weights of one are those of the engine
    records = n * sum(
        math.prod(row.shape(problem.network, problem.loss, len(problem.times))) * row.precision(dtype).itemsize
        for row in recorded
    )
    # tolerance, end, counts, enlargements, widths; status and certificate
    notes = n * (8 * (6 + len(problem.network.widths)) + 2) + _modes_bytes(problem.loss)
    lengths = 8 * n * 2 if problem.measured else 0  # at both ends
    options, course = problem.options, problem.course
    histories = n * (8 * options.max_steps + sys.getsizeof(np.empty(0)) + 8) if options.history else 0
    # what trajectories of a descent have of their own, with the velocities at both ends
    courses = 0 if course is None else course.velocity.nbytes * (1 if n == 1 else 2) + 8 * n * 5
    return weights + records + notes + lengths + histories + courses


def _modes_bytes(loss: Loss) -> int:
    """Bytes of the modes of all targets, which the loss keeps."""
    return 8 * math.prod(loss.batch_shape) * min(loss.shape) * (sum(loss.shape) + 1)
