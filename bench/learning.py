"""What learning times cost: ``python -m bench.learning``.

One thread integrates a batch with the loss recorded, and then with learning times beside it, in turns in each round
(`bench.rounds`); printed are the ratio of their CPU seconds, and how far the times are off those of a far finer run,
in units of rtol.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace

import numpy as np

from bench.rounds import Rounds, keeper, middle, vectors
from bench.workloads import Workload
from fastdln.kernels.machine.lanes import LANES_VARIABLE

WORKLOADS = [
    Workload((4, 4, 4, 4), 800),
    Workload((8, 8, 8, 8), 160),
    Workload((16, 16, 16), 80),
    Workload((32, 32, 32), 16),
]


def cost(workload: Workload, rounds: int, engine: str) -> Rounds[list[float]]:
    """CPU seconds of a trajectory without learning times and with them."""
    starts, loss = workload.starts(), workload.loss()

    def seconds(*record: str) -> float:
        start = time.process_time()
        workload.run(starts, loss, record=record, engine=engine)
        return (time.process_time() - start) / workload.trajectories

    def measure() -> list[float]:
        return [seconds("loss"), seconds("loss", "learning_times")]

    measure()  # compiles
    return keeper().keep(measure, rounds, f"{workload.name} {workload.method}")


def error(workload: Workload, engine: str) -> float:
    """Median error of the times in units of rtol."""
    starts, loss = workload.starts(min(workload.trajectories, 16)), workload.loss()
    fine = {"method": "dop853", "rtol": 1e-12, "max_steps": 10**6}
    times, reference = (
        workload.run(starts, loss, record="learning_times", engine=engine, **options).learning_times
        for options in ({}, fine)
    )
    return float(np.nanmedian(np.abs(times / reference - 1)) / workload.rtol)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--lanes", type=int, choices=(2, 4, 8))
    parser.add_argument("--engine", default="lanes", choices=("lanes", "dense"))
    parser.add_argument("--methods", nargs="+", default=["tsit5"])
    arguments = parser.parse_args()
    if arguments.lanes:
        os.environ[LANES_VARIABLE] = str(arguments.lanes)
    print(f"{arguments.engine}, {vectors()}; medians and spreads of {arguments.rounds} rounds")
    for method in arguments.methods:
        for workload in WORKLOADS:
            problem = replace(workload, method=method)
            found = cost(problem, arguments.rounds, arguments.engine)
            more, spread = middle(100 * (b / a - 1) for a, b in found.rows)
            microseconds, _ = middle(1e6 * a for a, _ in found.rows)
            print(
                f"{workload.name:9s} {method:7s} {more:+6.1f} ±{spread:.1f} % of {microseconds:7.1f} us a trajectory; "
                f"error {error(problem, arguments.engine):.2g} rtol; {found}",
                flush=True,
            )


if __name__ == "__main__":
    main()
