"""Rounds that count: those in which the machine was at its best, before and after.

On shared machines the kernels switch between two levels of pace for seconds at a time, while a loop of nothing but
multiply-adds hardly moves, so that no alternation with such a loop cancels it.  What moves with them is a canary: the
interpreted right-hand side of a block of 8-8-8-8 networks, as `bench.rhs` measures it, for some milliseconds.  A round
runs all variants once; it is kept where the canary ran at 95 % or more of its best before it and after it.  After three
times the rounds wanted, what there is is reported, and how much that is.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TextIO, TypeVar

import numpy as np

from fastdln.kernels.machine.lanes import cpu_features, lane_count

__all__ = ["Keeper", "Progress", "Rounds", "canary", "cell", "keeper", "middle", "vectors"]

GOOD = 0.95  # of the canary's best rate
PATIENCE = 3  # times as many rounds as wanted
CANARY_SECONDS = 0.01
FIRST_RATES = 20  # of the canary, from which its best is known at the beginning

Row = TypeVar("Row")


@dataclass(frozen=True)
class Rounds(Generic[Row]):
    """What was measured: the rows of the rounds kept, or, where none was kept, of all."""

    rows: list[Row]
    kept: int
    tried: int
    wanted: int

    def __str__(self) -> str:
        said = f"{self.kept} of {self.tried} rounds kept"
        if self.kept == 0:
            return f"{said}: all are shown, at an uneven pace"
        return said if self.kept >= self.wanted else f"{said}, {self.wanted} wanted"


class Progress:
    """What is going on, on one line of a terminal; elsewhere on a line of its own every few seconds."""

    def __init__(
        self, stream: TextIO | None = None, every: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.stream, self.every, self.clock = stream or sys.stderr, every, clock
        self.last = -np.inf

    def say(self, text: str) -> None:
        """Show what is going on."""
        if self.stream.isatty():
            self.stream.write(f"\r\x1b[K{text}")
        elif self.clock() - self.last >= self.every:
            self.last = self.clock()
            self.stream.write(f"{text}\n")
        self.stream.flush()

    def clear(self) -> None:
        """Make room for a line of the table."""
        if self.stream.isatty():
            self.stream.write("\r\x1b[K")
            self.stream.flush()


class Keeper:
    """Runs rounds and keeps those between two good rates of a canary; its best rate is remembered from call to call."""

    def __init__(
        self,
        canary: Callable[[], float],
        progress: Progress | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.canary, self.progress, self.clock = canary, progress or Progress(), clock
        self.best = max(canary() for _ in range(FIRST_RATES))

    def rate(self) -> float:
        """The canary's rate now."""
        found = self.canary()
        self.best = max(self.best, found)
        return found

    def keep(self, measure: Callable[[], Row], wanted: int, label: str = "") -> Rounds[Row]:
        """Rounds, in each of which ``measure`` runs all variants once, until so many are good or time is up."""
        rows: list[Row] = []
        rates = [self.rate()]
        begun = self.clock()

        def kept() -> list[Row]:  # anew each time: the best may have risen since
            good = [r >= GOOD * self.best for r in rates]
            return [row for row, *ends in zip(rows, good[:-1], good[1:], strict=True) if all(ends)]

        while len(kept()) < wanted and len(rows) < PATIENCE * wanted:
            more = wanted - len(kept())
            left = f", about {more * (self.clock() - begun) / len(rows):.0f} s left" if rows else ""
            self.progress.say(f"{label}: round {len(rows) + 1}, {wanted - more} of {wanted} kept{left}")
            rows.append(measure())
            rates.append(self.rate())
        self.progress.clear()
        good = kept()
        return Rounds(good or rows, len(good), len(rows), wanted)


def canary(clock: Callable[[], float] = time.process_time) -> Callable[[], float]:
    """The rate of interpreted right-hand sides of 8-8-8-8 networks, by a clock."""
    # Kernels find their cache folder when they are imported, and `bench.peers` sets it first.
    from bench.blocks import block, rate

    arena, flops = block((8, 8, 8, 8))
    rate(arena, flops, CANARY_SECONDS)  # compiles
    return lambda: rate(arena, flops, CANARY_SECONDS, clock)


@functools.cache
def keeper(clock: Callable[[], float] = time.process_time) -> Keeper:
    """The process's keeper of rounds by CPU time, or by another clock."""
    progress = Progress()
    progress.say("the machine's best pace")
    return Keeper(canary(clock), progress)


def middle(values: Iterable[float]) -> tuple[float, float]:
    """The median, and half the distance of the quartiles."""
    low, median, high = np.percentile(list(values), (25, 50, 75))
    return float(median), float(high - low) / 2


def cell(values: Iterable[float], digits: str = ".2f", unit: str = "") -> str:
    """Median and spread, as in ``2.31 ±0.04``."""
    median, spread = middle(values)
    return f"{median:{digits}} ±{spread:{digits}}{unit}"


def vectors() -> str:
    """The lanes of f64 and the instructions that they are made of, as in ``8 lanes (AVX-512)``."""
    features = cpu_features()
    named = (("avx512f", "AVX-512"), ("avx2", "AVX2"), ("avx", "AVX"))
    return f"{lane_count()} lanes ({next((name for key, name in named if key in features), 'SSE2')})"
