"""The store of a scan: a Zarr group that `xarray.open_zarr` reads, and that no crash leaves wrong.

It is made in a folder beside its own and renamed, so that it exists whole or not at all. It then grows by
units: the chunk of every array, each brought to the disk (Zarr writes a chunk to a temporary file and renames
it, but does not wait for the disk), then a line in the journal. What the journal does not name is computed
again, to the same bits. One process at a time may write; the lock is the operating system's and dies with the
process.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import xarray as xr
import zarr
from numpy.typing import NDArray

from fastdln import __version__
from fastdln.scan.disk import sync
from fastdln.scan.journal import Journal, read_journal
from fastdln.scan.layout import Layout, Unit, Variable
from fastdln.scan.plan import Plan
from fastdln.scan.reading import read
from fastdln.scan.spec import SpecError

__all__ = ["FORMAT", "JOURNAL", "LOCK", "Store", "StoreError", "Writer", "open_store"]

FORMAT = 1
"""The version of the store's own format; stores with a higher one are refused."""

JOURNAL = "journal.jsonl"
LOCK = "writer.lock"


class StoreError(RuntimeError):
    """A store that cannot be used; the message says why, and what to do."""


@dataclass(frozen=True)
class Store:
    """A scan's store.

    Parameters
    ----------
    path : Path
        Its folder.
    layout : Layout
        Its arrays and units.
    digest : str
        The SHA-256 of its scan.
    version : str
        The version of fastdln that made it.
    identity : dict
        The scan file in its normal form, and the fingerprints of its data files.
    """

    path: Path
    layout: Layout
    digest: str
    version: str
    identity: dict[str, Any]

    def units(self) -> dict[int, dict[str, Any]]:
        """Read what the journal says about the finished units.

        Returns
        -------
        dict of int to dict
            The record of each finished unit.
        """
        return read_journal(self.path / JOURNAL).units

    def dataset(self) -> xr.Dataset:
        """Open the results.

        Returns
        -------
        xarray.Dataset
            They, read when needed.
        """
        results: xr.Dataset = xr.open_zarr(self.path)
        return results

    def is_being_written(self) -> bool:
        """Tell whether a process writes, as far as this one may know.

        Returns
        -------
        bool
            True while one holds the lock.
        """
        if not os.access(self.path / LOCK, os.W_OK):
            return False
        try:
            with self._lock(timeout=0):
                return False
        except filelock.Timeout:
            return True

    def check_same(self, plan: Plan) -> None:
        """Refuse a scan that is not the one the store was made for.

        Parameters
        ----------
        plan : Plan
            The scan.

        Raises
        ------
        SpecError
            If it differs; the message lists the keys.
        """
        if plan.digest != self.digest:
            changes = "\n".join(f"  {line}" for line in _differences(self.identity, plan.identity))
            raise SpecError(
                f"{self.path} holds another scan; what differs (in the store -> now):\n{changes}\n"
                f"Give another folder by --out, or restore the scan file."
            )

    @contextmanager
    def writer(self) -> Iterator[Writer]:
        """Lock the store for writing.

        Yields
        ------
        Writer
            What writes units.

        Raises
        ------
        StoreError
            If another process writes.
        """
        try:
            with self._lock(timeout=0.3), Journal(self.path / JOURNAL) as journal:
                for left in self.path.glob("*/*.partial"):
                    left.unlink()
                yield Writer(self, journal)
        except filelock.Timeout:
            raise StoreError(f"{self.path} is being written by another process; one writer at a time") from None

    def _lock(self, timeout: float) -> filelock.BaseFileLock:
        return filelock.FileLock(self.path / LOCK, timeout=timeout)


class Writer:
    """Writes units to a store, and keeps its journal.

    Parameters
    ----------
    store : Store
        The store, locked.
    journal : Journal
        Its journal, open.
    """

    def __init__(self, store: Store, journal: Journal) -> None:
        self._store = store
        self._journal = journal
        # Without this zarr leaves out chunks that hold nothing but the fill value.
        with zarr.config.set({"array.write_empty_chunks": True}):
            group = zarr.open_group(store.path, mode="r+", use_consolidated=False)
            self._arrays: dict[str, Any] = {v.name: group[v.name] for v in store.layout.variables}

    @property
    def finished(self) -> dict[int, dict[str, Any]]:
        """The records of the units that are finished."""
        return self._journal.units

    @property
    def missing(self) -> list[Unit]:
        """The units that are still to be done, in order."""
        layout = self._store.layout
        return [layout.unit(i) for i in range(layout.n_units) if i not in self._journal.units]

    def write(self, unit: Unit, results: Mapping[str, NDArray[Any]], record: Mapping[str, Any]) -> None:
        """Write a unit, and return once it is on the disk and in the journal.

        Parameters
        ----------
        unit : Unit
            The unit.
        results : mapping of str to ndarray, shape (size, ...)
            For every array of the layout, the results of its trajectories.
        record : mapping
            What the journal shall say beyond what the unit is.

        Raises
        ------
        StoreError
            If the disk does not take it.
        """
        position = self._store.layout.plan.cell(unit.cell).position
        place = {"unit": unit.index, "cell": unit.cell, "first": unit.first, "size": unit.size}
        try:
            for variable in self._store.layout.variables:
                self._write_chunk(variable, position, unit, results[variable.name])
            self._journal.append({**place, **record})
        except OSError as error:
            raise StoreError(
                f"{self._store.path} cannot be written: {error}. What is finished is kept; go on with: "
                f"fastdln resume {self._store.path}"
            ) from error

    def _write_chunk(self, variable: Variable, position: tuple[int, ...], unit: Unit, block: NDArray[Any]) -> None:
        array = self._arrays[variable.name]
        array[(*position, slice(unit.first, unit.first + unit.size))] = variable.pad(block)
        chunk = (*position, unit.block, *(0 for _ in variable.dims[1:]))
        folder = self._store.path / variable.name
        sync(folder / array.metadata.encode_chunk_key(chunk))
        sync(folder)


def open_store(path: Path) -> Store:
    """Open a store for reading.

    Parameters
    ----------
    path : Path
        Its folder.

    Returns
    -------
    Store
        The store.

    Raises
    ------
    StoreError
        If it is none, or was made by a newer version.
    """
    try:
        attributes = json.loads((path / "zarr.json").read_text())["attributes"]
        format_ = attributes["fastdln_format"]
    except (OSError, ValueError, KeyError):
        raise StoreError(f"{path} is no store of a fastdln scan") from None
    if format_ > FORMAT:
        raise StoreError(
            f"{path} was made by fastdln {attributes['fastdln_version']} in format {format_}; "
            f"this version, {__version__}, reads up to {FORMAT}: update fastdln"
        )
    identity = json.loads(attributes["spec"])
    plan = Plan(read(identity["spec"]), Path(attributes["spec_folder"]))
    layout = Layout.of(plan, attributes["chunk"])
    return Store(path, layout, attributes["spec_sha256"], attributes["fastdln_version"], identity)


def _differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(k for k in new if k not in old)]:
            path = key if where in ("", "spec") else f"{where}.{key}"
            yield from _differences(old.get(key, "(none)"), new.get(key, "(none)"), path)
    elif old != new:
        yield f"{where}: {json.dumps(old)} -> {json.dumps(new)}"
