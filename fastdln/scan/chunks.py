"""The chunk files of a store's arrays: made in memory, and marked with their size and checksum.

Zarr writes a chunk by path, makes whatever folders that path lacks, and reads what is there already where a chunk
is not filled: so a store that was renamed goes on in two halves, and a torn file stands in the way of its own
replacement. Here it only encodes, into memory; the bytes are written by `fastdln.scan.writer`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from stat import S_ISREG
from typing import Any

import zarr
from numpy.typing import NDArray
from zarr.buffer import cpu
from zarr.storage import MemoryStore

from fastdln.scan.layout import Layout, Unit, Variable

__all__ = ["Chunks", "flaw", "mark"]

Mark = tuple[int, str]
"""The size of a file, and its CRC-32 in hexadecimal digits."""


class Chunks:
    """The chunks of one array, in memory.

    Parameters
    ----------
    variable : Variable
        The array.
    layout : Layout
        The arrays and units of the scan.
    metadata : mapping
        The Zarr metadata of the array, as the store has them.
    """

    def __init__(self, variable: Variable, layout: Layout, metadata: Mapping[str, Any]) -> None:
        self._variable = variable
        self._layout = layout
        document = cpu.Buffer.from_bytes(json.dumps(metadata).encode())
        self._files: dict[str, Any] = {"zarr.json": document}
        # Without this zarr leaves out chunks that hold nothing but the fill value.
        with zarr.config.set({"array.write_empty_chunks": True}):
            self._array: Any = zarr.open_array(store=MemoryStore(self._files), mode="r+")

    def name(self, unit: Unit) -> str:
        """Name the file of a unit.

        Parameters
        ----------
        unit : Unit
            The unit.

        Returns
        -------
        str
            The name within the folder of the array.
        """
        place = (*self._layout.place(unit), *(0 for _ in self._variable.dims[1:]))
        name: str = self._array.metadata.encode_chunk_key(place)
        return name

    def encode(self, unit: Unit, block: NDArray[Any]) -> bytes:
        """Make the contents of a unit's file.

        Parameters
        ----------
        unit : Unit
            The unit.
        block : ndarray, shape (trajectories, ...)
            Its results, cell by cell.

        Returns
        -------
        bytes
            Compressed, with the checksum at the end.
        """
        padded = self._variable.pad(block)
        self._array[self._layout.region(unit)] = padded.reshape(*unit.extent, unit.size, *padded.shape[1:])
        data: bytes = self._files.pop(self.name(unit)).to_bytes()
        return data

    def decode(self, unit: Unit, data: bytes) -> NDArray[Any]:
        """Read the contents of a unit's file.

        Parameters
        ----------
        unit : Unit
            The unit.
        data : bytes
            What `encode` has made.

        Returns
        -------
        ndarray, shape (cells, trajectories, ...)
            The results, cell by cell.

        Raises
        ------
        ValueError, RuntimeError, TypeError
            As the codecs have it, where the data are damaged.
        """
        name = self.name(unit)
        self._files[name] = cpu.Buffer.from_bytes(data)
        try:
            block: NDArray[Any] = self._array[self._layout.region(unit)]
        finally:
            del self._files[name]
        return block.reshape(len(unit.cells), unit.size, *self._variable.shape[1:])

    def flaw(self, unit: Unit, path: Path, *, thorough: bool) -> str | None:
        """Judge a file of which no checksum is known.

        Parameters
        ----------
        unit : Unit
            Its unit.
        path : Path
            The file.
        thorough : bool
            Decode it.

        Returns
        -------
        str or None
            What is wrong with it.
        """
        if not path.is_file():
            return "is no file" if path.exists() else "is missing"
        if not thorough:
            return None
        try:
            self.decode(unit, path.read_bytes())
        except (ValueError, RuntimeError, TypeError) as error:  # as the codecs have it
            return f"cannot be decoded ({error})"
        return None


def mark(data: bytes) -> Mark:
    """Mark the contents of a file, to know them again.

    Parameters
    ----------
    data : bytes
        The contents.

    Returns
    -------
    tuple of int and str
        Their size, and their CRC-32. (Not that of the codec ``crc32c``: all files that end in their own CRC-32C have
        the same one.)

    Examples
    --------
    >>> mark(b"abc")
    (3, '352441c2')
    """
    return len(data), f"{zlib.crc32(data):08x}"


def flaw(path: Path, expected: Mark, *, thorough: bool) -> str | None:
    """Compare a file with its mark.

    Parameters
    ----------
    path : Path
        The file.
    expected : tuple of int and str
        Its mark.
    thorough : bool
        Read it, and compare the checksum too.

    Returns
    -------
    str or None
        What is wrong with it.
    """
    size, checksum = expected
    try:
        found = path.stat()
        if not S_ISREG(found.st_mode):
            return "is no file"
        if found.st_size != size:
            return f"has {found.st_size:,} bytes instead of {size:,}"
        if thorough and mark(path.read_bytes())[1] != checksum:
            return "does not have the checksum of what was written"
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    return None
