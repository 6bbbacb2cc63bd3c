"""Threads that share the parts of one task."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from fastdln.threads import outlast

R = TypeVar("R")


class Workers:
    """The calling thread and some others; parts are the same whoever does them, so results are too."""

    def __init__(self, threads: int) -> None:
        self._helpers = threads - 1
        self._pool = ThreadPoolExecutor(threads, "fastdln-wide")  # starts threads when they are needed
        self._tasks: set[Future[Any]] = set()

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        outlast(partial(self._pool.shutdown, wait=False, cancel_futures=True))
        outlast(lambda: wait(tuple(self._tasks)))
        outlast(self._pool.shutdown)

    def begin(self, task: Callable[[], R]) -> Future[R]:
        """Begin a task in a thread of its own, at most as many at once as there are threads."""
        future = self._pool.submit(task)
        self._tasks.add(future)
        future.add_done_callback(self._tasks.discard)
        return future

    def each(self, parts: Iterable[Callable[[], None]], alone: bool = False) -> None:
        """Do all parts; ``alone``: in the calling thread, where they are too small to share."""
        queue = deque(parts)

        def work() -> None:
            while True:
                try:
                    part = queue.popleft()
                except IndexError:
                    return
                part()

        helpers = 0 if alone else min(self._helpers, len(queue) - 1)
        others = [self._pool.submit(work) for _ in range(helpers)]
        try:
            work()
        finally:
            queue.clear()
            outlast(partial(wait, others))
        for other in others:
            other.result()
