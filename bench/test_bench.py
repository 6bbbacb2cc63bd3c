"""pytest-benchmark on the shared workloads: ``pytest bench --benchmark-enable --benchmark-only``.

Without ``--benchmark-enable`` each runs once, as a test.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench import taylor, work_precision
from bench.workloads import REGIMES, WORKLOADS


@pytest.mark.parametrize("name", REGIMES)
def test_flow(benchmark: BenchmarkFixture, name: str) -> None:
    workload = REGIMES[name]
    loss, starts = workload.loss(), workload.starts(None if benchmark.enabled else min(workload.trajectories, 16))
    workload.run(tuple(W[:1] for W in starts), loss)  # compile
    sol = benchmark(workload.run, starts, loss)
    assert sol.success.all()
    benchmark.extra_info["trajectories"] = workload.trajectories
    benchmark.extra_info["right-hand sides per trajectory"] = float(sol.n_rhs.mean())


def point(error: float, seconds: float, solver: str = "fastdln tsit5") -> work_precision.Point:
    return work_precision.Point(solver, 1.0, error, lambda starts: (starts, starts), np.zeros((1, 1)), [seconds])


def test_the_cost_of_an_error_lies_between_the_measured_points() -> None:
    curve = [point(1e-8, 4.0), point(1e-4, 1.0), point(1e-5, 9.0)]  # the last one is worse and dearer than the first
    assert work_precision.cost(curve, 1e-6) == pytest.approx(2.0)
    assert work_precision.cost(curve, 1e-2) == pytest.approx(1.0)  # more accurate than it need be
    assert work_precision.cost(curve, 1e-9) == float("inf")


def test_solvers_are_compared_with_the_best_of_the_own_methods() -> None:
    found = [point(1e-12, 4.0), point(1e-12, 2.0, "fastdln dop853"), point(1e-7, 20.0, "other")]
    ratios = work_precision.ratios(found)
    assert ratios["fastdln tsit5"] == pytest.approx([2.0] * len(work_precision.ERRORS))
    assert ratios["other"] == pytest.approx([10.0, 10.0, 10.0, np.inf, np.inf, np.inf])


def test_curves(tmp_path: Path) -> None:
    workload = replace(WORKLOADS["4-4-4-4"], trajectories=4, t_end=2.0, n_times=4)
    found = work_precision.measure(workload, ["fastdln dop853", "scipy DOP853", "NumPy Tsit5, batched"], rounds=1)
    for curve in work_precision.by_solver(found).values():
        assert [p.error < 100 * p.rtol for p in curve] == [True] * 5
    pytest.importorskip("matplotlib")
    work_precision.draw({"small": found}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_taylor_series_solve_the_flow() -> None:
    workload = replace(WORKLOADS["5-7-3-6"], t_end=1.0)
    starts, loss = workload.starts(2), workload.loss()
    exact = workload.run(starts, loss, t_eval=[], method="dop853", rtol=1e-13).final
    found, _ = taylor.taylor(starts, loss.target, 1.0, 12, 1e-10)
    assert taylor.largest(found, exact) < 1e-10
