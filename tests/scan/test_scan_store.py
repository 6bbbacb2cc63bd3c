"""The store: what xarray sees of it, and that neither crashes nor mistakes make it wrong."""

from __future__ import annotations

import errno
import json
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from fastdln.scan import SpecError, StoreError, run, scan
from fastdln.scan.journal import Journal, JournalError, read_journal
from fastdln.scan.plan import load_plan
from fastdln.scan.run import open_or_create
from fastdln.scan.store import FORMAT, open_store
from tests.support.scans import N_CELLS, assert_same_bits, resume, tree, write_spec

ONE_CELL = (("[[2, 2], [2, 3, 2], [3, 2, 4, 3]]", "[2, 3, 2]"), ("[0.1, 0.5]", "0.1"))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A finished scan."""
    scan(write_spec(tmp_path), tmp_path / "x.zarr", chunk=4)
    return tmp_path / "x.zarr"


def test_xarray_reads_it(store: Path):
    results = xr.open_zarr(store)
    assert results["strengths"].dims == ("widths", "scale", "trajectory", "time", "mode")
    assert results["strengths"].shape == (3, 2, 10, 4, 3)
    assert results["learning_times"].dims == ("widths", "scale", "trajectory", "mode")
    assert results["t"].dims == ("widths", "scale", "time")
    assert results["widths"].values.tolist() == ["2-2", "2-3-2", "3-2-4-3"]
    assert results["scale"].values.tolist() == [0.1, 0.5]
    assert results["status"].dtype == np.int8
    assert (results["status"] == 0).all()
    assert (results["t_final"] == 5.0).all()
    assert (results["n_rhs"] > results["n_accepted"]).all()
    one = results.sel(widths="2-3-2", scale=0.5)
    assert int(one["n_modes"]) == 2
    assert np.isfinite(one["strengths"][..., :2]).all()
    assert np.isnan(one["strengths"][..., 2:]).all()
    assert results.attrs["title"] == "small"
    assert all("long_name" in results[name].attrs for name in results.data_vars)


def test_padding_is_told_from_failure(store: Path):
    results = xr.open_zarr(store)
    assert results["n_modes"].values.tolist() == [[2, 2], [2, 2], [3, 3]]
    np.testing.assert_allclose(results["sigma"][0, 0], [2, 1, np.nan])
    np.testing.assert_allclose(results["sigma"][2, 0], [2, 1, 0], atol=1e-12)


def test_tied_axes_are_coordinates_of_one_dimension(tmp_path: Path):
    tie = '[[zip]]\naxes = ["network.widths", "init.scale"]\n[flow]'
    spec = write_spec(tmp_path, ("[2, 2], ", ""), ("[flow]", tie))
    results = scan(spec, tmp_path / "x.zarr")
    assert results["loss"].dims == ("widths", "trajectory", "time")
    assert results["scale"].dims == ("widths",)
    assert "scale" in results.coords
    assert results["scale"].values.tolist() == [0.1, 0.5]


def test_one_cell_needs_no_axes(tmp_path: Path):
    results = scan(write_spec(tmp_path, *ONE_CELL), tmp_path / "x.zarr")
    assert results["loss"].dims == ("trajectory", "time")
    assert results["t"].dims == ("time",)
    assert int(results["n_modes"]) == 2


def test_every_unit_is_on_the_disk_even_if_nothing_was_learned(tmp_path: Path):
    spec = write_spec(tmp_path, *ONE_CELL, ("t_end = 5.0", "t_end = 1e-3"))
    results = scan(spec, tmp_path / "x.zarr", chunk=4)
    assert np.isnan(results["learning_times"]).all()
    chunks = {p.name for p in (tmp_path / "x.zarr" / "learning_times").iterdir()}
    assert chunks == {"zarr.json", "c.0.0", "c.1.0", "c.2.0"}


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no system that tells the paths of descriptors")
def test_data_are_on_the_disk_before_their_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of every unit each chunk and the folder that names it; then the line, and nothing else before the next unit."""
    order, fsync = [], os.fsync

    def told(descriptor: int) -> None:
        order.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    path = tmp_path.resolve() / "x.zarr"
    store = open_or_create(load_plan(write_spec(tmp_path, *ONE_CELL)), path, chunk=4)
    monkeypatch.setattr(os, "fsync", told)
    run.run(store)
    lines = [k for k, found in enumerate(order) if found == path / "journal.jsonl"]
    assert len(lines) == store.layout.n_units == 3
    assert lines[-1] == len(order) - 1
    for unit, (begin, end) in enumerate(pairwise([-1, *lines])):
        on_the_disk = set(order[begin + 1 : end])
        for variable in store.layout.variables:
            (chunk,) = (path / variable.name).glob(f"c.{unit}*")
            assert {chunk, chunk.parent} <= on_the_disk


