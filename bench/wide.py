"""Wide networks: the factored engine against a direct Runge-Kutta: ``python -m bench.wide``.

Both take the same fixed steps of Tsit5 from the same start, both estimate the error of every step. The direct one forms
every slope, in memory that is allocated once: products by BLAS, sums by compiled loops in one pass over memory, both on
as many threads as the factored engine has. Rounds are interleaved; what is given is medians of ratios.

What a step of the factored engine must read and write of the large layer, and how many multiply-adds it takes, is
counted.  Its best step is given as a share of the best rates at which the machine read memory, and multiplied, in the
same rounds; the greater one is the bound that holds.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable

import numba
import numpy as np
import threadpoolctl

import fastdln as dln
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


@numba.njit(nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def _combine(out, start, slopes, factors, first, last):  # type: ignore[no-untyped-def]
    for p in range(first, last):
        value = start[p]
        for j in range(len(factors)):
            value += factors[j] * slopes[j, p]
        out[p] = value


@numba.njit(nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def _error(y, z, slopes, factors, rtol, atol, first, last, out, i):  # type: ignore[no-untyped-def]
    total = 0.0
    for p in range(first, last):
        value = 0.0
        for j in range(len(factors)):
            value += factors[j] * slopes[j, p]
        value /= atol + rtol * max(abs(y[p]), abs(z[p]))
        total += value * value
    out[i] = total


@numba.njit(nogil=True, fastmath=True)
def _read(x, first, last, out, i):  # type: ignore[no-untyped-def]
    total = 0.0
    for p in range(first, last):
        total += x[p]
    out[i] = total


def shared(function: Callable[..., None], size: int, threads: int, *arguments: object, tail: bool = False) -> None:
    """Call a compiled loop on equal parts of an array, each in a thread."""
    edges, out = np.linspace(0, size, threads + 1).astype(int), np.zeros(threads)
    parts = [
        threading.Thread(target=function, args=(*arguments, edges[i], edges[i + 1], *((out, i) if tail else ())))
        for i in range(threads)
    ]
    for part in parts:
        part.start()
    for part in parts:
        part.join()


class Direct:
    """The direct method."""

    def __init__(self, loss: dln.Quadratic, start: tuple[np.ndarray, ...], threads: int) -> None:
        self.sigma, self.threads = loss.target, threads
        self.network = dln.Network((start[0].shape[1], *(W.shape[0] for W in start)))
        size = self.network.n_parameters
        self.state, self.next = self.network.pack(start), np.empty(size)
        self.slopes = np.empty((TSIT5.stages, size))
        self.rhs(self.state, self.slopes[0])

    def rhs(self, state: np.ndarray, out: np.ndarray) -> None:
        weights, slopes = self.network.unpack(state), self.network.unpack(out)
        products = [weights[0]]
        for W in weights[1:]:
            products.append(W @ products[-1])
        left = self.sigma - products[-1]
        for i in range(len(weights) - 1, 0, -1):
            np.matmul(left, products[i - 1].T, out=slopes[i])
            left = weights[i].T @ left
        slopes[0][...] = left

    def step(self, h: float) -> None:
        size = len(self.state)
        for s in range(1, TSIT5.stages):
            factors = h * np.array(TSIT5.rows[s])
            shared(_combine, size, self.threads, self.next, self.state, self.slopes, factors)
            self.rhs(self.next, self.slopes[s])
        factors = h * np.array(TSIT5.errors[0])
        shared(
            _error, size, self.threads, self.state, self.next, self.slopes, factors, 1e-6, 1e-9, tail=True
        )  # fmt: skip
        self.state, self.next = self.next, self.state
        self.slopes[0] = self.slopes[-1]


def seconds(call: Callable[[], object], threads: int) -> float:
    """Wall seconds of a call; of one thread CPU seconds, which neighbours on the same core do not touch."""
    clock = time.process_time if threads == 1 else time.perf_counter
    start = clock()
    call()
    return clock() - start


def multiply_rate(threads: int, rounds: int = 50_000) -> float:
    """Floating-point operations per second of nothing but multiply-adds, by the clock of `seconds`."""
    loop, lanes = fma_loop(LANES[-1]), LANES[-1]
    parts = [threading.Thread(target=loop, args=(rounds,)) for _ in range(threads)]

    def run() -> None:
        for part in parts:
            part.start()
        for part in parts:
            part.join()

    return 2 * lanes * CHAINS * rounds * threads / seconds(run, threads)


def measure(width: int, threads: int, rounds: int, steps: int) -> None:
    """Print one line."""
    loss, start = problem(width)
    direct, numbers = Direct(loss, start, threads), np.concatenate([W.ravel() for W in start])

    def read() -> None:
        shared(_read, len(numbers), threads, numbers, tail=True)

    found = []
    with Workers(threads) as workers:
        trajectory, results = factored(loss, numbers, direct.network, workers)
        with one_blas_thread():
            trajectory.begin()
            trajectory.step()
        direct.step(STEP)
        read()
        for _ in range(rounds):
            with threadpoolctl.threadpool_limits(threads):
                slow = seconds(lambda: [direct.step(STEP) for _ in range(steps)], threads) / steps
            with one_blas_thread():
                fast = seconds(lambda: [trajectory.step() for _ in range(steps)], threads) / steps
            reading = min(seconds(read, threads) for _ in range(3))
            found.append((slow, fast, numbers.nbytes / reading, multiply_rate(threads)))
    change = np.abs(direct.state - numbers).max()
    error = np.abs(direct.state - results.final[0]).max() / change
    slow, fast, bandwidth, multiply = np.array(found).T
    traffic, flops = step_cost(width)
    memory, arithmetic = traffic / bandwidth.max() / fast.min(), flops / multiply.max() / fast.min()
    print(
        f"N = {width:5d}, {threads} threads: {np.median(slow / fast):5.2f}x the direct method "
        f"({np.median(slow) * 1e3:.1f} and {np.median(fast) * 1e3:.1f} ms a step), "
        f"bandwidth {memory:.0%}, multiply-adds {arithmetic:.0%}; difference of the weights' change {error:.1e}",
        flush=True,
    )


def factored(
    loss: dln.Quadratic, start: np.ndarray, network: dln.Network, workers: Workers
) -> tuple[Trajectory, Results]:
    """The factored engine at the start."""
    problem = Problem(
        network=network, loss=loss, start=start[None], atol=np.full(1, 1e-9), rtol=1e-6, duration=1e9, direction=1.0,
        times=np.zeros(0), tableau=TSIT5, raw=(), learning=False, max_steps=10**6, step=STEP,
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
