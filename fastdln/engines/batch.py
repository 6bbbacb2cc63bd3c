"""Running a batch: chunks, threads, cancellation; the same for every engine."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.arena import Arena
from fastdln.engines.chunk import Chunk
from fastdln.engines.problem import Problem
from fastdln.engines.recipe import Executor, recipe
from fastdln.kernels import layout
from fastdln.kernels.loop import integrate
from fastdln.linalg import one_blas_thread

CHUNK_BYTES = 64 << 20  # of records held at a time
POLL_SECONDS = 0.1  # between looks at Ctrl-C and progress


def chunk_size(problem: Problem, lanes: int) -> int:
    """Trajectories that are recorded at a time; results do not depend on it."""
    columns = problem.n_columns
    row = max(1, len(problem.times) * columns * problem.start.itemsize)
    return max(CHUNK_BYTES // row, 4 * lanes * problem.threads)


def memory(problem: Problem, executor: Executor, recorded: dict[str, tuple[int, ...]]) -> int:
    """Bytes that a call takes at most: what is recorded, a chunk of records, starts and finals, histories, arenas."""
    item, n = problem.start.itemsize, problem.n
    columns = problem.n_columns
    chunk = min(n, chunk_size(problem, executor.lanes))
    kept = sum(math.prod(shape) for shape in recorded.values()) * item
    histories = (n + chunk) * problem.max_steps * 8 if problem.history else 0
    working = (8 + len(problem.tableau.rows)) * problem.network.n_parameters * item * executor.lanes * problem.threads
    # derived observables take a few temporaries of the size of a chunk
    return kept + 4 * chunk * len(problem.times) * columns * item + 4 * problem.start.nbytes + histories + working


def run(
    problem: Problem, executor: Executor, progress: Callable[[int, int, int], None] | None = None
) -> Iterator[Chunk]:
    """Integrate the batch chunk by chunk; yields each with its results.

    ``progress`` is called now and then with the numbers of trajectories done and failed, and of all.
    """
    plan = recipe(problem, executor)
    threads = min(problem.threads, -(-problem.n // executor.lanes))
    arenas = [Arena(plan) for _ in range(threads)]
    # compile in this thread, where Ctrl-C is heard: a call that is cancelled before it begins
    integrate(arenas[0].workspace, arenas[0].arena, arenas[0].ctl, np.ones(4, np.int64))
    size = chunk_size(problem, executor.lanes)
    done = failed = 0
    for first in range(0, problem.n, size):
        chunk = Chunk(plan, slice(first, min(first + size, problem.n)))
        for arena in arenas:
            chunk.attach(arena)
        shared = np.zeros(4, np.int64)
        # trajectories run side by side, so each product gets one thread of BLAS
        with one_blas_thread() if executor.gemm else contextlib.nullcontext():
            for now in _threads(arenas, shared):
                if progress is not None:
                    progress(done + int(now[layout.DONE]), failed + int(now[layout.FAILURES]), problem.n)
        done += int(shared[layout.DONE])
        failed += int(shared[layout.FAILURES])
        yield chunk


@dataclass(frozen=True)
class Batch:
    """An engine that integrates many trajectories side by side."""

    executor: Executor

    def memory(self, problem: Problem, recorded: dict[str, tuple[int, ...]]) -> int:
        """Bytes that a call takes at most."""
        return memory(problem, self.executor, recorded)

    def run(self, problem: Problem, progress: Callable[[int, int, int], None] | None = None) -> Iterator[Chunk]:
        """Integrate a problem, chunk by chunk."""
        return run(problem, self.executor, progress)


def _threads(arenas: list[Arena], shared: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Run one loop in each arena's thread; yields the shared counters now and then and at the end.

    The loops run outside the interpreter lock while this thread waits, so that Ctrl-C is seen; then the loops are told
    to stop at their next step.  Plain threads, as Numba's own layers can not be entered from two threads at once.
    """
    errors: list[BaseException] = []

    def work(a: Arena) -> None:
        try:
            integrate(a.workspace, a.arena, a.ctl, shared)
        except BaseException as error:
            errors.append(error)
            shared[layout.CANCEL] = 1

    workers = [threading.Thread(target=work, args=(a,), daemon=True) for a in arenas]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            while worker.is_alive():
                worker.join(POLL_SECONDS)
                yield shared
    finally:
        shared[layout.CANCEL] |= any(worker.is_alive() for worker in workers)
        for worker in workers:
            if worker.ident is not None:
                worker.join()
    if errors:
        raise errors[0]
    yield shared
