"""asv: the theory where it is compiled or large: Hessian-vector products, the loss in planes, many trajectories.

The counts of floating-point operations are free of noise: they are the guard against a worse program.
"""

from __future__ import annotations

import numpy as np

import fastdln as dln
from bench.theory import critical_points, layer_times, recorded_trajectories
from bench.workloads import WORKLOADS
from fastdln.kernels.products.program import program
from fastdln.kernels.products.tangent import hessian
from fastdln.theory import exact, landscape
from fastdln.theory import hessian as hessian_of
from fastdln.theory.itinerary import itinerary

NETWORKS = tuple(name for name in WORKLOADS if name != "128-128-128")
GRID = np.linspace(-1.0, 1.0, 200)


class Hessian:
    params = NETWORKS
    param_names = ("widths",)
    warmup_time = 0.1

    def setup(self, name: str) -> None:
        self.workload = WORKLOADS[name]
        self.loss = self.workload.loss()
        self.weights = self.workload.starts()
        self.directions = dln.inits.gaussian(dln.Network(self.workload.widths), size=self.workload.trajectories, rng=1)
        self.time_apply(name)  # compile

    def time_apply(self, name: str) -> None:
        hessian_of.apply(self.weights, self.loss, self.directions)

    def peakmem_apply(self, name: str) -> None:
        hessian_of.apply(self.weights, self.loss, self.directions)

    def track_flops(self, name: str) -> float:
        widths = self.workload.widths
        return hessian(widths, False).flops / program(widths).flops

    track_flops.unit = "of a right-hand side"


class Slices:
    params = NETWORKS
    param_names = ("widths",)
    warmup_time = 0.1

    def setup(self, name: str) -> None:
        self.loss = WORKLOADS[name].loss()
        self.weights, *self.directions = (tuple(W[k] for W in WORKLOADS[name].starts(3)) for k in range(3))
        self.time_plane(name)  # compile

    def time_plane(self, name: str) -> None:
        landscape.slice(self.weights, self.directions, self.loss, (GRID, GRID))


class Classification:
    def setup(self) -> None:
        self.points, self.loss = critical_points(1000)

    def time_classify(self) -> None:
        landscape.classify(self.points, self.loss)


class Itinerary:
    """Reading the way of 10^5 trajectories, recorded at 64 and at 200 times."""

    params = (64, 200)
    param_names = ("times",)

    def setup(self, times: int) -> None:
        self.sol = recorded_trajectories(100_000, times)

    def time_itinerary(self, times: int) -> None:
        itinerary(self.sol)

    def peakmem_itinerary(self, times: int) -> None:
        itinerary(self.sol)


class ModeTimes:
    """Closed-form learning times of 10^5 modes."""

    params = (2, 3, 5)
    param_names = ("depth",)

    def setup(self, depth: int) -> None:
        self.arguments = layer_times(100_000, depth)

    def time_mode_time(self, depth: int) -> None:
        exact.mode_time(*self.arguments)
