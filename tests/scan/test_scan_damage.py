"""Damage to a store: it is noticed, told in one line, and mended where it can be."""

from __future__ import annotations

import json
import re
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
import zarr

from fastdln.scan import StoreError, scan
from fastdln.scan.cell import Cell
from fastdln.scan.store import open_store
from tests.support.scans import assert_same_bits, program, resume, tree, words, write_spec

COMMANDS = ("status", "summary", "resume", "scan")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished scan."""
    folder = tmp_path_factory.mktemp("finished")
    scan(write_spec(folder), folder / "x.zarr", chunk=4)
    return folder


@pytest.fixture(scope="module")
def whole(finished: Path) -> xr.Dataset:
    return xr.open_zarr(finished / "x.zarr").load()


@pytest.fixture
def store(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished scan, beside its scan file."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return tmp_path / "x.zarr"


def keep_lines(store: Path, n: int) -> None:
    journal = store / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:n]))


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) * 2 // 3] ^= 4
    file.write_bytes(data)


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (Path.unlink, "is missing"),
    "empty": (lambda file: file.write_bytes(b""), "has 0 bytes instead of"),
    "cut": (lambda file: file.write_bytes(file.read_bytes()[:-9]), "bytes instead of"),
    "a bit": (flip, "does not have the checksum"),
    "the checksum": (lambda file: file.write_bytes(file.read_bytes()[:-4] + b"crc?"), "does not have the checksum"),
    "of another unit": (lambda file: shutil.copy(file.with_name("c.2.0.1.0"), file), "instead of|checksum"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_unit_is_done_again(
    store: Path, whole: xr.Dataset, damage: Callable[[Path], Any], message: str, monkeypatch: pytest.MonkeyPatch
):
    damage(store / "loss" / "c.1.1.1.0")
    found = open_store(store).damaged()
    assert list(found) == [10]  # cell 3 of units 9, 10, 11
    assert re.search(message, found[10])
    assert found[10].startswith("loss/c.1.1.1.0 ")
    integrate, done = Cell.integrate, []

    def counted(cell: Cell, first: int, size: int, **options: Any) -> Any:
        done.append((cell.point.index, first, size))
        return integrate(cell, first, size, **options)

    monkeypatch.setattr(Cell, "integrate", counted)
    resume(store)
    assert done == [(3, 4, 4)]
    assert not open_store(store).damaged()
    assert_same_bits(xr.open_zarr(store), whole)


def test_sizes_alone_are_looked_at_quickly(store: Path):
    flip(store / "loss" / "c.1.1.1.0")
    assert not open_store(store).damaged(thorough=False)
    (store / "loss" / "c.0.0.0.0").unlink()
    assert list(open_store(store).damaged(thorough=False)) == [0]
    assert list(open_store(store).damaged()) == [0, 10]


def test_what_is_no_file_is_not_read(store: Path):
    (store / "loss" / "c.1.1.1.0").unlink()
    (store / "loss" / "c.1.1.1.0").symlink_to("/dev/zero")
    assert open_store(store).damaged() == {10: "loss/c.1.1.1.0 is no file"}


def test_scan_too_mends_a_finished_store(store: Path, whole: xr.Dataset):
    flip(store / "strengths" / "c.0.0.0.0.0")
    assert_same_bits(scan(store.parent / "spec.toml", store), whole)


def test_damage_and_what_was_never_done(store: Path, whole: xr.Dataset):
    keep_lines(store, 5)
    flip(store / "loss" / "c.0.0.0.0")
    assert list(open_store(store).damaged()) == [0]
    resume(store)
    assert_same_bits(xr.open_zarr(store), whole)
    lines = [json.loads(line)["unit"] for line in (store / "journal.jsonl").read_bytes().splitlines()]
    assert lines == [0, 1, 2, 3, 4, 0, *range(5, 18)]


@pytest.mark.parametrize("lost", ["loss", "loss/zarr.json"])
def test_array_that_is_gone_is_made_again(store: Path, whole: xr.Dataset, lost: str):
    metadata = (store / "loss" / "zarr.json").read_text()
    shutil.rmtree(store / lost) if (store / lost).is_dir() else (store / lost).unlink()
    keep_lines(store, 17)
    resume(store)
    assert_same_bits(xr.open_zarr(store), whole)
    assert zarr.open_array(store / "loss", mode="r")[...].tobytes() == whole["loss"].values.tobytes()
    assert json.loads((store / "loss" / "zarr.json").read_text()) == json.loads(metadata)


def test_no_damaged_byte_is_read_as_a_number(store: Path):
    """In every array the outermost codec is a checksum: whoever reads the store by xarray is warned."""
    arrays = json.loads((store / "zarr.json").read_text())["consolidated_metadata"]["metadata"]
    for name, metadata in arrays.items():
        assert metadata["codecs"][-1]["name"] == "crc32c"
        file = next(path for path in sorted((store / name).rglob("*")) if path.is_file() and path.name != "zarr.json")
        data = file.read_bytes()
        for position in range(0, len(data), 7):
            file.write_bytes(data[:position] + bytes([data[position] ^ 16]) + data[position + 1 :])
            with pytest.raises(ValueError, match="checksum do not match"):
                xr.open_zarr(store)[name].load()
        file.write_bytes(data)


@pytest.mark.parametrize("file", ["t/c/0/0/0", "scale/c/0"])
def test_what_belongs_to_no_unit_is_not_mended(store: Path, file: str):
    flip(store / file)
    before = tree(store)
    with pytest.raises(StoreError, match=rf"{file} does not have the checksum.*restore it from a copy"):
        resume(store)
    assert tree(store) == before


def test_program_tells_damage_and_mends_it(store: Path, whole: xr.Dataset):
    assert program("status", store).code == 0
    (store / "loss" / "c.1.1.1.0").unlink()
    before = tree(store)
    status = program("status", store)
    assert status.code == 1
    assert "state unfinished units 17 of 18 trajectories 56 of 60" in words(status.out)
    assert "damaged 1 units" in words(status.out)
    told = "1 finished unit is damaged (unit 10: loss/c.1.1.1.0 is missing)"
    assert f"{told}. To do them again: fastdln resume {store}" in words(status.err)
    for command in ("summary", "plot"):
        answer = program(command, store)
        assert answer.code == 1
        assert told in words(answer.err)
        assert not answer.out
    assert tree(store) == before
    mended = program("resume", store, "--no-plot")
    assert mended.code == 0
    assert f"{told}; done again" in words(mended.err)
    assert program("status", store).code == 0
    assert_same_bits(xr.open_zarr(store), whole)


def test_program_tells_bits_that_it_cannot_read(store: Path):
    flip(store / "loss" / "c.1.1.1.0")
    answer = program("summary", store)
    assert answer.code == 1
    assert "unit 10: loss/c.1.1.1.0 does not have the checksum" in words(answer.err)
    assert program("status", store, "--quick").code == 0


def test_torn_files_of_unfinished_units_stand_in_no_ones_way(store: Path, whole: xr.Dataset):
    """The last unit of a cell is smaller than its chunk, so that zarr would read what is there before it writes."""
    keep_lines(store, 2)
    for file in (store / "loss").glob("c.*"):
        if not file.name.startswith(("c.0.0.0.", "c.0.0.1.")):
            file.write_bytes(file.read_bytes()[:5])
    answer = program("summary", store)
    assert answer.code == 1
    assert "loss/c.0.0.2.0, of unit 2, which is not finished, cannot be decoded" in words(answer.err)
    resume(store)
    assert_same_bits(xr.open_zarr(store), whole)


def record(**changes: Any) -> bytes:
    """A line that the journal would hold to be whole."""
    told = {"unit": 17, "cell": 5, "first": 8, "size": 2, "failures": {}, "seconds": 1.0, "chunks": {}} | changes
    told = {key: value for key, value in told.items() if value is not None}
    crc = f"{zlib.crc32(json.dumps(told, sort_keys=True).encode()):08x}"
    return json.dumps(told | {"crc32": crc}).encode() + b"\n"


UNITS = {
    "no such unit": record(unit=99),
    "another cell": record(cell=4),
    "another place": record(first=4),
    "another size": record(size=4),
    "no size": record(size=None),
    "a name as size": record(size="two"),
    "no failures": record(failures=None),
    "failures that are none": record(failures={"MAX_STEPS": "many"}),
    "chunks that are none": record(chunks={"loss": 7}),
    "no unit": record(unit=None) + record(),
    "a name as unit": record(unit="x") + record(),
    "a negative unit": record(unit=-1) + record(),
    "depths": b"[" * 100_000 + b"\n" + record(),
    "digits": b'{"unit": ' + b"9" * 10_000 + b"}\n" + record(),
}


@pytest.mark.parametrize("lines", UNITS.values(), ids=UNITS)
def test_journal_of_another_scan_is_refused_in_one_line(store: Path, lines: bytes):
    keep_lines(store, 17)
    journal = store / "journal.jsonl"
    journal.write_bytes(journal.read_bytes() + lines)
    refused_in_one_line(store, "journal.jsonl", "cannot be trusted")


def test_unit_without_its_checksums_is_done_again(store: Path, whole: xr.Dataset):
    keep_lines(store, 17)
    journal = store / "journal.jsonl"
    journal.write_bytes(journal.read_bytes() + record())
    assert open_store(store).damaged() == {17: "status/c.2.1.2 has no checksum in the journal"}
    resume(store)
    assert_same_bits(xr.open_zarr(store), whole)


def refused_in_one_line(store: Path, *parts: str) -> None:
    before = tree(store)
    for command in COMMANDS:
        where = (store.parent / "spec.toml", "--out", store) if command == "scan" else (store,)
        answer = program(command, *where, *(("--no-plot",) if command in ("resume", "scan") else ()))
        assert answer.code == 1, command
        assert answer.err.startswith("fastdln: ")
        assert answer.err.count("\n") == 1
        assert all(part in answer.err for part in parts), answer.err
        assert not answer.out
    assert tree(store) == before


def with_attributes(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    def change(document: dict[str, Any]) -> Any:
        changed = document["attributes"] | changes
        return document | {"attributes": {key: value for key, value in changed.items() if value is not None}}

    return change


def with_codecs(document: dict[str, Any], array: str, codecs: list[Any]) -> Any:
    document["consolidated_metadata"]["metadata"][array]["codecs"] = codecs
    return document


def without(document: dict[str, Any], array: str) -> Any:
    del document["consolidated_metadata"]["metadata"][array]
    return document


METADATA: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a list": (lambda document: [document], "is no store of a fastdln scan"),
    "nothing": (lambda document: {}, "is no store of a fastdln scan"),
    "attributes that are none": (lambda document: document | {"attributes": 3}, "is no store of a fastdln scan"),
    "a name as format": (with_attributes(fastdln_format="x"), "Expected `int`, got `str`"),
    "no format of ours": (with_attributes(fastdln_format=0), "`int` >= 1"),
    "no version": (with_attributes(fastdln_version=None), "required field `fastdln_version`"),
    "no scan": (with_attributes(spec=None), "required field `spec`"),
    "a scan that is none": (with_attributes(spec="{"), "does not have its SHA-256"),
    "another digest": (with_attributes(spec_sha256="0" * 64), "does not have its SHA-256"),
    "no folder": (with_attributes(spec_folder=7), "Expected `str`, got `int`"),
    "another chunk": (with_attributes(chunk=7), "in chunks of (1, 1, 4)"),
    "a name as chunk": (with_attributes(chunk="x"), "Expected `int`, got `str`"),
    "no chunk": (with_attributes(chunk=0), "`int` >= 1"),
    "a name as revision": (with_attributes(fastdln_revision="x"), "Expected `int`, got `str`"),
    "files that are none": (with_attributes(fastdln_files={"t/c/0/0/0": 3}), "is damaged"),
    "files elsewhere": (with_attributes(fastdln_files={"/dev/zero": [0, "0"]}), "files outside of the store"),
    "files above": (with_attributes(fastdln_files={"t/../../x": [0, "0"]}), "files outside of the store"),
    "codecs that are none": (lambda document: with_codecs(document, "loss", ["x"]), "is damaged"),
    "a codec nobody knows": (lambda document: with_codecs(document, "loss", [{"name": "x"}]), "is damaged"),
    "no array": (lambda document: without(document, "loss"), "the array loss"),
    "nothing of arrays": (lambda document: document | {"consolidated_metadata": None}, "is damaged"),
}


@pytest.mark.parametrize(("change", "message"), METADATA.values(), ids=METADATA)
def test_malformed_metadata_are_refused_in_one_line(store: Path, change: Callable[[dict[str, Any]], Any], message: str):
    file = store / "zarr.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    refused_in_one_line(store, message)


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b'{"attributes": {"fastdln_format": 2'])
def test_metadata_that_are_no_json_are_refused_in_one_line(store: Path, text: bytes):
    (store / "zarr.json").write_bytes(text)
    refused_in_one_line(store, "is no store of a fastdln scan")


def test_lost_journal_is_refused_in_one_line(store: Path):
    (store / "journal.jsonl").unlink()
    refused_in_one_line(store, "journal.jsonl")
