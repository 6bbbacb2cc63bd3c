"""fastdln beside other solvers on the same problem, in one interleaved run: ``python -m bench.peers``.

In every round each solver runs once, so that a change of the machine's pace meets all of them; the
ratio is the median over the rounds. CPU seconds count all threads of the process. Equal tolerances do
not mean equal errors: the errors against DOP853 at 1e-12 stand beside. The first call is given beyond a
usual one, in a process that starts with nothing cached (for later widths a solver may have compiled
already).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.solvers import SOLVERS, Problem, Solve, scipy_loop
from bench.workloads import WORKLOADS, Workload

REFERENCES = 4  # trajectories whose error is measured


@dataclass
class Runner:
    """A solver with its batch, and what was measured of it."""

    name: str
    solve: Solve
    starts: np.ndarray
    first_call: float
    error_final: float
    error_loss: float
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def run(self) -> None:
        cpu, wall = time.process_time(), time.perf_counter()
        self.solve(self.starts)
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)

    def row(self, base: Runner) -> dict[str, float | str]:
        """The figures of the table; ``ratio``: CPU time of a trajectory, in units of that of ``base``."""
        own, others = np.array(self.cpu) / len(self.starts), np.array(base.cpu) / len(base.starts)
        wall, cpu = float(np.median(self.wall)), float(np.median(self.cpu))
        return {
            "solver": self.name,
            "trajectories": len(self.starts),
            "wall s": wall,
            "CPU s": cpu,
            "trajectories per CPU s": len(self.starts) / cpu,
            "ratio": float(np.median(own / others)),
            "error of final weights": self.error_final,
            "error of loss": self.error_loss,
            "first call s": max(0.0, self.first_call - wall),
        }


def build(name: str, problem: Problem, starts: np.ndarray, final: np.ndarray, losses: np.ndarray) -> Runner:
    """Make a solver's runner; the first of ``starts`` have the given final states and losses as reference."""
    builder, share = SOLVERS[name]
    starts = starts[: max(REFERENCES, int(len(starts) * share))]
    begin = time.perf_counter()
    solve = builder(problem)
    found_final, found_losses = solve(starts)
    first_call = time.perf_counter() - begin
    return Runner(
        name,
        solve,
        starts,
        first_call,
        error_final=float(np.abs(found_final[:REFERENCES] - final).max()),
        error_loss=float(np.abs(found_losses[:REFERENCES] - losses).max()),
    )


def compare(workload: Workload, rtol: float, names: list[str], rounds: int) -> list[dict[str, float | str]]:
    """Rows of the table for one workload, fastdln first."""
    problem = Problem.of(workload, rtol)
    starts = problem.network.pack(workload.starts())
    exact = dataclasses.replace(problem, rtol=1e-12, atol=1e-14)
    final, losses = scipy_loop(exact, "DOP853")(starts[:REFERENCES])
    runners = []
    for name in names:
        try:
            runners.append(build(name, problem, starts, final, losses))
        except ImportError as error:
            print(f"{name}: left out ({error})")
    for _ in range(rounds):
        for runner in runners:
            runner.run()
    return [runner.row(runners[0]) for runner in runners]


def table(rows: list[dict[str, float | str]]) -> str:
    """The rows as a Markdown table."""
    cells = [list(rows[0])] + [
        [f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", nargs="+", choices=WORKLOADS, default=["4-4-4-4", "8-8-8-8"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rtol", type=float, default=1e-6)
    parser.add_argument("--only", nargs="+", choices=SOLVERS, default=list(SOLVERS), metavar="SOLVER")
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    arguments = parser.parse_args()
    names = ["fastdln", *(name for name in arguments.only if name != "fastdln")]

    results = {}
    with tempfile.TemporaryDirectory() as cache:
        os.environ["FASTDLN_CACHE_DIR"] = cache
        for name in arguments.widths:
            results[name] = compare(WORKLOADS[name], arguments.rtol, names, arguments.rounds)
            print(
                f"\nwidths {name}, rtol {arguments.rtol:g}, median of {arguments.rounds} interleaved rounds\n"
            )
            print(table(results[name]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
