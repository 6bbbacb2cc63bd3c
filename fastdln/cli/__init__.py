"""The command line. What it needs beyond the library is optional, and therefore imported when it runs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import FrameType

__all__ = ["STOPPED", "main"]

STOPPED = 130
"""The exit code after Ctrl-C."""

# The modules of the extra `scan`.
_NEEDED = ("filelock", "matplotlib", "msgspec", "rich", "typer", "xarray", "zarr")


def main() -> None:
    """Run the command line; the entry point of the program ``fastdln``."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        sys.exit(f'fastdln: the command line needs {", ".join(missing)}: pip install "fastdln[scan]"')
    with _stopping_at_once():
        from fastdln.cli.commands import app
    try:
        app()
    except SystemExit as end:
        if end.code == STOPPED:
            # What is left is to wait for threads: another Ctrl-C may cut that short, without a word.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        raise


@contextmanager
def _stopping_at_once() -> Iterator[None]:
    """Let Ctrl-C end the program then and there, as long as there is nothing to be kept.

    Imports take seconds, and an exception in the midst of one may come out as any other, or as lines on stderr that
    nobody asked for.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # whoever started the program has other plans
        return
    signal.signal(signal.SIGINT, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _stop(number: int, frame: FrameType | None) -> None:
    os.write(2, b"fastdln: stopped\n")
    os._exit(STOPPED)
