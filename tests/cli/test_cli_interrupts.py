"""Ctrl-C at any moment of a command: one line, the exit code 130, and no traceback."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastdln import cli
from tests.support.scans import program, write_spec

PROGRAM = "from fastdln.cli import main; print('ready', flush=True); main()"


@pytest.mark.parametrize("delay", [0.05, 0.5, 1.5, 2.5])
@pytest.mark.parametrize("again", [None, 0.0, 0.05])
def test_first_seconds(tmp_path: Path, delay: float, again: float | None):
    """Imports, the reading of arguments, the compilation of kernels; once, or twice."""
    spec = write_spec(tmp_path, ("trajectories = 10", "trajectories = 200_000"))
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "scan", str(spec), "--out", str(tmp_path / "x.zarr"), "--no-plot"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    if again is not None:
        time.sleep(again)
        process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    # Python gives a signal back to the system when it ends: then the second one ends it, without a word.
    assert process.returncode in (130, -signal.SIGINT if again is not None else 130)
    assert "fastdln: stopped" in err
    assert "Traceback" not in err
    assert not list(tmp_path.glob(".*"))


def test_handler_is_given_back():
    before = signal.getsignal(signal.SIGINT)
    assert program("info").code == 0
    assert signal.getsignal(signal.SIGINT) is before


def test_handler_of_a_caller_is_left_alone():
    def own(number: int, frame: object) -> None:
        raise AssertionError

    before = signal.signal(signal.SIGINT, own)
    try:
        with cli.interruptible():
            assert signal.getsignal(signal.SIGINT) is own
        assert program("info").code == 0
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)