def test_finished_scan_is_left_alone(store: Path):
    before = tree(store.parent)
    scan(store.parent / "spec.toml", store)
    resume(store)
    assert tree(store.parent) == before


def test_another_scan_is_refused(store: Path):
    before = tree(store)
    spec = write_spec(store.parent, ("[0.1, 0.5]", "[0.1, 0.7]"), ("t_end = 5.0", "t_end = 5.0\natol = 1e-9"))
    with pytest.raises(SpecError, match="holds another scan") as error:
        scan(spec, store)
    assert "init.scale: [0.1, 0.5] -> [0.1, 0.7]" in str(error.value)
    assert 'flow.atol: "(none)" -> 1e-09' in str(error.value)
    assert "trajectories" not in str(error.value)
    assert tree(store) == before


def test_other_units_are_refused(store: Path):
    before = tree(store.parent)
    scan(store.parent / "spec.toml", store, chunk=4)
    with pytest.raises(SpecError, match=r"chunk = 5: .* units of 4 trajectories"):
        scan(store.parent / "spec.toml", store, chunk=5)
    assert tree(store.parent) == before


def test_changed_data_are_refused(tmp_path: Path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", X=rng.standard_normal((2, 9)), Y=rng.standard_normal((2, 9)))
    data = 'kind = "data"\nform = "correlation"\npath = "d.npz"'
    spec = write_spec(tmp_path, *ONE_CELL, ('kind = "singular_values"\nvalues = [2.0, 1.0]', data))
    scan(spec, tmp_path / "x.zarr")
    before = tree(tmp_path / "x.zarr")
    np.savez(tmp_path / "d.npz", X=rng.standard_normal((2, 9)), Y=rng.standard_normal((2, 9)))
    with pytest.raises(SpecError, match=r"files\.d\.npz"):
        scan(spec, tmp_path / "x.zarr")
    with pytest.raises(SpecError, match=r"files\.d\.npz"):
        resume(tmp_path / "x.zarr")
    assert tree(tmp_path / "x.zarr") == before


@pytest.mark.parametrize("made", ["nothing", "file", "folder", "other group"])
def test_what_is_no_store_is_refused(tmp_path: Path, made: str):
    out = tmp_path / "x.zarr"
    if made == "file":
        out.write_text("precious")
    elif made != "nothing":
        out.mkdir()
        (out / "zarr.json").write_text('{"attributes": {}}' if made == "other group" else "precious")
    before = tree(tmp_path)
    with pytest.raises(StoreError, match="no store of a fastdln scan"):
        open_store(out)
    assert tree(tmp_path) == before
    if made != "nothing":
        with pytest.raises(StoreError, match="no store of a fastdln scan"):
            scan(write_spec(tmp_path), out)
        (tmp_path / "spec.toml").unlink()
        assert tree(tmp_path) == before


def test_newer_format_is_refused(store: Path):
    meta = json.loads((store / "zarr.json").read_text())
    meta["attributes"] |= {"fastdln_format": FORMAT + 1, "fastdln_version": "99.0"}
    (store / "zarr.json").write_text(json.dumps(meta))
    before = tree(store)
    for attempt in (lambda: resume(store), lambda: scan(store.parent / "spec.toml", store)):
        with pytest.raises(StoreError, match=rf"fastdln 99\.0 in format {FORMAT + 1}.*update fastdln"):
            attempt()
    assert tree(store) == before


def test_second_writer_is_refused(tmp_path: Path):
    spec, out = write_spec(tmp_path), tmp_path / "x.zarr"
    store = open_or_create(load_plan(spec), out)
    with store.writer():
        before = tree(out)
        assert store.is_being_written()
        with pytest.raises(StoreError, match="being written by another process"):
            scan(spec, out)
        assert tree(out) == before
    assert not store.is_being_written()
    scan(spec, out)


def test_store_is_made_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    spec = write_spec(tmp_path)
    before = tree(tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"cannot be made: .*No space left"):
        scan(spec, tmp_path / "x.zarr")
    assert tree(tmp_path) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["spec.toml"]


def test_full_disk_keeps_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    spec, out = write_spec(tmp_path), tmp_path / "x.zarr"
    whole = scan(spec, tmp_path / "whole.zarr")
    store = open_or_create(load_plan(spec), out)
    fsync, calls = os.fsync, []

    def soon_full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 40:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", soon_full)
        with pytest.raises(StoreError, match=r"cannot be written: .*No space left.*fastdln resume"):
            run.run(store)
    assert 0 < len(store.units()) < N_CELLS
    assert_same_bits(scan(spec, out), whole)


def test_torn_line_is_cut_off(store: Path):
    whole, journal = xr.open_zarr(store).load(), store / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    for left in range(len(lines[-1])):
        journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:left])
        assert len(open_store(store).units()) == len(lines) - 1
    scan(store.parent / "spec.toml", store)
    assert_same_bits(xr.open_zarr(store), whole)
    assert len(read_journal(journal).units) == len(lines)
    assert journal.read_bytes().splitlines(keepends=True)[:-1] == lines[:-1]


