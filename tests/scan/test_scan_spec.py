"""Scan files: what they may say, what the grid makes of them, and every refusal."""

from __future__ import annotations

import io
import itertools
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdln.scan import data
from fastdln.scan.kinds import Data
from fastdln.scan.plan import Plan, canonical_json, load_plan
from fastdln.scan.reading import read
from fastdln.scan.spec import TABLES, SpecError

SPEC = """
name = "test"
trajectories = 4
[network]
widths = [[4, 4, 4], [4, 8, 8, 4]]
[target]
kind = "singular_values"
values = [4, 3.0]
[init]
kind = "gaussian"
scale = [0.01, 1]
[flow]
t_end = 50
[record]
times = 64
"""


def plan(text: str = SPEC, folder: Path = Path()) -> Plan:
    return Plan(read(text), folder)


def replace(old: str, new: str) -> str:
    assert old in SPEC
    return SPEC.replace(old, new)


def test_grid_is_c_ordered():
    grid = plan()
    assert grid.shape == (2, 2)
    assert [axis.name for axis in grid.axes] == ["widths", "scale"]
    cells = [(c.network.widths, c.init.scale) for c in grid.points]
    assert cells == list(itertools.product([(4, 4, 4), (4, 8, 8, 4)], [0.01, 1.0]))
    assert grid.point(1).label == "widths = 4-4-4, scale = 1"


def test_order_of_the_file_does_not_matter():
    tables = re.split(r"(?=^\[)", SPEC.replace("trajectories = 4\n", ""), flags=re.M)
    shuffled = "trajectories = 4\n" + "".join([tables[0], *reversed(tables[1:])])
    assert plan(shuffled).digest == plan().digest


def test_defaults_and_integers_for_floats_make_no_difference():
    assert plan(replace("t_end = 50", 't_end = 50.0\nmethod = "tsit5"')).digest == plan().digest
    assert plan(replace("t_end = 50", "t_end = 51")).digest != plan().digest
    assert plan("seed = 0\n" + SPEC).digest == plan().digest


def test_normal_form_reads_back():
    tied = '[[zip]]\naxes = ["network.widths", "init.scale"]\n'
    for text in (
        SPEC,
        SPEC + tied,
        replace("times = 64", 'times = {count = 3, spacing = "log", first = 0.1}'),
    ):
        document = read(text)
        assert read(document.normalised()) == document
        assert canonical_json(read(document.normalised()).normalised()) == canonical_json(document.normalised())


@given(st.lists(st.floats(min_value=1e-300, max_value=1e300), min_size=1, max_size=5, unique=True))
def test_numbers_survive_the_normal_form(scales: list[float]):
    document = read(replace("[0.01, 1]", repr(scales)))
    again = read(document.normalised())
    assert again.tables["init"]["scale"] == scales


def test_lists_that_are_values_need_lists_of_lists_for_an_axis():
    assert plan().axes[0].values == (((4, 4, 4), (4, 8, 8, 4)),)
    assert plan(replace("[[4, 4, 4], [4, 8, 8, 4]]", "[4, 4, 4]")).shape == (2,)
    spec = replace(
        'kind = "gaussian"\nscale = [0.01, 1]',
        'kind = "aligned"\nlayer_values = [[0.1, 0.2], [[1, 2], [3, 4]]]',
    )
    assert plan(spec).axes[1].values == (((0.1, 0.2), ((1.0, 2.0), (3.0, 4.0))),)
    single = plan(replace("[[4, 4, 4], [4, 8, 8, 4]]", "[4, 4, 4]").replace("[0.01, 1]", "1"))
    assert single.shape == ()
    assert single.n_cells == 1
    assert single.point(0).label == "the only cell"


def test_tied_axes_advance_together():
    grid = plan(SPEC + '[[zip]]\naxes = ["network.widths", "init.scale"]\n')
    assert grid.shape == (2,)
    (axis,) = grid.axes
    assert axis.name == "widths"
    assert axis.names == ("widths", "scale")
    assert [(c.network.widths, c.init.scale) for c in grid.points] == [((4, 4, 4), 0.01), ((4, 8, 8, 4), 1.0)]


