"""The making of a store: everything that is known of a scan before it is run, written whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from fastdln import __version__
from fastdln.scan.derived import FLAGS
from fastdln.scan.disk import sync
from fastdln.scan.layout import NOT_RUN, Layout, Variable
from fastdln.scan.plan import Plan, canonical_json, label
from fastdln.scan.problem import Problem
from fastdln.scan.store import FORMAT, JOURNAL, LOCK, Store, StoreError, open_store
from fastdln.trajectories import Status

__all__ = ["create"]


def create(path: Path, layout: Layout, problems: list[Problem]) -> Store:
    """Create a store, whole or not at all.

    Parameters
    ----------
    path : Path
        Its folder, which must not exist yet.
    layout : Layout
        Its arrays and units.
    problems : list of Problem
        Those of the cells.

    Returns
    -------
    Store
        The store.
    """
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        _build(draft, layout, problems)
        for folder, _, files in os.walk(draft):
            for file in files:
                sync(Path(folder, file))
            sync(Path(folder))
        draft.rename(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be made: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    sync(path.parent)
    return open_store(path)


def _build(folder: Path, layout: Layout, problems: list[Problem]) -> None:
    plan = layout.plan
    attributes = {
        "title": plan.document.name,
        "fastdln_format": FORMAT,
        "fastdln_version": __version__,
        "spec": canonical_json(plan.identity),
        "spec_sha256": plan.digest,
        "spec_folder": str(plan.folder.resolve()),
        "chunk": layout.chunk,
    }
    if tied := [name for axis in plan.axes for name in axis.names[1:]]:
        # By this xarray knows that they are coordinates.
        attributes["coordinates"] = " ".join(tied)
    group = zarr.create_group(folder, zarr_format=3, attributes=attributes)
    _write_coordinates(group, plan)
    _write_cells(group, layout, problems)
    for variable in layout.variables:
        _create_array(group, variable, layout)
    with warnings.catch_warnings():
        # What zarr warns of, that other readers may not know consolidated metadata, harms none of them.
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(folder)
    (folder / JOURNAL).touch()
    (folder / LOCK).touch()


_FLAGS = FLAGS | {
    "status": {"NOT_RUN": NOT_RUN} | {status.name: int(status) for status in Status},
    "certified": {"NOT_RUN": NOT_RUN, "NO": 0, "YES": 1},
}


def _create_array(group: zarr.Group, variable: Variable, layout: Layout) -> None:
    axes = layout.plan.axes
    attributes: dict[str, Any] = {"long_name": variable.long_name, "units": variable.units}
    if codes := _FLAGS.get(variable.name):
        attributes["flag_values"] = list(codes.values())
        attributes["flag_meanings"] = " ".join(codes)
    group.create_array(
        variable.name,
        shape=(*layout.plan.shape, *variable.shape),
        chunks=(*(1 for _ in axes), layout.chunk, *variable.shape[1:]),
        dtype=variable.dtype,
        fill_value=variable.fill_value,
        dimension_names=(*(axis.name for axis in axes), *variable.dims),
        attributes=attributes,
        # Trajectories are noise to a compressor but for their exponents, which shuffled bytes bring together.
        compressors=BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"),
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


def _write_cells(group: zarr.Group, layout: Layout, problems: list[Problem]) -> None:
    """Write what is known of every cell before it is run."""
    shape, dims = layout.plan.shape, tuple(axis.name for axis in layout.plan.axes)
    times = np.array([problem.times for problem in problems])
    sigma = np.full((len(problems), layout.n_modes), np.nan)
    modes = np.empty(len(problems), np.int64)
    for i, problem in enumerate(problems):
        loss = problem.loss(0, 1)
        modes[i] = min(loss.shape)
        if not loss.batch_shape:
            sigma[i, : modes[i]] = loss.modes.sigma
    _write(group, "t", times.reshape(*shape, -1), (*dims, "time"), "time recorded", "time")
    _write(group, "n_modes", modes.reshape(shape), dims, "modes of the target; the rest of the axis is padding")
    _write(group, "sigma", sigma.reshape(*shape, -1), (*dims, "mode"), "singular values of the target")


def _write(
    group: zarr.Group,
    name: str,
    values: NDArray[Any],
    dims: tuple[str, ...],
    long_name: str,
    units: str = "1",
) -> None:
    attributes: dict[str, Any] = {"long_name": long_name, "units": units}
    group.create_array(name, data=values, chunks=values.shape, dimension_names=dims, attributes=attributes)
