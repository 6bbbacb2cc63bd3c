"""The journal of a store: one line of JSON for every finished unit, each with a checksum of itself.

A unit counts only with its line, and a line is written only after the unit's data have reached the disk. So
the one thing that a crash can leave here is a torn last line: it is ignored, and cut off by the next
writer.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, NamedTuple, Self

import msgspec

from fastdln.scan.errors import StoreError
from fastdln.scan.layout import Layout

__all__ = ["Journal", "JournalError", "Records", "check_records", "read_journal"]


class JournalError(StoreError):
    """A journal that cannot be trusted: a damaged line that is not the last one, or one that does not fit the scan."""


_Natural = Annotated[int, msgspec.Meta(ge=0)]


class _Record(msgspec.Struct):
    """What a line says, beside the number of its unit."""

    cell: _Natural
    first: _Natural
    size: _Natural
    failures: dict[str, _Natural]
    seconds: float
    cells: _Natural = 1
    """How many cells there are in the unit."""
    revision: _Natural = 1
    """The numerics revision by which the unit was computed; stores of format 1 knew only the first."""
    chunks: dict[str, tuple[_Natural, str]] = {}
    """The size and the CRC-32 of the file of each array; stores of format 1 had none."""


class Records(NamedTuple):
    """What a journal says."""

    units: dict[int, dict[str, Any]]
    """The record of each finished unit, by its number."""
    length: int
    """The bytes up to the end of the last whole line."""


def read_journal(path: Path, begin: int = 0) -> Records:
    """Read a journal, or what was added to it.

    Parameters
    ----------
    path : Path
        The file.
    begin : int
        Where in the file to begin: the ``length`` of what was read before.

    Returns
    -------
    Records
        What it says; a torn last line is left out.

    Raises
    ------
    JournalError
        If another line is damaged.
    """
    units: dict[int, dict[str, Any]] = {}
    length = begin
    with path.open("rb") as stream:
        stream.seek(begin)
        lines = stream.read().splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        record = _decode(line)
        if record is None:
            if number < len(lines):
                raise JournalError(f"{path}, line {number} of {len(lines)} is damaged; the store cannot be trusted")
            break
        # A unit that was damaged and done again has several lines: the last tells of what there is now.
        units[record["unit"]] = record
        length += len(line)
    return Records(units, length)


def check_records(units: Mapping[int, dict[str, Any]], layout: Layout, path: Path) -> None:
    """Refuse records that are whole but tell of units that the scan does not have.

    Parameters
    ----------
    units : mapping of int to dict
        The record of each finished unit.
    layout : Layout
        The arrays and units of the scan.
    path : Path
        The journal, for the message.

    Raises
    ------
    JournalError
        If there is one; the message tells the first.
    """
    for index, record in units.items():
        try:
            told = msgspec.convert(record, _Record)
        except msgspec.ValidationError as error:
            raise JournalError(f"{path}, unit {index}: {error}; the store cannot be trusted") from None
        unit = layout.unit(index) if index < layout.n_units else None
        place = (told.cell, told.first, told.size, told.cells)
        if unit is None or place != (unit.cell, unit.first, unit.size, len(unit.cells)):
            raise JournalError(
                f"{path}: unit {index} has the trajectories {told.first} to {told.first + told.size - 1} of cell "
                f"{told.cell}, but this scan has no such unit; the store cannot be trusted"
            )


class Journal:
    """The journal, open for writing; there must be one writer only.

    Parameters
    ----------
    path : Path
        The file; a torn last line is cut off.
    """

    def __init__(self, path: Path) -> None:
        self.units, length = read_journal(path)
        self._file = os.open(path, os.O_WRONLY)
        os.ftruncate(self._file, length)
        os.lseek(self._file, length, os.SEEK_SET)

    def fileno(self) -> int:
        """Return the descriptor of the file.

        Returns
        -------
        int
            The descriptor.
        """
        return self._file

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a line, and return once it is on the disk.

        Parameters
        ----------
        record : mapping
            The record, with the number of its "unit".
        """
        line = _encode(record)
        while line:
            line = line[os.write(self._file, line) :]
        os.fsync(self._file)
        self.units[record["unit"]] = dict(record)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)


def _encode(record: Mapping[str, Any]) -> bytes:
    return json.dumps({**record, "crc32": _checksum(record)}).encode() + b"\n"


def _decode(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or record.pop("crc32", None) != _checksum(record):
        return None
    # A line without its unit was never written here, whatever its checksum says.
    return record if isinstance(unit := record.get("unit"), int) and unit >= 0 else None


def _checksum(record: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(record, sort_keys=True).encode()):08x}"
