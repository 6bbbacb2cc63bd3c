"""The making of a store: everything that is known of a scan before it is run, written whole or not at all."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from fastdln import __version__
from fastdln.integrate.status import Status
from fastdln.losses import Loss
from fastdln.revision import NUMERICS
from fastdln.scan.attributes import FORMAT, METADATA
from fastdln.scan.cell import Cell
from fastdln.scan.chunks import mark
from fastdln.scan.derived import FLAGS
from fastdln.scan.disk import sync
from fastdln.scan.errors import StoreError
from fastdln.scan.kinds import Masked, Random, Sensing
from fastdln.scan.layout import NOT_RUN, Layout, Variable
from fastdln.scan.plan import Plan, canonical_json, label
from fastdln.scan.store import JOURNAL, LOCK

__all__ = ["create"]


def create(path: Path, layout: Layout, cells: list[Cell]) -> None:
    """Create a store, whole or not at all; nothing is done if another process was quicker.

    Parameters
    ----------
    path : Path
        Its folder.
    layout : Layout
        Its arrays and units.
    cells : list of Cell
        Its cells.

    Raises
    ------
    StoreError
        If it cannot be made, or another process is making it.
    """
    # The name is always the same, and the lock within it dies with its process: so what a killed process has left is
    # found, and told from what another is making. With the folder the lock becomes that of the store.
    draft = path.with_name(f".{path.name}.partial")
    try:
        draft.mkdir(exist_ok=True)
        with filelock.FileLock(draft / LOCK, timeout=0.3):
            try:
                if not path.exists():
                    _empty(draft)
                    _build(draft, layout, cells)
                    for folder, _, files in os.walk(draft):
                        for file in files:
                            sync(Path(folder, file))
                        sync(Path(folder))
                    draft.rename(path)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        sync(path.parent)
    except filelock.Timeout:
        raise StoreError(f"{path} is being made by another process; one writer at a time") from None
    except OSError as error:
        if not path.exists():
            raise StoreError(f"{path} cannot be made: {error}") from error


def _empty(draft: Path) -> None:
    """Remove what a killed process has left, but for the lock."""
    for left in draft.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
        elif left.name != LOCK:
            left.unlink()


def _build(folder: Path, layout: Layout, cells: list[Cell]) -> None:
    plan = layout.plan
    group = zarr.create_group(folder, zarr_format=3)
    _write_coordinates(group, plan)
    _write_cells(group, layout, cells)
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and file.name not in (METADATA, LOCK)]
    spec_folder = plan.folder.resolve()
    attributes: dict[str, Any] = {
        "title": plan.document.name,
        "fastdln_format": FORMAT,
        "fastdln_version": __version__,
        "fastdln_revision": NUMERICS,
        "spec": canonical_json(plan.identity),
        "spec_sha256": plan.digest,
        "spec_folder": str(spec_folder),
        "spec_folder_from_store": os.path.relpath(spec_folder, folder.resolve()),
        "chunk": layout.chunk,
        "cells": layout.cells,
        "fastdln_files": {file.relative_to(folder).as_posix(): mark(file.read_bytes()) for file in files},
    }
    if tied := [name for axis in plan.axes for name in axis.names[1:]]:
        # By this xarray knows that they are coordinates.
        attributes["coordinates"] = " ".join(tied)
    group.attrs.update(attributes)
    for variable in layout.variables:
        _create_array(group, variable, layout)
    with warnings.catch_warnings():
        # What zarr warns of, that other readers may not know consolidated metadata, harms none of them.
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(folder)
    (folder / JOURNAL).touch()


_FLAGS = FLAGS | {
    "status": {"NOT_RUN": NOT_RUN} | {status.name: int(status) for status in Status},
    "certified": {"NOT_RUN": NOT_RUN, "NO": 0, "YES": 1},
}


def _create_array(group: zarr.Group, variable: Variable, layout: Layout) -> None:
    attributes: dict[str, Any] = {"long_name": variable.long_name, "units": variable.units}
    if codes := _FLAGS.get(variable.name):
        attributes["flag_values"] = list(codes.values())
        attributes["flag_meanings"] = " ".join(codes)
    shape, chunk = layout.form(variable)
    group.create_array(
        variable.name,
        shape=shape,
        chunks=chunk,
        dtype=variable.dtype,
        fill_value=variable.fill_value,
        dimension_names=(*(axis.name for axis in layout.plan.axes), *variable.dims),
        attributes=attributes,
        # Trajectories are noise to a compressor but for their exponents, which shuffled bytes bring together. The
        # checksum is outermost, so that no damaged byte reaches a decompressor.
        compressors=(BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"), Crc32cCodec()),
        # One folder of chunks for each array: one folder to bring to the disk.
        chunk_key_encoding={"name": "default", "separator": "."},
    )


def _write_coordinates(group: zarr.Group, plan: Plan) -> None:
    for axis in plan.axes:
        for key, name, values in zip(axis.keys, axis.names, axis.values, strict=True):
            numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
            coordinate: NDArray[Any] = (
                np.array(values) if numbers else np.array([label(key, v) for v in values], np.dtypes.StringDType())
            )
            _write(group, name, coordinate, (axis.name,), key)


def _write_cells(group: zarr.Group, layout: Layout, cells: list[Cell]) -> None:
    """Write what is known of every cell before it is run."""
    shape, dims = layout.plan.shape, tuple(axis.name for axis in layout.plan.axes)
    times = np.full((len(cells), layout.plan.n_times), np.nan)
    sigma = np.full((len(cells), layout.n_modes), np.nan)
    modes = np.empty(len(cells), np.int64)
    losses: dict[Hashable, Loss] = {}
    for i, cell in enumerate(cells):
        own = cell.times
        times[i, : len(own)] = own
        if (key := _landscape(cell)) not in losses:
            losses[key] = cell.loss(0, 1)
        loss = losses[key]
        modes[i] = min(loss.shape)
        if loss.modes is not None and not loss.batch_shape:
            sigma[i, : modes[i]] = loss.modes.sigma
    _write(group, "t", times.reshape(*shape, -1), (*dims, "time"), "time recorded", "time")
    if layout.plan.document.descends:
        _write_steps(group, layout, cells)
    _write(group, "n_modes", modes.reshape(shape), dims, "modes of the target; the rest of the axis is padding")
    _write(group, "sigma", sigma.reshape(*shape, -1), (*dims, "mode"), "singular values of the target")


def _landscape(cell: Cell) -> Hashable:
    """What the loss of a cell follows from: its number, too, where something is drawn."""
    point = cell.point
    drawn = isinstance(point.target, Random) or isinstance(point.loss, Masked | Sensing)
    return cell.network, type(point.target), point.target, type(point.loss), point.loss, point.index if drawn else None


def _write_steps(group: zarr.Group, layout: Layout, cells: list[Cell]) -> None:
    """Write the updates that are recorded: once, where all cells record the same."""
    shape, dims = layout.plan.shape, tuple(axis.name for axis in layout.plan.axes)
    steps = np.full((len(cells), layout.plan.n_times), NOT_RUN, np.int64)
    for row, cell in zip(steps, cells, strict=True):
        own = cell.steps
        row[: len(own)] = own
    if (steps == steps[0]).all():
        _write(group, "steps", steps[0], ("time",), "updates done", "updates")
    else:
        _write(group, "steps", steps.reshape(*shape, -1), (*dims, "time"), "updates done", "updates")


def _write(
    group: zarr.Group,
    name: str,
    values: NDArray[Any],
    dims: tuple[str, ...],
    long_name: str,
    units: str = "1",
) -> None:
    attributes: dict[str, Any] = {"long_name": long_name, "units": units}
    group.create_array(
        name,
        data=values,
        chunks=values.shape,
        dimension_names=dims,
        attributes=attributes,
        compressors=(ZstdCodec(), Crc32cCodec()),
    )
