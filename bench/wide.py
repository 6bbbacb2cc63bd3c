"""Wide networks: the factored engine against a direct Runge-Kutta: ``python -m bench.wide``.

Both take the same fixed steps of Tsit5 from the same start, both estimate the error of every step (`bench.direct`).
Rounds are interleaved; what is given is medians of ratios, in CPU seconds for one thread.  CPU/wall tells how many
cores the factored engine had: with two threads the figures mean something only where it is near two.

What a step of the factored engine must read and write of the large layer, and how many multiply-adds it takes, is
counted.  Its best step is given as a share of the best rates at which the machine read memory, and multiplied, in the
same rounds; the greater one is the bound that holds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numba
import numpy as np
import threadpoolctl

import fastdln as dln
from bench.direct import Direct, shared
from bench.peak import CHAINS, LANES, fma_loop
from fastdln.engines.chunk import Results
from fastdln.engines.problem import Problem
from fastdln.engines.wide.layers import Factored, thin
from fastdln.engines.wide.trajectory import Trajectory
from fastdln.engines.wide.workers import Workers
from fastdln.integrate.tableaus import TSIT5
from fastdln.linalg import one_blas_thread

END = 10  # width of input and output
STEP = 0.01


def problem(width: int, depth: int = 3) -> tuple[dln.Quadratic, tuple[np.ndarray, ...]]:
    """A target with modes between 4 and 1, and a gaussian start."""
    network = dln.Network((END, *[width] * (depth - 1), END))
    loss = dln.Quadratic.from_singular_values(np.linspace(4.0, 1.0, END), shape=(END, END), rng=0)
    return loss, dln.inits.gaussian(network, 0.7, rng=0)


def seconds(call: Callable[[], object], threads: int) -> float:
    """Wall seconds of a call; of one thread CPU seconds, which neighbours on the same core do not touch."""
    clock = time.process_time if threads == 1 else time.perf_counter
    start = clock()
    call()
    return clock() - start


def multiply_rate(threads: int, rounds: int = 50_000) -> float:
    """Floating-point operations per second of nothing but multiply-adds, by the clock of `seconds`."""
    loop, lanes = fma_loop(LANES[-1]), LANES[-1]
    calls = [lambda: loop(rounds)] * threads
    return 2 * lanes * CHAINS * rounds * threads / seconds(lambda: shared(calls), threads)


@numba.njit(nogil=True, fastmath=True)
def _total(out, x):  # type: ignore[no-untyped-def]
    total = 0.0
    for p in range(len(x)):  # of a slice that begins at 0: an index that may be negative is not vectorised
        total += x[p]
    out[0] = total


def read_rate(numbers: np.ndarray, threads: int) -> float:
    """Bytes per second of a sum, the best of some."""
    pieces = np.array_split(numbers, threads)
    calls = [partial(_total, np.zeros(1), piece) for piece in pieces]
    return numbers.nbytes / min(seconds(lambda: shared(calls), threads) for _ in range(4))


def measure(width: int, threads: int, rounds: int, steps: int) -> None:
    """Print one line."""
    loss, start = problem(width)
    direct, numbers = Direct(loss, start, threads), np.concatenate([W.ravel() for W in start])

    found = []
    with Workers(threads) as workers:
        trajectory, results = factored(loss, numbers, direct.network, workers)
        with one_blas_thread():
            trajectory.begin()
            trajectory.step()
        direct.step(STEP)
        read_rate(numbers, threads)
        for _ in range(rounds):
            with threadpoolctl.threadpool_limits(threads):
                slow = seconds(lambda: [direct.step(STEP) for _ in range(steps)], threads) / steps
            cpu, wall = time.process_time(), time.perf_counter()
            with one_blas_thread():
                fast = seconds(lambda: [trajectory.step() for _ in range(steps)], threads) / steps
            cores = (time.process_time() - cpu) / (time.perf_counter() - wall)
            found.append((slow, fast, read_rate(numbers, threads), multiply_rate(threads), cores))
    change = np.abs(direct.state - numbers).max()
    error = np.abs(direct.state - results.final[0]).max() / change
    slow, fast, bandwidth, multiply, cores = np.array(found).T
    traffic, flops = step_cost(width)
    memory, arithmetic = traffic / bandwidth.max() / fast.min(), flops / multiply.max() / fast.min()
    print(
        f"N = {width:5d}, {threads} threads: {np.median(slow / fast):5.2f}x the direct method "
        f"({np.median(slow) * 1e3:.1f} and {np.median(fast) * 1e3:.1f} ms a step), "
        f"bandwidth {memory:.0%}, multiply-adds {arithmetic:.0%}, CPU/wall {np.median(cores):.2f}; "
        f"difference of the weights' change {error:.1e}",
        flush=True,
    )


def factored(
    loss: dln.Quadratic, start: np.ndarray, network: dln.Network, workers: Workers
) -> tuple[Trajectory, Results]:
    """The factored engine at the start."""
    problem = Problem(
        network=network, loss=loss, start=start[None], atol=np.full(1, 1e-9), rtol=1e-6, duration=1e9, direction=1.0,
        times=np.zeros(0), method=TSIT5, raw=(), learning=False, max_steps=10**6, step=STEP,
    )  # fmt: skip
    results = Results(problem, slice(0, 1))
    return Trajectory(problem, 0, results, workers), results


def step_cost(width: int) -> tuple[float, float]:
    """Bytes and floating-point operations that a step of Tsit5 takes on the large layer."""
    evaluations = TSIT5.stages - 1
    terms = END * sum(b != 0 for b in TSIT5.b)
    return 8 * width**2 * (evaluations + 2), 2 * width**2 * (evaluations * 2 * END + terms)


def deferred(width: int, k: int, rounds: int) -> None:
    """What a step costs when the updates of k steps wait and are done at once.

    A step's update has rank 60; while others wait, every product must be corrected by them.
    """
    rng, per_step = np.random.default_rng(0), TSIT5.stages - 1
    W, slopes = rng.standard_normal((width, width)) / width**0.5, per_step * k
    with Workers(1) as workers, one_blas_thread():
        layer = Factored(W, slopes, END, 1.0, 1e-6, 1e-9, True, workers)
        F, G = thin(END, width, np.float64), thin(END, width, np.float64)
        F[...], G[...] = rng.standard_normal((2, END, width)) * 1e-3
        layer.product(F, G)
        for l in range(slopes):
            layer.keep(l, F, G)

        def product(waiting: int) -> float:
            layer.at(np.ones(1 + per_step * waiting))
            return seconds(lambda: layer.product(F, G), 1)

        found = []
        for _ in range(rounds):
            update = seconds(lambda: layer.form(np.ones(1 + slopes), W), 1) / k
            # every product of a step; at most k - 1 others wait, on average half of them
            found.append((update, per_step * (product(k - 1) - product(0)) / 2))
    update, more = 1e3 * np.median(found, axis=0)
    print(f"N = {width:5d}, {k} steps at once: update {update:.1f} ms a step, products {more:.1f} ms more", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", nargs="+", type=int, default=[512, 1024, 2048])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--deferred", action="store_true", help="only what deferred updates would cost")
    arguments = parser.parse_args()
    for width in arguments.widths:
        if arguments.deferred:
            for k in (1, 2, 4):
                deferred(width, k, arguments.rounds)
        else:
            for threads in arguments.threads:
                measure(width, threads, arguments.rounds, arguments.steps)


if __name__ == "__main__":
    main()
