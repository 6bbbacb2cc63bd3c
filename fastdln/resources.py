"""What the machine has, and how a user sees a long call: cores, free memory, optional packages, progress."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

from fastdln.text import plain

Report = Callable[[int, int, int], None]  # hears how many trajectories are done, have failed, and are to do


def optional(module: str, extra: str | None = None) -> ModuleType:
    """Import an optional package, which an extra may bring, or say how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        how = f"python -m pip install {package}" if extra is None else installation(extra)
        raise ImportError(f"this needs {package}: {how}") from error


def installation(extra: str) -> str:
    """How to install an extra: from a clone, as long as there is no package to be had elsewhere."""
    return f"python -m pip install -e '.[{extra}]' in your clone of fastdln"


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory() -> int | None:
    """Bytes that can be taken without swapping, or None where the system does not tell."""
    try:
        with Path("/proc/meminfo").open(encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass  # no Linux: the size of the memory will do
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def require_memory(n_bytes: int, what: str, advice: str = "record less, at fewer times, or split the batch") -> None:
    """Refuse what would not fit, and say what to do.

    Raises
    ------
    MemoryError
        With the estimate and what is free.
    """
    free = free_memory()
    if free is not None and n_bytes > free:
        raise MemoryError(
            f"{what} would take {n_bytes} bytes ({n_bytes / 2**30:.1f} GiB) and {free} bytes ({free / 2**30:.1f} GiB) "
            f"are free: {advice}"
        )


def say(text: str) -> None:
    """Say something on standard error: through what rich puts in its place, which writes above a progress bar."""
    sys.stderr.write(plain(f"fastdln: {text}", 4000) + "\n")


@contextlib.contextmanager
def progress_bar(description: str) -> Iterator[Report]:
    """A progress bar on standard error; gives the function that moves it, of what is done, has failed, and all."""
    progress = optional("rich.progress", "scan")
    console = optional("rich.console", "scan").Console(stderr=True)
    columns = (
        progress.TextColumn("{task.description}"), progress.BarColumn(), progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(), progress.TextColumn("{task.fields[failed]} failed"),
    )  # fmt: skip
    with progress.Progress(*columns, console=console) as bar:
        task = bar.add_task(description, total=None, failed=0)
        yield lambda done, failed, total: bar.update(task, completed=done, failed=failed, total=total)
