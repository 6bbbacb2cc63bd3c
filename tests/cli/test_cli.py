"""The command line: what it says, where it says it, and its exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import fastdln
from fastdln import cli
from fastdln.scan import scan
from fastdln.scan.plan import load_plan
from fastdln.scan.run import open_or_create
from tests.support.scans import N_CELLS, Answer, assert_same_bits, program, tree, words, write_spec

Run = Callable[..., Answer]

FILES = r'["[b].npz", "$_{.npz", "\u001b[1m.npz"]'


@pytest.fixture
def fastdln_() -> Run:
    """Run the program in this process."""
    return program


def test_scan_and_everything_after_it(fastdln_: Run, tmp_path: Path):
    spec, out = write_spec(tmp_path), tmp_path / "x.zarr"
    first = fastdln_("scan", spec, "--out", out, "--plot", tmp_path / "p.png", "--threads", 1, "--chunk", 4)
    assert first.code == 0
    assert "60/60" in first.err
    assert "0 failed" in first.err
    assert "widths scale done failed t_end steps loss first last" in words(first.out)
    assert "2-3-2 0.5 10 0 5 " in words(first.out)
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    before = tree(out)

    again = fastdln_("scan", spec, "--out", out, "--no-plot")
    assert again.code == 0
    assert "is finished: 6 cells; there is nothing to do" in words(again.out)
    assert fastdln_("resume", out, "--no-plot").code == 0

    status = fastdln_("status", out)
    assert status.code == 0
    assert "state finished units 18 of 18 trajectories 60 of 60 failed none" in words(status.out)

    assert words(fastdln_("summary", out).out) in words(first.out)
    plot = fastdln_("plot", out)
    assert plot.code == 0
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert tree(out) == before


def test_picture_beside_the_store(fastdln_: Run, tmp_path: Path):
    assert fastdln_("scan", write_spec(tmp_path), "--out", tmp_path / "x.zarr").code == 0
    assert (tmp_path / "x.png").exists()


def test_dry_run_writes_nothing(fastdln_: Run, tmp_path: Path):
    spec = write_spec(tmp_path)
    answer = fastdln_("scan", spec, "--dry-run")
    assert answer.code == 0
    for part in ("cells 6", "trajectories 60", "size 11.1 kB", "estimated time", "axis widths 2-2 2-3-2"):
        assert part in words(answer.out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["spec.toml"]


NAMES = ["[/b]", "[red]x", ":x: $\\\\frac{$", "\\u001b[31mX\\u0007", "a\\nb", "x" * 5000, "{task}"]


@pytest.mark.parametrize("name", NAMES)
def test_text_from_a_file_is_shown_as_it_is(fastdln_: Run, tmp_path: Path, name: str):
    """Neither as markup, nor as a formula, nor as a sequence that steers the terminal."""
    spec = write_spec(
        tmp_path,
        ('name = "small"', f'name = "{name}"'),
        ("[[2, 2], [2, 3, 2], [3, 2, 4, 3]]", "[2, 2]"),
        ('kind = "singular_values"\nvalues = [2.0, 1.0]', f'kind = "data"\nform = "correlation"\npath = {FILES}'),
    )
    for file in ("[b].npz", "$_{.npz", "\x1b[1m.npz"):
        np.savez(tmp_path / file, X=np.eye(2, 5), Y=np.eye(2, 5))
    out = tmp_path / "x.zarr"
    answers = [fastdln_("scan", spec, "--out", out, "--chunk", 20), fastdln_("scan", spec, "--dry-run")]
    answers += [fastdln_(command, out) for command in ("status", "summary", "plot", "resume")]
    for answer in answers:
        assert answer.code == 0
        assert "\x1b" not in answer.out + answer.err
        assert "\x07" not in answer.out + answer.err
        assert max(map(len, answer.out.splitlines())) < 1000
    shown = {"\\u001b[31mX\\u0007": r"\x1b[31mX\x07", ":x: $\\\\frac{$": r":x: $\frac{$"}.get(name, name)[:30]
    assert shown in answers[2].out.replace("\n", "")
    assert "[b].npz" in answers[3].out
    assert r"\x1b[1m.npz" in answers[3].out


def test_messages_that_quote_a_file_steer_no_terminal(fastdln_: Run, tmp_path: Path):
    data = 'kind = "data"\nform = "correlation"\npath = "\\u001b[31m[/b]:x:\\u0007.npz"'
    spec = write_spec(tmp_path, ('kind = "singular_values"\nvalues = [2.0, 1.0]', data))
    answer = fastdln_("scan", spec, "--dry-run")
    assert answer.code == 2
    assert r'there is no file "\x1b[31m[/b]:x:\x07.npz"' in answer.err
    assert not {"\x1b", "\x07"} & set(answer.err)


def test_status_of_an_unfinished_scan(fastdln_: Run, tmp_path: Path):
    store = open_or_create(load_plan(write_spec(tmp_path)), tmp_path / "x.zarr")
    answer = fastdln_("status", store.path)
    assert "state unfinished units 0 of 6" in words(answer.out)
    assert "fastdln resume" in answer.out
    with store.writer():
        assert "state running" in words(fastdln_("status", store.path).out)
    summary = fastdln_("summary", store.path)
    assert summary.code == 0
    assert "2-3-2 0.5 0 0 - - - - -" in words(summary.out)


def test_info(fastdln_: Run):
    answer = fastdln_("info")
    assert answer.code == 0
    for part in (f"fastdln {fastdln.__version__}", "numba", "vectors", "lanes", "threads", "kernel cache"):
        assert part in words(answer.out)


BAD_INPUT: dict[str, tuple[tuple[str, ...], str]] = {
    "no such command": (("scn",), "No such command"),
    "no such option": (("scan", "spec.toml", "--ot", "x"), "No such option"),
    "no number": (("scan", "spec.toml", "--out", "x.zarr", "--threads", "many"), "--threads"),
    "no threads": (("scan", "spec.toml", "--out", "x.zarr", "--threads", "0"), "--threads"),
    "no store named": (("scan", "spec.toml"), "--out is missing"),
    "no scan file": (("scan", "none.toml", "--out", "x.zarr"), "none.toml cannot be read"),
    "unknown key": (("scan", "wrong.toml", "--out", "x.zarr"), 'init.scal: unknown key; did you mean "scale"?'),
    "unknown key, dry": (("scan", "wrong.toml", "--dry-run"), 'init.scal: unknown key; did you mean "scale"?'),
    "no picture": (("scan", "spec.toml", "--out", "x.zarr", "--plot", "x.docx"), "expected a name that ends in"),
    "no folder for it": (("scan", "spec.toml", "--out", "x.zarr", "--plot", "no/x.png"), "there is no folder no"),
    "no folder": (("scan", "spec.toml", "--out", "none/x.zarr"), "there is no folder none"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input(
    fastdln_: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
):
    write_spec(tmp_path, ("scale = ", "scal = ")).rename(tmp_path / "wrong.toml")
    write_spec(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = tree(tmp_path)
    answer = fastdln_(*arguments)
    assert answer.code == 2
    assert message in words(answer.err)
    assert "Traceback" not in answer.err
    assert not answer.out
    assert tree(tmp_path) == before


def test_another_scan_is_bad_input(fastdln_: Run, tmp_path: Path):
    scan(write_spec(tmp_path), tmp_path / "x.zarr")
    before = tree(tmp_path / "x.zarr")
    answer = fastdln_("scan", write_spec(tmp_path, ("seed = 3", "seed = 4")), "--out", tmp_path / "x.zarr")
    assert answer.code == 2
    assert "seed: 3 -> 4" in answer.err
    assert tree(tmp_path / "x.zarr") == before


@pytest.mark.parametrize("command", ["status", "summary", "plot", "resume"])
def test_no_store(fastdln_: Run, tmp_path: Path, command: str):
    answer = fastdln_(command, tmp_path / "none.zarr")
    assert answer.code == 1
    assert words(answer.err).endswith("none.zarr is no store of a fastdln scan")
    assert not list(tmp_path.iterdir())


def test_store_in_use(fastdln_: Run, tmp_path: Path):
    spec, out = write_spec(tmp_path), tmp_path / "x.zarr"
    with open_or_create(load_plan(spec), out).writer():
        answer = fastdln_("scan", spec, "--out", out)
    assert answer.code == 1
    assert "is being written by another process" in answer.err


def test_newer_store(fastdln_: Run, tmp_path: Path):
    scan(write_spec(tmp_path), tmp_path / "x.zarr")
    meta = tmp_path / "x.zarr" / "zarr.json"
    content = json.loads(meta.read_text())
    content["attributes"]["fastdln_format"] = 99
    meta.write_text(json.dumps(content))
    answer = fastdln_("status", tmp_path / "x.zarr")
    assert answer.code == 1
    assert "update fastdln" in answer.err


def test_missing_extra_is_named(fastdln_: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cli, "find_spec", lambda name: None if name in ("typer", "zarr") else True)
    monkeypatch.setattr(sys, "argv", ["fastdln", "info"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == (
        "fastdln: the command line needs typer, zarr: python -m pip install -e '.[scan]' in your clone of fastdln"
    )


def test_entry_point_imports_no_optional_package():
    optional = {"typer", "rich", "zarr", "xarray", "msgspec", "matplotlib", "filelock"}
    code = f"import sys, fastdln.cli; sys.exit(bool({optional} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_ctrl_c_keeps_what_is_finished(tmp_path: Path):
    spec, out = write_spec(tmp_path, ("trajectories = 10", "trajectories = 60")), tmp_path / "x.zarr"
    program = [sys.executable, "-c", "from fastdln.cli import main; main()"]
    process = subprocess.Popen(
        [*program, "scan", str(spec), "--out", str(out), "--chunk", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    journal = out / "journal.jsonl"
    while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") >= 5):
        time.sleep(1e-3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert f"units are stored. Go on with: fastdln resume {out}" in words(err)
    kept = journal.read_bytes().count(b"\n")
    assert 5 <= kept < N_CELLS * 30
    done = subprocess.run([*program, "resume", str(out), "--no-plot"], capture_output=True, check=False)
    assert done.returncode == 0
    assert_same_bits(xr.open_zarr(out), scan(spec, tmp_path / "whole.zarr"))


def test_verify_tells_all_of_one_claim(fastdln_: Run, tmp_path: Path) -> None:
    answer = fastdln_("verify", "--only", "matrix-ode", "--seed", 3, "--json", tmp_path / "verdicts.json")
    assert answer.code == 0
    for part in ("matrix-ode (T2)", "statement", "hypotheses", "computed", "holds"):
        assert part in words(answer.out)
    document = json.loads((tmp_path / "verdicts.json").read_text())
    assert document["seed"] == 3
    assert [entry["name"] for entry in document["claims"]] == ["matrix-ode"]


def test_verify_fails_where_a_claim_does_not_hold(fastdln_: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = fastdln.claims.registry
    wrong = registry.Check("wrong", "T1", "One is zero.", "none", "1 number", 0.5, lambda rng: [1.0])
    checks = {"matrix-ode": registry.registered()["matrix-ode"], "wrong": wrong}
    monkeypatch.setattr(registry, "_REGISTRY", checks)
    answer = fastdln_("verify")
    assert answer.code == 1
    assert "FAILS" in answer.out
    assert "1 of 2 claims do not hold with seed 0: wrong" in words(answer.err)


def test_verify_refuses_an_unknown_claim(fastdln_: Run) -> None:
    answer = fastdln_("verify", "--only", "matrix-od")
    assert answer.code == 2
    assert "did you mean 'matrix-ode'?" in answer.err
