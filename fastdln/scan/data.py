"""The data files that a scan file names: finding them safely, and reading what they hold.

Nothing in a file is ever executed: arrays that would need pickle are refused, and a scan file reaches no file
outside its own folder unless it says so itself.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.checks import shown
from fastdln.network import Weights
from fastdln.resources import require_memory
from fastdln.results import archive
from fastdln.scan.kinds import Data, FromFile, Masked, Plane, Sensing
from fastdln.scan.spec import SpecError

__all__ = ["check_unchanged", "digests", "load", "load_mask", "load_measurements", "load_plane"]

Floats = NDArray[np.float64]

_BYTES_PER_CHARACTER = 4  # of a table of one-digit numbers: 8 bytes for a digit and a comma


def digests(table: Data | FromFile, folder: Path) -> dict[str, str]:
    """Fingerprint the files of a target, a loss or starts, so that a scan is not continued with other data.

    Parameters
    ----------
    table : Data or FromFile
        The target, the loss, or the starts.
    folder : Path
        The folder of the scan file.

    Returns
    -------
    dict of str to str
        The SHA-256 of each file, by its name in the scan file.
    """
    names = [table.path] if table.path is not None else [table.X, table.Y] if isinstance(table, Data) else []
    return {name: _digest(_locate(name, table, folder)) for name in names}


def load(target: Data, folder: Path) -> tuple[Floats, Floats]:
    """Read the data of a target.

    Parameters
    ----------
    target : Data
        The target.
    folder : Path
        The folder of the scan file.

    Returns
    -------
    X : ndarray, shape (d_0, m)
        Inputs, one sample a column, centred if the target says so.
    Y : ndarray, shape (d_h, m)
        Outputs, likewise.
    """
    if target.path is not None:
        path = _locate(target.path, target, folder)
        X, Y = _read_pair(path, target)
    else:
        X, Y = (_read_file(_locate(name, target, folder), "target") for name in (target.X, target.Y))
    X, Y = (_samples(key, array, target) for key, array in (("X", X), ("Y", Y)))
    if X.shape[1] != Y.shape[1]:
        raise SpecError(
            f"target.X and target.Y have {X.shape[1]} and {Y.shape[1]} samples as {target.samples}: "
            f'expected as many of both (samples = "columns" or "rows"?)'
        )
    return X, Y


def load_mask(loss: Masked, folder: Path) -> NDArray[Any]:
    """Read the mask of a loss.

    Parameters
    ----------
    loss : Masked
        The loss, with a path.
    folder : Path
        The folder of the scan file.

    Returns
    -------
    ndarray
        The mask, of whatever shape.
    """
    assert loss.path is not None
    return _read_file(_locate(loss.path, loss, folder), "loss")


def load_measurements(loss: Sensing, folder: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Read the measurements of a loss.

    Parameters
    ----------
    loss : Sensing
        The loss, with a path.
    folder : Path
        The folder of the scan file.

    Returns
    -------
    A : ndarray
        The matrices, of whatever shape.
    y : ndarray or None
        What was measured, if the file says so.
    """
    assert loss.path is not None
    arrays, names = _read_archive(_locate(loss.path, loss, folder), loss.path, {"A", "y"}, "loss")
    if "A" not in arrays:
        raise SpecError(f"loss.path: {loss.path} has no array A, but {_listed(names)}")
    return arrays["A"], arrays.get("y")


def load_plane(init: Plane, depth: int, folder: Path) -> tuple[Weights, Weights, Weights]:
    """Read what spans a plane of starts.

    Parameters
    ----------
    init : Plane
        The initial condition, with a path.
    depth : int
        The number of layers.
    folder : Path
        The folder of the scan file.

    Returns
    -------
    weights, direction_1, direction_2 : tuples of ndarrays
        Of whatever shapes.
    """
    assert init.path is not None
    names = [[f"{letter}{i}" for i in range(1, depth + 1)] for letter in "WUV"]
    wanted = {name for layers in names for name in layers}
    arrays, found = _read_archive(_locate(init.path, init, folder), init.path, wanted, "init")
    if missing := sorted(wanted - arrays.keys()):
        raise SpecError(f"init.path: {init.path} has no array {', '.join(missing)}, but {_listed(found)}")
    weights, first, second = (tuple(arrays[name] for name in layers) for layers in names)
    return weights, first, second


