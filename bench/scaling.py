"""Two threads against one, beside what the machine itself gives: ``python -m bench.scaling``.

Two virtual cores need not be twice one: they may share a core, or neighbours may take one of them. So each round also
measures the gain of a loop of nothing but multiply-adds, and the figure is the gain of `flow()` as a share of that.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from bench.peak import fma_rate
from bench.workloads import WORKLOADS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", nargs="+", choices=WORKLOADS, default=["4-4-4-4", "8-8-8-8"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    threads = arguments.threads
    print(
        f"{threads} threads against one, median of {arguments.rounds} rounds; CPU/wall: cores that flow() had"
    )
    for name in arguments.widths:
        workload = WORKLOADS[name]
        loss, starts = workload.loss(), workload.starts(2 * workload.trajectories)
        workload.run(starts, loss, threads=threads)  # compile
        flow, machine, cores = [], [], []
        for _ in range(arguments.rounds):
            one, _ = timed(lambda: workload.run(starts, loss, threads=1))
            many, cpu = timed(lambda: workload.run(starts, loss, threads=threads))
            flow.append(one / many)
            cores.append(cpu / many)
            machine.append(fma_rate(4, threads) / fma_rate(4))
        share = np.median(np.array(flow) / np.array(machine))
        print(
            f"widths {name:<12} flow {np.median(flow):.2f}x   pure multiply-adds {np.median(machine):.2f}x   "
            f"share {share:.2f}   CPU/wall {np.median(cores):.2f}"
        )


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of a call."""
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
