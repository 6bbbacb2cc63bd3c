"""One block of networks in the lanes engine, and the rate of its right-hand side."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numba
import numpy as np

import fastdln as dln
from fastdln.engines.base import Options, Problem
from fastdln.engines.lockstep.arena import Arena
from fastdln.engines.lockstep.executors import lanes as executor
from fastdln.engines.lockstep.recipe import recipe
from fastdln.integrate.tableaus import TSIT5
from fastdln.kernels.lockstep.slopes import slope
from fastdln.kernels.machine.memory import peek


@numba.njit(nogil=True)
def repeat(workspace, times):  # type: ignore[no-untyped-def]
    w = workspace[0]
    for _ in range(times):
        slope(w, w.state_at, peek(w.slopes_at, 0))


def block(widths: tuple[int, ...], trajectories: int = 1) -> tuple[Arena, int]:
    """An arena of such a batch, one block of networks of order one in it, and the flops of their right-hand side."""
    network = dln.Network(widths)
    loss = dln.Quadratic(np.random.default_rng(0).standard_normal((widths[-1], widths[0])))
    start = np.zeros((trajectories, network.n_parameters))
    problem = Problem(
        network=network, loss=loss, options=Options(TSIT5, 1e-6, 1, ()), start=start, origin=start,
        atol=np.ones(trajectories), duration=1.0, direction=1.0, times=np.zeros(0), raw=(), learning=False,
        layer_sizes=tuple(map(math.prod, network.shapes)),
    )  # fmt: skip
    plan = recipe(problem, executor(np.float64))
    arena = Arena(plan)
    arena.arena[:] = 0.3 * np.random.default_rng(1).standard_normal(arena.arena.size)
    return arena, plan.program.flops * plan.executor.lanes


def rate(arena: Arena, flops: int, seconds: float, clock: Callable[[], float] = time.process_time) -> float:
    """Floating-point operations per second of about so many seconds of right-hand sides."""
    times = max(3, int(seconds * 3e10 / flops))
    start = clock()
    repeat(arena.workspace, times)
    return flops * times / (clock() - start)
