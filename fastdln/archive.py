"""Files of named arrays with a JSON header, without pickle: nothing that is loaded can execute code."""

from __future__ import annotations

import json
import zipfile
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = 1


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
        If the file is of another kind, or of a newer format.
    """
    try:
        with Path(path).open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            arrays = dict(file) if isinstance(file, np.lib.npyio.NpzFile) else {}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} does not hold saved trajectories: {error}") from error
    if "header" not in arrays:
        raise ValueError(f"{path} does not hold saved trajectories")
    header = json.loads(str(arrays.pop("header")))
    if header["format"] > FORMAT:
        raise ValueError(f"{path} has format {header['format']}; this version reads formats up to {FORMAT}")
    return _tuples(header), arrays


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _tuples(x) for name, x in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