@pytest.mark.parametrize("tail", [b'{"unit"', b"x" * 1000, b"x" * 1000 + b"\n"], ids=["short", "long", "long line"])
def test_nothing_of_a_torn_line_stays(store: Path, tail: bytes):
    """However long it is, even where nothing is written behind it."""
    journal = store / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]) + tail)
    with Journal(journal):
        pass
    assert journal.read_bytes() == b"".join(lines[:-1])


def test_lost_tail_is_computed_again(store: Path):
    whole, journal = xr.open_zarr(store).load(), store / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:3]))
    for chunk in (store / "loss").glob("c.*"):
        if chunk.name > "c.0.1":
            chunk.write_bytes(b"torn")
    (store / "loss" / "c.0.0.0.0123.partial").write_bytes(b"left by a crash")
    scan(store.parent / "spec.toml", store)
    assert_same_bits(xr.open_zarr(store), whole)
    assert not list(store.rglob("*.partial"))


@pytest.mark.parametrize("damage", [b"{}\n", b"\n", b"\xff\xfe\n", b'{"unit": 0, "crc32": "00000000"}\n'])
def test_damaged_journal_is_refused(store: Path, damage: bytes):
    journal = store / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0] + damage + b"".join(lines[2:]))
    before = tree(store)
    with pytest.raises(JournalError, match=r"line 2 of \d+ is damaged"):
        scan(store.parent / "spec.toml", store)
    assert tree(store) == before


def test_every_changed_character_of_a_line_is_noticed(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    path.touch()
    with Journal(path) as journal:
        journal.append({"unit": 7, "failures": {"MAX_STEPS": 2}, "seconds": 0.25})
    line = path.read_bytes()
    assert read_journal(path).units == {7: {"unit": 7, "failures": {"MAX_STEPS": 2}, "seconds": 0.25}}
    for i in range(len(line)):
        path.write_bytes(line[:i] + bytes([line[i] ^ 1]) + line[i + 1 :])
        assert not read_journal(path).units
