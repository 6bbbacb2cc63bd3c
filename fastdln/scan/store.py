"""The store of a scan: a Zarr group that `xarray.open_zarr` reads, and that no crash leaves wrong.

It is made in a folder beside its own and renamed, so that it exists whole or not at all. It then grows by
units: the chunk of every array, each written to a temporary file, renamed and brought to the disk, then a line in
the journal that tells the size and the checksum of each. What the journal does not name, and what is not any more
what the journal says, is computed again, to the same bits. One process at a time may write; the lock is the
operating system's and dies with the process.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import filelock
import xarray as xr

from fastdln.revision import NUMERICS
from fastdln.scan.attributes import FORMAT, METADATA, Attributes, Form, add_attribute, check_array, read_attributes
from fastdln.scan.chunks import Chunks, flaw
from fastdln.scan.disk import Held, write_whole
from fastdln.scan.errors import StoreError
from fastdln.scan.journal import Journal, check_records, read_journal
from fastdln.scan.layout import Layout
from fastdln.scan.plan import Plan
from fastdln.scan.reading import read
from fastdln.scan.spec import SpecError
from fastdln.scan.writer import Writer

__all__ = ["FORMAT", "JOURNAL", "LOCK", "Store", "StoreError", "open_store"]

JOURNAL = "journal.jsonl"
LOCK = "writer.lock"


@dataclass(frozen=True)
class Store:
    """A scan's store.

    Parameters
    ----------
    path : Path
        Its folder.
    layout : Layout
        Its arrays and units.
    attributes : Attributes
        What it says about itself.
    metadata : dict of str to dict
        The Zarr metadata of its arrays.
    """

    path: Path
    layout: Layout
    attributes: Attributes
    metadata: dict[str, dict[str, Any]]

    @property
    def digest(self) -> str:
        """The SHA-256 of its scan."""
        return self.attributes.spec_sha256

    @property
    def version(self) -> str:
        """The version of fastdln that made it."""
        return self.attributes.fastdln_version

    @property
    def revisions(self) -> tuple[int, ...]:
        """The numerics revisions by which its units were computed, or may be."""
        return self.attributes.mixed_revisions or (self.attributes.fastdln_revision,)

    def units(self) -> dict[int, dict[str, Any]]:
        """Read what the journal says about the finished units.

        Returns
        -------
        dict of int to dict
            The record of each finished unit.

        Raises
        ------
        JournalError
            If it cannot be trusted.
        """
        units = read_journal(self.path / JOURNAL).units
        check_records(units, self.layout, self.path / JOURNAL)
        return units

    def damaged(self, *, thorough: bool = True) -> dict[int, str]:
        """Hold what is stored against what the journal says of it.

        Parameters
        ----------
        thorough : bool
            Read all files and compare their checksums; otherwise only their sizes.

        Returns
        -------
        dict of int to str
            For each finished unit that is not what was written, what is wrong with the first such file.

        Raises
        ------
        StoreError
            If something is damaged that belongs to no unit, and hence cannot be computed again.
        """
        for file, expected in self.attributes.fastdln_files.items():
            if wrong := flaw(self.path / file, expected, thorough=thorough):
                raise StoreError(
                    f"{self.path / file} {wrong}; it was written when the store was made, and is not made again: "
                    f"restore it from a copy, or run the scan into another folder"
                )
        found = ((index, self._flaw(index, record, thorough)) for index, record in self.units().items())
        return {index: wrong for index, wrong in found if wrong is not None}

    def torn(self) -> str | None:
        """Look for a file that cannot be read among those of units that are not finished.

        Returns
        -------
        str or None
            What is wrong with the first; the next writer replaces it.
        """
        finished = self.units()
        for unit in (self.layout.unit(i) for i in range(self.layout.n_units) if i not in finished):
            for name, array in self._arrays.items():
                file = self.path / name / array.name(unit)
                if file.exists() and (wrong := array.flaw(unit, file, thorough=True)):
                    return f"{name}/{file.name}, of unit {unit.index}, which is not finished, {wrong}"
        return None

    def dataset(self) -> xr.Dataset:
        """Open the results.

        Returns
        -------
        xarray.Dataset
            Read from the store when needed.

        Raises
        ------
        StoreError
            If it cannot be opened.
        """
        try:
            results: xr.Dataset = xr.open_zarr(self.path)
        except Exception as error:  # whatever xarray and zarr raise on metadata that were tampered with
            raise StoreError(f"{self.path} cannot be opened: {error}") from error
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
            identity = json.loads(self.attributes.spec)
            changes = "\n".join(f"  {line}" for line in _differences(identity, plan.identity))
            raise SpecError(
                f"{self.path} holds another scan; what differs (in the store -> now):\n{changes}\n"
                f"Give another folder by --out, or restore the scan file."
            )

    def with_folder(self, folder: Path) -> Store:
        """Look for the data files of the scan in another folder than the store says.

        Parameters
        ----------
        folder : Path
            The folder.

        Returns
        -------
        Store
            The same store.
        """
        return replace(self, layout=replace(self.layout, plan=Plan(self.layout.plan.document, folder)))

    @contextmanager
    def writer(self, *, allow_mixed: bool = False) -> Iterator[Writer]:
        """Lock the store for writing.

        Parameters
        ----------
        allow_mixed : bool
            Go on even if what is there has been computed by another numerics revision; the store's attributes will
            say so.

        Yields
        ------
        Writer
            What writes units.

        Raises
        ------
        StoreError
            If another process writes, or the store was begun by another numerics revision.
        """
        if NUMERICS not in self.revisions and not allow_mixed:
            begun = " and ".join(map(str, self.revisions))
            raise StoreError(
                f"{self.path} was begun by fastdln {self.version} with numerics revision {begun}, "
                f"but this version computes with revision {NUMERICS}, whose numbers are not the same bits. Finish it "
                f"with that version, run the scan into another folder, or go on with --allow-mixed "
                f"(allow_mixed=True in Python), which the attributes of the store will then say"
            )
        try:
            with Held(self.path) as held:
                folder = held.open(".")
                with self._lock(timeout=0.3):
                    held.open(LOCK)
                    self.units()
                    with Journal(self.path / JOURNAL) as journal:
                        held.watch(JOURNAL, journal.fileno())
                        yield self._prepared(folder, journal, held)
        except filelock.Timeout:
            raise StoreError(f"{self.path} is being written by another process; one writer at a time") from None

    def _prepared(self, folder: int, journal: Journal, held: Held) -> Writer:
        """Put in order what a crash, or a hand, has left; and make what writes."""
        for left in self.path.glob("*/*.partial"):
            left.unlink()
        for name in self._arrays:
            (self.path / name).mkdir(exist_ok=True)
            if not (self.path / name / METADATA).exists():
                write_whole(held.open(name), METADATA, json.dumps(self.metadata[name], indent=2).encode())
                os.fsync(folder)
        if NUMERICS not in self.revisions:
            add_attribute(folder, self.path, "mixed_revisions", [*self.revisions, NUMERICS])
        return Writer(self.path, self.layout, self._arrays, journal, held)

    @cached_property
    def _arrays(self) -> dict[str, Chunks]:
        try:
            return {v.name: Chunks(v, self.layout, self.metadata[v.name]) for v in self.layout.variables}
        except Exception as error:  # whatever zarr raises on metadata that were tampered with
            raise StoreError(f"{self.path / METADATA} is damaged: {error}") from error

    def _flaw(self, index: int, record: dict[str, Any], thorough: bool) -> str | None:
        """Tell what is wrong with a unit; where the journal holds no checksums, whether its files can be read."""
        unit, marks = self.layout.unit(index), record.get("chunks", {})
        for name, array in self._arrays.items():
            file = self.path / name / array.name(unit)
            if name in marks:
                wrong = flaw(file, marks[name], thorough=thorough)
            elif self.attributes.fastdln_format == 1:
                wrong = array.flaw(unit, file, thorough=thorough)
            else:
                wrong = "has no checksum in the journal"
            if wrong:
                return f"{name}/{file.name} {wrong}"
        return None

    def _lock(self, timeout: float) -> filelock.BaseFileLock:
        return filelock.FileLock(self.path / LOCK, timeout=timeout)


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
        If it is none, is damaged, or was made by a newer version.
    """
    attributes, metadata = read_attributes(path)
    try:
        document = read(json.loads(attributes.spec)["spec"])
        plan = Plan(document, _data_folder(path, attributes))
        layout = Layout(plan, min(attributes.chunk, plan.document.trajectories), attributes.cells)
        variables = layout.variables
    except (SpecError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise StoreError(
            f"{path} was made by fastdln {attributes.fastdln_version}; its scan file cannot be read: {error}"
        ) from None
    for variable in variables:
        check_array(path, metadata, variable.name, Form(*layout.form(variable), variable.dtype.name))
    return Store(path, layout, attributes, metadata)


def _data_folder(path: Path, attributes: Attributes) -> Path:
    """Find the folder of the scan file: where it was, or, if the store came along, where it is now."""
    folder = Path(attributes.spec_folder)
    beside = path / attributes.spec_folder_from_store
    return beside if attributes.spec_folder_from_store and not folder.is_dir() and beside.is_dir() else folder


def _differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(k for k in new if k not in old)]:
            path = key if where in ("", "spec") else f"{where}.{key}"
            yield from _differences(old.get(key, "(none)"), new.get(key, "(none)"), path)
    elif old != new:
        yield f"{where}: {json.dumps(old)} -> {json.dumps(new)}"
