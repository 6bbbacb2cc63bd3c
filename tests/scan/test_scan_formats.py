"""Stores of format 1, as the last version that wrote it left them; and what numbers of two revisions may share."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from fastdln.revision import NUMERICS
from fastdln.scan import StoreError, scan
from fastdln.scan.cell import Cell
from fastdln.scan.store import FORMAT, open_store
from tests.support.scans import assert_same_bits, program, resume, tree, words, write_spec

SPEC = """
name = "format-1"
trajectories = 4
seed = 3
[network]
widths = [[2, 2], [2, 3, 2]]
[target]
kind = "singular_values"
values = [2.0, 1.0]
[init]
kind = "gaussian"
scale = 0.1
[flow]
t_end = 5.0
[record]
times = 3
observables = ["loss", "learning_times"]
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A folder with the scan file, and two stores of format 1: finished, and with three units of four."""
    with tarfile.open(Path(__file__).parents[1] / "data" / "format1.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    (tmp_path / "spec.toml").write_text(SPEC)
    return tmp_path


def test_the_stores_are_of_format_1(old: Path):
    for name, units in (("finished.zarr", 4), ("unfinished.zarr", 3)):
        told = json.loads((old / name / "zarr.json").read_text())["attributes"]
        assert told["fastdln_format"] == 1 < FORMAT
        assert "fastdln_revision" not in told
        assert len(open_store(old / name).units()) == units
        assert open_store(old / name).revisions == (1,)
        assert not open_store(old / name).damaged()


def test_finished_one_is_read_and_left_alone(old: Path):
    store = old / "finished.zarr"
    before = tree(store)
    results = scan(old / "spec.toml", store).load()
    assert (results["status"] == 0).all()
    now = scan(old / "spec.toml", old / "now.zarr").load()
    np.testing.assert_allclose(results["learning_times"], now["learning_times"], rtol=1e-4)
    status = program("status", store)
    assert status.code == 0
    assert "state finished units 4 of 4" in words(status.out)
    assert "numerics revision 1" in words(status.out)
    for command in ("summary", "plot"):
        assert program(command, store).code == 0
    answer = program("resume", store, "--no-plot")
    assert answer.code == 0
    assert "there is nothing to do" in words(answer.out)
    assert tree(store) == before


def test_unfinished_one_is_read_but_not_gone_on_with(old: Path):
    store = old / "unfinished.zarr"
    before = tree(store)
    status = program("status", store)
    assert status.code == 0
    assert "state unfinished units 3 of 4" in words(status.out)
    for command in ("summary", "plot"):
        assert program(command, store).code == 0
    refusal = rf"revision 1, .*revision {NUMERICS}.*--allow-mixed \(allow_mixed=True in Python\)"
    with pytest.raises(StoreError, match=refusal):
        scan(old / "spec.toml", store)
    with pytest.raises(StoreError, match=refusal):
        resume(store)
    for command in (("resume", store), ("scan", old / "spec.toml", "--out", store)):
        answer = program(*command, "--no-plot")
        assert answer.code == 1
        assert "revision 1," in words(answer.err)
        assert f"revision {NUMERICS}," in words(answer.err)
        assert "--allow-mixed" in answer.err
    assert tree(store) == before


def test_mixing_is_allowed_and_told(old: Path):
    store, finished = old / "unfinished.zarr", xr.open_zarr(old / "finished.zarr").load()
    before = tree(store)
    assert program("resume", store, "--no-plot", "--allow-mixed").code == 0
    results = xr.open_zarr(store).load()
    assert results.attrs["mixed_revisions"] == [1, NUMERICS]
    # What was there is there, and what was missing is what this version computes.
    changed = {name for name, data in tree(store).items() if data != before.get(name)}
    assert {name.rsplit("/", 1)[-1] for name in changed} <= {"zarr.json", "journal.jsonl", "c.1.1", "c.1.1.0"}
    assert {name for name in changed if name.endswith("zarr.json")} == {"zarr.json"}
    assert_same_bits(results.isel(widths=0).drop_vars("widths"), finished.isel(widths=0).drop_vars("widths"))
    now = scan(old / "spec.toml", old / "now.zarr", chunk=2).load()
    last = {"widths": 1, "trajectory": slice(2, 4)}
    assert_same_bits(results.isel(last).drop_vars("widths"), now.isel(last).drop_vars("widths"))
    # It is still a store of format 1, of which the journal tells what is whose.
    told = json.loads((store / "zarr.json").read_text())["attributes"]
    assert told["fastdln_format"] == 1
    units = open_store(store).units()
    assert [units[i].get("revision", 1) for i in range(4)] == [1, 1, 1, NUMERICS]
    status = program("status", store)
    assert status.code == 0
    assert f"numerics revision 1 and {NUMERICS}" in words(status.out)
    assert_same_bits(scan(old / "spec.toml", store), results)


def test_what_was_allowed_once_need_not_be_asked_again(old: Path, monkeypatch: pytest.MonkeyPatch):
    store = old / "unfinished.zarr"
    journal = (store / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (store / "journal.jsonl").write_bytes(b"".join(journal[:1]))

    def interrupt(*arguments: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Cell, "integrate", interrupt)
        with pytest.raises(KeyboardInterrupt):
            resume(store, allow_mixed=True)
    assert len(open_store(store).units()) == 1
    resume(store)
    assert len(open_store(store).units()) == 4


def test_lost_or_illegible_units_of_format_1_are_noticed(old: Path):
    store = old / "finished.zarr"
    (store / "loss" / "c.0.1.0").unlink()
    cut = store / "status" / "c.1.0"
    cut.write_bytes(cut.read_bytes()[:-9])
    damaged = open_store(store).damaged()
    assert list(damaged) == [1, 2]
    assert damaged[1] == "loss/c.0.1.0 is missing"
    assert damaged[2].startswith("status/c.1.0 cannot be decoded")
    with pytest.raises(StoreError, match="--allow-mixed"):
        resume(store)
    resume(store, allow_mixed=True)
    assert not open_store(store).damaged()


@pytest.mark.parametrize("revision", [NUMERICS - 1, NUMERICS + 1])
def test_store_of_another_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revision: int):
    """Begun by a version with other numbers, be it an older or a newer one."""
    spec, out = write_spec(tmp_path), tmp_path / "x.zarr"
    with monkeypatch.context() as patch:
        for module in ("creation", "writer", "store"):
            patch.setattr(f"fastdln.scan.{module}.NUMERICS", revision)
        scan(spec, out, chunk=4)
    whole = xr.open_zarr(out).load()
    assert whole.attrs["fastdln_revision"] == revision
    assert_same_bits(scan(spec, out), whole)  # finished: there is nothing to mix
    journal = out / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))
    before = tree(out)
    with pytest.raises(StoreError, match=rf"revision {revision}, .*revision {NUMERICS}, .*--allow-mixed"):
        scan(spec, out)
    assert tree(out) == before
    assert scan(spec, out, allow_mixed=True).attrs["mixed_revisions"] == [revision, NUMERICS]


def test_new_stores_tell_their_revision(tmp_path: Path):
    spec, out = write_spec(tmp_path), tmp_path / "x.zarr"
    results = scan(spec, out)
    assert results.attrs["fastdln_format"] == FORMAT == 2
    assert results.attrs["fastdln_revision"] == NUMERICS
    assert "mixed_revisions" not in results.attrs
    assert {record["revision"] for record in open_store(out).units().values()} == {NUMERICS}
    assert f"numerics revision {NUMERICS}" in words(program("status", out).out)
    assert f"numerics revision {NUMERICS}" in words(program("info").out)
