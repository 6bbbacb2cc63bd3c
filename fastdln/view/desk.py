"""Between the page and the store: what is read meanwhile, so that the page never waits."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from bokeh.document import Document

from fastdln.scan.errors import StoreError

__all__ = ["Desk"]

Answer = TypeVar("Answer")


class Desk:
    """Reads for one page.

    Parameters
    ----------
    document : Document
        The page.
    worker : Executor
        What reads: one thread, as a `fastdln.view.reading.Reader` serves one at a time.
    fail : callable
        Shows what is wrong with the store.
    """

    def __init__(self, document: Document, worker: Executor, fail: Callable[[StoreError], None]) -> None:
        self._document = document
        self._worker = worker
        self._fail = fail
        self._tickets: dict[str, object] = {}

    def ask(
        self,
        topic: str,
        read: Callable[[], Answer],
        show: Callable[[Answer], None],
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        """Read something, then show it; unless the same topic is asked for again before.

        Parameters
        ----------
        topic : str
            What it is about.
        read : callable
            Called by the worker.
        show : callable
            Called by the page with what was read.
        lost : callable
            Called by the page where the store is damaged, after that was said.
        """
        ticket = self._tickets[topic] = object()

        def is_wanted() -> bool:
            return self._tickets.get(topic) is ticket

        def work() -> None:
            if not is_wanted():
                return
            try:
                answer = read()
            except Exception as error:
                failure = error
                self._document.add_next_tick_callback(lambda: self._tell(failure, lost if is_wanted() else None))
            else:
                self._document.add_next_tick_callback(lambda: show(answer) if is_wanted() else None)

        self._worker.submit(work)

    def close(self) -> None:
        """Forget all that was asked for."""
        self._tickets.clear()

    def fail(self, error: StoreError) -> None:
        """Say what is wrong with the store.

        Parameters
        ----------
        error : StoreError
            What is wrong.
        """
        self._fail(error)

    def _tell(self, error: Exception, lost: Callable[[], None] | None) -> None:
        if not isinstance(error, StoreError):
            raise error  # where the server reports it
        self._fail(error)
        if lost is not None:
            lost()
