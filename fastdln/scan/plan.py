"""The plan of a scan: its grid, its cells in C order, and what identifies it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from fastdln.scan.data import digests
from fastdln.scan.kinds import Data, FromFile, Network, Plane, Strict
from fastdln.scan.reading import read
from fastdln.scan.spec import TABLES, Document, Flow, SpecError, Times

__all__ = ["Axis", "GridPoint", "Plan", "load_plan"]


LONGEST_FILE = 8 << 20
"""The bytes of the longest scan file that is read."""

WITHIN_BATCHES = frozenset({"init.a", "init.b", "updates.momentum", "updates.weight_decay", "updates.learning_rate"})
"""Keys of which each trajectory of a batch may have its own value."""

MOST_CELLS = 2**20
"""The most cells of a grid: each is checked before the scan begins, and has a file in every array of the store."""


class Axis(NamedTuple):
    """An axis of the grid: one key of the scan file, or several that are tied together."""

    name: str
    """The name of its dimension."""
    keys: tuple[str, ...]
    """The keys, as "table.key"."""
    names: tuple[str, ...]
    """The name of the coordinate of each key; the first is that of the axis."""
    values: tuple[tuple[Any, ...], ...]
    """The values of each key along the axis."""

    @property
    def size(self) -> int:
        """The number of points on the axis."""
        return len(self.values[0])


@dataclass(frozen=True)
class GridPoint:
    """One point of the grid: what the scan file says there."""

    index: int
    """Its number in C order; its random streams are those of ``SeedSequence(seed, spawn_key=(index,))``."""
    position: tuple[int, ...]
    """Its place on each axis."""
    label: str
    """What is particular to it, for people."""
    network: Network
    target: Strict
    loss: Strict
    init: Strict
    schedule: Strict
    updates: Strict
    flow: Flow | None = None
    """None where it is a descent."""


@dataclass(frozen=True)
class Plan:
    """A scan file as a grid of cells.

    Parameters
    ----------
    document : Document
        What the file says.
    folder : Path
        The folder from which its data files are looked for.
    """

    document: Document
    folder: Path

    def __post_init__(self) -> None:
        if self.n_cells > MOST_CELLS:
            sizes = " x ".join(f"{axis.size:,} {axis.name}" for axis in self.axes)
            raise SpecError(f"the grid has {self.n_cells:,} cells ({sizes}): expected at most {MOST_CELLS:,}")

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """The axes of the grid; tied axes stand where the first of them does."""
        names = Counter(["steps", *(key.split(".")[1] for key in self.document.axes)])  # the store has steps of its own
        groups = {key: tied.axes for tied in self.document.zips for key in tied.axes}
        axes: dict[tuple[str, ...], Axis] = {}
        for key in self.document.axes:
            tied = groups.get(key, (key,))
            if tied in axes:
                continue
            values = tuple(tuple(self._value(k)) for k in tied)
            if len({len(v) for v in values}) > 1:
                lengths = ", ".join(f"{k} has {len(v)}" for k, v in zip(tied, values, strict=True))
                raise SpecError(f"zip.axes: tied axes need as many values each, but {lengths}")
            own = tuple(k.replace(".", "_") if names[k.split(".")[1]] > 1 else k.split(".")[1] for k in tied)
            axes[tied] = Axis(own[0], tied, own, values)
        return tuple(axes.values())

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of points on each axis."""
        return tuple(axis.size for axis in self.axes)

    @cached_property
    def n_times(self) -> int:
        """The number of records of the cell that has most."""
        times = self.document.record.times
        if isinstance(times, Times):
            return times.count
        steps = max(np.atleast_1d(self.document.tables["updates"]["steps"]).tolist())
        return len(range(times.first, steps, times.every)) + 1

    @property
    def n_cells(self) -> int:
        """The number of cells."""
        return prod(self.shape)

    def position(self, index: int) -> tuple[int, ...]:
        """Return the place of a cell on each axis.

        Parameters
        ----------
        index : int
            Its number in C order.

        Returns
        -------
        tuple of int
            Its index on each axis.
        """
        return tuple(int(i) for i in np.unravel_index(index, self.shape)) if self.axes else ()

    def index(self, position: Sequence[int]) -> int:
        """Return the number of a cell in C order.

        Parameters
        ----------
        position : sequence of int
            Its place on each axis.

        Returns
        -------
        int
            The number.
        """
        return int(np.ravel_multi_index(position, self.shape)) if self.axes else 0

    def varies_within_batches(self, axis: Axis) -> bool:
        """Tell whether cells that differ along an axis can be computed at once.

        Parameters
        ----------
        axis : Axis
            The axis.

        Returns
        -------
        bool
            True where it changes nothing but numbers that each trajectory of a batch has for itself.
        """
        tables = self.document.tables
        own = {"random", "masked", "sensing"}.intersection(_kinds(tables, "target") + _kinds(tables, "loss"))
        batches = self.document.descends and tables["updates"]["batch_size"] is not None
        return not own and not batches and WITHIN_BATCHES.issuperset(axis.keys)

    def point(self, index: int) -> GridPoint:
        """Return one point of the grid.

        Parameters
        ----------
        index : int
            Its number in C order.

        Returns
        -------
        GridPoint
            The values on each axis, and its number.
        """
        position = self.position(index)
        chosen: dict[str, Any] = {}
        words = []
        for axis, place in zip(self.axes, position, strict=True):
            for key, name, values in zip(axis.keys, axis.names, axis.values, strict=True):
                chosen[key] = values[place]
                words.append(f"{name} = {label(key, values[place])}")
        tables = {name: _fill(name, table, chosen) for name, table in self.document.tables.items()}
        return GridPoint(index, position, ", ".join(words) or "the only cell", **tables)

    @cached_property
    def points(self) -> tuple[GridPoint, ...]:
        """Every point, in C order."""
        return tuple(self.point(i) for i in range(self.n_cells))

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What makes two scans the same one: the scan file in its normal form, and the data it refers to."""
        files: dict[str, str] = {}
        kinds = {kind for name in ("target", "loss", "init") for kind in _kinds(self.document.tables, name)}
        if kinds & {"data", "masked", "sensing", "plane"}:
            # the points of a plane are many, and its file is one
            whole = {"a": 0.0, "b": 0.0}
            for table in {
                msgspec.structs.replace(table, **whole) if isinstance(table, Plane) else table
                for point in self.points
                for table in (point.target, point.loss, point.init)
                if isinstance(table, Data | FromFile)
            }:
                files |= digests(table, self.folder)
        return {"spec": self.document.normalised(), "files": dict(sorted(files.items()))}

    @property
    def digest(self) -> str:
        """The SHA-256 of the identity in canonical JSON."""
        return hashlib.sha256(canonical_json(self.identity).encode()).hexdigest()

    def _value(self, key: str) -> Any:
        table, name = key.split(".")
        return self.document.tables[table][name]


def load_plan(path: Path) -> Plan:
    """Read a scan file.

    Parameters
    ----------
    path : Path
        Where it lies.

    Returns
    -------
    Plan
        The checked document with its grid.

    Raises
    ------
    SpecError
        If there is no such file, or its contents are not a scan.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(LONGEST_FILE + 1)
        text = content.decode("utf-8-sig")  # editors of some systems begin a file with a byte order mark
    except (OSError, ValueError) as error:
        raise SpecError(f"the scan file {path} cannot be read: {error}") from None
    if len(content) > LONGEST_FILE:
        raise SpecError(f"the scan file {path} has more than {LONGEST_FILE} bytes: data belong into files of their own")
    return Plan(read(text), path.parent)