def check_unchanged(table: Data | FromFile, folder: Path, files: tuple[tuple[str, str], ...]) -> None:
    """Refuse files that are not those that the scan was begun with.

    Parameters
    ----------
    table : Data or FromFile
        What names them.
    folder : Path
        The folder of the scan file.
    files : tuple of pairs of str
        The SHA-256 of each data file of the scan, by its name.

    Raises
    ------
    SpecError
        If one differs.
    """
    known = dict(files)
    for name, digest in digests(table, folder).items():
        if digest != known[name]:
            raise SpecError(f'{_where(table)}: the file "{name}" in {folder} has changed since the scan was begun')


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _locate(name: str, table: Data | FromFile, folder: Path) -> Path:
    path, where = folder / name, _where(table)
    try:
        inside, there = path.resolve().is_relative_to(folder.resolve()), path.is_file()
    except (OSError, ValueError):  # too long, a null character
        raise SpecError(f"{where}: {shown(name)} cannot be the name of a file") from None
    if not table.allow_outside and not inside:
        raise SpecError(
            f'{where}: the file "{name}" lies outside {folder}, the folder of the scan file; '
            f"allow_outside = true in [{where}] allows that"
        )
    if not there:
        raise SpecError(f'{where}: there is no file "{name}" in {folder}')
    return path


def _where(table: Data | FromFile) -> str:
    """The table of the scan file."""
    return "target" if isinstance(table, Data) else "init" if isinstance(table, Plane) else "loss"


def _read_pair(path: Path, target: Data) -> tuple[NDArray[Any], NDArray[Any]]:
    if path.suffix != ".npz":
        raise SpecError(
            f'target.path = "{target.path}": expected a .npz file with the arrays X and Y; '
            f"name .npy or .csv files by the keys X and Y, without path"
        )
    arrays, names = _read_archive(path, str(target.path), {target.X, target.Y}, "target")
    for key, name in (("X", target.X), ("Y", target.Y)):
        if name not in arrays:
            raise SpecError(f'target.{key} = "{name}": {target.path} has only the arrays {_listed(names)}')
    return arrays[target.X], arrays[target.Y]


def _read_archive(path: Path, name: str, wanted: set[str], where: str) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Those arrays of a file that are wanted, and the names of all."""
    if path.suffix != ".npz":
        raise SpecError(f'{where}.path = "{name}": expected a .npz file with the arrays {" and ".join(sorted(wanted))}')
    try:
        with archive.opened(path, "arrays") as file:
            return file.read(wanted.intersection(file.names)), list(file.names)
    except (ValueError, OSError) as error:
        raise SpecError(f'{where}.path = "{name}": cannot be read ({error})') from None


def _listed(names: list[str]) -> str:
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")


def _read_file(path: Path, where: str) -> NDArray[Any]:
    try:
        if path.suffix == ".npy":
            return archive.load_array(path, "an array")
        if path.suffix == ".csv":
            require_memory(_BYTES_PER_CHARACTER * path.stat().st_size, str(path), "it cannot be read here")
            return np.loadtxt(path, delimiter=",", ndmin=2, encoding="utf-8-sig")  # with a byte order mark or without
    except (ValueError, OSError) as error:
        raise SpecError(f'{where}: "{path.name}" cannot be read ({error})') from None
    hint = "; the arrays of a .npz file need its path" if where == "target" else ""
    raise SpecError(f'{where}: "{path.name}" is neither a .npy nor a .csv file{hint}')


def _samples(key: str, array: NDArray[Any], target: Data) -> Floats:
    if key == "Y" and array.ndim == 1:  # one number, or label, for each sample
        array = array[None] if target.samples == "columns" else array[:, None]
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise SpecError(
            f"target.{key} has shape {array.shape} and dtype {array.dtype}; expected a matrix of real numbers"
        )
    columns = np.array(array if target.samples == "columns" else array.T, dtype=np.float64)
    if not np.isfinite(columns).all():
        raise SpecError(f"target.{key} holds numbers that are not finite")
    if target.center:
        columns -= columns.mean(axis=1, keepdims=True)
    columns.setflags(write=False)
    return columns
