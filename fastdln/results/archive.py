"""Files of arrays, read without trust: nothing in them is executed, and nothing is allocated that they only claim.

An array is refused unless it is one of plain numbers (or text) whose header says as many bytes as the file holds, and
all that is asked for has to fit into the memory that is free before any of it is unpacked.
"""

from __future__ import annotations

import contextlib
import json
import math
import zipfile
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fastdln.resources import require_memory

FORMAT = 1
LONGEST_HEADER = 1 << 22  # bytes of the text of a header; one with a user's method takes some ten thousand
_KINDS = "fiubcU"  # of numbers and text: arrays of anything else can hold objects, or are nothing that is asked for
_MAX_MEMBERS = 10_000
_ARRAY_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def write(path: str | PathLike[str], header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    """Write a header that JSON can hold and arrays of numbers into one ``.npz`` file."""
    text = np.array(json.dumps({"format": FORMAT, **header}))
    with Path(path).open("wb") as file:  # a file object: NumPy would append .npz to a name
        np.savez(file, allow_pickle=False, header=text, **arrays)


def read(path: str | PathLike[str]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read what `write` wrote; lists of the header come back as tuples.

    Raises
    ------
    ValueError
        If the file is of another kind, damaged, or of a newer format.
    MemoryError
        If it does not fit into the memory.
    """
    with opened(path, "saved trajectories") as archive:
        if "header" not in archive.names:
            raise ValueError("it has no header")
        if archive.size("header") > LONGEST_HEADER:
            raise ValueError(f"its header has more than {LONGEST_HEADER} bytes")
        arrays = archive.read(archive.names)
        header = json.loads(str(arrays.pop("header")))
        if not isinstance(header, dict) or type(header.get("format")) is not int:
            raise ValueError("its header is not that of such a file")
    if header["format"] > FORMAT:
        raise ValueError(f"{path} has format {header['format']}; this version reads formats up to {FORMAT}")
    return _tuples(header), arrays


@contextlib.contextmanager
def opened(path: str | PathLike[str], what: str) -> Iterator[Archive]:
    """Open a ``.npz`` file; whatever is wrong comes out as one ValueError: the file does not hold ``what``."""
    with Path(path).open("rb") as stream, naming(path, what), zipfile.ZipFile(stream) as file:
        yield Archive(path, file)


def load_array(path: str | PathLike[str], what: str) -> NDArray[Any]:
    """Read a ``.npy`` file.

    Raises
    ------
    ValueError
        If it is none, or damaged.
    MemoryError
        If it does not fit into the memory.
    """
    with Path(path).open("rb") as stream, naming(path, what):
        n_bytes = Path(path).stat().st_size
        require_memory(_size(stream, n_bytes), str(path), "it cannot be read here")
        stream.seek(0)
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


@contextlib.contextmanager
def naming(path: str | PathLike[str], what: str) -> Iterator[None]:
    """Turn whatever reading a damaged or foreign file raises into a ValueError that names the file.

    Zip, its decompressors, NumPy and JSON raise a dozen kinds of errors between them (RuntimeError for encrypted
    members, RecursionError for nested headers, ...), and all of them mean that the file is not what it should be.
    """
    try:
        yield
    except MemoryError as error:
        # The parser of headers raises it too, for deep nesting; an estimate that was refused says what is short.
        if not str(error):
            raise ValueError(f"{path} does not hold {what}: it is nested too deeply") from error
        raise
    except Exception as error:
        raise ValueError(f"{path} does not hold {what}: {str(error) or type(error).__name__}") from error


class Archive:
    """The arrays of an open ``.npz`` file; made by `opened`."""

    def __init__(self, path: str | PathLike[str], file: zipfile.ZipFile) -> None:
        self._path, self._file = path, file
        members = file.infolist()
        if len(members) > _MAX_MEMBERS:
            raise ValueError(f"it has {len(members)} members, more than {_MAX_MEMBERS}")
        self._members = {member.filename.removesuffix(".npy"): member for member in members}
        if len(self._members) < len(members):
            raise ValueError("it holds two members of one name")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the arrays."""
        return tuple(self._members)

    def size(self, name: str) -> int:
        """The bytes of an array, unpacked, with its header."""
        return self._members[name].file_size

    def read(self, names: Iterable[str]) -> dict[str, NDArray[Any]]:
        """Read arrays, after their headers and their sizes have been found right."""
        wanted = {name: self._members[name] for name in names}
        n_bytes = 0
        for name, member in wanted.items():
            with self._file.open(member) as stream, _about(name):
                n_bytes += _size(stream, member.file_size)
        require_memory(n_bytes, f"the contents of {self._path}", "it cannot be read here")
        arrays = {}
        for name, member in wanted.items():
            with self._file.open(member) as stream, _about(name):
                arrays[name] = np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
        return arrays


@contextlib.contextmanager
def _about(name: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"array {name!r}: {error}") from error


def _size(stream: IO[bytes], n_bytes: int) -> int:
    """The bytes of the array in a stream of n_bytes, from its header; it must be of a kind that needs no trust."""
    version = np.lib.format.read_magic(stream)
    if version not in _ARRAY_HEADERS:
        raise ValueError(f"version {version} of the .npy format is not read")
    shape, _, dtype = _ARRAY_HEADERS[version](stream)
    if dtype.kind not in _KINDS or dtype.itemsize == 0:
        raise ValueError(f"its dtype {dtype} is not one of numbers; others are not read (allow_pickle=False)")
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or size != n_bytes - stream.tell():
        raise ValueError(
            f"its header says the shape {shape} in {dtype}, which does not make the {n_bytes - stream.tell()} bytes "
            "that follow"
        )
    return size


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _tuples(x) for name, x in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
