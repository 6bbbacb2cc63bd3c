"""The journal of a store: one line of JSON for every finished unit, each with a checksum of itself.

A unit counts only with its line, and a line is written only after the unit's data have reached the disk. So
the one thing that a crash can leave behind here is a torn last line: it is ignored, and cut off by the next
writer.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

__all__ = ["Journal", "JournalError", "Records", "read_journal"]


class JournalError(RuntimeError):
    """A journal with a damaged line that is not the last one."""


class Records(NamedTuple):
    """What a journal says."""

    units: dict[int, dict[str, Any]]
    """The record of each finished unit, by its number."""
    length: int
    """The bytes up to the end of the last whole line."""


def read_journal(path: Path) -> Records:
    """Read a journal.

    Parameters
    ----------
    path : Path
        The file.

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
    length = 0
    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        record = _decode(line)
        if record is None:
            if number < len(lines):
                raise JournalError(f"{path}, line {number} of {len(lines)} is damaged; the store cannot be trusted")
            break
        units[record["unit"]] = record
        length += len(line)
    return Records(units, length)


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
    except ValueError:
        return None
    if not isinstance(record, dict) or record.pop("crc32", None) != _checksum(record):
        return None
    return record


def _checksum(record: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(record, sort_keys=True).encode()):08x}"
