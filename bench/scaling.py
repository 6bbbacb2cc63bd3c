"""Two threads against one, beside what the machine itself gives: ``python -m bench.scaling``.

Two virtual cores need not be twice one: they may share a core, or neighbours may take one of them. So
each round also measures the gain of a loop of nothing but multiply-adds; the gain of `flow()` is given
as a share of that.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bench.peak import fma_rate
from bench.workloads import WORKLOADS, Workload


class Gain(NamedTuple):
    """What one round measured: how many times faster the threads are than one."""

    flow: float
    machine: float
    share: float
    cores: float  # that flow() had: CPU seconds over wall seconds


def measure(workload: Workload, threads: int, rounds: int) -> Gain:
    """Medians over rounds in which `flow()` and the machine take turns."""
    loss, starts = workload.loss(), workload.starts(2 * workload.trajectories)

    def run(threads: int) -> tuple[float, float]:
        return timed(lambda: workload.run(starts, loss, threads=threads))

    run(threads)  # compile
    found = []
    for _ in range(rounds):
        (one, _), (many, cpu) = run(1), run(threads)
        machine = fma_rate(4, threads) / fma_rate(4)
        found.append((one / many, machine, one / many / machine, cpu / many))
    return Gain(*np.median(found, axis=0))


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of a call."""
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", nargs="+", choices=WORKLOADS, default=["4-4-4-4", "8-8-8-8"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    print(f"{arguments.threads} threads against one, medians of {arguments.rounds} rounds")
    for name in arguments.widths:
        gain = measure(WORKLOADS[name], arguments.threads, arguments.rounds)
        print(
            f"widths {name:<12} flow {gain.flow:.2f}x   pure multiply-adds {gain.machine:.2f}x   "
            f"share {gain.share:.2f}   CPU/wall {gain.cores:.2f}"
        )


if __name__ == "__main__":
    main()
