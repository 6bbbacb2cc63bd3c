"""The right-hand side's share of the machine's peak rate of multiply-adds: ``python -m bench.rhs [--lanes 4]``.

One thread evaluates the right-hand side of one block of networks again and again, by the interpreter of programs and,
where large batches get it, by straight-line code; the peak loop takes its turn in each round (`bench.rounds`), and the
ratio of the rates is printed, by CPU time.
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np

from bench.blocks import block, rate
from bench.peak import peak
from bench.rounds import cell, keeper, vectors
from fastdln.engines.lockstep.arena import Arena
from fastdln.engines.lockstep.recipe import STRAIGHT_FLOPS, STRAIGHT_FROM
from fastdln.kernels.machine.lanes import LANES_VARIABLE, lane_count

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--lanes", type=int, choices=(2, 4, 8))
    arguments = parser.parse_args()
    if arguments.lanes:
        os.environ[LANES_VARIABLE] = str(arguments.lanes)
    print(f"{vectors()}; shares of the peak, medians and spreads of {arguments.rounds} rounds")
    print(f"{'':12s}{'interpreter':>16s}{'straight-line':>16s}")
    for widths in WIDTHS:
        name = "-".join(map(str, widths))
        blocks = [block(widths)]
        if blocks[0][1] / lane_count() <= STRAIGHT_FLOPS:
            blocks.append(block(widths, STRAIGHT_FROM))

        def measure(blocks: list[tuple[Arena, int]] = blocks) -> list[float]:
            most = peak(seconds=0.03, clock=time.process_time)
            return [100 * rate(*one, seconds=0.05) / most for one in blocks]

        measure()  # compiles
        found = keeper().keep(measure, arguments.rounds, name)
        cells = [cell(shares, ".1f", " %") for shares in np.transpose(found.rows)]
        print(f"{name:12s}" + "".join(f"{share:>16s}" for share in (*cells, "")[:2]) + f"   {found}", flush=True)


if __name__ == "__main__":
    main()
