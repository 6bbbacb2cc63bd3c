"""Medium networks: shares of the peak rate of multiply-adds: ``python -m bench.dense [widths ...]``.

For each network and number of threads, as shares of what as many threads reach with nothing but multiply-adds: the
products of the right-hand side by BLAS, one after the other, as a yardstick; the right-hand side as the engine has it;
and whole calls of ``flow``, of which the products of the right-hand sides are counted and nothing else.  All of them
take turns in each round (`bench.rounds`), and the ratios are printed: by the wall clock, and in brackets by the CPU
time of all threads, which neighbours on the machine touch less.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
from scipy.linalg.blas import dgemm

from bench.blocks import block, repeat
from bench.peak import CHAINS, LANES, fma_loop
from bench.rounds import cell, keeper, middle, vectors
from bench.workloads import Workload
from fastdln.engines.lockstep.executors import dense as executor
from fastdln.kernels.products.program import program
from fastdln.kernels.products.rows import NT, TN
from fastdln.linalg import one_blas_thread

WIDTHS = ("64-64-64", "128-128-128", "128-128-128-128", "256-256-256", "64-128-128-10", "8-256-256-8")
METHODS = ("tsit5", "dop853")
NOMINAL = 4e10  # operations per second by which the lengths of rounds are chosen


def together(calls: Sequence[Callable[[], object]]) -> None:
    """Make calls, each in a thread of its own."""
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Peak:
    """Nothing but multiply-adds."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def run(self, lanes: int, seconds: float) -> float:
        """Work for about so many seconds; returns the floating-point operations of all threads."""
        rounds = int(seconds * NOMINAL / (2 * lanes * CHAINS))
        together([lambda: fma_loop(lanes)(rounds)] * self.threads)
        return 2.0 * lanes * CHAINS * rounds * self.threads

    def rates(self) -> np.ndarray:
        """Operations per second of wall time and of CPU time, the better of all vectors."""
        return np.max([rates(lambda n=n: self.run(n, 0.03)) for n in LANES], axis=0)


class RightHandSides:
    """Right-hand sides of one network in each thread."""

    def __init__(self, widths: tuple[int, ...], threads: int) -> None:
        blocks = [block(widths, executor=executor(np.float64), scale=0.1) for _ in range(threads)]
        self.arenas, self.flops = [arena for arena, _ in blocks], blocks[0][1]

    def run(self, seconds: float) -> float:
        """Work for about so many seconds; returns the floating-point operations of all threads."""
        times = max(2, int(seconds * NOMINAL / self.flops))
        together([lambda a=a: repeat(a, times) for a in self.arenas])
        return self.flops * times * len(self.arenas)


class Products:
    """The products of a right-hand side by BLAS, one after the other, each again and again."""

    def __init__(self, widths: tuple[int, ...], threads: int) -> None:
        self.threads, self.products = threads, []
        for form, m, n, k in ((p.form, p.m, p.n, p.k) for p in program(widths).rhs):
            shapes = (m, k) if form != TN else (k, m), (k, n) if form != NT else (n, k), (m, n)
            self.products.append((form, 2 * m * n * k, [np.ones(shape, order="F") for shape in shapes]))
        self.flops = sum(flops for _, flops, _ in self.products)

    def run(self, seconds: float) -> float:
        """Work for about so many seconds; returns the floating-point operations of all threads."""
        times = max(2, int(seconds * NOMINAL / self.flops))
        with one_blas_thread():
            together([lambda: self._work(times)] * self.threads)
        return self.flops * times * self.threads

    def _work(self, times: int) -> None:
        for form, _, (a, b, c) in self.products:
            out = c.copy(order="F")
            for _ in range(times):
                dgemm(1.0, a, b, c=out, trans_a=form == TN, trans_b=form == NT, overwrite_c=1)


class Flow:
    """Calls of ``flow`` on a batch, with 64 records of the loss."""

    def __init__(self, widths: tuple[int, ...], method: str, threads: int) -> None:
        self.flops, self.threads = program(widths).flops, threads
        self.workload = Workload(widths, 1, scale=0.5, method=method)
        self.loss = self.workload.loss()
        self.evaluations = int(self.workload.run(self.workload.starts(), self.loss, engine="dense").n_rhs[0])

    def run(self, seconds: float) -> float:
        """Work for about so many seconds; returns the floating-point operations of all right-hand sides."""
        size = self.threads * max(3, round(seconds * NOMINAL / (self.flops * self.evaluations)))
        starts = self.workload.starts(size)
        found = self.workload.run(starts, self.loss, threads=self.threads, engine="dense")
        return float(self.flops * found.n_rhs.sum())


def rates(run: Callable[[], float]) -> np.ndarray:
    """Operations per second of wall time and of CPU time."""
    wall, cpu = time.perf_counter(), time.process_time()
    flops = run()
    return flops / np.array([time.perf_counter() - wall, time.process_time() - cpu])


def measure(widths: tuple[int, ...], threads: int, rounds: int, seconds: float) -> None:
    """Print one line."""
    peak, flows = Peak(threads), [Flow(widths, method, threads) for method in METHODS]
    made = [Products(widths, threads), RightHandSides(widths, threads), *flows]
    for one in (*made[:2], peak):
        one.rates() if one is peak else one.run(0.01)

    def measured() -> list[np.ndarray]:
        row = []
        for one, length in zip(made, [seconds / 4] * 2 + [seconds] * len(flows), strict=True):
            most = peak.rates()
            found = rates(lambda one=one, length=length: one.run(length))
            row.append(100 * found / most)
        return row

    names, title = ("BLAS", "right-hand side", *METHODS), "-".join(map(str, widths))
    kept = keeper().keep(measured, rounds, f"{title}, {threads} threads")
    shares = np.moveaxis(np.array(kept.rows), 0, -1)
    cells = [
        f"{name} {cell(wall, '.1f', ' %')} ({middle(cpu)[0]:.1f} %)"
        for name, (wall, cpu) in zip(names, shares, strict=True)
    ]
    print(f"{title:16s} {threads} threads: {', '.join(cells)}; {kept}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("widths", nargs="*", default=WIDTHS)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.4, help="of a call of flow")
    arguments = parser.parse_args()
    print(f"{vectors()}; shares of the peak, medians and spreads of {arguments.rounds} rounds")
    for name in arguments.widths:
        for threads in arguments.threads:
            measure(tuple(map(int, name.split("-"))), threads, arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
