"""What the tests of scans share: a small scan, the program, and how two stores are compared."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest
import xarray as xr

from fastdln import cli
from fastdln.scan.cell import Cell
from fastdln.scan.run import reopen, run

SPEC = """
name = "small"
trajectories = 10
seed = 3
[network]
widths = [[2, 2], [2, 3, 2], [3, 2, 4, 3]]
[target]
kind = "singular_values"
values = [2.0, 1.0]
[init]
kind = "gaussian"
scale = [0.1, 0.5]
[flow]
t_end = 5.0
[record]
times = 4
observables = ["loss", "strengths", "learning_times"]
"""
N_CELLS = 6


def write_spec(folder: Path, *changes: tuple[str, str]) -> Path:
    """Write the small scan, changed, into a folder."""
    text = SPEC
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "spec.toml"
    path.write_text(text)
    return path


def resume(path: Path, **options: Any) -> None:
    """Go on with the scan of a store, as the program does, but in silence."""
    store = reopen(path)
    run(store, store.damaged(), **options)


def tree(folder: Path) -> dict[str, bytes]:
    """Return the contents of every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def assert_same_bits(a: xr.Dataset, b: xr.Dataset) -> None:
    """Hold every array of two scans against each other, NaN included."""
    assert set(a.variables) == set(b.variables)
    for name in a.variables:
        x, y = a[name].values, b[name].values
        assert x.dtype == y.dtype
        assert x.shape == y.shape
        assert x.tolist() == y.tolist() if x.dtype.kind in "TO" else x.tobytes() == y.tobytes(), name


class Answer(NamedTuple):
    """What the program said."""

    code: int
    out: str
    err: str


def program(*arguments: object) -> Answer:
    """Run the program in this process."""
    out, err, code = io.StringIO(), io.StringIO(), None
    with (
        mock.patch.object(sys, "argv", ["fastdln", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
    assert code is not None
    return Answer(code if isinstance(code, int) else 1, out.getvalue(), err.getvalue())


def words(text: str) -> str:
    """Forget how a text is broken into lines."""
    return " ".join(text.split())


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any], unit: int = 4) -> None:
    """Let something happen while a unit is integrated (and the one before may still be written)."""
    integrate, calls = Cell.integrate, []

    def acting(cell: Cell, first: int, size: int, **options: Any) -> Any:
        sol = integrate(cell, first, size, **options)
        if size > 1:  # the trials before a scan are of one trajectory
            calls.append(size)
            if len(calls) == unit + 1:
                act()
        return sol

    monkeypatch.setattr(Cell, "integrate", acting)
