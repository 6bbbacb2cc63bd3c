"""Descents of one wide network beside other ways to do them: ``python -m bench.wide_descents [--rounds 9]``.

In every round (`bench.rounds`) each program does the same updates to the same network once, in one thread; what is
compared is updates per second of CPU time, and all end in the same weights.  Programs whose packages are not installed
are left out.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np

import fastdln as dln
from bench.rounds import cell, keeper, vectors
from bench.solvers.descents import DESCENTS, Descend, Descent

SCALE, LEARNING_RATE = 0.5, 1e-3
PEERS = ("PyTorch, autograd", "PyTorch, bmm")


def engine(name: str, task: Descent, **options: float | bool) -> Descend:
    """An engine of fastdln."""
    loss = dln.Quadratic(task.sigma)

    def descend(states: np.ndarray) -> np.ndarray:
        sol = dln.descend(
            task.network.unpack(states), loss, task.learning_rate, task.updates, record=(), record_every=task.updates,
            threads=1, engine=name, **options,
        )  # fmt: skip
        return task.network.pack(sol.final)

    return descend


def seconds(call: Callable[[], object]) -> float:
    """CPU time of a run, of all threads: dense has one of its own."""
    began = time.process_time()
    call()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", nargs="+", default=["10-1024-1024-10", "64-2048-2048-10"])
    parser.add_argument("--updates", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    print(f"{vectors()}; {options.updates} updates, one thread")
    for text in options.widths:
        widths = tuple(map(int, text.split("-")))
        sigma = np.random.default_rng(0).standard_normal((widths[-1], widths[0]))
        task = Descent(widths, sigma, LEARNING_RATE, options.updates)
        states = task.network.pack(dln.inits.gaussian(task.network, SCALE, size=1, rng=0))
        programs = {name: engine(name, task) for name in ("wide", "dense")}
        programs["wide, momentum"] = engine("wide", task, momentum=0.9)
        programs["dense, momentum"] = engine("dense", task, momentum=0.9)
        finals = {}
        for name in PEERS:
            try:
                programs[name] = DESCENTS[name](task)
                finals[name] = programs[name](states)
            except ImportError as error:
                print(f"{name}: left out ({error})")
                del programs[name]
        finals |= {name: programs[name](states) for name in programs if name not in finals}  # compiles

        def measure(programs=programs, states=states) -> dict[str, float]:  # type: ignore[no-untyped-def]
            return {name: seconds(partial(program, states)) for name, program in programs.items()}

        rounds = keeper().keep(measure, options.rounds, text)
        print(f"{text}; {rounds}")
        for name in programs:
            speed = [options.updates / row[name] for row in rounds.rows]
            ratio = [row[name] / row["wide"] for row in rounds.rows]
            error = np.abs(finals[name] - finals["wide, momentum" if "momentum" in name else "wide"]).max()
            print(
                f"{name:18s} {np.median(speed):9.3g} updates/s  {cell(ratio):>12s} x the time  differs by {error:.0e}"
            )


if __name__ == "__main__":
    main()
