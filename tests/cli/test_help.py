"""What the program says of itself: examples that run, completion, and what takes a while the first time."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from fastdln import claims, scan
from fastdln.cli.commands import app
from fastdln.integration import _shown
from fastdln.kernels.machine import announce
from tests.support.scans import program, words

COMMANDS = get_command(app).commands
SAID = "fastdln: compiling kernels for this processor, which takes about 5 s; they are kept in folder"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_that_it_understands(name: str) -> None:
    text = program(name, "--help").out
    _, _, shown = text.partition("Examples:\n")
    examples = [line.strip() for line in shown.splitlines() if line.strip()]
    assert examples, f"{name} has no examples: add them to its docstring"
    for example in examples:
        first, command, *arguments = shlex.split(example)
        assert (first, command) == ("fastdln", name)
        COMMANDS[name].make_context(name, arguments)  # reads the arguments; wrong ones raise


def test_help_is_not_cluttered_with_completion() -> None:
    text = words(program("--help").out)
    assert "--show-completion" not in text
    assert text.count("--install-completion") == 1
    assert "`fastdln COMMAND --help` has examples" in text


def in_shell(*arguments: str, **environment: str) -> str:
    """What the program writes in a process of its own: the machinery of completion reads its variables once."""
    code = "import sys; sys.argv[0] = 'fastdln'; from fastdln.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=os.environ | environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def test_completion_can_be_shown() -> None:
    shown = in_shell("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert "_FASTDLN_COMPLETE=complete_bash" in shown
    assert "complete -o default -F _fastdln_completion fastdln" in shown


def test_names_are_completed() -> None:
    found = in_shell(_FASTDLN_COMPLETE="complete_bash", COMP_WORDS="fastdln s", COMP_CWORD="1")
    assert found.split() == ["scan", "summary", "status"]


# ---- the first compilation


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announce, "_said", [])


def compile_twice(*arguments: object, **options: object) -> list[claims.Claim]:
    announce.compiling(Path("folder"))
    announce.compiling(Path("folder"))
    return []


def test_a_command_says_once_that_it_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "check", compile_twice)
    answer = program("verify")
    assert words(answer.err).count(SAID) == 1
    assert "compiling" not in answer.out


def test_so_does_a_call_that_shows_its_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with announce.heard(pytest.fail), _shown(progress=True):  # the innermost listener alone
        compile_twice()
    assert words(capsys.readouterr().err).count(SAID) == 1


def test_any_other_call_says_nothing(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with _shown(progress=lambda done, failed, total: None):
        compile_twice()
    assert capsys.readouterr() == ("", "")
    assert [record.message for record in caplog.records if record.name == "fastdln"] == [
        SAID.removeprefix("fastdln: ") + " and need not be compiled again"
    ]


def test_a_scan_says_it_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stop(*arguments: object) -> None:
        compile_twice()
        raise RuntimeError

    monkeypatch.setattr("fastdln.scan.run.open_or_create", stop)
    for progress in (False, True):
        announce._said.clear()
        spec = {"network": {"widths": [2, 2]}, "target": {"kind": "singular_values", "values": [1.0]}}
        spec |= {
            "trajectories": 1,
            "init": {"kind": "identity", "scale": 1.0},
            "flow": {"t_end": 1.0},
            "record": {"times": 1},
        }
        with pytest.raises(RuntimeError):
            scan.scan(spec, "x.zarr", progress=progress)
        assert words(capsys.readouterr().err).count(SAID) == progress
