"""Running a batch: chunks, threads, cancellation; the same for lanes and dense."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.base import Problem
from fastdln.engines.lockstep.arena import Arena, bytes_of
from fastdln.engines.lockstep.chunk import Chunk
from fastdln.engines.lockstep.executors import Executor
from fastdln.engines.lockstep.methods import MethodLayout, descending, lay_out
from fastdln.engines.lockstep.recipe import Plan, Recipe, plan, recipe, shared_bytes
from fastdln.engines.memory import results_bytes
from fastdln.integrate.chebyshev import Stabilized
from fastdln.integrate.descent import Descent
from fastdln.kernels.lockstep.loop import integrate
from fastdln.kernels.lockstep.queue import SAVED
from fastdln.kernels.lockstep.workspace import BROKEN, CANCEL, DONE, FAILURES
from fastdln.resources import Report
from fastdln.threads import run_in_threads

CHUNK_BYTES = 64 << 20  # of records held at a time


@dataclass(frozen=True)
class Batch:
    """An engine that integrates many trajectories side by side."""

    executor: Executor

    def memory(self, problem: Problem) -> int:
        """Bytes that the engine takes at most at a time: a chunk with its results, and what its threads work on."""
        planned, lanes = plan(problem, self.executor), self.executor.lanes
        n = min(problem.n, chunk_size(problem, lanes))
        methods = _methods(problem)
        saved = SAVED if len(methods) > 1 else 0
        working = sum(bytes_of(planned, _layout(planned, part, methods)) for part in methods)
        threads = min(problem.threads, -(-problem.n // lanes))
        noted = 8 * n * (2 + problem.measured + saved)  # target_row, queue, still, saved
        return results_bytes(problem, n) + noted + threads * working + shared_bytes(planned)

    def run(self, problem: Problem, progress: Report | None = None) -> Iterator[Chunk]:
        """Integrate the batch chunk by chunk; yields each with its results.

        ``progress`` is called now and then with the numbers of trajectories done and failed, and of all.
        """
        made, methods = recipe(plan(problem, self.executor)), _methods(problem)
        side_by_side = min(problem.threads, -(-problem.n // self.executor.lanes))
        workers = [_Worker(made, part, methods, side_by_side) for part in methods]
        size = chunk_size(problem, self.executor.lanes)
        done = failed = 0
        for first in range(0, problem.n, size):
            chunk = Chunk(made, slice(first, min(first + size, problem.n)), hands_over=len(methods) > 1)
            for number, worker in enumerate(workers):
                if number > 0 and not chunk.hand_over():
                    continue
                worker.prepare(chunk)
                shared = np.zeros(5, np.int64)

                def tell(before: tuple[int, int] = (done, failed), now: NDArray[np.int64] = shared) -> None:
                    if progress is not None:
                        progress(before[0] + int(now[DONE]), before[1] + int(now[FAILURES]), problem.n)

                worker.run(shared, tell)
                done += int(shared[DONE])
                failed += int(shared[FAILURES])
            yield chunk
            del chunk  # before the next one is laid out


def chunk_size(problem: Problem, lanes: int) -> int:
    """Trajectories that are recorded at a time; results do not depend on it."""
    columns = problem.n_columns
    row = max(1, len(problem.times) * columns * problem.start.itemsize)
    return max(CHUNK_BYTES // row, 4 * lanes * problem.threads)


def _methods(problem: Problem) -> list[Problem]:
    """The problem with each of the methods that a chunk goes through: two where one begins and another goes on."""
    method = problem.options.method
    if isinstance(method, Stabilized) and method.starter:
        return [problem.with_options(method=method.starter), problem]
    return [problem]


def _layout(planned: Plan, part: Problem, methods: list[Problem]) -> MethodLayout:
    """The method of one of the problems, which leaves stiff trajectories to the one after it."""
    options = part.options
    leaves = part is not methods[-1]
    if isinstance(options.method, Descent):
        return descending(options.method)
    return lay_out(options.method, options.rtol, planned.dtype, options.step is None, leaves)


class _Worker:
    """The loop with one method, and the arenas of its threads, made and compiled when it is first used."""

    def __init__(self, made: Recipe, part: Problem, methods: list[Problem], count: int) -> None:
        self._made, self._part, self._methods, self._count = made, part, methods, count
        self._arenas: list[Arena] = []

    def prepare(self, chunk: Chunk) -> None:
        """Tell all threads' arenas where everything of a chunk lies."""
        if not self._arenas:
            layout = _layout(self._made.plan, self._part, self._methods)
            self._arenas = [Arena(self._made, self._part, layout) for _ in range(self._count)]
            # compile in this thread, where Ctrl-C is heard: a call that is cancelled before it begins
            a = self._arenas[0]
            integrate(a.workspace.ctypes.data, a.arena, a.ctl, np.ones(5, np.int64))
        for arena in self._arenas:
            chunk.attach(arena)

    def run(self, shared: NDArray[np.int64], meanwhile: Callable[[], None]) -> None:
        """Run the loop in the thread of each arena; the loops end at their next step where this thread is interrupted.

        They run outside the interpreter lock while this thread waits, so that Ctrl-C is seen.
        """

        def task(arena: Arena) -> None:
            integrate(arena.workspace.ctypes.data, arena.arena, arena.ctl, shared)

        def stop() -> None:
            shared[CANCEL] = 1

        run_in_threads([partial(task, arena) for arena in self._arenas], stop, meanwhile)
        if shared[BROKEN]:
            raise AssertionError("a kernel wrote to the padding of a state or a slope, which must stay zero")
