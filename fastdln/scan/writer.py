"""The writing of units: every array's chunk brought to the disk, then a line in the journal.

All of it goes by descriptors that were opened once. A store that is renamed meanwhile thus stays one store, and
since its names are looked at again before each line, the writer notices, and stops.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fastdln.revision import NUMERICS
from fastdln.scan.chunks import Chunks, mark
from fastdln.scan.disk import Held, write_whole
from fastdln.scan.errors import StoreError
from fastdln.scan.journal import Journal
from fastdln.scan.layout import Layout, Unit

__all__ = ["Writer"]


class Writer:
    """Writes units to a store, and keeps its journal.

    Parameters
    ----------
    path : Path
        The folder of the store, locked.
    layout : Layout
        Its arrays and units.
    arrays : mapping of str to Chunks
        The chunks of each array.
    journal : Journal
        Its journal, open.
    held : Held
        What must stay where it is.
    """

    def __init__(self, path: Path, layout: Layout, arrays: Mapping[str, Chunks], journal: Journal, held: Held) -> None:
        self._path = path
        self._layout = layout
        self._arrays = arrays
        self._journal = journal
        self._held = held
        self._folders = {name: held.open(name) for name in arrays}

    def sound(self, damaged: Collection[int] = ()) -> dict[int, dict[str, Any]]:
        """Tell what need not be done any more.

        Parameters
        ----------
        damaged : collection of int
            Units that are finished, but to be done again.

        Returns
        -------
        dict of int to dict
            The records of the other finished units.
        """
        return {index: record for index, record in self._journal.units.items() if index not in damaged}

    def missing(self, damaged: Collection[int] = ()) -> list[Unit]:
        """Tell what is still to be done.

        Parameters
        ----------
        damaged : collection of int
            Units that are finished, but to be done again.

        Returns
        -------
        list of Unit
            The units, in order.
        """
        sound = self.sound(damaged)
        return [self._layout.unit(i) for i in range(self._layout.n_units) if i not in sound]

    def write(self, unit: Unit, results: Mapping[str, NDArray[Any]], record: Mapping[str, Any]) -> None:
        """Write a unit, and return once it is on the disk and in the journal.

        Parameters
        ----------
        unit : Unit
            The unit.
        results : mapping of str to ndarray, shape (trajectories, ...)
            For every array of the layout, the results of its trajectories.
        record : mapping
            What the journal shall say beyond what the unit is.

        Raises
        ------
        StoreError
            If the disk does not take it, or the store is not where it was.
        """
        place = {"unit": unit.index, "cell": unit.cell, "first": unit.first, "size": unit.size}
        if len(unit.cells) > 1:
            place["cells"] = len(unit.cells)
        try:
            chunks = {}
            for name, array in self._arrays.items():
                data = array.encode(unit, results[name])
                write_whole(self._folders[name], array.name(unit), data)
                chunks[name] = mark(data)
            self._require_place()
            self._journal.append({**place, **record, "revision": NUMERICS, "chunks": chunks})
        except OSError as error:
            # Nothing can be created in a folder that was removed: the reason is then what happened to the folder.
            self._require_place()
            raise StoreError(
                f"{self._path} cannot be written: {error}. What is finished is kept; go on with: "
                f"fastdln resume {self._path}"
            ) from error

    def _require_place(self) -> None:
        if name := self._held.strayed():
            raise StoreError(
                f"{self._path} was renamed, removed or emptied while it was written: {self._path / name} is gone, or "
                f"not what it was. What is finished is where its folder is now; go on there with: fastdln resume"
            )
