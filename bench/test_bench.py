"""pytest-benchmark on the shared workloads: ``pytest bench --benchmark-enable --benchmark-only``.

Without ``--benchmark-enable`` each runs once, as a test.
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.workloads import WORKLOADS


@pytest.mark.parametrize("name", WORKLOADS)
def test_flow(benchmark: BenchmarkFixture, name: str) -> None:
    workload = WORKLOADS[name]
    loss, starts = workload.loss(), workload.starts()
    workload.run(tuple(W[:1] for W in starts), loss)  # compile
    sol = benchmark(workload.run, starts, loss)
    assert sol.success.all()
    benchmark.extra_info["trajectories"] = workload.trajectories
    benchmark.extra_info["right-hand sides per trajectory"] = float(sol.n_rhs.mean())
