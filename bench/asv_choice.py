"""asv: what ``engine="auto"`` takes, and what it loses by that.

Where the choice changes is free of noise; what it loses is a ratio of times.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import fastdln as dln
from bench.choice import BATCH, QUICK, Case, chosen
from bench.workloads import Workload

F64 = np.dtype(np.float64)


def first(engine: str, widths: Callable[[int], tuple[int, ...]], step: int = 4) -> int:
    """The least width, in steps, at which "auto" takes an engine, or 0."""
    for d in range(step, 1025, step):
        workload = Workload(widths(d), 1)
        if chosen(dln.Network(workload.widths), workload.loss(), "tsit5", F64) == engine:
            return d
    return 0


class Boundary:
    """Where the choice changes, by depth."""

    params = (2, 3, 4, 6)
    param_names = ("depth",)
    timeout = 300

    def track_dense_from(self, depth: int) -> float:
        return first("dense", lambda d: (d,) * (depth + 1))

    def track_wide_from(self, depth: int) -> float:
        return first("wide", lambda d: (10, *(d,) * (depth - 1), 10), 64)

    def track_reduced_from(self, depth: int) -> float:
        return first("reduced", lambda d: tuple(d if i % 2 else 4 for i in range(depth + 1)))

    track_dense_from.unit = track_wide_from.unit = track_reduced_from.unit = "width"


class Choice:
    """The time of what "auto" takes beside that of the best engine."""

    params = tuple("-".join(map(str, d)) for d in QUICK)
    param_names = ("widths",)
    timeout = 300

    def track_time(self, name: str) -> float:
        case = Case(Workload(tuple(map(int, name.split("-"))), BATCH, n_times=16), threads=1)
        case.measure(rounds=3)
        return case.loss_of_choice

    track_time.unit = "times of the best"
