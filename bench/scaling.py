"""Two threads against one, beside what the machine itself gives: ``python -m bench.scaling``.

Two virtual cores need not be twice one: they may share a core, or neighbours may take one of them. So
each round also measures the gain of a loop of nothing but multiply-adds; the gain of `flow()` is given
as a share of that.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from bench.peak import fma_rate
from bench.rounds import Rounds, cell, keeper, vectors
from bench.workloads import WORKLOADS, Workload


def measure(workload: Workload, threads: int, rounds: int) -> Rounds[tuple[float, ...]]:
    """How many times faster the threads are than one: `flow()`, the machine, the share; and the cores `flow()` had."""
    loss, starts = workload.loss(), workload.starts(2 * workload.trajectories)

    def run(threads: int) -> tuple[float, float]:
        return timed(lambda: workload.run(starts, loss, threads=threads))

    def once() -> tuple[float, ...]:
        (one, _), (many, cpu) = run(1), run(threads)
        machine = fma_rate(4, threads) / fma_rate(4)
        return one / many, machine, one / many / machine, cpu / many

    run(threads)  # compiles
    return keeper(time.perf_counter).keep(once, rounds, workload.name)


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
    print(f"{vectors()}; {arguments.threads} threads against one, medians and spreads of {arguments.rounds} rounds")
    for name in arguments.widths:
        found = measure(WORKLOADS[name], arguments.threads, arguments.rounds)
        flow, machine, share, cores = map(cell, np.transpose(found.rows))
        print(
            f"widths {name:<12} flow {flow}x   pure multiply-adds {machine}x   share {share}   CPU/wall {cores}   "
            f"{found}",
            flush=True,
        )


if __name__ == "__main__":
    main()
