"""What is read from a store: the journal as it grows, and chunks of finished units, no more than is shown.

No lock is taken and nothing is written, so a scan that is still running does not notice. A chunk is read as a whole
file, held against the size and the checksum that the journal knows, and kept for a while.
"""

from __future__ import annotations

import time
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.scan.chunks import Chunks, flaw
from fastdln.scan.errors import StoreError
from fastdln.scan.journal import JournalError, check_records, read_journal
from fastdln.scan.layout import Variable
from fastdln.scan.store import JOURNAL, open_store

__all__ = ["Reader", "Traffic"]

_MOST_KEPT = 256 << 20  # bytes of decoded chunks


@dataclass
class Traffic:
    """What has been read of the chunks."""

    files: int = 0
    bytes: int = 0


class Reader:
    """Reads a store for those who look at it.

    Parameters
    ----------
    path : Path
        The folder of the store.

    Raises
    ------
    StoreError
        If it is none, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.store = open_store(path)
        self.layout = self.store.layout
        self.plan = self.layout.plan
        self.variables: dict[str, Variable] = {v.name: v for v in self.layout.variables}
        self.traffic = Traffic()
        self.units: dict[int, dict[str, Any]] = {}
        self.editions: dict[int, int] = {}
        """How often each unit was written: more than once where it was damaged and done again."""
        for file, expected in self.store.attributes.fastdln_files.items():
            if wrong := flaw(path / file, expected, thorough=True):
                raise StoreError(f"{path / file} {wrong}; restore it from a copy")
        metadata = self.store.metadata
        self._chunks = {name: Chunks(v, self.layout, metadata[name]) for name, v in self.variables.items()}
        self._dataset = self.store.dataset()
        self._fixed: dict[str, NDArray[Any]] = {}
        self._kept: OrderedDict[tuple[str, int, int], NDArray[Any]] = OrderedDict()
        self._read_to = 0
        self.version = 0
        """Rises with what is read of the journal."""
        self.refresh()

    def refresh(self) -> bool:
        """Read what was added to the journal.

        Returns
        -------
        bool
            Whether anything was.

        Raises
        ------
        StoreError
            If the journal cannot be trusted, or is gone.
        """
        path = self.store.path / JOURNAL
        try:
            size = path.stat().st_size
            if size == self._read_to:
                return False
            if size < self._read_to:  # another store has taken its place
                raise StoreError(f"{path} has become shorter: open the store again")
            added = read_journal(path, self._read_to)
        except JournalError:
            read_journal(path)  # to name the line
            raise
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error}") from error
        check_records(added.units, self.layout, path)
        self.units |= added.units
        for index in added.units:
            self.editions[index] = self.editions.get(index, 0) + 1
        self._read_to = added.length
        self.version += len(added.units)
        return bool(added.units)

    @property
    def n_trajectories(self) -> int:
        """Trajectories of each cell."""
        return self.plan.document.trajectories

    @property
    def n_done(self) -> int:
        """Finished trajectories."""
        return sum(self.layout.unit(index).trajectories for index in self.units)

    @property
    def finished(self) -> bool:
        """Whether every unit is."""
        return len(self.units) == self.layout.n_units

    @property
    def seconds_since(self) -> float:
        """Since the last unit was finished."""
        return max(time.time() - (self.store.path / JOURNAL).stat().st_mtime, 0.0)

    def fixed(self, name: str) -> NDArray[Any]:
        """Return an array that was written when the store was made, a row for each cell.

        Parameters
        ----------
        name : str
            As in "t", "sigma", "n_modes", "steps".

        Returns
        -------
        ndarray, shape (n_cells, ...)
            Its values.
        """
        if name not in self._fixed:
            array = self._dataset[name]
            lead = len(self.plan.axes)
            values = array.values
            if array.dims[:lead] != tuple(axis.name for axis in self.plan.axes):  # the same for every cell
                values = np.broadcast_to(values, (*self.plan.shape, *values.shape))
            self._fixed[name] = values.reshape(self.plan.n_cells, *values.shape[lead:])
        return self._fixed[name]

    def clock(self, cell: int) -> NDArray[np.float64]:
        """Return what curves of a cell are drawn over: times, or updates.

        Parameters
        ----------
        cell : int
            Its number.

        Returns
        -------
        ndarray, shape (n_t,)
            As many as the cell has.
        """
        n_times = np.count_nonzero(np.isfinite(self.fixed("t")[cell]))
        clock = self.fixed("steps" if self.plan.document.descends else "t")[cell]
        return np.asarray(clock[:n_times], np.float64)

    def done(self, cell: int) -> list[int]:
        """Return the finished units of a cell.

        Parameters
        ----------
        cell : int
            Its number.

        Returns
        -------
        list of int
            Their numbers, in order.
        """
        return [index for index in self.layout.covering(cell) if index in self.units]

    def chunk(self, name: str, index: int) -> NDArray[Any]:
        """Return what a finished unit has in an array.

        Parameters
        ----------
        name : str
            The array.
        index : int
            The unit.

        Returns
        -------
        ndarray, shape (cells, trajectories, ...)
            Cell by cell.

        Raises
        ------
        StoreError
            If the file is not what was written.
        """
        key = (name, index, self.editions[index])
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        unit, chunks = self.layout.unit(index), self._chunks[name]
        path = self.store.path / name / chunks.name(unit)
        expected = self.units[index].get("chunks", {}).get(name)
        try:
            data = path.read_bytes()
            self.traffic.files += 1
            self.traffic.bytes += len(data)
            if expected is not None and tuple(expected) != (len(data), f"{zlib.crc32(data):08x}"):
                raise ValueError("it is not what was written")
            block = chunks.decode(unit, data)
        except (OSError, ValueError, RuntimeError, TypeError) as error:  # as the codecs have it
            raise StoreError(
                f"{name}/{path.name} is damaged: {error}. To do it again: fastdln resume {self.store.path}"
            ) from error
        self._kept[key] = block
        while len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return block

    def own(self, name: str, cell: int, index: int) -> NDArray[Any]:
        """Return what one cell of a finished unit has in an array.

        Parameters
        ----------
        name : str
            The array.
        cell : int
            The cell.
        index : int
            The unit.

        Returns
        -------
        ndarray, shape (trajectories, ...)
            A view.
        """
        block: NDArray[Any] = self.chunk(name, index)[cell - self.layout.unit(index).cell]
        return block

    def where(self, cell: int, k: int) -> tuple[int, int]:
        """Tell in which unit a trajectory is.

        Parameters
        ----------
        cell : int
            Its cell.
        k : int
            Its number there.

        Returns
        -------
        index, row : int
            The unit, and its place among the unit's trajectories of the cell.
        """
        block, row = divmod(k, self.layout.chunk)
        return self.layout.covering(cell)[block], row
