"""Running a batch: chunks, threads, cancellation; the same for every engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.base import Problem
from fastdln.engines.lockstep.arena import Arena, working_bytes
from fastdln.engines.lockstep.chunk import Chunk
from fastdln.engines.lockstep.recipe import Executor, Recipe, recipe
from fastdln.engines.memory import results_bytes
from fastdln.integrate.stabilized import Stabilized
from fastdln.kernels.lockstep import loop, stabilized_loop
from fastdln.kernels.lockstep import stiffness as starting_loop
from fastdln.kernels.lockstep import workspace as layout
from fastdln.kernels.lockstep.stiffness import SAVED
from fastdln.threads import run_in_threads

CHUNK_BYTES = 64 << 20  # of records held at a time


def chunk_size(problem: Problem, lanes: int) -> int:
    """Trajectories that are recorded at a time; results do not depend on it."""
    columns = problem.n_columns
    row = max(1, len(problem.times) * columns * problem.start.itemsize)
    return max(CHUNK_BYTES // row, 4 * lanes * problem.threads)


def memory(problem: Problem, executor: Executor) -> int:
    """Bytes that a call takes at most at a time: a chunk with its results, and what its threads work on."""
    n = min(problem.n, chunk_size(problem, executor.lanes))
    saved = SAVED if isinstance(problem.options.method, Stabilized) else 0
    threads = min(problem.threads, -(-problem.n // executor.lanes))
    working = sum(working_bytes(part, executor, threads) for _, part in _loops(problem))
    return results_bytes(problem, n) + 8 * n * (2 + saved) + working  # target_row, queue, saved


def run(
    problem: Problem, executor: Executor, progress: Callable[[int, int, int], None] | None = None
) -> Iterator[Chunk]:
    """Integrate the batch chunk by chunk; yields each with its results.

    ``progress`` is called now and then with the numbers of trajectories done and failed, and of all.
    """
    plan = recipe(problem, executor)
    side_by_side = min(problem.threads, -(-problem.n // executor.lanes))
    workers = [
        _Worker(integrate, plan if part is problem else recipe(part, executor), side_by_side)
        for integrate, part in _loops(problem)
    ]
    size = chunk_size(problem, executor.lanes)
    done = failed = 0
    for first in range(0, problem.n, size):
        chunk = Chunk(plan, slice(first, min(first + size, problem.n)))
        for number, worker in enumerate(workers):
            if number > 0 and not chunk.hand_over():
                continue
            worker.prepare(chunk, resumed=number > 0)
            shared = np.zeros(4, np.int64)

            def tell(before: tuple[int, int] = (done, failed), now: NDArray[np.int64] = shared) -> None:
                if progress is not None:
                    progress(before[0] + int(now[layout.DONE]), before[1] + int(now[layout.FAILURES]), problem.n)

            worker.run(shared, tell)
            done += int(shared[layout.DONE])
            failed += int(shared[layout.FAILURES])
        yield chunk
        del chunk  # before the next one is laid out


@dataclass(frozen=True)
class Batch:
    """An engine that integrates many trajectories side by side."""

    executor: Executor

    def memory(self, problem: Problem) -> int:
        """Bytes that the engine takes at most at a time, its results included."""
        return memory(problem, self.executor)

    def run(self, problem: Problem, progress: Callable[[int, int, int], None] | None = None) -> Iterator[Chunk]:
        """Integrate a problem, chunk by chunk."""
        return run(problem, self.executor, progress)


def _loops(problem: Problem) -> list[tuple[Callable[..., None], Problem]]:
    """The loops that a chunk goes through, each with the problem it solves; two for a method that switches."""
    method = problem.options.method
    if not isinstance(method, Stabilized):
        return [(loop.integrate, problem)]
    begun = [(starting_loop.integrate, problem.with_options(method=method.starter))] if method.starter else []
    return [*begun, (stabilized_loop.integrate, problem)]


class _Worker:
    """A loop with the arenas of its threads, made and compiled when it is first used."""

    def __init__(self, integrate: Callable[..., None], plan: Recipe, count: int) -> None:
        self.integrate, self.plan, self.count = integrate, plan, count
        self.arenas: list[Arena] = []

    def prepare(self, chunk: Chunk, resumed: bool) -> None:
        """Tell all threads' arenas where everything of a chunk lies."""
        if not self.arenas:
            self.arenas = [Arena(self.plan) for _ in range(self.count)]
            # compile in this thread, where Ctrl-C is heard: a call that is cancelled before it begins
            a = self.arenas[0]
            self.integrate(a.workspace.ctypes.data, a.arena, a.ctl, np.ones(4, np.int64))
        for arena in self.arenas:
            chunk.attach(arena, resumed)

    def run(self, shared: NDArray[np.int64], meanwhile: Callable[[], None]) -> None:
        """Run the loop in the thread of each arena; the loops end at their next step where this thread is interrupted.

        They run outside the interpreter lock while this thread waits, so that Ctrl-C is seen.
        """

        def task(arena: Arena) -> None:
            self.integrate(arena.workspace.ctypes.data, arena.arena, arena.ctl, shared)

        def stop() -> None:
            shared[layout.CANCEL] = 1

        run_in_threads([partial(task, arena) for arena in self.arenas], stop, meanwhile)
