"""Interrupts long flows of one engine, again and again, and says what is left of them.

`test_failures` runs it in a new process: ``python interruptions.py ENGINE COUNT``.  It prints, as JSON, for each case
(trajectories, threads, signal): how many interrupts came out of the call; how many threads Python knew of when one did,
and after how many the system had more of them than before; how many arrays that engines write to were looked at, and
how many of those were written to after the interrupt, or outside.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np

import fastdln as dln
from fastdln.engines import base

GUARD = 4096  # bytes before and behind each array
PATTERN = 0xA5
WRITTEN = ("records", "final", "reached", "status", "counts", "learned", "certified", "history")
SQUARE, NARROW = dln.Quadratic(np.diag([1e6, 3.0, 2.0, 1.0])), dln.Quadratic(np.diag([1e6, 1.0]))

# widths, loss, options, the longest time until an interrupt, trajectories and threads
MANY = ((1, 2), (8, 1), (8, 2), (200, 2))
LONG = {
    "lanes": ((4, 4, 4), SQUARE, {"engine": "lanes"}, 0.05, MANY),
    "dense": ((4, 4, 4), SQUARE, {"engine": "dense"}, 0.05, MANY),
    "stabilized": ((4, 4, 4), SQUARE, {"engine": "lanes", "method": "rkc2"}, 0.05, MANY),
    "reduced": ((2, 40, 2), NARROW, {"engine": "reduced"}, 0.05, MANY),
    "wide": ((2, 300, 280, 2), NARROW, {"engine": "wide"}, 0.3, ((1, 2), (1, 1), (4, 2), (6, 2))),
}


class AlarmError(BaseException):
    """What the handler of SIGALRM raises; as with KeyboardInterrupt, libraries make no other error of it."""


class Guards:
    """The arrays of all results since the last look, in larger ones that are kept here."""

    def __init__(self) -> None:
        self.kept: list[tuple[np.ndarray, slice]] = []
        begin = base.Results.__init__

        def guarded(results: base.Results, *args: object) -> None:
            begin(results, *args)
            for name in WRITTEN:
                setattr(results, name, self.guard(getattr(results, name)))

        base.Results.__init__ = guarded

    def guard(self, array: np.ndarray) -> np.ndarray:
        """Put an array between two guards."""
        whole = np.full(2 * GUARD + 64 + array.nbytes, PATTERN, np.uint8)
        first = GUARD + -(whole.ctypes.data + GUARD) % 64
        place = slice(first, first + array.nbytes)
        inside = whole[place].view(array.dtype).reshape(array.shape)
        inside[...] = array
        self.kept.append((whole, place))
        return inside

    def broken(self) -> int:
        """How many arrays are written to now, or were where they should not have been."""
        before = [whole.copy() for whole, _ in self.kept]
        time.sleep(0.05)
        wrong = 0
        for (whole, place), copy in zip(self.kept, before, strict=True):
            wrong += not np.array_equal(whole, copy)
            whole[place] = PATTERN
            wrong += bool((whole != PATTERN).any())
        self.kept.clear()
        return wrong


def main(engine: str, count: int) -> dict[str, dict[str, int]]:
    """Interrupt flows in every case so many times."""

    def alarm(*_: object) -> None:
        raise AlarmError

    signal.signal(signal.SIGALRM, alarm)
    widths, loss, options, longest, cases = LONG[engine]
    rng, guards, report = np.random.default_rng(0), Guards(), {}
    for (n, threads), kind in itertools.product(cases, ("SIGINT", "SIGALRM")):
        w0 = dln.inits.gaussian(dln.Network(widths), 0.5, size=n, rng=0)
        dln.flow(w0, loss, (0.0, 1e-9), threads=threads, **options)  # compiles
        guards.kept.clear()
        seen = {"interrupts": 0, "threads": 0, "tasks": 0, "arrays": 0, "broken": 0}
        tasks = len(list(Path("/proc/self/task").iterdir()))
        for _ in range(count):
            delay = rng.uniform(0.001, longest)
            timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
            try:
                if kind == "SIGINT":
                    timer.start()
                else:
                    signal.setitimer(signal.ITIMER_REAL, delay)
                dln.flow(w0, loss, (0.0, 1e7), [1e-7, 1e7], max_steps=10**12, threads=threads, **options)
            except (KeyboardInterrupt, AlarmError):
                seen["interrupts"] += 1
            if kind == "SIGINT":
                timer.join()
            seen["threads"] += len(threading.enumerate()) - 1
            seen["arrays"] += len(guards.kept)
            seen["broken"] += guards.broken()
            seen["tasks"] += len(list(Path("/proc/self/task").iterdir())) > tasks  # the system takes a moment
        report[f"{n} {threads} {kind}"] = seen
    return report


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], int(sys.argv[2]))))
