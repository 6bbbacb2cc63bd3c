"""What a scan does when its store, or the data it needs, is not where it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from fastdln.scan import SpecError, StoreError, loss, scan
from fastdln.scan.store import open_store
from tests.support.scans import assert_same_bits, meanwhile, program, resume, tree, words, write_spec


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    """The small scan, run at once."""
    folder = tmp_path_factory.mktemp("whole")
    return scan(write_spec(folder), folder / "x.zarr").load()


def copied_anew(file: Path) -> None:
    shutil.copy(file, file.with_suffix(".copy"))
    file.with_suffix(".copy").replace(file)


def removed(folder: Path) -> None:
    while folder.exists():  # the unit before may be being written
        shutil.rmtree(folder, ignore_errors=True)


def emptied(folder: Path) -> None:
    removed(folder)
    folder.mkdir()


def copied(out: Path) -> None:
    elsewhere = out.rename(out.with_name("elsewhere.zarr"))
    shutil.copytree(elsewhere, out, ignore=shutil.ignore_patterns("*.partial"))


ACTS: dict[str, Callable[[Path], Any]] = {
    "renamed": lambda out: out.rename(out.with_name("elsewhere.zarr")),
    "removed": removed,
    "emptied": emptied,
    "an array removed": lambda out: removed(out / "loss"),
    "an array emptied": lambda out: emptied(out / "loss"),
    "an array renamed": lambda out: (out / "loss").rename(out / "old"),
    "the journal removed": lambda out: (out / "journal.jsonl").unlink(),
    "the journal replaced": lambda out: copied_anew(out / "journal.jsonl"),
    "the lock removed": lambda out: (out / "writer.lock").unlink(),
    "the lock replaced": lambda out: copied_anew(out / "writer.lock"),
    "another in its place": copied,
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
@pytest.mark.parametrize("unit", [4, 17])
def test_store_that_is_not_where_it_was(
    tmp_path: Path, whole: xr.Dataset, monkeypatch: pytest.MonkeyPatch, act: Callable[[Path], Any], unit: int
):
    spec, out, elsewhere = write_spec(tmp_path), tmp_path / "x.zarr", tmp_path / "elsewhere.zarr"
    with monkeypatch.context() as patch:
        meanwhile(patch, lambda: act(out), unit)
        with pytest.raises(StoreError, match=r"x\.zarr was renamed, removed or emptied while it was written"):
            scan(spec, out, chunk=4)
    left = elsewhere if elsewhere.exists() else out
    if elsewhere.exists():
        # Not one file was written where the store had been, and what the journal names is there.
        assert not out.exists() or tree(out).keys() <= tree(elsewhere).keys()
        assert unit - 1 <= len(open_store(elsewhere).units()) <= unit + 1
        assert not open_store(elsewhere).damaged()
    if (left / "journal.jsonl").exists():
        resume(left)
        assert_same_bits(xr.open_zarr(left), whole)
    else:
        assert not left.exists() or not list(left.rglob("c.*")) or act is ACTS["the journal removed"]


def test_program_fails_if_an_array_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    spec, out = write_spec(tmp_path), tmp_path / "x.zarr"
    meanwhile(monkeypatch, lambda: removed(out / "loss"))
    answer = program("scan", spec, "--out", out, "--chunk", 4, "--no-plot")
    assert answer.code == 1
    assert f"{out / 'loss'} is gone, or not what it was" in words(answer.err)
    assert not (out / "loss").exists()


DATA = ('kind = "singular_values"\nvalues = [2.0, 1.0]', 'kind = "data"\npath = "d.npz"\nform = "whitened"')
SQUARE = ("[[2, 2], [2, 3, 2], [3, 2, 4, 3]]", "[[2, 2], [2, 3, 2]]")


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a data scan, its data, and its store with one unit of four."""
    folder = tmp_path / "begun"
    folder.mkdir()
    rng = np.random.default_rng(0)
    np.savez(folder / "d.npz", X=rng.standard_normal((2, 9)), Y=rng.standard_normal((2, 9)))

    def interrupt() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        meanwhile(patch, interrupt, 1)
        with pytest.raises(KeyboardInterrupt):
            scan(write_spec(folder, DATA, SQUARE), folder / "x.zarr")
    assert len(open_store(folder / "x.zarr").units()) == 1
    loss._data_loss.cache_clear()  # as in a process of its own
    return folder


