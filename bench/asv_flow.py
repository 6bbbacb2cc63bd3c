"""asv: `flow()` in every regime: time, memory, steps, right-hand sides, errors; and what they are made of.

``asv machine --yes``, then ``asv run --launch-method spawn``: the default fork does not go with threads.
The counts and errors are free of noise: they are the guard against a method that got worse, the times show the trend.
"""

from __future__ import annotations

from dataclasses import replace

import fastdln as dln
from bench.workloads import CERTIFIED, REDUCIBLE, REGIMES, STIFF, WORKLOADS
from fastdln.kernels.products.program import program
from fastdln.theory.reduction import reduce


class Flow:
    """Lanes, dense, wide and reduced networks, stiff and long flows, high accuracy: one or more workloads of each."""

    params = tuple(REGIMES)
    param_names = ("workload",)
    warmup_time = 0.1
    timeout = 300

    def setup(self, name: str) -> None:
        self.workload = REGIMES[name]
        self.loss = self.workload.loss()
        self.starts = self.workload.starts()
        self.workload.run(tuple(W[:1] for W in self.starts), self.loss)  # compile

    def run(self) -> dln.Trajectories:
        return self.workload.run(self.starts, self.loss)

    def time_flow(self, name: str) -> None:
        self.run()

    def peakmem_flow(self, name: str) -> None:
        self.run()

    def track_accepted_steps(self, name: str) -> float:
        return float(self.run().n_accepted.mean())

    def track_right_hand_sides(self, name: str) -> float:
        return float(self.run().n_rhs.mean())

    def track_error(self, name: str) -> float:
        return self.workload.error()

    track_accepted_steps.unit = "steps/trajectory"
    track_right_hand_sides.unit = "evaluations/trajectory"
    track_error.unit = "largest error of a final weight"


class Stiff:
    """Right-hand sides of the explicit and the stabilized methods, powers of the spectral radius included."""

    params = (tuple(STIFF), ("tsit5", "rock", "rkc2", "auto"), (1e-4, 1e-6))
    param_names = ("spectrum", "method", "rtol")

    def track_right_hand_sides(self, name: str, method: str, rtol: float) -> float:
        workload = replace(STIFF[name], method=method, rtol=rtol)
        return float(workload.run(workload.starts(8), workload.loss()).n_rhs.mean())

    track_right_hand_sides.unit = "evaluations/trajectory"


class Certified:
    """What the certified finish saves, for spans that end soon and late."""

    params = (tuple(workload.name for workload in CERTIFIED), (20.0, 200.0))
    param_names = ("workload", "t_end")

    def setup(self, name: str, t_end: float) -> None:
        workload = replace(next(w for w in CERTIFIED if w.name == name), t_end=t_end)
        self.sol = workload.run(workload.starts(16), workload.loss(), max_steps=10**7)

    def track_certified(self, name: str, t_end: float) -> float:
        return float(self.sol.certified.mean())

    def track_right_hand_sides(self, name: str, t_end: float) -> float:
        return float(self.sol.n_rhs.mean())

    track_certified.unit = "of the trajectories"
    track_right_hand_sides.unit = "evaluations/trajectory"


class Reduced:
    """How much narrower reducible networks become."""

    params = tuple(REDUCIBLE)
    param_names = ("workload",)

    def track_parameters(self, name: str) -> float:
        workload = REDUCIBLE[name]
        weights = tuple(W[0] for W in workload.starts(1))
        narrow = reduce(weights, workload.loss()).widths
        return dln.Network(narrow).n_parameters / dln.Network(workload.widths).n_parameters

    track_parameters.unit = "of the network's"


class Products:
    """The program of a right-hand side, for whitened data and for data as they are."""

    params = (tuple(WORKLOADS), (False, True))
    param_names = ("widths", "unwhitened")

    def setup(self, name: str, unwhitened: bool) -> None:
        self.program = program(WORKLOADS[name].widths, unwhitened)

    def track_flops(self, name: str, unwhitened: bool) -> float:
        return self.program.flops

    def track_scratch(self, name: str, unwhitened: bool) -> float:
        return self.program.n_scratch

    track_flops.unit = "flops"
    track_scratch.unit = "numbers"
