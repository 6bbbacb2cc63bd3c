"""What the lanes engine makes of the machine: ``python -m bench.lanes [--single]``.

One thread integrates a batch; the flops of its right-hand sides over its CPU seconds, as a share of the machine's peak
rate of multiply-adds.  The peak loop takes its turn in each round (`bench.rounds`).  Stages, error estimates, records
of the loss and the control of steps count as time, not as flops: per weight and step Tsit5 has 28 multiply-adds of its
own, and 31 vectors to move between the first two levels of cache.  With ``--single``: how much faster single precision
is, at rtol 1e-4.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace

import numpy as np

import fastdln as dln
from bench.peak import peak
from bench.rounds import cell, keeper, vectors
from bench.workloads import Workload
from fastdln.kernels.machine.lanes import LANES_VARIABLE
from fastdln.kernels.products.program import program

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


def seconds(workload: Workload, starts: tuple[np.ndarray, ...], loss: dln.Quadratic) -> tuple[float, float]:
    """CPU seconds of a batch, and the number of its right-hand sides."""
    start = time.process_time()
    sol = workload.run(starts, loss, engine="lanes")
    return time.process_time() - start, float(sol.n_rhs.sum())


def gain_of_single(workload: Workload, rounds: int) -> str:
    """How many times faster single precision is."""
    loss, starts = workload.loss(), workload.starts()
    kinds = [tuple(W.astype(dtype) for W in starts) for dtype in ("float64", "float32")]

    def measure() -> float:
        double, single = (seconds(workload, kind, loss)[0] for kind in kinds)
        return double / single

    measure()  # compiles
    found = keeper().keep(measure, rounds, workload.name)
    return f"single precision {cell(found.rows)} times as fast   {found}"


def share(workload: Workload, rounds: int) -> str:
    """The share of the peak, and the time of a trajectory."""
    loss, starts = workload.loss(), workload.starts()
    flops = program(workload.widths).flops
    workload.run(tuple(W[:1] for W in starts), loss, engine="lanes")  # compiles

    def measure() -> tuple[float, float]:
        most = peak(seconds=0.03, clock=time.process_time)
        time_of_all, evaluations = seconds(workload, starts, loss)
        return 100 * flops * evaluations / time_of_all / most, 1e6 * time_of_all / workload.trajectories

    found = keeper().keep(measure, rounds, workload.name)
    shares, times = zip(*found.rows, strict=True)
    return f"{cell(shares, '.1f', ' %'):>12s}  {cell(times, '.1f'):>15s} us a trajectory   {found}"


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
    print(f"{vectors()}; shares of the peak end to end, medians and spreads of {arguments.rounds} rounds")
    for workload in WORKLOADS:
        if arguments.widths and workload.name not in arguments.widths:
            continue
        if arguments.single:
            line = gain_of_single(replace(workload, rtol=1e-4), arguments.rounds)
        else:
            line = share(replace(workload, method=arguments.method), arguments.rounds)
        print(f"{workload.name:12s} {line}", flush=True)


if __name__ == "__main__":
    main()
