"""The trajectories of one cell: how many ended how, and the curves of some."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastdln.integrate.status import Status
from fastdln.view.quantities import Quantity
from fastdln.view.reading import Reader

__all__ = ["MOST_CURVES", "Crowd", "crowd", "thinned"]

MOST_CURVES = 200
MOST_RECORDS = 400
"""Of each curve."""
MOST_UNITS = 8
"""The most units that curves are looked for in: a status may be rare."""


@dataclass(frozen=True)
class Crowd:
    """Some trajectories of a cell."""

    n: int
    """Those of the cell."""
    n_done: int
    counts: dict[Status, int]
    """How many ended in which way."""
    n_matching: int
    """Those with one of the statuses asked for."""
    trajectories: NDArray[np.intp]
    """The ones that are shown, by their number in the cell."""
    status: NDArray[np.int8]
    clock: NDArray[np.float64]
    curves: NDArray[np.float64]
    """Shape (shown, n_t)."""
    every: int
    """One record out of so many is shown."""


def crowd(reader: Reader, cell: int, wanted: Collection[Status], quantity: Quantity | None, choice: int) -> Crowd:
    """Read the statuses of a cell, and the curves of some of its trajectories.

    Trajectories of a cell are drawn alike, so the first ones are as good as any others: so few files are read.

    Parameters
    ----------
    reader : Reader
        The store.
    cell : int
        The cell.
    wanted : collection of Status
        What the shown ones may have ended as.
    quantity : Quantity or None
        What is drawn over time; None where nothing of the kind was recorded.
    choice : int
        Which of its choices.

    Returns
    -------
    Crowd
        At most `MOST_CURVES` of them.
    """
    finished = reader.done(cell)
    statuses = {index: reader.own("status", cell, index) for index in finished}
    everything = np.concatenate([*statuses.values(), np.zeros(0, np.int8)])
    clock = reader.clock(cell)
    every = max(1, -(-len(clock) // MOST_RECORDS))
    numbers, kept, drawn = [], [], []
    room, units = MOST_CURVES, MOST_UNITS
    for index, status in statuses.items():
        rows = np.flatnonzero(np.isin(status, list(wanted)))[:room]
        if not rows.size:
            continue
        numbers.append(reader.layout.unit(index).first + rows)
        kept.append(status[rows])
        if quantity is not None:
            block = reader.own(quantity.variable, cell, index)[rows]
            drawn.append(quantity.of(reader, cell, block, choice)[:, thinned(len(clock), every)])
        room, units = room - rows.size, units - 1
        if not room or not units:
            break
    return Crowd(
        n=reader.n_trajectories,
        n_done=len(everything),
        counts={s: n for s in Status if (n := int(np.count_nonzero(everything == s)))},
        n_matching=int(np.isin(everything, list(wanted)).sum()),
        trajectories=np.concatenate([*numbers, np.zeros(0, np.intp)]),
        status=np.concatenate([*kept, np.zeros(0, np.int8)]),
        clock=clock[thinned(len(clock), every)],
        curves=np.concatenate(drawn) if drawn else np.zeros((0, 0)),
        every=every,
    )


def thinned(n: int, every: int) -> NDArray[np.intp]:
    """Choose records evenly, the last one among them.

    Parameters
    ----------
    n : int
        The number of records.
    every : int
        One out of so many.

    Returns
    -------
    ndarray of int
        Their places.
    """
    return np.arange(n - 1, -1, -every)[::-1]