def test_kinds_as_an_axis_take_the_keys_they_know():
    grid = plan(
        replace('"gaussian"', '["gaussian", "orthogonal"]').replace("scale = [0.01, 1]", "scale = 0.1\ngain = 0.2")
    )
    assert [type(c.init).__name__ for c in grid.points] == ["Gaussian", "Orthogonal"] * 2
    assert grid.point(1).init.gain == 0.2


def test_axes_of_the_same_key_are_named_with_their_table():
    spec = replace('kind = "singular_values"\nvalues = [4, 3.0]', 'kind = "random"\nscale = [1, 2]')
    assert [axis.name for axis in plan(spec).axes] == ["widths", "target_scale", "init_scale"]


def test_forms_of_a_table_agree_on_the_keys_they_share():
    for forms in TABLES.values():
        kinds = [form.__struct_config__.tag for form in forms]
        assert len(set(kinds)) == len(kinds)


REFUSALS = {
    "not TOML": ("trajectories = 4", "trajectories = = 4", "not valid TOML.*line 3"),
    "unknown key at the top": ("trajectories = 4", "trajectorys = 4", '"trajectories"'),
    "unknown key in a table": ("scale = [0.01, 1]", "scal = 1", r'init\.scal: unknown key.*"scale"'),
    "key of another kind": (
        "scale = [0.01, 1]",
        "gain = 1",
        r"init\.gain: unknown key.*kind gaussian: kind, scale",
    ),
    "unknown table": ("[flow]", "[flw]", 'flw: unknown key.*"flow"'),
    "missing table": ("[record]\ntimes = 64", "", r"\[record\] is missing"),
    "table that is none": ("trajectories = 4", "trajectories = 4\nrecord = 3", "not valid TOML"),
    "missing trajectories": ("trajectories = 4", "", "trajectories is missing"),
    "missing key": ("t_end = 50", "", r"flow\.t_end is missing"),
    "missing key of one kind": ('"gaussian"', '["gaussian", "orthogonal"]', r"init\.gain is missing"),
    "missing kind": ('kind = "gaussian"', "", r"init\.kind is missing: expected one of gaussian"),
    "unknown kind": ('"gaussian"', '"gausian"', 'unknown "gausian"; did you mean "gaussian"'),
    "string for a number": ("[0.01, 1]", "[0.01, 'a']", r'init\.scale\[1\] = "a": expected float, got str'),
    "number for a string": ('name = "test"', "name = 3", "name = 3: expected str, got int"),
    "float for an integer": ("[4, 4, 4]", "[4, 4.5, 4]", r"network\.widths\[0\]\[1\] = 4.5: expected int"),
    "truth value for a number": ("t_end = 50", "t_end = true", r"flow\.t_end = true: expected float"),
    "date": ("t_end = 50", "t_end = 2020-01-01", r"flow\.t_end.*got date"),
    "zero width": ("[4, 4, 4]", "[4, 0]", r"network\.widths\[0\]\[1\] = 0: expected int >= 1"),
    "one width": ("[4, 4, 4]", "[4]", r"network\.widths\[0\].*length >= 2"),
    "negative scale": ("[0.01, 1]", "-1.0", r"init\.scale = -1.0: expected float >= 0"),
    "NaN": ("[0.01, 1]", "[0.01, nan]", r"init\.scale\[1\] = NaN: expected finite"),
    "infinite end": ("t_end = 50", "t_end = inf", r"flow\.t_end.*finite"),
    "backwards": ("t_end = 50", "t_end = -50", r"flow\.t_end = -50: expected float > 0"),
    "word for a time": ("t_end = 50", "t_end = 'aut'", r'flow\.t_end: unknown "aut"; did you mean "auto"'),
    "unknown method": (
        "t_end = 50",
        "t_end = 50\nmethod = 'tsit'",
        r'flow\.method: unknown "tsit"; did you mean "tsit5"',
    ),
    "trajectories as an axis": (
        "trajectories = 4",
        "trajectories = [4, 5]",
        "trajectories = .*expected int, got array",
    ),
    "no trajectories": ("trajectories = 4", "trajectories = 0", "trajectories = 0: expected int >= 1"),
    "negative seed": ("trajectories = 4", "trajectories = 4\nseed = -1", "seed = -1"),
    "empty axis": ("[0.01, 1]", "[]", r"init\.scale = \[\]: an axis needs"),
    "repeated value": ("[0.01, 1]", "[1, 1.0]", r"init\.scale holds 1.0 twice"),
    "nested lists": ("[0.01, 1]", "[" * 600 + "1" + "]" * 600, "nested too deeply"),
    "nested tables": ("[0.01, 1]", "{a = " * 600 + "1" + "}" * 600, "nested too deeply"),
    "key of many parts": ("[record]", "[zz]\n" + "a." * 50_000 + "b = 1\n[record]", "a key has more parts"),
    "quoted key of many parts": ("[record]", '[zz]\n"a" . ' + "'b'." * 50_000 + "c = 1\n[record]", "more parts"),
    "integer of many digits": ("trajectories = 4", "trajectories = 1" + "0" * 10_000, "not valid TOML.*digits"),
    "integer no float can hold": ("t_end = 50", "t_end = 1" + "0" * 400, r"t_end = an integer of 1329 bits: expected"),
    "seed of many digits": ("trajectories = 4", "trajectories = 4\nseed = 1" + "0" * 4000, "seed = an integer of"),
    "more steps than can be counted": ("t_end = 50", "t_end = 50\nmax_steps = 9007199254740993", r"max_steps.*<= 9007"),
    "more layers than can be compiled": ("[[4, 4, 4], [4, 8, 8, 4]]", f"{[3] * 100_000}", "widths.*length <= 1024"),
    "more cells than a store can hold": ("[0.01, 1]", f"{list(range(1, 600_001))}", r"1,200,000 cells \(2 widths x"),
    "key that steers the terminal": ("t_end = 50", 't_end = 50\n"\\u001b[31m" = 1', r"flow\.\\x1b\[31m: unknown key"),
    "very long key": ("t_end = 50", "t_end = 50\n" + "k" * 100_000 + " = 1", r"flow\.k{80}\.\.\.: unknown key"),
    "scalar in an axis of lists": (
        "values = [4, 3.0]",
        "values = [[4, 3], 3]",
        r"target\.values\[1\] = 3: expected array",
    ),
    "no times": ("times = 64", "", r"record\.times is missing"),
    "unknown spacing": (
        "times = 64",
        "times = {count = 3, spacing = 'lg'}",
        r'spacing: unknown "lg"; did you mean "log"',
    ),
    "unknown key of times": (
        "times = 64",
        "times = {count = 3, spcing = 'log'}",
        r"record\.times\.spcing.*spacing",
    ),
    "times without count": ("times = 64", "times = {spacing = 'log'}", r"record\.times.*count"),
    "logarithm of zero": (
        "times = 64",
        "times = {count = 3, spacing = 'log', first = 0}",
        r"first = 0: expected a time > 0",
    ),
    "unknown observable": (
        "times = 64",
        "times = 3\nobservables = ['los']",
        r'observables\[0\]: unknown "los".*"loss"',
    ),
    "observable as a string": (
        "times = 64",
        "times = 3\nobservables = 'loss'",
        r"observables = .*expected array",
    ),
    "repeated observable": ("times = 64", "times = 3\nobservables = ['loss', 'loss']", "each once"),
    "no observable": ("times = 64", "times = 3\nobservables = []", "at least one"),
    "tie of no axis": (
        "times = 64",
        "times = 3\n[[zip]]\naxes = ['init.scal', 'network.widths']",
        r'"init\.scale"',
    ),
    "tie of one": ("times = 64", "times = 3\n[[zip]]\naxes = ['init.scale']", r"zip\.axes.*length >= 2"),
    "unknown key of a tie": (
        "times = 64",
        "times = 3\n[[zip]]\nkeys = ['init.scale']",
        r"zip\.keys: unknown key",
    ),
    "tied twice": (
        "times = 64",
        "times = 3\n[[zip]]\naxes = ['init.scale', 'init.scale']",
        r"init\.scale stands twice",
    ),
    "ties of unequal lengths": (
        "scale = [0.01, 1]\n[flow]",
        "scale = [0.01, 1, 2]\n[[zip]]\naxes = ['init.scale', 'network.widths']\n[flow]",
        r"as many values each, but init\.scale has 3, network\.widths has 2",
    ),
}


