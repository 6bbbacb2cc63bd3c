"""pytest-benchmark on the theory where it is compiled or large: ``pytest bench --benchmark-enable --benchmark-only``.

Without ``--benchmark-enable`` each runs once, as a test.
"""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import fastdln as dln
from bench.asv_theory import GRID, NETWORKS
from bench.theory import critical_points, layer_times, recorded_trajectories
from bench.workloads import WORKLOADS
from fastdln.theory import exact, hessian, landscape
from fastdln.theory.itinerary import itinerary


@pytest.mark.parametrize("name", NETWORKS)
def test_hessian_vector_products(benchmark: BenchmarkFixture, name: str) -> None:
    workload = WORKLOADS[name]
    loss, weights = workload.loss(), workload.starts()
    directions = dln.inits.gaussian(dln.Network(workload.widths), size=workload.trajectories, rng=1)
    hessian.apply(weights, loss, directions)  # compile
    found = benchmark(hessian.apply, weights, loss, directions)
    assert all(np.isfinite(V).all() for V in found)
    benchmark.extra_info["networks"] = workload.trajectories


@pytest.mark.parametrize("name", NETWORKS)
def test_plane(benchmark: BenchmarkFixture, name: str) -> None:
    loss = WORKLOADS[name].loss()
    weights, *directions = (tuple(W[k] for W in WORKLOADS[name].starts(3)) for k in range(3))
    landscape.slice(weights, directions, loss, (GRID[:1], GRID[:1]))  # compile
    values = benchmark(landscape.slice, weights, directions, loss, (GRID, GRID))
    assert np.isfinite(values).all()
    benchmark.extra_info["points"] = GRID.size**2


def test_classification(benchmark: BenchmarkFixture) -> None:
    points, loss = critical_points(10_000 if benchmark.enabled else 1000)
    found = benchmark(landscape.classify, points, loss)
    kinds = {point.kind for point in found}
    assert kinds == {"global_minimum", "strict_saddle", "nonstrict_saddle"}
    benchmark.extra_info["points"] = len(found)


@pytest.mark.parametrize("times", [64, 200])
def test_itinerary(benchmark: BenchmarkFixture, times: int) -> None:
    count = 100_000 if benchmark.enabled else 2_000
    way = benchmark(itinerary, recorded_trajectories(count, times))
    assert way.sequential.all()
    benchmark.extra_info["trajectories"] = count


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_mode_time(benchmark: BenchmarkFixture, depth: int) -> None:
    assert np.isfinite(benchmark(exact.mode_time, *layer_times(100_000, depth))).all()
