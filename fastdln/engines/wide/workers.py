"""Threads that share the parts of one task."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from fastdln.threads import Team, outlast

R = TypeVar("R")


class Workers:
    """The calling thread and some others; parts are the same whoever does them, so results are too."""

    def __init__(self, threads: int) -> None:
        self._helpers = threads - 1
        self._waiting: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._closed = False
        self._team = Team([self._serve] * (threads if threads > 1 else 0), self._close, "fastdln-wide")

    def __enter__(self) -> Workers:
        try:
            self._team.start()
        except BaseException:
            outlast(self._team.settle)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        outlast(self._team.settle)

    def _serve(self) -> None:
        """Do one task after another, until all is over."""
        while True:
            work = self._waiting.get()
            if self._closed or work is None:
                return
            future, task = work
            try:
                future.set_result(task())
            except BaseException as error:
                future.set_exception(error)
            del work, future, task  # a result may be large

    def _close(self) -> None:
        self._closed = True
        for _ in range(self._helpers + 1):
            self._waiting.put(None)

    def begin(self, task: Callable[[], R]) -> Future[R]:
        """Begin a task in a thread of its own, at most as many at once as there are threads."""
        future: Future[R] = Future()
        self._waiting.put((future, task))
        return future

    def each(self, parts: Iterable[Callable[[], None]], alone: bool = False) -> None:
        """Do all parts; ``alone``: in the calling thread, where they are too small to share."""
        left = deque(parts)

        def work() -> None:
            while True:
                try:
                    part = left.popleft()
                except IndexError:
                    return
                part()

        helpers = 0 if alone else min(self._helpers, len(left) - 1)
        others = [self.begin(work) for _ in range(helpers)]
        try:
            work()
        finally:
            left.clear()
            outlast(partial(wait, others))
        for other in others:
            other.result()
