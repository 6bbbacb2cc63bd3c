"""Hessian-vector products against right-hand sides: ``python -m bench.hessian [--lanes 4]``.

One thread. The right-hand side, as `bench.rhs` measures it, and Hessian-vector products take turns in each round
(`bench.rounds`), each counted by its own floating-point operations, and the ratio of the rates is printed: for the
products alone, on one block of networks again and again; with reading weights and directions from arrays and writing
the result, where these fit the second-level cache; and the same from memory, whose bandwidth then decides.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import numba
import numpy as np

import fastdln as dln
from bench.blocks import block, rate
from bench.rhs import WIDTHS
from bench.rounds import cell, keeper, vectors
from fastdln.engines.lockstep.arena import Arena
from fastdln.evaluation import Block
from fastdln.kernels.lockstep import blocks
from fastdln.kernels.machine.lanes import LANES_VARIABLE, lane_count
from fastdln.kernels.machine.library import invoke
from fastdln.kernels.products.tangent import Evaluation, hessian

CACHED, IN_MEMORY = 1 << 18, 1 << 26  # bytes of weights, directions and results


@numba.njit(nogil=True)
def repeat_products(task, n, times):  # type: ignore[no-untyped-def]
    w = task[0]
    for _ in range(times):
        for _ in range(0, n, w.lanes):
            invoke(w.execute, w.bases, w.rows, w.count)


@numba.njit(nogil=True)
def repeat_all(task, n, times):  # type: ignore[no-untyped-def]
    for _ in range(times):
        blocks.products(task, 0, n)


def connected(plan: Evaluation, net: dln.Network, n: int) -> tuple[Block, tuple[np.ndarray, ...]]:
    """A block with a batch of n networks, and the arrays, which must be kept."""
    rng = np.random.default_rng(0)
    inputs = [0.3 * rng.standard_normal((n, *shape)) for _ in range(2) for shape in net.shapes]
    inputs.append(rng.standard_normal((1, net.widths[-1], net.widths[0])))
    results = [np.empty((n, *shape)) for shape in net.shapes]
    memory = Block(plan, np.dtype(np.float64))
    places = (*plan.weights, *plan.directions, *plan.constants.values())
    memory.connect(list(zip(places, inputs, strict=True)), list(zip(plan.results, results, strict=True)))
    return memory, (*inputs, *results)


def side(widths: tuple[int, ...], size: int, loop: Callable[..., None], seconds: float = 0.05) -> Callable[[], float]:
    """A measurement of the rate of a loop over a batch of ``size`` bytes."""
    plan, net = hessian(widths, False), dln.Network(widths)
    n = -(-size // (24 * net.n_parameters * lane_count())) * lane_count()
    memory, arrays = connected(plan, net, n)
    blocks.products(memory.task, 0, n)

    def measure(kept: tuple[np.ndarray, ...] = arrays) -> float:
        times = max(1, int(seconds * 2e10 / (plan.flops * n)))
        start = time.process_time()
        loop(memory.task, n, times)
        return plan.flops * n * times / (time.process_time() - start)

    return measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--lanes", type=int, choices=(2, 4, 8))
    arguments = parser.parse_args()
    if arguments.lanes:
        os.environ[LANES_VARIABLE] = str(arguments.lanes)
    print(f"{vectors()}; rates over the right-hand side's, medians and spreads of {arguments.rounds} rounds")
    print("widths        flops  products alone  from and to the cache  from and to memory")
    for widths in WIDTHS:
        arena, flops = block(widths)
        sides = [
            side(widths, CACHED, repeat_products), side(widths, CACHED, repeat_all), side(widths, IN_MEMORY, repeat_all)
        ]  # fmt: skip

        def measure(arena: Arena = arena, flops: int = flops, sides: list[Callable[[], float]] = sides) -> list[float]:
            base = rate(arena, flops, 0.05)
            return [100 * side() / base for side in sides]

        measure()  # warms up
        name = "-".join(map(str, widths))
        found = keeper().keep(measure, arguments.rounds, name)
        cost = hessian(widths, False).flops * lane_count() / flops
        shares = [cell(shares, ".0f", " %") for shares in np.transpose(found.rows)]
        print(f"{name:12s} {cost:5.2f}x", *(f"{share:>14s}" for share in shares), f"  {found}", flush=True)


if __name__ == "__main__":
    main()
