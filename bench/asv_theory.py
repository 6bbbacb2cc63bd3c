"""asv: the theory where it is compiled or large: Hessian-vector products, the loss in planes, kinds of many points.

The counts of floating-point operations are free of noise: they are the guard against a worse program.
"""

from __future__ import annotations

import numpy as np

import fastdln as dln
from bench.workloads import WORKLOADS
from fastdln.kernels.program import program
from fastdln.kernels.tangent import hessian
from fastdln.theory import hessian as hessian_of
from fastdln.theory import landscape, quotient

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
        self.directions = dln.inits.gaussian(
            dln.Network(self.workload.widths), size=self.workload.trajectories, rng=1
        )
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
        self.weights, *self.directions = (
            tuple(W[k] for W in WORKLOADS[name].starts(3)) for k in range(3)
        )
        self.time_plane(name)  # compile

    def time_plane(self, name: str) -> None:
        landscape.slice(self.weights, self.directions, self.loss, (GRID, GRID))


def critical_points(count: int) -> tuple[tuple[np.ndarray, ...], dln.Quadratic]:
    """Saddles and minima of a network of width 8, a hundred of each kind of learned set, moved along their fibers."""
    net = dln.Network((8, 8, 8, 8))
    loss = dln.Quadratic.from_singular_values(np.arange(8.0, 0.0, -1.0), shape=(8, 8), rng=0)
    rng = np.random.default_rng(0)
    layers = []
    for k in range(count // 100):
        learned = rng.permutation(8)[: k % 9]
        point = landscape.critical_point(net, loss, learned, rng=rng)
        layers.append(quotient.transform(point, quotient.random_gauges(net, rng, size=100)))
    return tuple(np.concatenate(parts) for parts in zip(*layers, strict=True)), loss


class Classification:
    def setup(self) -> None:
        self.points, self.loss = critical_points(1000)

    def time_classify(self) -> None:
        landscape.classify(self.points, self.loss)
