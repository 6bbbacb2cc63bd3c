"""What ``engine="auto"`` takes, and what it loses by that: ``python -m bench.choice``.

Square networks and some with narrow or wide ends, depth by depth.  All engines that may be good for a network run the
same starts, in turns; a batch of 64 where that is quick, else fewer for engines that take trajectories one by one, but
at least two a thread, and steps are limited where they cost much, for all engines alike.  Printed are the times of a
trajectory in units of the best one, medians of the rounds kept (`bench.rounds`), what "auto" takes and its own share
with its spread, which a perfect choice would have at 1.00; at the end the networks that lose most.  Times are CPU
seconds of one thread, wall time of several.

Left out are: the wide engine where no layer is wider than four times the rank of a slope, lanes where what they work
on is larger than 32 MB, and, after a first trial that is printed with a ">", engines that take three times as long as
another one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

import fastdln as dln
from bench.rounds import Rounds, keeper, middle, vectors
from bench.workloads import Workload
from fastdln.arguments import method as method_of
from fastdln.engines.direct import best, lanes_bytes
from fastdln.engines.reduced import Reduced
from fastdln.engines.wide.field import factored
from fastdln.integrate.tableau import Tableau
from fastdln.kernels.machine.lanes import lane_count
from fastdln.kernels.products.program import program
from fastdln.theory.reduction import widths as reduced_widths

SQUARE = (2, 4, 8, 16, 20, 24, 28, 32, 36, 40, 48, 64, 80, 96, 128, 192, 256)
DEPTHS = (2, 3, 4, 6)
# (input, hidden, output): networks of these ends whose hidden layers are equally wide
ENDS = (
    *((4, d, 4) for d in (8, 12, 16, 24, 64)),
    *((10, d, 10) for d in (16, 24, 32, 40, 48, 64, 128, 256, 384, 512, 640, 1024)),
    *((d, 512, d) for d in (2, 4, 8)),
    *((16, d, 16) for d in (512, 768, 1024)),
    *((32, d, 32) for d in (64, 128, 512, 1280)),
    (100, 64, 10),
    (784, 64, 10),
    (784, 10, 10),
    (20, 5, 20),
    (60, 8, 2),
)
OTHERS = ((64, 32, 10), (64, 128, 128, 10), (5, 7, 3, 6), (10, 300, 100, 10), (100, 2), (30, 10))
# about where the choice changes
QUICK = (
    (8, 8, 8, 8), (24, 24, 24), (32, 32, 32, 32), (40, 40, 40), (48, 48, 48), (64, 64, 64), (4, 16, 4), (10, 32, 10),
    (10, 64, 64, 10), (10, 256, 256, 10), (10, 384, 384, 10), (10, 512, 512, 10), (32, 64, 32), (100, 64, 64, 10),
)  # fmt: skip

COLUMNS = ("lanes", "dense", "wide", "reduced")
BATCH = 64
FLOPS = 4e9  # of the right-hand sides of a trajectory, at most
SECONDS = 0.3  # of a run, where a batch may be smaller
STAGES = 10  # of a step of a stabilized method, about
HOPELESS = 3.0
LANES_LIMIT = 32 << 20


def grid(squares: Iterable[int] = SQUARE, depths: Iterable[int] = DEPTHS) -> list[tuple[int, ...]]:
    """Widths of the networks."""
    found = [(d,) * (h + 1) for d in squares for h in depths]
    found += [(a, *(d,) * (h - 1), b) for a, d, b in ENDS for h in depths if h < 6]
    return list(dict.fromkeys([*found, *OTHERS]))


@dataclass
class Side:
    """An engine on one network, with what was measured of it."""

    engine: str
    size: int = 0  # trajectories
    times: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Of a trajectory."""
        return float(np.median(self.times))


