"""Hessian-vector products against right-hand sides: ``python -m bench.hessian [--lanes 4]``.

One thread. The rate of the right-hand side is that of `bench.rhs`; rounds of it and of the Hessian-vector product
alternate, each counted by its own floating-point operations, and medians of the ratio of the rates are printed: for the
products alone, on one block of networks again and again, and for a batch that is read from and written to arrays.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numba
import numpy as np

import fastdln as dln
from bench.rhs import WIDTHS, block, rate
from fastdln.kernels.evaluate import Arena, run
from fastdln.kernels.lanes import LANES_VARIABLE, lane_count
from fastdln.kernels.tangent import hessian
from fastdln.kernels.vectors import invoke

FLOPS = 1e9  # of one measurement


@numba.njit(nogil=True)
def repeat(task, times):  # type: ignore[no-untyped-def]
    w = task[0]
    for _ in range(times):
        invoke(w.execute, w.bases, w.rows, w.count)


def products(widths: tuple[int, ...]) -> Callable[[], float]:
    """Measure the rate of the products alone."""
    plan, lanes = hessian(widths, False), lane_count()
    arena = Arena(plan, np.dtype(np.float64))
    arena._memory[:] = 0.1 * np.random.default_rng(1).standard_normal(arena._memory.size)
    times = int(FLOPS / (plan.flops * lanes))

    def measure() -> float:
        start = time.perf_counter()
        repeat(arena.task, times)
        return plan.flops * lanes * times / (time.perf_counter() - start)

    return measure


def batch(widths: tuple[int, ...]) -> Callable[[], float]:
    """Measure the rate on a batch of networks in arrays."""
    plan, net = hessian(widths, False), dln.Network(widths)
    n = int(FLOPS / plan.flops)
    rng = np.random.default_rng(0)
    weights, directions = (tuple(rng.standard_normal((n, *shape)) for shape in net.shapes) for _ in range(2))
    cross = rng.standard_normal((1, widths[-1], widths[0]))
    results = tuple(np.empty_like(W) for W in weights)

    def measure() -> float:
        start = time.perf_counter()
        run(plan, (*weights, *directions, cross), results, 1)
        return plan.flops * n / (time.perf_counter() - start)

    return measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--lanes", type=int, choices=(2, 4, 8))
    arguments = parser.parse_args()
    if arguments.lanes:
        os.environ[LANES_VARIABLE] = str(arguments.lanes)
    print(f"{lane_count()} lanes; rate over the right-hand side's, median of {arguments.rounds} alternating rounds")
    print("widths        flops  products alone  with reading and writing")
    for widths in WIDTHS:
        arena, flops = block(widths)
        sides = [lambda: rate(arena, flops, 0.05), products(widths), batch(widths)]  # noqa: B023
        rounds = [[side() for side in sides] for _ in range(arguments.rounds + 1)][1:]  # the first one warms up
        alone, whole = (statistics.median(r[i] / r[0] for r in rounds) for i in (1, 2))
        ratio = hessian(widths, False).flops * lane_count() / flops
        print(f"{'-'.join(map(str, widths)):12s} {ratio:5.2f}x  {100 * alone:8.0f} %  {100 * whole:12.0f} %")


if __name__ == "__main__":
    main()
