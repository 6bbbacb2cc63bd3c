"""Before a scan: everything that can be checked, and what it will cost."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil

import msgspec
import numpy as np

from fastdln import arguments
from fastdln.kernels.machine.lanes import lane_count
from fastdln.resources import require_memory
from fastdln.scan import updates
from fastdln.scan.cell import Cell
from fastdln.scan.derived import arrays, extra_bytes
from fastdln.scan.kinds import Data, Plane
from fastdln.scan.layout import Layout
from fastdln.scan.plan import Plan
from fastdln.scan.spec import SpecError

__all__ = ["Estimate", "estimate", "prepare"]

_BYTES_PER_CELL = 4096  # as Python objects
_MOST_TRIED = 200  # cells of which some trajectories are integrated for an estimate


def prepare(plan: Plan, chunk: int | None = None) -> tuple[Layout, list[Cell]]:
    """Check all that can be checked before anything is written.

    Parameters
    ----------
    plan : Plan
        The scan.
    chunk : int, optional
        Trajectories in a unit.

    Returns
    -------
    layout : Layout
        The arrays and units of the scan.
    cells : list of Cell
        Its cells.

    Raises
    ------
    SpecError
        If a cell cannot be run; the message names it.
    """
    layout = Layout.of(plan, chunk)
    record = plan.document.record
    # Before anything is built, as a grid of very many cells or a network of very many weights takes long to build.
    require_memory(_unit_bytes(layout, 0) + 8 * layout.largest_target, "one unit of this scan")
    known = 8 * (plan.n_times + layout.n_modes) + _BYTES_PER_CELL
    require_memory(plan.n_cells * known, f"the grid of {plan.n_cells:,} cells", "give fewer values, or record less")
    cells = _checked(plan)
    extra = 0
    for cell in {
        (cell.network, type(cell.point.target), cell.point.target, cell.point.loss): cell for cell in cells
    }.values():
        with _named(plan, cell.point.index):
            extra = max(extra, extra_bytes(record.observables, cell.loss(0, 1), cell.network, plan.n_times))
    require_memory(_unit_bytes(layout, extra), "one unit of this scan")
    # What is left is for `flow` or `descend` to judge, and for what is derived from it: by one step of a trajectory of
    # every kind of cell.
    tried = set()
    for cell in cells:
        target = cell.point.target
        data = target if isinstance(target, Data) else None
        kind = (cell.point.network, _method(cell), type(target), data, cell.point.loss)
        if kind not in tried:
            tried.add(kind)
            with _named(plan, cell.point.index):
                arrays(record.observables, cell.integrate(0, 1, max_steps=1))
    return layout, cells


def _method(cell: Cell) -> Hashable:
    """What the scan file says of the integration, without what each trajectory may have for itself."""
    point = cell.point
    if point.flow is not None:
        return point.flow
    alike = msgspec.structs.replace(updates.settings(point), **dict.fromkeys(updates.VARYING, 0.0))
    return alike, type(point.schedule), point.schedule


def _unit_bytes(layout: Layout, extra: int) -> int:
    """The bytes of a unit, with what is recorded and not stored, and its copies on the way to the disk."""
    return 3 * layout.chunk * layout.cells * (layout.bytes_per_trajectory + extra + 8 * layout.n_parameters)


@dataclass(frozen=True)
class Estimate:
    """What a scan will cost."""

    cells: int
    trajectories: int
    n_bytes: int
    seconds: float


def estimate(layout: Layout, cells: list[Cell], threads: int | None = None) -> Estimate:
    """Integrate a few trajectories of each cell, or of cells all over a large grid, and scale up.

    Parameters
    ----------
    layout : Layout
        The arrays and units of the scan.
    cells : list of Cell
        Its cells.
    threads : int, optional
        Threads, by default one for each core.

    Returns
    -------
    Estimate
        The cost of the scan.
    """
    n, n_units = layout.plan.document.trajectories, layout.n_units // layout.blocks
    wanted = lane_count(np.float64) * arguments.threads(threads)
    few = min(n, wanted)
    some = np.unique(np.linspace(0, n_units - 1, _MOST_TRIED).round().astype(int)).tolist()
    seconds = 0.0
    for number in some:
        within = layout.unit(number * layout.blocks).cells
        tried = np.unique(np.linspace(0, len(within) - 1, ceil(wanted / few)).round().astype(int)).tolist()
        cell, *others = (cells[within[i]] for i in tried)
        began = time.perf_counter()
        cell.integrate(0, few, others=others, threads=threads)
        parts = (n / few) * (len(within) / len(tried)) * (n_units / len(some))
        seconds += (time.perf_counter() - began) * parts
    return Estimate(len(cells), n * len(cells), layout.n_bytes, seconds)


def _checked(plan: Plan) -> list[Cell]:
    """All cells; what several cells share is checked in the first of them."""
    cells: list[Cell] = []
    starts: set[Hashable] = set()
    spans: set[Hashable] = set()
    for index in range(plan.n_cells):
        with _named(plan, index):
            cell = Cell.of(plan, index)
            network, target, init = cell.network, cell.point.target, cell.point.init
            if isinstance(init, Plane):  # one point of it is as good as another
                init = msgspec.structs.replace(init, a=0.0, b=0.0)
            # equal numbers in tables of two kinds are equal
            start = (network, *((type(table), table) for table in (target, cell.point.loss, init)))
            if start not in starts:
                starts.add(start)
                expected = (network.widths[-1], network.widths[0])
                if (shape := cell.loss(0, 1).shape) != expected:
                    raise SpecError(f"the target has shape {shape}, but the widths make products of shape {expected}")
                cell.start(0, 1)
            span = _span(cell, start)
            if span not in spans:
                spans.add(span)
                cell.times  # noqa: B018  (they may not exist)
        cells.append(cell)
    return cells


def _span(cell: Cell, start: Hashable) -> Hashable:
    """What the times of a cell follow from."""
    if cell.point.flow is None:
        return _method(cell)
    t_end = cell.point.flow.t_end
    return t_end, start if t_end == "auto" else None


@contextmanager
def _named(plan: Plan, index: int) -> Iterator[None]:
    """Say in an error which cell it is about."""
    try:
        yield
    except (TypeError, ValueError) as error:
        where = f" (cell {index}: {plan.point(index).label})" if plan.n_cells > 1 else ""
        raise SpecError(f"{error}{where}") from error
