"""The making of a store: whole or not at all, by one process, and nothing is left lying about."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import filelock
import pytest
import xarray as xr

from fastdln.scan import SpecError, StoreError, creation, run, scan
from fastdln.scan.plan import load_plan
from fastdln.scan.run import open_or_create
from tests.support.scans import assert_same_bits, program, tree, words, write_spec

DRAFT = ".x.zarr.partial"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("moment", ["zarr.create_group", "zarr.consolidate_metadata", "pathlib.Path.rename"])
def test_draft_of_a_killed_process_is_removed(tmp_path: Path, moment: str):
    spec, out = write_spec(tmp_path), tmp_path / "x.zarr"
    module, _, name = moment.rpartition(".")
    owner = "pathlib.Path" if module == "pathlib.Path" else module
    code = (
        f"import os, signal, pathlib, zarr\n"
        f"from fastdln.scan import scan\n"
        f"{owner}.{name} = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"scan({str(spec)!r}, {str(out)!r})"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert names(tmp_path) == {"spec.toml", DRAFT}
    whole = scan(spec, tmp_path / "whole.zarr")
    assert_same_bits(scan(spec, out), whole)
    assert names(tmp_path) == {"spec.toml", "whole.zarr", "x.zarr"}
    assert names(out) == names(tmp_path / "whole.zarr")


def test_store_that_is_being_made_is_left_alone(tmp_path: Path):
    spec, out = write_spec(tmp_path), tmp_path / "x.zarr"
    (tmp_path / DRAFT / "loss").mkdir(parents=True)
    (tmp_path / DRAFT / "zarr.json").write_text("what another process has written so far")
    with filelock.FileLock(tmp_path / DRAFT / "writer.lock"):
        before = tree(tmp_path)
        answer = program("scan", spec, "--out", out, "--no-plot")
        assert answer.code == 1
        assert words(answer.err) == f"fastdln: {out} is being made by another process; one writer at a time"
        assert tree(tmp_path) == before
    assert program("scan", spec, "--out", out, "--no-plot").code == 0
    assert names(tmp_path) == {"spec.toml", "x.zarr"}


@pytest.mark.parametrize("moment", ["before", "after"])
def test_loser_of_a_race_takes_the_store_of_the_winner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str):
    """Another process has made the store before this one has begun to, or before it can give its own the name."""
    spec, other, out = write_spec(tmp_path), tmp_path / "other.zarr", tmp_path / "x.zarr"
    whole = scan(spec, other).load()
    build, prepare = creation._build, run.prepare

    def slow_build(*arguments: Any) -> None:
        build(*arguments)
        shutil.copytree(other, out)

    def slow_prepare(*arguments: Any) -> Any:
        prepared = prepare(*arguments)
        shutil.copytree(other, out)
        return prepared

    if moment == "before":
        monkeypatch.setattr(run, "prepare", slow_prepare)
    else:
        monkeypatch.setattr(creation, "_build", slow_build)
    before = tree(other)
    assert_same_bits(scan(spec, out), whole)
    assert names(tmp_path) == {"spec.toml", "other.zarr", "x.zarr"}
    assert tree(out) == before == tree(other)


def test_loser_with_another_scan_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    other, out = tmp_path / "other.zarr", tmp_path / "x.zarr"
    scan(write_spec(tmp_path), other)
    prepare = run.prepare

    def slow_prepare(*arguments: Any) -> Any:
        prepared = prepare(*arguments)
        shutil.copytree(other, out)
        return prepared

    monkeypatch.setattr(run, "prepare", slow_prepare)
    with pytest.raises(SpecError, match=r"holds another scan.*\n.*seed: 3 -> 4"):
        scan(write_spec(tmp_path, ("seed = 3", "seed = 4")), out)
    assert names(tmp_path) == {"spec.toml", "other.zarr", "x.zarr"}


def test_two_processes_at_once_make_one_store(tmp_path: Path):
    spec, out = write_spec(tmp_path), tmp_path / "x.zarr"
    code = "import sys, fastdln.cli.commands\nprint('ready', flush=True); sys.stdin.readline()\nfastdln.cli.main()"
    command = [sys.executable, "-c", code, "scan", str(spec), "--out", str(out), "--no-plot", "--chunk", "1"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=120)[1] for process in processes]
    codes = sorted(process.returncode for process in processes)
    assert codes in ([0, 0], [0, 1])  # one may have come when the other was done
    for process, err in zip(processes, said, strict=True):
        assert "Traceback" not in err
        assert process.returncode == 0 or "by another process; one writer at a time" in words(err)
    assert_same_bits(xr.open_zarr(out), scan(spec, tmp_path / "whole.zarr"))
    assert names(tmp_path) == {"spec.toml", "whole.zarr", "x.zarr"}


def test_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(creation, "_write_cells", interrupt)
    with pytest.raises(KeyboardInterrupt):
        open_or_create(load_plan(write_spec(tmp_path)), tmp_path / "x.zarr")
    assert names(tmp_path) == {"spec.toml"}


def test_store_cannot_be_made_where_something_else_is(tmp_path: Path):
    spec = write_spec(tmp_path)
    (tmp_path / DRAFT).write_text("a file")
    with pytest.raises(StoreError, match=r"x\.zarr cannot be made: .*File exists"):
        scan(spec, tmp_path / "x.zarr")
    assert names(tmp_path) == {"spec.toml", DRAFT}
