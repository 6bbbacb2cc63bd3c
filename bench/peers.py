"""fastdln beside other solvers on the same problem, in one interleaved run.

``python -m bench.peers`` compares at one tolerance. In every round (`bench.rounds`) each solver runs once, so that a
change of the machine's pace meets all of them; the ratio is the median over the rounds, with its spread. CPU seconds
count all threads of the process.
Equal tolerances do not mean equal errors: the errors against DOP853 at 1e-12 stand beside. The first call is given
beyond a usual one, in a process that starts with nothing cached (for later widths a solver may have compiled already).

``python -m bench.peers --curves`` compares at equal errors: each solver at several tolerances, on networks from small
to wide and on a stiff one (`work_precision`). Printed is the CPU time of a trajectory to an error, in units of that of
fastdln's best method; ``--plot FILE`` draws the curves.

Solvers whose packages are not installed are left out. ``--methods`` are fastdln's: names of methods, with options of
``flow`` behind them if wanted, as in ``tsit5,engine=wide``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from bench import work_precision
from bench.rounds import Progress, Rounds, keeper, middle, vectors
from bench.solvers import SOLVERS, Solve, Task, scipy_loop, solver
from bench.workloads import COMPARED, WORKLOADS, Workload

REFERENCES = 4  # trajectories whose error is measured


@dataclass
class Runner:
    """A solver with its batch, and what its first call told."""

    name: str
    solve: Solve
    starts: np.ndarray
    first_call: float
    error_final: float
    error_loss: float

    def run(self) -> tuple[float, float]:
        """Wall and CPU seconds."""
        cpu, wall = time.process_time(), time.perf_counter()
        self.solve(self.starts)
        return time.perf_counter() - wall, time.process_time() - cpu

    def row(self, measured: np.ndarray, base: np.ndarray) -> dict[str, float | str]:
        """The figures of the table from wall and CPU seconds of all rounds.

        ``ratio``: CPU time of a trajectory, in units of ``base``.
        """
        wall, cpu = map(float, np.median(measured, axis=0))
        ratio, spread = middle(measured[:, 1] / len(self.starts) / base)
        return {
            "solver": self.name,
            "trajectories": len(self.starts),
            "wall s": wall,
            "CPU s": cpu,
            "trajectories per CPU s": len(self.starts) / cpu,
            "ratio": ratio,
            "spread": spread,
            "error of final weights": self.error_final,
            "error of loss": self.error_loss,
            "first call s": max(0.0, self.first_call - wall),
        }


def build(name: str, task: Task, starts: np.ndarray, final: np.ndarray, losses: np.ndarray) -> Runner:
    """Make a solver's runner; the first of ``starts`` have the given final states and losses as reference."""
    how = solver(name)
    starts = starts[: max(REFERENCES, int(len(starts) * how.share))]
    begin = time.perf_counter()
    solve = how.build(task)
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


Comparison = tuple[list[dict[str, float | str]], Rounds[list[tuple[float, float]]]]


def compare(workload: Workload, rtol: float, names: list[str], rounds: int) -> Comparison:
    """Rows of the table for one workload, fastdln first, and the rounds."""
    progress = Progress()
    task = Task.of(workload, rtol)
    starts = task.network.pack(workload.starts())
    exact = dataclasses.replace(task, rtol=1e-12, atol=1e-14)
    final, losses = scipy_loop(exact, "DOP853")(starts[:REFERENCES])
    runners = []
    for name in names:
        progress.say(f"{name}: the first call")
        try:
            runner = build(name, task, starts, final, losses)
        except ImportError as error:
            progress.clear()
            print(f"{name}: left out ({error})", flush=True)
            continue
        runners.append(runner)
        progress.clear()
        print(f"{name}: first call {runner.first_call:.1f} s, error {runner.error_final:.1e}", flush=True)
    found = keeper().keep(lambda: [runner.run() for runner in runners], rounds, workload.name)
    measured = np.array(found.rows)  # round, solver, wall or CPU
    base = measured[:, 0, 1] / len(runners[0].starts)
    return [runner.row(measured[:, i], base) for i, runner in enumerate(runners)], found


def table(rows: list[dict[str, float | str]]) -> str:
    """The rows as a Markdown table."""
    cells = [list(rows[0])] + [
        [f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def at_equal_errors(found: list[work_precision.Point]) -> list[dict[str, float | str]]:
    """Rows of the table of a workload's curves."""
    rows: list[dict[str, float | str]] = []
    for name, row in work_precision.ratios(found).items():
        cells = {
            f"{error:g}": float(value) if np.isfinite(value) else "-"
            for error, value in zip(work_precision.ERRORS, row, strict=True)
        }
        rows.append({"CPU time to an error of": name} | cells)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", action="store_true", help="compare at equal errors")
    parser.add_argument("--widths", nargs="+", choices=WORKLOADS | COMPARED)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rtol", type=float, default=1e-6, help="without --curves: the tolerance")
    parser.add_argument("--methods", nargs="+", metavar="METHOD", help="fastdln's; tsit5, with --curves dop853, too")
    parser.add_argument("--only", nargs="*", choices=SOLVERS, default=list(SOLVERS), metavar="SOLVER")
    parser.add_argument("--plot", type=Path, help="with --curves: draw them to this file")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    arguments = parser.parse_args()
    methods = arguments.methods or (["tsit5", "dop853"] if arguments.curves else ["tsit5"])
    names = [*(f"fastdln {method}" for method in methods), *arguments.only]
    widths = arguments.widths or (list(COMPARED) if arguments.curves else ["4-4-4-4", "8-8-8-8"])

    figures: dict[str, list[Any]] = {}
    curves: dict[str, list[work_precision.Point]] = {}
    with tempfile.TemporaryDirectory() as cache, threadpool_limits(1):
        os.environ["FASTDLN_CACHE_DIR"] = cache
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
        for name in widths:
            workload = (COMPARED | WORKLOADS)[name]
            print(f"\nwidths {name}, {vectors()}, medians of {arguments.rounds} rounds, ", end="")
            if arguments.curves:
                print("in units of fastdln's best method\n", flush=True)
                curves[name] = work_precision.measure(workload, names, arguments.rounds)
                figures[name] = [[p.solver, p.rtol, p.error, p.seconds] for p in curves[name]]
                print(table(at_equal_errors(curves[name])), flush=True)
            else:
                print(f"rtol {arguments.rtol:g}\n", flush=True)
                figures[name], found = compare(workload, arguments.rtol, names, arguments.rounds)
                print(f"\n{found}\n\n{table(figures[name])}", flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
            if arguments.plot and curves:
                work_precision.draw(curves, arguments.plot)


if __name__ == "__main__":
    main()