@dataclass
class Case:
    """One network, and how its engines are run."""

    workload: Workload
    threads: int

    def __post_init__(self) -> None:
        self.net, self.loss = dln.Network(self.workload.widths), self.workload.loss()
        self.starts = self.workload.starts()
        self.clock = time.process_time if self.threads == 1 else time.perf_counter
        self.kept: Rounds[list[float]] | None = None
        flops = program(self.workload.widths).flops
        integrator = method_of(self.workload.method)
        stages = integrator.stages if isinstance(integrator, Tableau) else STAGES
        self.options = {"max_steps": max(3, int(FLOPS / (flops * stages))), "threads": self.threads}
        dtype = self.starts[0].dtype
        self.chosen = chosen(self.net, self.loss, self.workload.method, dtype)
        self.sides = [Side(name) for name in candidates(self.net, self.loss, self.workload.method, dtype)]

    def run(self, side: Side, size: int) -> float:
        """Seconds of a trajectory."""
        starts = tuple(W[:size] for W in self.starts)
        begin = self.clock()
        self.workload.run(starts, self.loss, engine=side.engine, **self.options)
        return (self.clock() - begin) / size

    def measure(self, rounds: int) -> None:
        """Run those engines that have a chance, in turns."""
        if len(self.sides) == 1:
            self.sides[0].times = [1.0]
            return
        progress = keeper(self.clock).progress
        for side in self.sides:
            progress.say(f"{self.workload.name}: first trial of {side.engine}")
            least = self.threads * (lane_count() if side.engine in ("lanes", "reduced") else 2)
            self.run(side, least)  # compiles
            side.times = [self.run(side, least)]
            side.size = min(BATCH, max(least, int(SECONDS / side.seconds) // least * least))
        limit = HOPELESS * min(side.seconds for side in self.sides)
        running = [side for side in self.sides if side.seconds <= limit]
        for side in self.sides:
            side.size = side.size if side in running else 0
        progress.clear()
        if len(running) > 1:
            self.kept = keeper(self.clock).keep(
                lambda: [self.run(side, side.size) for side in running], rounds, self.workload.name
            )
            for side, times in zip(running, zip(*self.kept.rows, strict=True), strict=True):
                side.times = list(times)

    @property
    def loss_of_choice(self) -> tuple[float, float]:
        """The time of what "auto" takes in units of the best one's, and its spread."""
        taken = next(side for side in self.sides if side.engine == self.chosen)
        best = min(self.sides, key=lambda side: side.seconds)
        if len(taken.times) != len(best.times):  # one of them was tried once
            return taken.seconds / best.seconds, 0.0
        return middle(a / b for a, b in zip(taken.times, best.times, strict=True))

    def line(self) -> str:
        """One row of the table."""
        least = min(side.seconds for side in self.sides)
        alone = len(self.sides) == 1
        cells = {s.engine: f"{'' if s.size or alone else '>'}{s.seconds / least:.2f}" for s in self.sides}
        row = "".join(f"{cells.get(name, '-'):>9}" for name in COLUMNS)
        sizes = "/".join(str(side.size) for side in self.sides)
        time = "" if alone else f"{1e6 * least:.0f} us"
        loss, spread = self.loss_of_choice
        share = f"{loss:.2f} ±{spread:.2f}"
        return (
            f"{self.workload.name:<22}{row}   {self.chosen:<8}{share:>11} {time:>13}  {sizes:<14}"
            f"{self.kept if self.kept else ''}"
        )


def chosen(net: dln.Network, loss: dln.Quadratic, method: str, dtype: np.dtype) -> str:
    """What "auto" takes."""
    return "reduced" if Reduced.promised(net, loss, dtype) else best(net, loss, method_of(method), dtype)


def candidates(net: dln.Network, loss: dln.Quadratic, method: str, dtype: np.dtype) -> list[str]:
    """The engines that are tried."""
    rank = min(net.widths[0], net.widths[-1])
    found = []
    if lanes_bytes(net, loss, method_of(method), dtype) <= LANES_LIMIT:
        found.append("lanes")
    found.append("dense")
    explicit = isinstance(method_of(method), Tableau)
    if explicit and any(factored(net)) and max(min(shape) for shape in net.shapes) > max(4 * rank, 48):
        found.append("wide")
    if reduced_widths(net, loss) != net.widths or Reduced.promised(net, loss, dtype):
        found.append("reduced")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--method", default="tsit5")
    parser.add_argument("--widths", nargs="+", metavar="N-N-N", help="these networks alone")
    parser.add_argument("--quick", action="store_true", help="a few networks about where the choice changes")
    arguments = parser.parse_args()
    networks = list(QUICK) if arguments.quick else grid()
    if arguments.widths:
        networks = [tuple(map(int, name.split("-"))) for name in arguments.widths]
    print(
        f"{vectors()}, {arguments.threads} threads, {arguments.method}: times, best = 1, medians of {arguments.rounds} "
        f"rounds"
    )
    print(f"{'widths':<22}" + "".join(f"{name:>9}" for name in COLUMNS) + "   auto    time             best  batches")
    losses = {}
    for d in networks:
        case = Case(Workload(d, BATCH, method=arguments.method, n_times=16), arguments.threads)
        case.measure(arguments.rounds)
        print(case.line(), flush=True)
        losses[case.workload.name], _ = case.loss_of_choice
    worst = sorted(losses.items(), key=lambda item: -item[1])[:8]
    within = sum(value <= 1.15 for value in losses.values())
    print(f"within 15 % of the best: {within} of {len(losses)}; worst: " + ", ".join(f"{n} {v:.2f}" for n, v in worst))


if __name__ == "__main__":
    main()
