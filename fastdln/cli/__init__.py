"""The command line. What it needs beyond the library is optional, and therefore imported when it runs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import FrameType

from fastdln.resources import installation

__all__ = ["STOPPED", "interruptible", "main"]

STOPPED = 130
"""The exit code after Ctrl-C."""

# The modules of the extra `scan`.
_NEEDED = ("filelock", "matplotlib", "msgspec", "packaging", "pandas", "rich", "typer", "xarray", "zarr")


def main() -> None:
    """Run the command line; the entry point of the program ``fastdln``."""
    # Imports take seconds, here and when typer reads the arguments; an exception in the midst of one may be swallowed,
    # or come out as any other. There is nothing to be kept yet: Ctrl-C ends the program then and there.
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, _stop)
    try:
        missing = [name for name in _NEEDED if find_spec(name) is None]
        if missing:
            sys.exit(f"fastdln: the command line needs {', '.join(missing)}: {installation('scan')}")
        try:
            from fastdln.cli.commands import app
        except Exception as error:  # packages of versions that do not fit together, a variable that disables Numba
            from fastdln.cli.problems import known_causes

            found = [f"{cause.what}\n  {cause.cure}" for cause in known_causes()]
            if not found:
                raise
            sys.exit("\n".join([f"fastdln: the environment is broken: {type(error).__name__}: {error}", *found]))
        from typer.main import get_command

        program = get_command(app)
        for option in program.params:  # they work, and the help names them once, below the commands
            option.hidden = option.name in ("install_completion", "show_completion")  # type: ignore[attr-defined]
        program()
    except SystemExit as end:
        # After Ctrl-C what is left is to wait for threads: another one may cut that short.
        if ours and end.code != STOPPED:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        raise


@contextmanager
def interruptible() -> Iterator[None]:
    """Make an exception of Ctrl-C, as Python does, for as long as a command is at work.

    Yields
    ------
    None
        Nothing.
    """
    if signal.getsignal(signal.SIGINT) is not _stop:
        yield  # whoever called has other plans
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    os.write(2, b"fastdln: stopped\n")
    os._exit(STOPPED)