def canonical_json(value: Any) -> str:
    """Write JSON in the one form that is hashed: sorted keys, no spaces, shortest numbers that read back.

    Parameters
    ----------
    value : object
        Dicts, lists, strings, numbers.

    Returns
    -------
    str
        The text.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def label(key: str, value: Any) -> str:
    """Write a value on an axis for people; widths as 4-8-8-4.

    Parameters
    ----------
    key : str
        The key, as "table.key".
    value : object
        A value of it.

    Returns
    -------
    str
        The text.
    """
    if key == "network.widths":
        return "-".join(map(str, value))
    if isinstance(value, tuple):
        return ", ".join(label(key, item) if not isinstance(item, tuple) else f"({label(key, item)})" for item in value)
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _kinds(tables: dict[str, dict[str, Any]], name: str) -> list[str]:
    kind = tables[name]["kind"]
    return kind if isinstance(kind, list) else [kind]


def _fill(name: str, table: dict[str, Any], chosen: dict[str, Any]) -> Any:
    """Make the table of one cell: a table of several kinds keeps the keys that the cell's kind knows."""
    values = {key: chosen.get(f"{name}.{key}", value) for key, value in table.items()}
    kind = values.pop("kind", None)
    form = next(form for form in TABLES[name] if form.__struct_config__.tag in (kind, None))
    return form(**{key: value for key, value in values.items() if key in form.__struct_fields__})
