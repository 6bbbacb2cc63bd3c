"""One block of networks as the engines have it, and the rate of its right-hand side."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numba
import numpy as np

import fastdln as dln
from fastdln.engines.base import Options, Problem
from fastdln.engines.lockstep.arena import Arena
from fastdln.engines.lockstep.executors import Executor, lanes
from fastdln.engines.lockstep.methods import lay_out
from fastdln.engines.lockstep.recipe import plan, recipe
from fastdln.integrate.tableaus import TSIT5
from fastdln.kernels.lockstep.places import slope_at
from fastdln.kernels.lockstep.slopes import slope
from fastdln.kernels.lockstep.workspace import workspace_at


@numba.njit(nogil=True)
def _repeat(workspace, times):  # type: ignore[no-untyped-def]
    w = workspace_at(workspace)
    for _ in range(times):
        slope(w, w.at.state, slope_at(w, 0))


def repeat(arena: Arena, times: int) -> None:
    """Evaluate the right-hand side of an arena again and again."""
    _repeat(arena.workspace.ctypes.data, times)


def block(
    widths: tuple[int, ...], trajectories: int = 1, executor: Executor | None = None, scale: float = 0.3
) -> tuple[Arena, int]:
    """An arena of such a batch, numbers of some scale in all of it, and the flops of its right-hand side."""
    network = dln.Network(widths)
    loss = dln.Quadratic(np.random.default_rng(0).standard_normal((widths[-1], widths[0])))
    start = np.zeros((trajectories, network.n_parameters))
    problem = Problem(
        network=network, loss=loss, options=Options(TSIT5, 1e-6, 1, ()), start=start, origin=start,
        atol=np.ones(trajectories), duration=1.0, direction=1.0, times=np.zeros(0), raw=(), learning=False,
        layer_sizes=tuple(map(math.prod, network.shapes)),
    )  # fmt: skip
    planned = plan(problem, executor or lanes(np.float64))
    arena = Arena(recipe(planned), problem, lay_out(TSIT5, 1e-6, planned.dtype, True, leaves=False))
    arena.arena[:] = scale * np.random.default_rng(1).standard_normal(arena.arena.size)
    return arena, planned.program.flops * planned.executor.lanes


def rate(arena: Arena, flops: int, seconds: float, clock: Callable[[], float] = time.process_time) -> float:
    """Floating-point operations per second of about so many seconds of right-hand sides."""
    times = max(3, int(seconds * 3e10 / flops))
    start = clock()
    repeat(arena, times)
    return flops * times / (clock() - start)
