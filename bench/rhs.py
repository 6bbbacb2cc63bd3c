"""The right-hand side's share of the machine's peak rate of multiply-adds: ``python -m bench.rhs [--lanes 4]``.

One thread evaluates the right-hand side of one block of networks again and again; rounds of it and of the peak loop
alternate, and medians of the ratio are printed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

import numba
import numpy as np

import fastdln as dln
from bench.peak import LANES, fma_rate
from fastdln.engines.arena import Arena
from fastdln.engines.lanes import executor
from fastdln.engines.problem import Problem
from fastdln.engines.recipe import recipe
from fastdln.integrate.tableaus import TSIT5
from fastdln.kernels.lanes import LANES_VARIABLE, lane_count
from fastdln.kernels.memory import peek, view
from fastdln.kernels.steps import slope

WIDTHS = (
    (4, 4, 4, 4),
    (8, 8, 8, 8),
    (16, 16, 16),
    (32, 32, 32),
    (3, 3, 3, 3),
    (5, 7, 3, 6),
    (7, 7, 7),
    (64, 32, 10),
)


@numba.njit(nogil=True)
def repeat(workspace, memory, control, times):  # type: ignore[no-untyped-def]
    w, arena, ctl = workspace[0], view(memory), view(control)
    for _ in range(times):
        slope(w, arena, ctl, w.state_at, peek(w.slopes_at, 0), False)


def block(widths: tuple[int, ...]) -> tuple[Arena, int]:
    """An arena with one block of networks of order one in it, and the flops of one right-hand side of the block."""
    network = dln.Network(widths)
    loss = dln.Quadratic(np.random.default_rng(0).standard_normal((widths[-1], widths[0])))
    start = np.zeros((1, network.n_parameters))
    problem = Problem(
        network=network, loss=loss, start=start, atol=np.ones(1), rtol=1e-6, duration=1.0, direction=1.0,
        times=np.zeros(0), method=TSIT5, raw=(), learning=False, max_steps=1,
    )  # fmt: skip
    plan = recipe(problem, executor(np.float64))
    arena = Arena(plan)
    arena.arena[:] = 0.3 * np.random.default_rng(1).standard_normal(arena.arena.size)
    return arena, plan.program.flops * plan.executor.lanes


def rate(arena: Arena, flops: int, seconds: float) -> float:
    times = max(3, int(seconds * 3e10 / flops))
    start = time.perf_counter()
    repeat(arena.workspace, arena.arena, arena.ctl, times)
    return flops * times / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--lanes", type=int, choices=(2, 4, 8))
    arguments = parser.parse_args()
    if arguments.lanes:
        os.environ[LANES_VARIABLE] = str(arguments.lanes)
    print(f"{lane_count()} lanes; share of the peak, median of {arguments.rounds} alternating rounds")
    for widths in WIDTHS:
        arena, flops = block(widths)
        rate(arena, flops, 0.001)
        shares, rates = [], []
        for _ in range(arguments.rounds):
            peak = max(fma_rate(n, seconds=0.03) for n in LANES)
            rates.append(rate(arena, flops, 0.05))
            shares.append(rates[-1] / peak)
        name = "-".join(map(str, widths))
        print(f"{name:12s} {100 * statistics.median(shares):5.1f} %   {statistics.median(rates) / 1e9:6.1f} GFLOP/s")


if __name__ == "__main__":
    main()
