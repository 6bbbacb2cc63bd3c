"""What is said to people, as tables.

Cells are `rich.text.Text`: of what comes from files nothing is taken for markup or for the name of an emoji.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from fastdln.claims import Claim
from fastdln.integrate.status import Status
from fastdln.scan.disk import in_words
from fastdln.scan.layout import NOT_RUN
from fastdln.scan.plan import Axis, GridPoint, Plan, label
from fastdln.scan.prepare import Estimate
from fastdln.scan.store import Store
from fastdln.text import plain

__all__ = ["cells", "claim", "claims", "pairs", "plan", "progress"]

SUCCESSES = (Status.FINISHED, Status.STOPPED)


def pairs(values: Mapping[str, object]) -> Table:
    """Tabulate names and values.

    Parameters
    ----------
    values : mapping of str to object
        The values.

    Returns
    -------
    rich.table.Table
        A line for each name.
    """
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in values.items():
        table.add_row(Text(name), Text(str(value)))
    return table


def plan(scan: Plan, cost: Estimate) -> Table:
    """Tabulate what a scan will cost.

    Parameters
    ----------
    scan : Plan
        The scan.
    cost : Estimate
        Its cost.

    Returns
    -------
    rich.table.Table
        The scan, its axes, and its size and time.
    """
    axes = {axis.name: _listed(axis) for axis in scan.axes}
    return pairs(
        {
            "scan": plain(scan.document.name),
            **{f"axis {name}": values for name, values in axes.items()},
            "cells": f"{cost.cells:,}",
            "trajectories": f"{cost.trajectories:,}",
            "size": f"{in_words(cost.n_bytes)} before compression",
            "estimated time": in_time(cost.seconds),
        }
    )


def progress(store: Store, damaged: Mapping[int, str]) -> Table:
    """Tabulate how far a scan is.

    Parameters
    ----------
    store : Store
        Its store.
    damaged : mapping of int to str
        Its finished units that are not what was written.

    Returns
    -------
    rich.table.Table
        State, counts and failures, and how to go on.
    """
    layout = store.layout
    units = {index: record for index, record in store.units().items() if index not in damaged}
    total = layout.plan.document.trajectories * layout.plan.n_cells
    done = sum(layout.unit(index).trajectories for index in units)
    failures = sum((Counter(record["failures"]) for record in units.values()), Counter[str]())
    finished = len(units) == layout.n_units
    return pairs(
        {
            "scan": plain(layout.plan.document.name),
            "state": "finished" if finished else "running" if store.is_being_written() else "unfinished",
            "units": f"{len(units):,} of {layout.n_units:,}",
            "trajectories": f"{done:,} of {total:,}",
            "failed": ", ".join(f"{n:,} {plain(kind)}" for kind, n in failures.items()) or "none",
            "time so far": in_time(sum(record["seconds"] for record in units.values())),
            **({"damaged": f"{len(damaged):,} units"} if damaged else {}),
            "made by": plain(f"fastdln {store.version}, numerics revision {' and '.join(map(str, store.revisions))}"),
            "scan file": plain(f"SHA-256 {store.digest[:16]}..."),
            **({} if finished else {"to go on": f"fastdln resume {store.path}"}),
        }
    )


def cells(store: Store) -> Table:
    """Tabulate the results, a line for each cell; of very many cells some, evenly spread.

    Parameters
    ----------
    store : Store
        The scan's store.

    Returns
    -------
    rich.table.Table
        The table; medians are over the trajectories that succeeded.
    """
    grid, done = store.layout.plan, _done(store)
    shown = np.unique(np.linspace(0, grid.n_cells - 1, _MOST_LINES).round().astype(int)).tolist()
    part = f": {len(shown):,} of {grid.n_cells:,} cells" if len(shown) < grid.n_cells else ""
    title = Text(plain(grid.document.name) + part, "table.title")
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 1))
    names = [name for axis in grid.axes for name in axis.names]
    measures = [name for name in _MEASURES if name != "accuracy" or name in grid.document.record.observables]
    steps = "updates" if grid.document.descends else "steps"
    for name in [*names, "done", "failed", "t_end", steps, *measures]:
        table.add_column(name, justify="right", no_wrap=True)
    for point, own in _by_cell(store, [grid.point(index) for index in shown]):
        values = [
            Text(plain(label(key, axis.values[k][place])))
            for axis, place in zip(grid.axes, point.position, strict=True)
            for k, key in enumerate(axis.keys)
        ]
        run = own["status"][own["status"] != NOT_RUN]
        failures = np.count_nonzero(~np.isin(run, SUCCESSES)) if done[point.index] else 0
        table.add_row(*values, f"{done[point.index]:,}", f"{failures:,}", *_medians(own, measures))
    return table


def claims(verdicts: Sequence[Claim]) -> Table:
    """Tabulate the verdicts on statements, a line for each.

    Parameters
    ----------
    verdicts : sequence of Claim
        The verdicts.

    Returns
    -------
    rich.table.Table
        A line for each claim.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("item", no_wrap=True)
    table.add_column("claim", overflow="fold")
    for name in ("n", "worst", "limit", "outside"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for verdict in verdicts:
        table.add_row(
            verdict.item,
            verdict.name,
            f"{verdict.count:,}",
            f"{verdict.worst:.1e}",
            f"{verdict.tolerance:.2g}",
            "" if verdict.outside is None else f"{verdict.outside.error:.1e}",
            "holds" if verdict.holds else Text("FAILS", "bold red"),
        )
    return table


def claim(verdict: Claim) -> Table:
    """Tabulate all that is known of one statement.

    Parameters
    ----------
    verdict : Claim
        The verdict on it.

    Returns
    -------
    rich.table.Table
        Statement, hypotheses, errors and verdict.
    """
    outside = verdict.outside
    return pairs(
        {
            "claim": f"{verdict.name} ({verdict.item})",
            "statement": verdict.statement,
            "hypotheses": verdict.hypotheses,
            "computed": verdict.instances,
            "errors": f"{verdict.count:,}, the worst {verdict.worst:.2e}, tolerance {verdict.tolerance:.2g}",
            **({} if outside is None else {"outside": f"{outside.instance}: {outside.error:.2e}"}),
            "verdict": "holds" if verdict.holds else "FAILS",
        }
    )


def in_time(seconds: float) -> str:
    """Write a duration for people.

    Parameters
    ----------
    seconds : float
        The duration.

    Returns
    -------
    str
        As in "3.2 s", "5 min 3 s", "2 h 5 min".

    Examples
    --------
    >>> in_time(303)
    '5 min 3 s'
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s"


_MOST_LISTED = 50  # values of an axis


def _listed(axis: Axis) -> str:
    values = [plain(label(axis.keys[0], value)) for value in axis.values[0][:_MOST_LISTED]]
    return " ".join(values) + (f" ... ({axis.size:,} values)" if axis.size > _MOST_LISTED else "")


# At the end, and when the first and the last mode are learned; where they are recorded.
_MEASURES = ("loss", "accuracy", "first", "last")

_MOST_LINES = 500

_SHOWN = ("status", "n_accepted", "t", "loss", "accuracy", "learning_times")


def _done(store: Store) -> NDArray[np.int64]:
    """Count the finished trajectories of each cell."""
    done = np.zeros(store.layout.plan.n_cells, np.int64)
    for index in store.units():
        unit = store.layout.unit(index)
        done[unit.cells.start : unit.cells.stop] += unit.size
    return done


def _by_cell(store: Store, points: Sequence[GridPoint]) -> Iterator[tuple[GridPoint, dict[str, NDArray[Any]]]]:
    """Read what is shown of cells: of all cells at once where a file holds many of them."""
    grid, results = store.layout.plan, store.dataset()
    names = [name for name in _SHOWN if name in results]
    some = results[names]
    if store.layout.cells > 1:
        some = some.load()
    for point in points:
        own = some.isel({axis.name: i for axis, i in zip(grid.axes, point.position, strict=True)})
        yield point, {name: own[name].values for name in names}


def _short(value: float) -> str:
    return f"{value:.0f}" if 1000 <= value < 1e6 else f"{value:.3g}"


def _medians(cell: Mapping[str, NDArray[Any]], measures: Sequence[str]) -> list[str]:
    succeeded = np.isin(cell["status"], SUCCESSES)
    if not succeeded.any():
        return ["-"] * (2 + len(measures))
    last = int(np.isfinite(cell["t"]).sum()) - 1
    shown = {name: float(np.median(cell[name][succeeded, last])) for name in ("loss", "accuracy") if name in cell}
    if "learning_times" in cell:
        # A mode that is not learned counts as later than all; a median over such is none.
        times = np.median(np.nan_to_num(cell["learning_times"][succeeded], nan=np.inf), axis=0)
        finite = times[np.isfinite(times)]
        if finite.size:
            shown |= {"first": finite.min(), "last": finite.max()}
    head = [float(cell["t"][last]), float(np.median(cell["n_accepted"][succeeded]))]
    values = head + [shown.get(name, np.nan) for name in measures]
    return ["-" if np.isnan(value) else _short(value) for value in values]
