"""What the certified finish saves, and what it costs where it saves nothing: ``python -m bench.certified``.

Right-hand sides and CPU seconds with and without it, in turns in each round (`bench.rounds`), for spans that end soon
and late, of modes between 4 and 1 and, stiff, between 100 and 1. How far the certified weights are from the others at
the end of the span is in units of rtol times the root mean square of the smallest layer; the others have errors of
their own.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np

import fastdln as dln
from bench.rounds import cell, keeper, middle, vectors
from bench.workloads import CERTIFIED, Workload

SPANS = {20.0: 1, 200.0: 4, 2000.0: 16}  # of t_end; longer ones get a fraction of the trajectories


def measure(workload: Workload, rounds: int) -> str:
    """One line of the table."""
    loss, w0, n = workload.loss(), workload.starts(), workload.trajectories

    def run(certify: bool) -> tuple[float, dln.Trajectories]:
        start = time.process_time()
        found = workload.run(w0, loss, t_eval=None, max_steps=10**8, certify=certify)
        return time.process_time() - start, found

    name = f"{'-'.join(map(str, workload.widths)):<10} {workload.sigma[0]:>5g}..1 {workload.t_end:>6g}"
    keeper().progress.say(f"{name}: counts and errors")
    (_, plain), (_, sol) = run(False), run(True)  # compiles
    found = keeper().keep(lambda: (run(False)[0], run(True)[0]), rounds, name)
    without, certified = (middle(times)[0] for times in zip(*found.rows, strict=True))
    ratio = cell(a / b for a, b in found.rows)
    size = np.min([np.sqrt(np.mean(W**2, axis=(-2, -1))) for W in plain.final], axis=0)
    moved = np.sqrt(sum(((a - b) ** 2).sum((-2, -1)) for a, b in zip(sol.final, plain.final, strict=True)))
    return (
        f"{name} {n:>6}"
        f" {sol.certified.mean():>8.0%}"
        f" {plain.n_rhs.mean():>10.0f} {sol.n_rhs.mean():>9.0f} {plain.n_rhs.mean() / sol.n_rhs.mean():>7.2f}"
        f" {without:>9.3f} {certified:>8.3f} {ratio:>12}"
        f" {np.max(moved / size) / workload.rtol:>8.2f}   {found}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--method", default="tsit5")
    parser.add_argument("--longest", type=float, default=2000.0, help="leave out longer spans")
    arguments = parser.parse_args()
    print(f"{vectors()}; medians and spreads of {arguments.rounds} rounds, one thread")
    print(
        f"{'widths':<10} {'sigma':>8} {'t_end':>6} {'n':>6} {'certif.':>8} {'n_rhs':>10} {'certify':>9} {'gain':>7}"
        f" {'seconds':>9} {'certify':>8} {'gain':>12} {'moved':>8}"
    )
    for workload in CERTIFIED:
        for t_end, fraction in SPANS.items():
            if t_end <= arguments.longest:
                n = max(8, workload.trajectories // fraction**2)
                case = replace(workload, method=arguments.method, t_end=t_end, trajectories=n)
                print(measure(case, arguments.rounds), flush=True)


if __name__ == "__main__":
    main()
