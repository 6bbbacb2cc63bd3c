"""The workloads that every benchmark runs: what is integrated, defined once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import fastdln as dln


@dataclass(frozen=True)
class Workload:
    """A batch of gaussian starts under one quadratic loss, whose loss is recorded at equally spaced times."""

    widths: tuple[int, ...]
    trajectories: int  # some tenths of a second on one core
    scale: float = 0.6
    t_end: float = 20.0
    n_times: int = 64
    method: str = "tsit5"
    rtol: float = 1e-6
    sigma: tuple[float, float] = (4.0, 1.0)
    label: str = ""

    @property
    def name(self) -> str:
        """The widths, as in ``64-32-10``, and the label."""
        return "-".join(map(str, self.widths)) + self.label

    @property
    def times(self) -> np.ndarray:
        """The recorded times, both ends of the span included."""
        return np.linspace(0.0, self.t_end, self.n_times)

    def loss(self) -> dln.Quadratic:
        """Modes between 4 and 1 in a random basis, neither stiff nor degenerate; or between the numbers ``sigma``."""
        shape = (self.widths[-1], self.widths[0])
        return dln.Quadratic.from_singular_values(np.linspace(*self.sigma, min(shape)), shape=shape, rng=0)

    def starts(self, trajectories: int | None = None) -> tuple[np.ndarray, ...]:
        """The first ``trajectories`` starts of the batch, by default all."""
        size = self.trajectories if trajectories is None else trajectories
        return dln.inits.gaussian(dln.Network(self.widths), scale=self.scale, size=size, rng=0)

    def run(self, starts: tuple[np.ndarray, ...], loss: dln.Quadratic, **options: Any) -> dln.Trajectories:
        """Integrate ``starts`` with fastdln."""
        settings = {"t_eval": self.times, "method": self.method, "rtol": self.rtol, "threads": 1}
        return dln.flow(starts, loss, (0.0, self.t_end), **(settings | options))


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload((4, 4, 4, 4), 4000),
        Workload((8, 8, 8, 8), 800),
        Workload((5, 7, 3, 6), 2000),
        Workload((16, 16, 16), 400),
        Workload((32, 32, 32), 40),
        Workload((64, 32, 10), 40),
        Workload((128, 128, 128), 2),
    )
}

# where solvers are compared at equal error: two sizes of the lanes, two of medium networks, a wide and a stiff one
COMPARED = {
    workload.name: workload
    for workload in (
        WORKLOADS["4-4-4-4"],
        WORKLOADS["8-8-8-8"],
        WORKLOADS["32-32-32"],
        Workload((64, 128, 128, 10), 8),
        Workload((8, 512, 512, 8), 1, t_end=5.0, n_times=8),
        Workload((8, 8, 8, 8), 80, sigma=(100.0, 1.0), label="-stiff"),
    )
}
