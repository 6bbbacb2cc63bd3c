"""A plane through the grid of a scan, filled cell by cell from what is stored."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fastdln.scan.errors import StoreError
from fastdln.view.quantities import Quantity
from fastdln.view.reading import Reader

__all__ = ["ENOUGH", "NONE", "Map", "Plane", "first_plane"]

ENOUGH = 4096
"""Of a cell's trajectories at least so many are looked at, if it has them: whole units, the first that are finished."""

NONE = -1
"""In place of a second axis."""


@dataclass(frozen=True)
class Plane:
    """Two axes of the grid, and a place on the others.

    Parameters
    ----------
    across, up : int
        The axes, by their number; `NONE` where there is no such.
    place : tuple of int
        A place on every axis; those of the two axes do not matter.
    """

    across: int
    up: int
    place: tuple[int, ...]

    def cells(self, reader: Reader) -> NDArray[np.intp]:
        """Number its cells.

        Parameters
        ----------
        reader : Reader
            The store.

        Returns
        -------
        ndarray, shape (n_up, n_across)
            The cells.
        """
        shape = reader.plan.shape
        n_across, n_up = (1 if axis == NONE else shape[axis] for axis in (self.across, self.up))
        where = [np.full((n_up, n_across), k) for k in self.place]
        if self.across != NONE:
            where[self.across] = np.broadcast_to(np.arange(n_across), (n_up, n_across))
        if self.up != NONE:
            where[self.up] = np.broadcast_to(np.arange(n_up)[:, None], (n_up, n_across))
        return np.ravel_multi_index(where, shape) if where else np.zeros((1, 1), np.intp)


def first_plane(reader: Reader) -> Plane:
    """Choose the plane that is looked at first: the last axis of numbers across, the longest of the others up.

    Parameters
    ----------
    reader : Reader
        The store.

    Returns
    -------
    Plane
        Axes of one point are left out of it.
    """
    axes = reader.plan.axes
    long = [i for i, axis in enumerate(axes) if axis.size > 1]
    numbers = [i for i in long if all(isinstance(v, int | float) for v in axes[i].values[0])]
    across = (numbers or long or [NONE])[-1]
    others = sorted((i for i in long if i != across), key=lambda i: -axes[i].size)
    return Plane(across, others[0] if others else NONE, (0,) * len(axes))


@dataclass
class Map:
    """The numbers of a plane's cells, as far as they are known.

    Parameters
    ----------
    reader : Reader
        The store.
    plane : Plane
        The cells.
    quantity : Quantity
        The number of each trajectory.
    choice : int
        Which of the quantity's choices.
    statistic : str
        What is made of the trajectories of a cell.
    """

    reader: Reader
    plane: Plane
    quantity: Quantity
    choice: int = 0
    statistic: str = "median"
    cells: NDArray[np.intp] = field(init=False)
    values: NDArray[np.float64] = field(init=False)
    """NaN where there is no number (yet)."""
    done: NDArray[np.float64] = field(init=False)
    """The part of each cell that is finished."""
    counted: int = field(init=False, default=0)
    """The most trajectories of a cell that were looked at."""
    damaged: dict[int, StoreError] = field(init=False, default_factory=dict)
    """What is wrong with cells that cannot be read."""
    read: int = field(init=False, default=0)
    """Cells whose number is that of what is stored now."""

    def __post_init__(self) -> None:
        self.cells = self.plane.cells(self.reader)
        self.values = np.full(self.cells.shape, np.nan)
        self.done = np.zeros(self.cells.shape)
        self._used: dict[int, tuple[tuple[int, int], ...]] = {}
        self.again()

    def again(self) -> None:
        """Look at every cell again, as more may be finished; what has not changed costs nothing."""
        self.damaged.clear()
        self._left = iter(np.ndindex(self.cells.shape))
        self.read = 0

    def advance(self, seconds: float) -> bool:
        """Fill in some cells.

        Parameters
        ----------
        seconds : float
            How long; one cell is always done.

        Returns
        -------
        bool
            Whether all are done.
        """
        until = time.monotonic() + seconds
        for place in self._left:
            try:
                self._fill(place)
            except StoreError as error:
                self.damaged[int(self.cells[place])] = error
            self.read += 1
            if time.monotonic() > until:
                return False
        return True

    def _fill(self, place: tuple[int, ...]) -> None:
        reader, cell = self.reader, int(self.cells[place])
        finished = reader.done(cell)
        size = sum(reader.layout.unit(index).size for index in finished)
        self.done[place] = size / reader.n_trajectories
        enough, chosen = 0, []
        for index in finished:
            if enough >= ENOUGH and self.quantity.variable != "status":  # the array of statuses is small
                break
            chosen.append(index)
            enough += reader.layout.unit(index).size
        used = tuple((index, reader.editions[index]) for index in chosen)
        if used and used != self._used.get(cell):
            parts = [self.quantity.values(reader, cell, index, self.choice) for index in chosen]
            self.values[place] = self.quantity.reduced(np.concatenate(parts), self.statistic)
            self.counted = max(self.counted, enough)
            self._used[cell] = used