def test_data_are_looked_for_where_the_caller_has_them(begun: Path, tmp_path: Path):
    (tmp_path / "now").mkdir()
    for name in ("d.npz", "spec.toml"):
        (begun / name).rename(tmp_path / "now" / name)
    whole = scan(tmp_path / "now" / "spec.toml", tmp_path / "whole.zarr").load()
    assert_same_bits(scan(tmp_path / "now" / "spec.toml", begun / "x.zarr"), whole)


def data_scan(folder: Path, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    np.savez(folder / "d.npz", X=rng.standard_normal((2, 9)), Y=rng.standard_normal((2, 9)))
    return write_spec(folder, DATA, SQUARE)


def test_data_that_were_replaced_are_read_anew(tmp_path: Path):
    """By the next scan of the same process, whose store is made for the new ones."""
    results = [scan(data_scan(tmp_path, seed), tmp_path / f"{seed}.zarr").load() for seed in (0, 1)]
    assert results[0].attrs["spec_sha256"] != results[1].attrs["spec_sha256"]
    assert (results[0]["sigma"] != results[1]["sigma"]).all()
    assert (results[0]["loss"] != results[1]["loss"]).all()


def test_data_that_are_replaced_meanwhile_are_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    spec = data_scan(tmp_path, 0)

    def replace() -> None:
        data_scan(tmp_path, 1)
        loss._data_loss.cache_clear()  # as if another scan's data had taken its place

    with monkeypatch.context() as patch:
        meanwhile(patch, replace, 1)
        with pytest.raises(SpecError, match=r'the file "d\.npz" in .* has changed since the scan was begun'):
            scan(spec, tmp_path / "x.zarr")
    data_scan(tmp_path, 0)
    assert_same_bits(scan(spec, tmp_path / "x.zarr"), scan(spec, tmp_path / "whole.zarr"))


def test_resume_takes_the_folder_of_the_data(begun: Path, tmp_path: Path):
    (tmp_path / "now").mkdir()
    (begun / "d.npz").rename(tmp_path / "now" / "d.npz")
    before = tree(begun)
    answer = program("resume", begun / "x.zarr", "--no-plot")
    assert answer.code == 2
    assert 'there is no file "d.npz"' in words(answer.err)
    assert "tell their folder by --data" in words(answer.err)
    assert program("status", begun / "x.zarr").code == 0
    np.savez(begun / "d.npz", X=np.eye(2), Y=np.eye(2))
    with pytest.raises(SpecError, match=r"(?s)files\.d\.npz.*--data"):
        resume(begun / "x.zarr")
    (begun / "d.npz").unlink()
    assert tree(begun) == before
    assert program("resume", begun / "x.zarr", "--no-plot", "--data", tmp_path / "now").code == 0
    assert len(open_store(begun / "x.zarr").units()) == 4


def test_store_that_moved_with_its_data_finds_them(begun: Path, tmp_path: Path):
    begun.rename(tmp_path / "moved")
    resume(tmp_path / "moved" / "x.zarr")
    assert len(open_store(tmp_path / "moved" / "x.zarr").units()) == 4


def test_store_that_moved_alone_finds_its_data(begun: Path, tmp_path: Path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    moved = (begun / "x.zarr").rename(tmp_path / "a" / "b" / "x.zarr")
    resume(moved)
    assert len(open_store(moved).units()) == 4


def test_nothing_is_made_where_a_store_was(tmp_path: Path):
    scan(write_spec(tmp_path), tmp_path / "x.zarr")
    store = open_store(tmp_path / "x.zarr")
    shutil.rmtree(tmp_path / "x.zarr")
    with pytest.raises(OSError, match=r"x\.zarr"), store.writer():
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["spec.toml"]
