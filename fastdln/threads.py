"""Threads that do not outlive the call that started them, whatever interrupts it.

A signal's handler may raise in the calling thread between any two of its instructions: Ctrl-C, an alarm, a test's
timeout.  `threading.Thread.join` is of no use then: in CPython 3.11 a join that is interrupted marks a thread as ended
that still runs (bpo-45274).  So a thread says itself that it has ended, and the caller waits for that.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence

POLL_SECONDS = 0.1  # between looks at signals and progress
LATEST = 1.0  # seconds in which a thread begins that was started: then it has been interrupted before


def outlast(wait: Callable[[], object]) -> None:
    """Wait to the end, whatever interrupts it; what did so last is raised afterwards.

    Parameters
    ----------
    wait : callable
        Returns when the wait is over; it raises nothing of its own.
    """
    interruption: BaseException | None = None
    while True:
        try:
            wait()
            break
        except BaseException as error:
            interruption = error
    if interruption is not None:
        raise interruption


class Team:
    """Tasks in threads of their own, and how far they are.

    Parameters
    ----------
    tasks : sequence of callables
        A task must keep alive all that it writes to.
    stop : callable
        Tells the tasks to end soon.
    name : str
        What the threads are called.
    """

    def __init__(self, tasks: Sequence[Callable[[], None]], stop: Callable[[], None], name: str = "fastdln") -> None:
        self._stop, self._stopped = stop, False
        self.errors: list[BaseException] = []
        # lists, as an item is appended in one instruction: neither a signal nor another thread comes in between
        self._begun: list[threading.Thread] = []
        self._ended: list[None] = []
        self._started = 0
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, args=(task,), name=name, daemon=True) for task in tasks]

    def start(self) -> None:
        """Start all threads."""
        for thread in self._threads:
            self._started += 1
            thread.start()

    def _work(self, task: Callable[[], None]) -> None:
        self._begun.append(threading.current_thread())  # first of all: who waits counts on it
        try:
            if not self._stopped:
                task()
        except BaseException as error:
            self.errors.append(error)
            self.stop()
        finally:
            self._ended.append(None)
            self._news.put(None)

    def stop(self) -> None:
        """Tell the tasks to end; those that have not begun never will."""
        self._stopped = True
        self._stop()

    def wait(self) -> None:
        """Wait for news, but not for long."""
        with contextlib.suppress(queue.Empty):
            self._news.get(timeout=POLL_SECONDS)

    @property
    def over(self) -> bool:
        """Whether all tasks have ended."""
        return len(self._ended) == len(self._threads)

    def settle(self) -> None:
        """Tell the tasks to end, and wait until those that have begun have."""
        self.stop()
        latest = time.monotonic() + LATEST
        while len(self._ended) < len(self._begun) or (len(self._begun) < self._started and time.monotonic() < latest):
            self.wait()
        for thread in tuple(self._begun):
            thread.join()


def run_in_threads(
    tasks: Sequence[Callable[[], None]], stop: Callable[[], None], meanwhile: Callable[[], None]
) -> None:
    """Run tasks, each in a thread of its own, and wait for all.

    Plain threads, as Numba's own layers cannot be entered from two threads at once.

    Parameters
    ----------
    tasks : sequence of callables
        A task must keep alive all that it writes to.
    stop : callable
        Tells the tasks to end soon.  Called where this thread is interrupted or a task fails, and once more when all
        is over.
    meanwhile : callable
        Called in this thread now and then, and once more when all tasks have ended.

    Raises
    ------
    BaseException
        What interrupts this thread or ``meanwhile`` raises, and the first error of a task: never before the last task
        has returned.
    """
    team = Team(tasks, stop)
    try:
        team.start()
        while not team.over:
            team.wait()
            meanwhile()
    finally:
        outlast(team.settle)
    if team.errors:
        raise team.errors[0]
    meanwhile()