@pytest.mark.parametrize(("old", "new", "message"), REFUSALS.values(), ids=REFUSALS)
def test_refusals(old: str, new: str, message: str):
    with pytest.raises(SpecError, match=message) as error:
        assert plan(replace(old, new)).axes
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000


def test_long_axes_are_read_in_time_proportional_to_their_length():
    """Looking for repeated values must not compare each with all before it: 10^10 comparisons here, minutes."""
    values = [i / 1e5 for i in range(1, 100_001)]
    assert plan(replace("[0.01, 1]", f"{values}")).shape == (2, 100_000)
    with pytest.raises(SpecError, match=r"holds 0\.5 twice"):
        plan(replace("[0.01, 1]", f"{[*values, 0.5]}"))


def test_what_identifies_a_scan_without_data_does_not_take_its_cells():
    grid = plan(replace("[0.01, 1]", f"{list(range(1, 500_001))}"))
    assert len(grid.digest) == 64
    assert "cells" not in vars(grid)


def test_scan_files_may_begin_with_a_byte_order_mark(tmp_path: Path):
    (tmp_path / "spec.toml").write_text(SPEC, encoding="utf-8-sig")
    assert load_plan(tmp_path / "spec.toml").digest == plan().digest


def test_very_long_scan_files_are_not_read(tmp_path: Path):
    with (tmp_path / "spec.toml").open("wb") as file:
        file.truncate(10**9)
    with pytest.raises(SpecError, match=r"spec\.toml has more than \d+ bytes"):
        load_plan(tmp_path / "spec.toml")


