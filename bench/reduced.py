"""Wide networks directly and by way of narrow ones: ``python -m bench.reduced``.

Gaussian starts, loss recorded at 64 times, one thread.  For each network `flow()` with the faster of the direct engines
and with the reduced one take turns in each round (`bench.rounds`); printed are the times of a trajectory, their ratio,
and the errors of the weights at a time at which modes are being learned, against an integration at rtol 1e-12.  "auto"
says whether ``engine="auto"`` reduces.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np

import fastdln as dln
from bench.rounds import cell, keeper, middle, vectors
from bench.workloads import REDUCIBLE, Workload
from fastdln.engines.reduced.worth import pays
from fastdln.theory.reduction import widths

Weights = tuple[np.ndarray, ...]


def seconds(workload: Workload, starts: Weights, loss: dln.Quadratic, engine: str) -> float:
    """CPU time of a trajectory."""
    start = time.process_time()
    workload.run(starts, loss, engine=engine)
    return (time.process_time() - start) / len(starts[0])


def error(workload: Workload, starts: Weights, loss: dln.Quadratic, engine: str) -> float:
    """The largest error of a weight at t = 1, median over trajectories."""
    few = tuple(W[:20] for W in starts)
    early = replace(workload, t_end=1.0)
    exact = early.run(few, loss, engine="dense", method="dop853", rtol=1e-12).final
    found = early.run(few, loss, engine=engine).final
    worst = [np.abs(V - W).max(axis=(1, 2)) for V, W in zip(found, exact, strict=True)]
    return float(np.median(np.max(worst, axis=0)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    print(f"{vectors()}; CPU time, medians and spreads of {arguments.rounds} rounds, one thread, rtol 1e-6")
    print("widths -> reduced             direct [us]   reduced [us]        ratio   error, direct       reduced   auto")
    for workload in REDUCIBLE.values():
        loss, starts = workload.loss(), workload.starts()
        net = dln.Network(workload.widths)
        direct = min(("lanes", "dense"), key=lambda engine: best(workload, starts, loss, engine))

        def measure(  # one round of both
            workload: Workload = workload, starts: Weights = starts, loss: dln.Quadratic = loss, direct: str = direct
        ) -> tuple[float, ...]:
            return tuple(seconds(workload, starts, loss, engine) for engine in (direct, "reduced"))

        found = keeper().keep(measure, arguments.rounds, workload.name)
        wide, narrow = (middle(times)[0] for times in zip(*found.rows, strict=True))
        ratio = cell(a / b for a, b in found.rows)
        name = f"{workload.name} -> {'-'.join(map(str, widths(net, loss)))}"
        errors = [error(workload, starts, loss, engine) for engine in (direct, "reduced")]
        print(
            f"{name:<28} {direct} {1e6 * wide:6.0f} {1e6 * narrow:14.0f} {ratio:>12s} {errors[0]:15.1e} "
            f"{errors[1]:13.1e}   {'yes' if pays(net, loss) else 'no':4s}   {found}",
            flush=True,
        )


def best(workload: Workload, starts: Weights, loss: dln.Quadratic, engine: str) -> float:
    """The least of two times, the first of which compiles."""
    return min(seconds(workload, starts, loss, engine) for _ in range(2))


if __name__ == "__main__":
    main()
