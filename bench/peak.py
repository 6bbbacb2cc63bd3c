"""The rate of fused multiply-adds that this machine reaches: what other rates are a share of.

``python -m bench.peak`` prints it. The loop keeps twelve independent chains of vector multiply-adds in
registers: enough to hide a latency of four to five cycles at two a cycle, few enough that sixteen registers
hold them. It is emitted as LLVM code, since whether a written-out loop is vectorised depends on the compiler.
"""

from __future__ import annotations

import argparse
import functools
import threading
import time
from collections.abc import Callable

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from bench.rounds import cell, keeper

CHAINS = 12
LANES = (4, 8)  # 256-bit and 512-bit vectors of doubles; the machine's peak is the better of the two


@functools.cache
def fma_loop(lanes: int) -> Callable[[int], float]:
    """Compiled ``loop(rounds)``: ``rounds`` times one multiply-add of ``lanes`` doubles in each chain."""

    @intrinsic
    def chains(typing_context, rounds):  # type: ignore[no-untyped-def]
        def emit(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            vector = ir.VectorType(ir.DoubleType(), lanes)
            fma = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{lanes}f64"
            )
            factor = ir.Constant(vector, [0.999] * lanes)
            shift = ir.Constant(vector, [0.001] * lanes)
            sums = [
                # Each chain has its own start, or the compiler would merge them into one; none starts at the
                # fixed point 1, or the compiler would drop it.
                cgutils.alloca_once_value(builder, ir.Constant(vector, [2.0 + i] * lanes))
                for i in range(CHAINS)
            ]
            with cgutils.for_range(builder, arguments[0]):
                for place in sums:
                    builder.store(builder.call(fma, [builder.load(place), factor, shift]), place)
            total = builder.load(sums[0])
            for place in sums[1:]:
                total = builder.fadd(total, builder.load(place))
            return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))

        return types.float64(types.intp), emit

    @numba.njit(nogil=True)
    def loop(rounds):  # type: ignore[no-untyped-def]
        return chains(rounds)

    loop(1)
    return loop


def fma_rate(
    lanes: int, threads: int = 1, seconds: float = 0.2, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Floating-point operations per second, two a multiply-add, of ``threads`` such loops at once.

    With ``time.process_time`` for a clock they are per second of CPU time.
    """
    loop = fma_loop(lanes)
    rounds = 100_000
    while (elapsed := _wall(loop, rounds)) < 0.01:
        rounds *= 4
    rounds = int(rounds * seconds / elapsed)

    workers = [threading.Thread(target=loop, args=(rounds,)) for _ in range(threads)]
    start = clock()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return 2.0 * lanes * CHAINS * rounds * threads / (clock() - start)


def peak(threads: int = 1, seconds: float = 0.2, clock: Callable[[], float] = time.perf_counter) -> float:
    """The better of the rates with 256-bit and 512-bit vectors, in floating-point operations per second."""
    return max(fma_rate(lanes, threads, seconds, clock) for lanes in LANES)


def _wall(loop: Callable[[int], float], rounds: int) -> float:
    start = time.perf_counter()
    loop(rounds)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    found = keeper(time.perf_counter).keep(
        lambda: [fma_rate(lanes, arguments.threads) / 1e9 for lanes in LANES], arguments.rounds, "multiply-adds"
    )
    for lanes, rates in zip(LANES, np.transpose(found.rows), strict=True):
        print(f"{lanes} lanes, {arguments.threads} threads: {cell(rates, '.1f')} GFLOP/s   {found}")


if __name__ == "__main__":
    main()
