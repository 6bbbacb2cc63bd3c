"""What reaches the disk, and what fits on it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fastdln.scan.spec import SpecError

__all__ = ["check_room", "in_words", "sync"]


def sync(path: Path) -> None:
    """Return once a file or a folder is on the disk.

    Parameters
    ----------
    path : Path
        The file or folder.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_room(folder: Path, n_bytes: int) -> None:
    """Refuse what would not fit on a disk.

    Parameters
    ----------
    folder : Path
        A folder on the disk.
    n_bytes : int
        The bytes to be written, before compression.

    Raises
    ------
    SpecError
        If fewer are free.
    """
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise SpecError(
            f"the results take {in_words(n_bytes)}, but {in_words(free)} are free in {folder}: "
            f"record fewer times, observables or trajectories"
        )


def in_words(n_bytes: float) -> str:
    """Write a number of bytes for people.

    Parameters
    ----------
    n_bytes : float
        The number.

    Returns
    -------
    str
        As in "12.3 MB".

    Examples
    --------
    >>> in_words(12_345_678)
    '12.3 MB'
    """
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if n_bytes < 1000 or unit == "PB":
            break
        n_bytes /= 1000
    return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.1f} {unit}"
