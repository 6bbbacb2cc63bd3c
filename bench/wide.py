"""Wide networks: the factored engine against a direct Runge-Kutta: ``python -m bench.wide``.

Both take the same fixed steps of Tsit5 from the same start, both estimate the error of every step (`bench.direct`).
They take turns in each round (`bench.rounds`); times are CPU seconds for one thread, else wall seconds.  CPU/wall tells
how many cores the factored engine had: with two threads figures mean something only near two.

What a step must read and write of the large layer, and how many multiply-adds it takes, is counted.  The roofline is
the time that these would take, each pass over the layer for itself, at the best rates at which the machine read memory
and multiplied in the same rounds; the best step is given as a share of it.

``--roofline``: the products with the large layer alone, one at a time and both in one pass, for every rank.
``--scaling``: what a second thread gains for one trajectory, for two, for the direct method and for the machine.
``--deferred``: what updates of several steps at once would save and cost; it comes to nothing.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Callable
from functools import partial

import numba
import numpy as np
import threadpoolctl

import fastdln as dln
from bench.direct import Direct, shared
from bench.peak import CHAINS, LANES, fma_loop
from bench.rounds import cell, keeper, middle, vectors
from fastdln.engines.base import Options, Problem, Results
from fastdln.engines.wide.factored import Factored
from fastdln.engines.wide.thin import thin
from fastdln.engines.wide.trajectory import Trajectory
from fastdln.engines.wide.workers import Workers
from fastdln.integrate.tableaus import TSIT5
from fastdln.linalg import one_blas_thread

STEP = 0.01
READ_BYTES = 1 << 28  # of one measurement, beside which the start of threads is nothing
SPIN_SECONDS = 0.2  # after which idle threads of BLAS, which keep a core busy while they wait for work, are asleep


def problem(width: int, rank: int) -> tuple[dln.Quadratic, tuple[np.ndarray, ...]]:
    """A target with modes between 4 and 1, and a gaussian start; ``rank`` is the width of input and output."""
    network = dln.Network((rank, width, width, rank))
    loss = dln.Quadratic.from_singular_values(np.linspace(4.0, 1.0, rank), shape=(rank, rank), rng=0)
    return loss, dln.inits.gaussian(network, 0.7, rng=0)


Clock = Callable[[], float]


def clock_of(threads: int) -> Clock:
    """Of one thread its CPU seconds, which neighbours touch least, and no idle thread of BLAS; else wall seconds."""
    return time.thread_time if threads == 1 else time.perf_counter


def seconds(call: Callable[[], object], clock: Clock) -> float:
    """How long a call takes."""
    start = clock()
    call()
    return clock() - start


def multiply_rate(threads: int, clock: Clock, rounds: int = 2_000_000) -> float:
    """Floating-point operations per second of nothing but multiply-adds."""
    lanes = LANES[-1]
    calls = [partial(fma_loop(lanes), rounds)] * threads
    return 2 * lanes * CHAINS * rounds * threads / seconds(lambda: shared(calls), clock)


@numba.njit(nogil=True, fastmath=True)
def _total(out, x, times):  # type: ignore[no-untyped-def]
    for i in range(times):
        total = float(i)
        for p in range(len(x)):  # of a slice that begins at 0: an index that may be negative is not vectorised
            total += x[p]
        out[0] += total


def read_rate(numbers: np.ndarray, threads: int, clock: Clock) -> float:
    """Bytes per second of a sum, the best of some."""
    pieces, times = np.array_split(numbers, threads), max(1, READ_BYTES // numbers.nbytes)
    calls = [partial(_total, np.zeros(1), piece, times) for piece in pieces]
    return times * numbers.nbytes / min(seconds(lambda: shared(calls), clock) for _ in range(4))


def measure(width: int, rank: int, threads: int, rounds: int, steps: int) -> None:
    """Print one line."""
    clock, (loss, start) = clock_of(threads), problem(width, rank)
    direct, numbers = Direct(loss, start, threads), np.concatenate([W.ravel() for W in start])

    with Workers(threads) as workers:
        trajectory, results = factored(loss, numbers, direct.network, workers)
        with one_blas_thread():
            trajectory.begin()
            trajectory.step()
        direct.step(STEP)
        read_rate(numbers, threads, clock)

        def once() -> tuple[float, ...]:
            with threadpoolctl.threadpool_limits(threads):
                slow = seconds(lambda: [direct.step(STEP) for _ in range(steps)], clock) / steps
            with one_blas_thread():
                time.sleep(SPIN_SECONDS)
                cpu, wall = time.process_time(), time.perf_counter()
                fast = seconds(lambda: [trajectory.step() for _ in range(steps)], clock) / steps
                cores = (time.process_time() - cpu) / (time.perf_counter() - wall)
            time.sleep(SPIN_SECONDS)
            return slow, fast, read_rate(numbers, threads, clock), multiply_rate(threads, clock), cores

        found = keeper(clock).keep(once, rounds, f"N = {width}, rank {rank}, {threads} threads")
    change = np.abs(direct.state - numbers).max()
    error = np.abs(direct.state - results.final[0]).max() / change
    slow, fast, bandwidth, multiply, cores = np.array(found.rows).T
    best = step_seconds(width, rank, bandwidth.max(), multiply.max())
    print(
        f"N = {width:5d}, rank {rank:2d}, {threads} threads: {cell(slow / fast)}x the direct method "
        f"({np.median(slow) * 1e3:.1f} and {np.median(fast) * 1e3:.1f} ms a step), roofline {best / fast.min():.0%}, "
        f"CPU/wall {np.median(cores):.2f}; difference of the weights' change {error:.1e}; {found}",
        flush=True,
    )


def step_seconds(width: int, rank: int, bandwidth: float, multiply: float) -> float:
    """What a step of Tsit5 takes at these rates on the large layer: passes of both products, and one that updates."""
    evaluations, terms = TSIT5.stages - 1, rank * sum(b != 0 for b in TSIT5.b)
    read, twice = 8 * width**2 / bandwidth, 2 * width**2 / multiply
    return evaluations * max(read, twice * 2 * rank) + max(2 * read, twice * terms)


def roofline(width: int, rank: int, threads: int, rounds: int) -> None:
    """Print one line: rates of W F, of W' G and of both, and their shares of what the machine can."""
    clock, (loss, start) = clock_of(threads), problem(width, rank)
    numbers, network = np.concatenate([W.ravel() for W in start]), dln.Network((rank, width, width, rank))
    repeats = max(1, 2**22 // width**2)
    with Workers(threads) as workers, one_blas_thread():
        trajectory, _ = factored(loss, numbers, network, workers)
        layer = trajectory._field.layers[1]
        F, G = thin(rank, width, np.float64), thin(rank, width, np.float64)
        F[...], G[...] = np.random.default_rng(0).standard_normal((2, rank, width))
        sides = {"W F": (F, None), "W' G": (None, G), "both": (F, G)}

        def repeated(side: tuple[np.ndarray | None, ...]) -> float:
            return seconds(lambda: [layer.product(*side) for _ in range(repeats)], clock) / repeats

        def once() -> tuple[float, ...]:
            machine = read_rate(numbers, threads, clock), multiply_rate(threads, clock)
            return *machine, *(repeated(side) for side in sides.values())

        once()  # compiles
        kept = keeper(clock).keep(once, rounds, f"N = {width}, rank {rank}, {threads} threads")
    bandwidth, multiply, *times = np.array(kept.rows).T
    parts = []
    for name, found in zip(sides, times, strict=True):
        traffic, flops = 8 * width**2, 2 * width**2 * rank * (2 if name == "both" else 1)
        shares = {"memory": 100 * traffic / bandwidth / found, "multiply-adds": 100 * flops / multiply / found}
        bound = max(shares, key=lambda kind: middle(shares[kind]))
        rates = f"{middle(traffic / found / 1e9)[0]:5.1f} GB/s {middle(flops / found / 1e9)[0]:5.1f} GF/s"
        parts.append(f"{name} {rates} {cell(shares[bound], '.0f', ' %')} ({bound})")
    print(
        f"N = {width:5d}, rank {rank:2d}, {threads} threads; machine {middle(bandwidth / 1e9)[0]:5.1f} GB/s "
        f"{middle(multiply / 1e9)[0]:5.1f} GF/s; {'; '.join(parts)}; {kept}",
        flush=True,
    )


def scaling(width: int, rank: int, rounds: int, steps: int) -> None:
    """Print one line: how much faster two threads are than one, in wall seconds."""
    loss, start = problem(width, rank)
    numbers, network = np.concatenate([W.ravel() for W in start]), dln.Network((rank, width, width, rank))
    wall = time.perf_counter
    batch = tuple(np.stack([W, W]) for W in start)
    flow = partial(
        dln.flow, batch, loss, (0.0, STEP * steps), [], step=STEP, record=(), engine="wide", max_steps=steps
    )  # fmt: skip
    with Workers(1) as one, Workers(2) as two:
        trajectories = {t: factored(loss, numbers, network, w)[0] for t, w in ((1, one), (2, two))}
        directs = {t: Direct(loss, start, t) for t in (1, 2)}
        with one_blas_thread():
            for trajectory in trajectories.values():
                trajectory.begin()
                trajectory.step()

        def spent(t: int) -> dict[str, float]:
            with one_blas_thread():
                time.sleep(SPIN_SECONDS)
                found = {
                    "one trajectory": seconds(lambda: [trajectories[t].step() for _ in range(steps)], wall),
                    "two trajectories": seconds(partial(flow, threads=t), wall),
                    "reading": 1 / read_rate(numbers, t, wall),
                    "multiply-adds": 1 / multiply_rate(t, wall),
                }
            with threadpoolctl.threadpool_limits(t):
                direct = seconds(lambda: [directs[t].step(STEP) for _ in range(steps)], wall)
            time.sleep(SPIN_SECONDS)
            return found | {"direct": direct}

        kept = keeper(wall).keep(lambda: (spent(1), spent(2)), rounds, f"N = {width}, rank {rank}")
    gains = ", ".join(f"{name} {cell(one[name] / two[name] for one, two in kept.rows)}" for name in kept.rows[0][0])
    ratio = cell(two["direct"] / two["one trajectory"] for _, two in kept.rows)
    print(f"N = {width:5d}, rank {rank:2d}: {gains}; {ratio}x the direct method with two threads; {kept}", flush=True)


def factored(
    loss: dln.Quadratic, start: np.ndarray, network: dln.Network, workers: Workers
) -> tuple[Trajectory, Results]:
    """The factored engine at the start."""
    problem = Problem(
        network=network, loss=loss, options=Options(TSIT5, 1e-6, 10**6, (), step=STEP), start=start[None],
        origin=start[None], atol=np.full(1, 1e-9), duration=1e9, direction=1.0, times=np.zeros(0), raw=(),
        learning=False, layer_sizes=tuple(map(math.prod, network.shapes)),
    )  # fmt: skip
    results = Results(problem, slice(0, 1))
    return Trajectory(problem, 0, results, workers), results


def deferred(width: int, rank: int, k: int, rounds: int) -> None:
    """What a step costs when the updates of k steps wait and are done at once.

    A step's update has rank 6 r; while others wait, every product must be corrected by them.
    """
    rng, per_step = np.random.default_rng(0), TSIT5.stages - 1
    slopes, W = per_step * k, thin(1, width**2, np.float64)[0].reshape(width, width)  # as in the engine, aligned
    W[...] = rng.standard_normal((width, width)) / width**0.5
    with Workers(1) as workers, one_blas_thread():
        layer = Factored(W, slopes, rank, 1.0, 1e-6, 1e-9, True, workers)
        F, G = thin(rank, width, np.float64), thin(rank, width, np.float64)
        F[...], G[...] = rng.standard_normal((2, rank, width)) * 1e-3
        layer.product(F, G)
        for l in range(slopes):
            layer.keep(l, F, G)

        def product(waiting: int) -> float:
            layer.at(np.ones(1 + per_step * waiting))
            return seconds(lambda: layer.product(F, G), time.thread_time)

        def once() -> tuple[float, float]:
            update = seconds(lambda: layer.form(np.ones(1 + slopes), W), time.thread_time) / k
            # every product of a step; at most k - 1 others wait, on average half of them
            return 1e3 * update, 1e3 * per_step * (product(k - 1) - product(0)) / 2

        kept = keeper(time.thread_time).keep(once, rounds, f"N = {width}, {k} steps at once")
    update, more = (cell(values, ".1f") for values in np.transpose(kept.rows))
    print(f"N = {width:5d}, {k} steps at once: update {update} ms a step, products {more} ms more; {kept}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", nargs="+", type=int, default=[512, 1024, 2048])
    parser.add_argument("--ranks", nargs="+", type=int, help="default: 10, with --roofline 2, 4, 10 and 16")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    for name in ("roofline", "scaling", "deferred"):
        parser.add_argument(f"--{name}", action="store_true")
    arguments = parser.parse_args()
    print(f"{vectors()}; medians and spreads of {arguments.rounds} rounds")
    ranks = arguments.ranks or ([2, 4, 10, 16] if arguments.roofline else [10])
    for width, rank in itertools.product(arguments.widths, ranks):
        if arguments.deferred:
            for k in (1, 2, 4):
                deferred(width, rank, k, arguments.rounds)
        elif arguments.scaling:
            scaling(width, rank, arguments.rounds, arguments.steps)
        else:
            for threads in arguments.threads:
                if arguments.roofline:
                    roofline(width, rank, threads, arguments.rounds)
                else:
                    measure(width, rank, threads, arguments.rounds, arguments.steps)


if __name__ == "__main__":
    main()
