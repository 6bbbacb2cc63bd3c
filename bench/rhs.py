"""The right-hand side's share of the machine's peak rate of multiply-adds: ``python -m bench.rhs [--lanes 4]``.

One thread evaluates the right-hand side of one block of networks again and again, by the interpreter of programs and,
where large batches get it, by straight-line code; rounds of them and of the peak loop alternate, and medians of the
ratio are printed, by CPU time.
"""

from __future__ import annotations

import argparse
import os
import time

import numba
import numpy as np

import fastdln as dln
from bench.peak import peak
from fastdln.engines.arena import Arena
from fastdln.engines.lanes import executor
from fastdln.engines.problem import Problem
from fastdln.engines.recipe import STRAIGHT_FLOPS, STRAIGHT_FROM, recipe
from fastdln.integrate.tableaus import TSIT5
from fastdln.kernels.lanes import LANES_VARIABLE, lane_count
from fastdln.kernels.memory import peek, view
from fastdln.kernels.steps import slope

WIDTHS: tuple[tuple[int, ...], ...] = (
    (1, 1, 1),
    (2, 2, 2, 2),
    (4, 4, 4, 4),
    (8, 8, 8, 8),
    (16, 16, 16),
    (32, 32, 32),
    (3, 3, 3, 3),
    (5, 5, 5, 5),
    (5, 7, 3, 6),
    (7, 7, 7),
    (64, 32, 10),
)


@numba.njit(nogil=True)
def repeat(workspace, memory, control, times):  # type: ignore[no-untyped-def]
    w, arena, ctl = workspace[0], view(memory), view(control)
    for _ in range(times):
        slope(w, arena, ctl, w.state_at, peek(w.slopes_at, 0), False)


def block(widths: tuple[int, ...], trajectories: int = 1) -> tuple[Arena, int]:
    """An arena of such a batch, one block of networks of order one in it, and the flops of their right-hand side."""
    network = dln.Network(widths)
    loss = dln.Quadratic(np.random.default_rng(0).standard_normal((widths[-1], widths[0])))
    start = np.zeros((trajectories, network.n_parameters))
    problem = Problem(
        network=network, loss=loss, start=start, atol=np.ones(trajectories), rtol=1e-6, duration=1.0, direction=1.0,
        times=np.zeros(0), method=TSIT5, raw=(), learning=False, max_steps=1,
    )  # fmt: skip
    plan = recipe(problem, executor(np.float64))
    arena = Arena(plan)
    arena.arena[:] = 0.3 * np.random.default_rng(1).standard_normal(arena.arena.size)
    return arena, plan.program.flops * plan.executor.lanes


def rate(arena: Arena, flops: int, seconds: float) -> float:
    times = max(3, int(seconds * 3e10 / flops))
    start = time.process_time()
    repeat(arena.workspace, arena.arena, arena.ctl, times)
    return flops * times / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--lanes", type=int, choices=(2, 4, 8))
    arguments = parser.parse_args()
    if arguments.lanes:
        os.environ[LANES_VARIABLE] = str(arguments.lanes)
    print(f"{lane_count()} lanes; share of the peak, median of {arguments.rounds} alternating rounds")
    print(f"{'':12s}{'interpreter':>16s}{'straight-line':>16s}")
    for widths in WIDTHS:
        blocks = [block(widths)]
        if blocks[0][1] / lane_count() <= STRAIGHT_FLOPS:
            blocks.append(block(widths, STRAIGHT_FROM))
        shares = []
        for _ in range(arguments.rounds):
            most = peak(seconds=0.03, clock=time.process_time)
            shares.append([rate(*one, seconds=0.05) / most for one in blocks])
        cells = [f"{100 * share:6.1f} %" for share in np.median(shares, axis=0)]
        print(f"{'-'.join(map(str, widths)):12s}" + "".join(f"{cell:>16s}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
