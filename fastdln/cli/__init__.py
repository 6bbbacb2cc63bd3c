"""The command line. What it needs beyond the library is optional, and therefore imported when it runs."""

from __future__ import annotations

import sys
from importlib.util import find_spec

__all__ = ["main"]

# The modules of the extra `scan`.
_NEEDED = ("filelock", "matplotlib", "msgspec", "rich", "typer", "xarray", "zarr")


def main() -> None:
    """Run the command line; the entry point of the program ``fastdln``."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        sys.exit(f'fastdln: the command line needs {", ".join(missing)}: pip install "fastdln[scan]"')
    from fastdln.cli.commands import app

    app()
