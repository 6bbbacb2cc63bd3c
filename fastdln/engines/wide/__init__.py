"""Few wide networks, one after another: stages as factors, weights written once a step.

Where the input or the output is narrow, the right-hand side has rank r = min(d_0, d_h) in every layer.  A stage is the
weights at the beginning of the step and thin factors; large layers are read once for each product, or once for both
where products from the two ends meet, and written once for each accepted step.

A descent takes its products in the same way, and adds each update to the layers in place: see `descent`.

Products with large layers are our own kernels, in parts that do not depend on threads; thin products are left to BLAS,
in one thread each, as are those of many columns in a descent.  So bits depend on the BLAS library and on the processor
it dispatches to, but neither on the batch nor on threads.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial

import numpy as np

from fastdln.engines.base import Problem, Results
from fastdln.engines.wide.descent import Descending
from fastdln.engines.wide.memory import wide_bytes
from fastdln.engines.wide.trajectory import Trajectory
from fastdln.engines.wide.workers import Workers
from fastdln.integrate.status import Status
from fastdln.linalg import one_blas_thread
from fastdln.resources import Report


class Wide:
    """The engine of wide networks: trajectories side by side, one in each thread; those left over have all threads."""

    def memory(self, problem: Problem) -> int:
        """Bytes that the engine takes at most at a time: results, and factors of the trajectories side by side."""
        return wide_bytes(problem)

    def run(self, problem: Problem, progress: Report | None = None) -> Iterator[Results]:
        """Integrate the trajectories, in their order."""
        failed = 0
        for k, results in enumerate(_results(problem)):
            failed += int(results.status[0] > Status.STOPPED)
            if progress is not None:
                progress(k + 1, failed, problem.n)
            yield results
            del results  # before the next ones are laid out


def _results(problem: Problem) -> Iterator[Results]:
    """What became of the trajectories: as many side by side as there are threads, those that remain one by one."""
    threads, stopped = problem.threads, threading.Event()
    side_by_side = problem.n - problem.n % threads if threads > 1 else 0

    def integrate(k: int, workers: Workers) -> Results:
        results = Results(problem, slice(k, k + 1))
        with np.errstate(all="ignore"):
            (Trajectory if problem.descent is None else Descending)(problem, k, results, workers).run(stopped)
        return results

    with Workers(threads) as workers, Workers(1) as alone:
        begun: deque[Future[Results]] = deque()
        try:
            with one_blas_thread():
                for k in range(side_by_side):
                    begun.append(workers.begin(partial(integrate, k, alone)))
                    if len(begun) > threads:
                        yield begun.popleft().result()
                while begun:
                    yield begun.popleft().result()
            for k in range(side_by_side, problem.n):
                with one_blas_thread():
                    results = integrate(k, workers)
                yield results
                del results
        finally:
            stopped.set()
