"""What reaches the disk, what stays where it was, and what fits."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from fastdln.scan.spec import SpecError

__all__ = ["Held", "check_room", "in_words", "sync", "write_whole"]


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


def write_whole(folder: int, name: str, data: bytes, *, replacing: bool = False) -> None:
    """Give a file its contents, all at once to those who look, and return when they are on the disk.

    Parameters
    ----------
    folder : int
        The descriptor of its folder; no folder is ever made.
    name : str
        Its name; beside it a file with ``.partial`` appended comes and goes.
    data : bytes
        The contents.
    replacing : bool
        What was there must not be lost before: then a loss of power leaves either, but never a torn file. This waits
        for the disk once more.
    """
    draft = f"{name}.partial"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666, dir_fd=folder)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        if replacing:
            os.fsync(descriptor)
        os.replace(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.fsync(folder)


class Held:
    """Files and folders below a root, kept open.

    What is written by descriptor reaches them whatever their names come to mean, and as long as they are open
    nothing else can get their inodes: so that a name leads where it did can be told from its device and inode.

    Parameters
    ----------
    root : Path
        The folder from which names are looked for.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._descriptors: dict[str, int] = {}
        self._closing = ExitStack()

    def open(self, name: str) -> int:
        """Open a file or a folder for reading, unless it is open already, and hold it.

        Parameters
        ----------
        name : str
            Its path from the root.

        Returns
        -------
        int
            A descriptor that this object closes.
        """
        if name in self._descriptors:
            return self._descriptors[name]
        descriptor = os.open(self._root / name, os.O_RDONLY)
        self._closing.callback(os.close, descriptor)
        self.watch(name, descriptor)
        return descriptor

    def watch(self, name: str, descriptor: int) -> None:
        """Take in what someone else has opened, and will close later than this.

        Parameters
        ----------
        name : str
            Its path from the root.
        descriptor : int
            Its descriptor.
        """
        self._descriptors[name] = descriptor

    def strayed(self) -> str | None:
        """Look for a name that does not lead any more to what is held.

        Returns
        -------
        str or None
            The first such name; None if all lead to it.
        """
        for name, descriptor in self._descriptors.items():
            held = os.fstat(descriptor)
            try:
                now = (self._root / name).stat()
            except (FileNotFoundError, NotADirectoryError):
                return name
            if (now.st_dev, now.st_ino) != (held.st_dev, held.st_ino):
                return name
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()


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
