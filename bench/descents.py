"""Gradient descent beside other ways to do it, in one interleaved run: ``python -m bench.descents [--rounds 9]``.

In every round (`bench.rounds`) each program does the same updates to the same batch once; what is compared is updates
times networks per second of CPU time, and all end in the same weights.  Beside that stands the share of the machine's
peak rate of multiply-adds that the products of fastdln's updates reach, with that of bare right-hand sides in the same
rounds.  Programs whose packages are not installed are left out.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import fastdln as dln
from bench.blocks import block, rate
from bench.peak import peak
from bench.rounds import cell, keeper, vectors
from bench.solvers.descents import DESCENTS, Descend, Descent
from fastdln.engines.lockstep.recipe import STRAIGHT_FROM

SCALE, LEARNING_RATE = 0.3, 0.01


def seconds(descend: Descend, states: np.ndarray) -> float:
    """CPU time of a run, of all threads."""
    began = time.process_time()
    descend(states)
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", default="8-8-8-8")
    parser.add_argument("--networks", type=int, default=1000)
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", nargs="+", choices=DESCENTS, default=list(DESCENTS))
    options = parser.parse_args()
    widths = tuple(map(int, options.widths.split("-")))
    sigma = np.random.default_rng(0).standard_normal((widths[-1], widths[0]))
    task = Descent(widths, sigma, LEARNING_RATE, options.updates)
    states = task.network.pack(dln.inits.gaussian(task.network, SCALE, size=options.networks, rng=0))

    programs, finals = {}, {}
    for name in dict.fromkeys(["fastdln", *options.only]):
        try:
            programs[name] = DESCENTS[name](task)
            finals[name] = programs[name](states)  # compiles
        except ImportError as error:
            print(f"{name}: left out ({error})")
            del programs[name]
    arena, flops = block(widths, STRAIGHT_FROM if options.networks >= STRAIGHT_FROM else 1)

    def measure() -> dict[str, float]:
        found = {name: seconds(descend, states) for name, descend in programs.items()}
        most = peak(seconds=0.03, clock=time.process_time)
        return found | {"peak": most, "rhs": rate(arena, flops, seconds=0.05) / most}

    measure()
    rounds = keeper().keep(measure, options.rounds, options.widths)
    count = options.networks * options.updates
    print(f"{vectors()}; {options.widths}, {options.networks} networks, {options.updates} updates; {rounds}")
    for name, final in finals.items():
        speed = [count / row[name] for row in rounds.rows]
        ratio = [row[name] / row["fastdln"] for row in rounds.rows]
        error = np.abs(final - finals["fastdln"]).max()
        print(f"{name:20s} {np.median(speed):9.3g} updates/s  {cell(ratio):>12s} x the time  differs by {error:.0e}")
    own = [count * flops / arena.workspace["lanes"][0] / row["fastdln"] / row["peak"] for row in rounds.rows]
    bare = [row["rhs"] for row in rounds.rows]
    print(f"share of the peak: products of the updates {cell([100 * x for x in own], '.1f', ' %')}, "
          f"bare right-hand sides {cell([100 * x for x in bare], '.1f', ' %')}, "
          f"their ratio {cell([a / b for a, b in zip(own, bare, strict=True)])}")  # fmt: skip


if __name__ == "__main__":
    main()
