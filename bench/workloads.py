"""The workloads that every benchmark runs: what is integrated, defined once."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    geometric: bool = False  # singular values at equal ratios instead of equal distances
    certify: bool = False
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
        spaced = np.geomspace if self.geometric else np.linspace
        return dln.Quadratic.from_singular_values(spaced(*self.sigma, min(shape)), shape=shape, rng=0)

    def starts(self, trajectories: int | None = None) -> tuple[np.ndarray, ...]:
        """The first ``trajectories`` starts of the batch, by default all."""
        size = self.trajectories if trajectories is None else trajectories
        return dln.inits.gaussian(dln.Network(self.widths), scale=self.scale, size=size, rng=0)

    def run(self, starts: tuple[np.ndarray, ...], loss: dln.Quadratic, **options: Any) -> dln.Trajectories:
        """Integrate ``starts`` with fastdln."""
        settings: dict[str, Any] = {"t_eval": self.times, "method": self.method, "rtol": self.rtol, "threads": 1}
        if self.certify:
            settings["certify"] = True
        return dln.flow(starts, loss, (0.0, self.t_end), **(settings | options))

    def error(self, trajectories: int = 4, **options: Any) -> float:
        """The largest error of a final weight of the first trajectories, against DOP853 at a tolerance of 1e-13."""
        starts, loss = self.starts(min(trajectories, self.trajectories)), self.loss()
        exact = self.run(
            starts, loss, t_eval=[], method="dop853", rtol=1e-13, certify=False, max_steps=10**6, threads=None
        )
        found = self.run(starts, loss, t_eval=[], **options)
        return max(float(np.abs(V - W).max()) for V, W in zip(found.final, exact.final, strict=True))


def named(*workloads: Workload) -> dict[str, Workload]:
    """The workloads by their names."""
    return {workload.name: workload for workload in workloads}


WORKLOADS = named(
    Workload((4, 4, 4, 4), 4800),
    Workload((8, 8, 8, 8), 800),
    Workload((5, 7, 3, 6), 4800),
    Workload((16, 16, 16), 400),
    Workload((32, 32, 32), 40),
    Workload((64, 32, 10), 40),
    Workload((128, 128, 128), 2),
)

# stiff and mild spectra of one network
STIFF = {
    "100 ... 1": Workload((8, 8, 8, 8), 80, sigma=(100.0, 1.0), label="-stiff"),
    "100 ... 1, geometric": Workload((8, 8, 8, 8), 80, sigma=(100.0, 1.0), geometric=True, label="-stiff-geometric"),
    "4 ... 1": Workload((8, 8, 8, 8), 80),
}

# what the reduced engine narrows, by much or by little
REDUCIBLE = named(
    Workload((4, 64, 4), 1000),
    Workload((10, 256, 10), 60),
    Workload((3, 100, 5), 600),
    Workload((3, 20, 4), 4000),
    Workload((4, 16, 4), 4000),
    Workload((10, 64, 10), 300),
    Workload((20, 64, 20), 60),
    Workload((4, 64, 4, 64, 4), 150),
    Workload((100, 2), 2000),
)

# what a certified finish ends early, of modes between 4 and 1 and, stiff, between 100 and 1
CERTIFIED = tuple(
    Workload(widths, n, sigma=(largest, 1.0), geometric=True, certify=True, label=label)
    for widths, n, largest, label in (
        ((4, 4, 4, 4), 2048, 4.0, "-certified"),
        ((8, 8, 8, 8), 512, 4.0, "-certified"),
        ((8, 8, 8, 8), 128, 100.0, "-stiff-certified"),
        ((16, 16, 16), 128, 4.0, "-certified"),
    )
)

# where solvers are compared at equal error: two sizes of the lanes, two of medium networks, a wide and a stiff one
COMPARED = named(
    WORKLOADS["4-4-4-4"],
    WORKLOADS["8-8-8-8"],
    WORKLOADS["32-32-32"],
    Workload((64, 128, 128, 10), 8),
    Workload((8, 512, 512, 8), 1, t_end=5.0, n_times=8),
    STIFF["100 ... 1"],
)

# every regime: many small networks, medium ones, wide and reducible ones, stiff and long flows, high accuracy
REGIMES = WORKLOADS | named(
    COMPARED["64-128-128-10"],
    COMPARED["8-512-512-8"],
    Workload((10, 1024, 1024, 10), 1, t_end=1.0, n_times=4),
    REDUCIBLE["10-256-10"],
    REDUCIBLE["100-2"],
    replace(STIFF["100 ... 1"], method="rock", label="-stiff-rock"),
    replace(STIFF["100 ... 1"], method="auto", trajectories=32, label="-stiff-auto"),
    replace(CERTIFIED[1], t_end=200.0),
    Workload((4, 4, 4, 4), 1000, method="dop853", rtol=1e-12, label="-accurate"),
    Workload((8, 8, 8, 8), 200, method="dop853", rtol=1e-12, label="-accurate"),
)
