"""What a store says about itself: the attributes of its Zarr group, and the metadata of its arrays."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NamedTuple

import msgspec

from fastdln import __version__
from fastdln.scan.disk import write_whole
from fastdln.scan.errors import StoreError

__all__ = ["FORMAT", "METADATA", "Attributes", "Form", "add_attribute", "check_array", "read_attributes"]

FORMAT = 2
"""The version of the store's own format; stores with a higher one are refused.

1
    Chunks without checksums.
2
    The codec crc32c after every compressor; size and CRC-32 of every chunk in the journal, and of the files that are
    written when the store is made in the attribute ``fastdln_files``; the numerics revision.
"""

METADATA = "zarr.json"

_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Natural = Annotated[int, msgspec.Meta(ge=0)]


class Attributes(msgspec.Struct):
    """The attributes of a store."""

    fastdln_version: str
    spec: str
    spec_sha256: str
    spec_folder: str
    chunk: _Positive
    """Trajectories of a cell in a unit."""
    fastdln_format: _Positive
    cells: _Positive = 1
    """The most cells in a unit."""
    fastdln_revision: _Positive = 1
    """Stores of format 1 had none."""
    spec_folder_from_store: str = ""
    """The folder of the scan file as seen from the store; stores of format 1 did not say."""
    mixed_revisions: tuple[_Positive, ...] = ()
    """The revisions by which its units were computed, where that was allowed."""
    fastdln_files: dict[str, tuple[_Natural, str]] = {}
    """Size and CRC-32 of what was written when the store was made."""


class Form(NamedTuple):
    """The form of an array."""

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    """The shape of its chunks."""
    dtype: str

    def __str__(self) -> str:
        return f"shape {self.shape} in chunks of {self.chunk} of {self.dtype}"


class _Chunk(msgspec.Struct):
    chunk_shape: tuple[int, ...]


class _Grid(msgspec.Struct):
    configuration: _Chunk


class _Array(msgspec.Struct):
    shape: tuple[int, ...]
    data_type: str
    chunk_grid: _Grid


class _Consolidated(msgspec.Struct):
    metadata: dict[str, dict[str, Any]]


class _Group(msgspec.Struct):
    attributes: dict[str, Any]
    consolidated_metadata: _Consolidated


def read_attributes(path: Path) -> tuple[Attributes, dict[str, dict[str, Any]]]:
    """Read what a store says about itself.

    Parameters
    ----------
    path : Path
        Its folder.

    Returns
    -------
    attributes : Attributes
        The attributes of the whole store.
    arrays : dict of str to dict
        The Zarr metadata of its arrays.

    Raises
    ------
    StoreError
        If it is no store, is damaged, or was made by a newer version.
    """
    try:
        document = json.loads((path / METADATA).read_bytes())
        format_ = document["attributes"]["fastdln_format"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise StoreError(f"{path} is no store of a fastdln scan") from None
    if isinstance(format_, int) and format_ > FORMAT:
        raise StoreError(
            f"{path} was made by fastdln {document['attributes'].get('fastdln_version', '(unknown)')} in format "
            f"{format_}; this version, {__version__}, reads up to {FORMAT}: update fastdln"
        )
    try:
        group = msgspec.convert(document, _Group)
        attributes = msgspec.convert(group.attributes, Attributes)
    except msgspec.ValidationError as error:
        raise StoreError(f"{path / METADATA} is damaged: {error}") from None
    if any(PurePosixPath(file).is_absolute() or ".." in file.split("/") for file in attributes.fastdln_files):
        raise StoreError(f"{path / METADATA} is damaged: fastdln_files names files outside of the store")
    if hashlib.sha256(attributes.spec.encode()).hexdigest() != attributes.spec_sha256:
        raise StoreError(f"{path / METADATA} is damaged: the scan file in it does not have its SHA-256")
    return attributes, group.consolidated_metadata.metadata


def check_array(path: Path, metadata: dict[str, dict[str, Any]], name: str, expected: Form) -> None:
    """Refuse an array that is not the one that the scan fills.

    Parameters
    ----------
    path : Path
        The folder of the store.
    metadata : dict of str to dict
        The Zarr metadata of its arrays.
    name : str
        The array.
    expected : Form
        Its form.

    Raises
    ------
    StoreError
        If it is missing, or has another form.
    """
    try:
        array = msgspec.convert(metadata.get(name), _Array)
    except msgspec.ValidationError as error:
        raise StoreError(f"{path / METADATA} is damaged: the array {name}: {error}") from None
    found = Form(array.shape, array.chunk_grid.configuration.chunk_shape, array.data_type)
    if found != expected:
        raise StoreError(f"{path / METADATA} is damaged: the array {name} has the {found}, but the scan the {expected}")


def add_attribute(folder: int, path: Path, name: str, value: Any) -> None:
    """Change an attribute of a store, all at once.

    Parameters
    ----------
    folder : int
        The descriptor of its folder.
    path : Path
        Its folder.
    name : str
        The attribute.
    value : object
        What JSON can hold.
    """
    document = json.loads((path / METADATA).read_bytes())
    document["attributes"][name] = value
    write_whole(folder, METADATA, json.dumps(document, indent=2).encode(), replacing=True)
