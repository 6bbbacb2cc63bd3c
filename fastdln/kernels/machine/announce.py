"""What is said when kernels are compiled, once in a process: that it takes a while, and where they are kept."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

logger = logging.getLogger("fastdln")

SECONDS = 5  # about as long as a first call compiles, on one core (bench.cold)

_listeners: list[Callable[[str], None]] = []
_said: list[str] = []


@contextlib.contextmanager
def heard(listener: Callable[[str], None]) -> Iterator[None]:
    """Tell a listener as well, as long as this lasts; of several the last one.

    By itself the library logs what it says, and prints nothing.
    """
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def compiling(folder: Path | None) -> None:
    """Say that something is compiled that ``folder`` did not hold; None where there is no folder."""
    if _said:
        return
    kept = (
        f"they are kept in {folder} and need not be compiled again"
        if folder is not None
        else "every process does, as no cache folder can be written (see `fastdln info`)"
    )
    _said.append(f"compiling kernels for this processor, which takes about {SECONDS} s; {kept}")
    logger.info(_said[0])
    for listener in _listeners[-1:]:
        listener(_said[0])
