"""Work-precision curves: CPU time of a trajectory against the error of its final weights, and what it takes to reach
an error."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.rounds import keeper
from bench.solvers import Solve, Task, scipy_loop, solver
from bench.workloads import Workload

REFERENCES = 4  # trajectories whose error is measured
ERRORS = (1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 1e-12)  # at which solvers are compared


@dataclass
class Point:
    """A solver at one tolerance, with as many trajectories as make a run of some tenths of a second."""

    solver: str
    rtol: float
    error: float
    solve: Solve
    starts: np.ndarray
    cpu: list[float] = field(default_factory=list)

    def run(self) -> float:
        """CPU seconds of a trajectory, now."""
        before = time.process_time()
        self.solve(self.starts)
        return (time.process_time() - before) / len(self.starts)

    @property
    def seconds(self) -> float:
        """CPU seconds of a trajectory."""
        return float(np.median(self.cpu))


def reference(task: Task, starts: np.ndarray) -> np.ndarray:
    """Final states by DOP853 at 1e-13; of small networks SciPy's must be the same to 1e-9."""
    exact = dataclasses.replace(task, rtol=1e-13, atol=1e-16)
    final, _ = solver("fastdln dop853").build(exact)(starts)
    if starts.shape[1] <= 200:
        loose = dataclasses.replace(task, rtol=1e-10, atol=1e-12)
        other, _ = scipy_loop(loose, "DOP853")(starts[:1])
        np.testing.assert_allclose(final[:1], other, atol=1e-8)
    return final


def points(name: str, task: Task, starts: np.ndarray, exact: np.ndarray, seconds: float, limit: float) -> list[Point]:
    """A solver's points from loose to tight tolerances, until a run takes more CPU seconds than ``limit``."""
    how = solver(name)
    if task.network.n_parameters > how.most_parameters:
        return []
    found: list[Point] = []
    for rtol in how.tolerances:
        keeper().progress.say(f"{name}: getting ready for rtol {rtol:.0e}")
        solve = how.build(dataclasses.replace(task, rtol=rtol, atol=task.atol / task.rtol * rtol))
        few = min(max(REFERENCES, how.lanes), len(starts))
        size = few if how.loop else max(few, int(len(starts) * how.share))
        final, _ = solve(starts[:size])  # compiles
        point = Point(name, rtol, float(np.abs(final[: len(exact)] - exact).max()), solve, starts[:size])
        used = point.run() * size
        while how.loop and used < seconds / 2 and size < len(starts):
            size = min(len(starts), 4 * size)
            point.starts = starts[:size]
            used = point.run() * size
        if np.isfinite(point.error):
            found.append(point)
        if used > limit:
            break
    return found


def measure(
    workload: Workload, names: Sequence[str], rounds: int, seconds: float = 0.1, limit: float = 2.0
) -> list[Point]:
    """The points of all solvers whose packages are installed, each run once in every round (`bench.rounds`)."""
    task = Task.of(workload, 1e-6)
    starts = task.network.pack(workload.starts())
    exact = reference(task, starts[:REFERENCES])
    found: list[Point] = []
    for name in names:
        begin = time.perf_counter()
        try:
            found += points(name, task, starts, exact, seconds, limit)
            keeper().progress.clear()
            print(f"{name}: ready in {time.perf_counter() - begin:.0f} s", flush=True)
        except (ImportError, ValueError) as error:  # not installed, or not made for this workload
            print(f"{name}: left out ({error})", flush=True)
    measured = keeper().keep(lambda: [point.run() for point in found], rounds, workload.name)
    for point, times in zip(found, zip(*measured.rows, strict=True), strict=True):
        point.cpu = list(times)
    print(f"\n{measured}\n", flush=True)
    return found


def cost(curve: Sequence[Point], error: float) -> float:
    """CPU seconds of a trajectory to an error, between the measured points in logarithms; inf where none is as good."""
    kept: list[Point] = []  # none of them is both worse and dearer than another
    for point in sorted(curve, key=lambda point: point.error):
        if not kept or point.seconds < kept[-1].seconds:
            kept.append(point)
    if not kept or error < kept[0].error:
        return float("inf")
    errors, seconds = (np.array([getattr(point, name) for point in kept]) for name in ("error", "seconds"))
    return float(np.exp(np.interp(np.log(error), np.log(np.maximum(errors, 1e-17)), np.log(seconds))))


def ratios(found: Sequence[Point]) -> dict[str, list[float]]:
    """For each solver and each of `ERRORS` the CPU time, in units of that of fastdln's best method."""
    curves = by_solver(found)
    costs = {name: np.array([cost(curve, error) for error in ERRORS]) for name, curve in curves.items()}
    best = np.min([row for name, row in costs.items() if name.startswith("fastdln")], axis=0)
    return {name: list(np.where(np.isfinite(best), row / best, np.nan)) for name, row in costs.items()}


def by_solver(found: Sequence[Point]) -> dict[str, list[Point]]:
    """The curve of every solver."""
    return {name: [p for p in found if p.solver == name] for name in dict.fromkeys(p.solver for p in found)}


def draw(results: dict[str, list[Point]], path: Path) -> None:
    """The curves of all workloads as a picture, one panel each."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(point.solver for found in results.values() for point in found))
    own = [name for name in names if name.startswith("fastdln")]
    peers = [name for name in names if name not in own]
    bold, colors = ("black", "crimson", "royalblue", "darkorange", "seagreen"), pyplot.get_cmap("tab20")
    styles = {
        name: {"color": bold[i % 5], "linewidth": 2.6, "marker": "os^Dv"[i % 5], "markersize": 6, "zorder": 3}
        for i, name in enumerate(own)
    }
    for i, name in enumerate(peers):
        marker = "xP*+1234<>phd8X|"[i % 16]
        styles[name] = {"color": colors(i % 20), "linewidth": 1.2, "marker": marker, "markersize": 5}
    columns = min(3, len(results))
    rows = -(-len(results) // columns)
    size = 4.2 * columns, 3.6 * rows + 1.4
    figure, axes = pyplot.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for panel, (title, found) in zip(axes.flat, results.items(), strict=False):
        for name, curve in by_solver(found).items():
            curve = sorted(curve, key=lambda point: point.rtol)
            panel.loglog([p.error for p in curve], [p.seconds for p in curve], **styles[name])
        panel.set(title=title, xlim=(3, 1e-15))
        panel.grid(alpha=0.3)
    for panel in axes.flat[len(results) :]:
        panel.set_axis_off()
    for column in axes[: len(results) // columns or 1].T:
        column[-1].set_xlabel("largest error of the final weights")
    for row in axes:
        row[0].set_ylabel("CPU seconds of a trajectory")
    lines = [pyplot.Line2D([], [], label=name, **style) for name, style in styles.items()]
    figure.legend(handles=lines, loc="outside lower center", ncols=4, fontsize="small", frameon=False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