def test_missing_scan_file(tmp_path: Path):
    with pytest.raises(SpecError, match=r"none\.toml cannot be read"):
        load_plan(tmp_path / "none.toml")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with data in every form, inside a folder with data that is out of bounds."""
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((3, 20)), rng.standard_normal((2, 20))
    inside = tmp_path / "inside"
    inside.mkdir()
    np.savez(tmp_path / "outside.npz", X=X, Y=Y)
    np.savez(inside / "data.npz", X=X, Y=Y, inputs=X.T, outputs=Y.T)
    np.save(inside / "X.npy", X)
    np.save(inside / "Y.npy", Y)
    np.savetxt(inside / "X.csv", X.T, delimiter=",", fmt="%.17g")
    np.savetxt(inside / "Y.csv", Y.T, delimiter=",", fmt="%.17g")
    return inside


def target(**keys: Any) -> Data:
    return Data(**({"form": "correlation"} | keys))


def test_data_from_every_kind_of_file(folder: Path):
    forms = [
        target(path="data.npz"),
        target(path="data.npz", X="inputs", Y="outputs", samples="rows"),
        target(X="X.npy", Y="Y.npy"),
        target(X="X.csv", Y="Y.csv", samples="rows"),
        target(path="../outside.npz", allow_outside=True),
        target(path=str(folder / "data.npz"), allow_outside=True),
    ]
    read_back = [data.load(form, folder) for form in forms]
    for X, Y in read_back:
        np.testing.assert_array_equal(X, read_back[0][0])
        np.testing.assert_array_equal(Y, read_back[0][1])
    X, _ = data.load(target(path="data.npz", center=True), folder)
    np.testing.assert_allclose(X.mean(axis=1), 0, atol=1e-15)


DATA_REFUSALS = {
    "outside by ..": (target(path="../outside.npz"), "outside.*allow_outside = true"),
    "outside by an absolute path": (target(path="/etc/hostname"), "outside.*allow_outside"),
    "outside through a link": (target(path="link.npz"), "outside.*allow_outside"),
    "no file": (target(path="none.npz"), 'no file "none.npz"'),
    "no array": (
        target(path="data.npz", X="Z"),
        r'target.X = "Z".*has only the arrays X, Y, inputs, outputs',
    ),
    "pickle in an archive": (target(path="objects.npz"), "cannot be read.*allow_pickle"),
    "pickle in a file": (target(X="objects.npy", Y="Y.npy"), "cannot be read"),
    "text": (target(X="words.csv", Y="Y.npy"), "words.csv.*cannot be read"),
    "other kind of file": (target(X="data.txt", Y="Y.npy"), "neither a .npy nor a .csv"),
    "table as path": (target(path="X.csv"), "expected a .npz file"),
    "no archive": (target(path="broken.npz"), "cannot be read"),
    "samples as rows": (target(path="data.npz", X="inputs"), "20 samples|3 and 20 samples"),
    "not finite": (target(X="nan.npy", Y="Y.npy"), "not finite"),
    "archive of text": (target(path="text.npz"), "cannot be read.*magic string"),
    "archive with a wrong header": (target(path="lie.npz"), "cannot be read.*does not make the 8 bytes"),
    "file with a wrong header": (target(X="lie.npy", Y="Y.npy"), "cannot be read.*does not make the 8 bytes"),
    "archive that is cut": (target(path="cut.npz"), "cannot be read"),
    "null character": (target(path="a\0b.npz"), "cannot be the name of a file"),
    "long name": (target(path="a" * 5000 + ".npz"), r"cannot be the name of a file|no file"),
    "vector": (target(X="vector.npy", Y="Y.npy"), r"shape \(20,\).*expected a matrix"),
}


@pytest.mark.parametrize(("given", "message"), DATA_REFUSALS.values(), ids=DATA_REFUSALS)
def test_refusals_of_data(folder: Path, given: Data, message: str):
    objects = np.array([[{}]], dtype=object)
    np.savez(folder / "objects.npz", X=objects, Y=objects)
    np.save(folder / "objects.npy", objects)
    np.save(folder / "nan.npy", np.full((3, 20), np.nan))
    np.save(folder / "vector.npy", np.ones(20))
    (folder / "words.csv").write_text("one,two\n")
    (folder / "data.txt").write_text("1\n")
    (folder / "broken.npz").write_text("not an archive")
    lie = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": (2, 10**12)}
    np.lib.format.write_array_header_1_0(lie, header)
    (folder / "lie.npy").write_bytes(lie.getvalue() + bytes(8))
    for name, content in (("text", b"hello"), ("lie", lie.getvalue() + bytes(8))):
        with zipfile.ZipFile(folder / f"{name}.npz", "w") as file:
            for key in ("X.npy", "Y.npy"):
                file.writestr(key, content)
    (folder / "cut.npz").write_bytes((folder / "data.npz").read_bytes()[:400])
    (folder / "link.npz").symlink_to(folder.parent / "outside.npz")
    with pytest.raises(SpecError, match=message):
        data.load(given, folder)


def test_data_that_would_not_fit_are_refused_before_they_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fastdln.resources.free_memory", lambda: 100)
    for kinds in (target(path="data.npz"), target(X="X.npy", Y="Y.npy"), target(X="X.csv", Y="Y.csv")):
        with pytest.raises(MemoryError, match=r"inside/\w+\.\w+ would take .* bytes .* 100 bytes"):
            data.load(kinds, folder)


def test_tables_may_begin_with_a_byte_order_mark(folder: Path):
    (folder / "X.csv").write_text("1,2\n3,4\n", encoding="utf-8-sig")
    X, _ = data.load(target(X="X.csv", Y="X.csv"), folder)
    assert X.tolist() == [[1, 2], [3, 4]]


def test_identity_of_a_scan_follows_its_data(folder: Path):
    spec = replace('kind = "singular_values"\nvalues = [4, 3.0]', 'kind = "data"\nform = "whitened"\npath = "data.npz"')
    before = plan(spec, folder).digest
    assert plan(spec, folder).digest == before
    np.savez(folder / "data.npz", X=np.eye(3), Y=np.eye(3))
    assert plan(spec, folder).digest != before


# ---- ranges


def axis(text, key="init.scale"):
    """The values of an axis of a scan file that gives it so."""
    table, name = key.split(".")
    return read(replace("scale = [0.01, 1]", f"scale = {text}")).tables[table][name]


def test_a_range_is_the_list_of_its_values():
    assert axis("{start = 0.0, stop = 0.6, count = 4}") == [0.0, 0.2, 0.4, 0.6]
    assert axis("{start = 1, stop = 3, count = 3}") == [1.0, 2.0, 3.0]
    assert axis('{start = 0.001, stop = 10, count = 5, spacing = "log"}') == [0.001, 0.01, 0.1, 1.0, 10.0]
    assert axis('{start = 1.0, stop = 1e-60, count = 3, spacing = "log"}') == [1.0, 1e-30, 1e-60]
    assert axis("{start = 0.3, stop = 0.1, count = 2}") == [0.3, 0.1]
    assert all(type(x) is float for x in axis("{start = 1, stop = 3, count = 3}"))
    listed = replace("scale = [0.01, 1]", "scale = [0.01, 0.1, 1.0]")
    ranged = replace("scale = [0.01, 1]", 'scale = {start = 0.01, stop = 1.0, count = 3, spacing = "log"}')
    assert plan(ranged).digest == plan(listed).digest


def test_a_range_of_integers_where_these_are_expected():
    steps = replace("t_end = 50", 't_end = 50\nmax_steps = {start = 10, stop = 1000, count = 4, spacing = "log"}')
    assert read(steps).tables["flow"]["max_steps"] == [10, 46, 215, 1000]


RANGES = {
    "one value": ("{start = 1.0, stop = 2.0, count = 1}", r"init\.scale\.count = 1: expected int >= 2"),
    "too many": ("{start = 1.0, stop = 2.0, count = 2000000}", r"init\.scale\.count = 2000000: expected int <="),
    "no count": ("{start = 1.0, stop = 2.0}", r"init\.scale = .*: object missing required field count"),
    "one number": ("{start = 1.0, stop = 1, count = 3}", r"init\.scale\.start = 1.0, stop = 1: expected two different"),
    "log of zero": (
        '{start = 0, stop = 1.0, count = 3, spacing = "log"}',
        r"init\.scale\.start = 0, stop = 1.0: expected two different numbers > 0",
    ),
    "spacing": (
        '{start = 1, stop = 2, count = 3, spacing = "logg"}',
        r'init\.scale.*unknown "logg"; did you mean "log"',
    ),
    "key": ("{start = 1, stop = 2, number = 3}", r"init\.scale\.number: unknown key. Known in the range init\.scale"),
    "values": ("{start = -1.0, stop = 2.0, count = 4}", r"init\.scale = -1.0: expected float >= 0.0"),
    "not a number": ("{start = nan, stop = 2.0, count = 4}", r"expected finite numbers"),
    "text": ('{start = "a", stop = 2.0, count = 4}', r"init\.scale\.start = \"a\": expected"),
}


@pytest.mark.parametrize(("text", "message"), RANGES.values(), ids=RANGES)
def test_ranges_that_are_refused(text, message):
    with pytest.raises(SpecError, match=message):
        axis(text)


def test_a_range_of_what_is_no_number_is_refused():
    for old, new in (
        ("widths = [[4, 4, 4], [4, 8, 8, 4]]", "widths = {start = 1, stop = 3, count = 3}"),
        ('kind = "gaussian"', "kind = {start = 1, stop = 3, count = 3}"),
    ):
        with pytest.raises(SpecError, match="expected"):
            read(replace(old, new))


def test_integers_of_a_range_must_differ():
    with pytest.raises(SpecError, match=r"flow\.max_steps holds 2 twice"):
        read(replace("t_end = 50", "t_end = 50\nmax_steps = {start = 1, stop = 3, count = 5}"))
