"""What the lanes engine makes of the machine: ``python -m bench.lanes [--single]``.

One thread integrates a batch; the flops of its right-hand sides over its CPU seconds, as a share of the machine's peak
rate of multiply-adds.  Rounds of it and of the peak loop alternate.  Stages, error estimates, records of the loss and
the control of steps count as time, not as flops: per weight and step Tsit5 has 28 multiply-adds of its own, and 31
vectors to move between the first two levels of cache.  With ``--single``: how much faster single precision is, at
rtol 1e-4.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from dataclasses import replace

import numpy as np

from bench.peak import peak
from bench.workloads import Workload
from fastdln.kernels.lanes import LANES_VARIABLE, lane_count
from fastdln.kernels.program import program

WORKLOADS = [
    Workload((4, 4, 4, 4), 4800),
    Workload((8, 8, 8, 8), 800),
    Workload((16, 16, 16), 400),
    Workload((32, 32, 32), 64),
    Workload((1, 1, 1), 24000),
    Workload((1, 1, 1, 1), 12000),
    Workload((2, 2, 2, 2), 8000),
    Workload((3, 3, 3, 3), 4800),
    Workload((5, 5, 5, 5), 4800),
    Workload((6, 6, 6, 6), 1600),
    Workload((7, 7, 7, 7), 1200),
    Workload((5, 7, 3, 6), 4800),
    Workload((9, 9, 9, 9), 600),
    Workload((10, 10, 10, 10), 400),
    Workload((15, 15, 15), 400),
    Workload((17, 17, 17), 320),
]


def gain_of_single(workload: Workload, rounds: int) -> float:
    """How many times faster single precision is."""
    loss, starts = workload.loss(), workload.starts()
    kinds = [tuple(W.astype(dtype) for W in starts) for dtype in ("float64", "float32")]

    def seconds(starts: tuple[np.ndarray, ...]) -> float:
        start = time.process_time()
        workload.run(starts, loss, engine="lanes")
        return time.process_time() - start

    for kind in kinds:
        seconds(kind)  # compile
    return statistics.median(seconds(kinds[0]) / seconds(kinds[1]) for _ in range(rounds))


def share(workload: Workload, rounds: int) -> tuple[float, float]:
    """Medians of the share of the peak, and of seconds a trajectory."""
    loss, starts = workload.loss(), workload.starts()
    flops = program(workload.widths).flops
    workload.run(tuple(W[:1] for W in starts), loss)  # compile
    shares, times = [], []
    for _ in range(rounds):
        most = peak(seconds=0.03, clock=time.process_time)
        start = time.process_time()
        sol = workload.run(starts, loss, engine="lanes")
        seconds = time.process_time() - start
        times.append(seconds / workload.trajectories)
        shares.append(flops * float(sol.n_rhs.sum()) / seconds / most)
    return statistics.median(shares), statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lanes", type=int, choices=(2, 4, 8))
    parser.add_argument("--widths", nargs="+")
    parser.add_argument("--method", default="tsit5")
    parser.add_argument("--single", action="store_true")
    arguments = parser.parse_args()
    if arguments.lanes:
        os.environ[LANES_VARIABLE] = str(arguments.lanes)
    print(f"{lane_count()} lanes; share of the peak end to end, median of {arguments.rounds} alternating rounds")
    for workload in WORKLOADS:
        if arguments.widths and workload.name not in arguments.widths:
            continue
        if arguments.single:
            gain = gain_of_single(replace(workload, rtol=1e-4), arguments.rounds)
            print(f"{workload.name:12s} single precision {gain:4.2f} times as fast", flush=True)
            continue
        part, seconds = share(replace(workload, method=arguments.method), arguments.rounds)
        print(f"{workload.name:12s} {100 * part:5.1f} %   {1e6 * seconds:8.1f} us a trajectory", flush=True)


if __name__ == "__main__":
    main()
