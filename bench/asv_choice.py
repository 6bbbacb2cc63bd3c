"""asv: what ``engine="auto"`` takes, and its time beside those of the engines.

Where the choice changes is free of noise.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import fastdln as dln
from bench.choice import BATCH, COLUMNS, QUICK, Case, Side, chosen
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
    """The time that "auto" takes beside that of every engine that may be good."""

    params = (tuple("-".join(map(str, d)) for d in QUICK), ("auto", *COLUMNS))
    param_names = ("widths", "engine")
    warmup_time = 0.1
    timeout = 300

    def setup(self, name: str, engine: str) -> None:
        self.case = Case(Workload(tuple(map(int, name.split("-"))), BATCH, n_times=16), threads=1)
        self.side = Side(engine, size=16)
        if engine != "auto" and engine not in (side.engine for side in self.case.sides):
            raise NotImplementedError("not tried on these widths")  # asv leaves it out
        self.time_flow(name, engine)  # compile

    def time_flow(self, name: str, engine: str) -> None:
        self.case.run(self.side, self.side.size)
