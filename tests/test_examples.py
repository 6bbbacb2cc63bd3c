"""What the README and the examples show runs as shown."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

import fastdln as dln

ROOT = Path(__file__).parents[1]


def test_readme_python_block(capsys: pytest.CaptureFixture[str]) -> None:
    (flow,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    exec(compile(flow, "README.md", "exec"), {})
    loss, *_, drift = capsys.readouterr().out.splitlines()
    assert float(loss) < 1e-4
    assert float(drift) < 1e-4


def test_readme_counts_the_claims() -> None:
    (count,) = re.findall(r"checks all (\d+) statements", (ROOT / "README.md").read_text())
    assert int(count) == len(dln.theory.claims.names())


def test_quickstart_agrees_with_theory(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "examples" / "quickstart.py"), run_name="__main__")
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:4]]
    learned, exact = np.array([[float(row[2]), float(row[3])] for row in rows]).T
    np.testing.assert_allclose(learned, exact, rtol=1e-5)


def test_digits_say_where_they_come_from() -> None:
    with np.load(ROOT / "examples" / "digits.npz") as data:
        assert "UCI" in data["source"][0]
        assert "CC BY 4.0" in data["licence"][0]
        assert data["X"].shape == (64, 1797)
        np.testing.assert_array_equal(data["Y"].argmax(axis=0), data["labels"])


def test_the_typed_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "examples" / "typed.py"), run_name="__main__")
    assert capsys.readouterr().out.startswith("the last mode is learned at ")
