"""What is said of the package in several places agrees; ``nox -s package`` builds it."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

import fastdln as dln
from fastdln import cli

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~; ]", requirement)[0] for requirement in requirements}


@pytest.mark.parametrize("package", [dln, dln.theory], ids=["fastdln", "theory"])
def test_checkers_of_types_see_every_public_name(package):
    """Without the stubs every name would be Any: they are loaded when they are first used."""
    tree = ast.parse(Path(package.__file__).with_suffix(".pyi").read_text())
    imported = [alias for item in tree.body if isinstance(item, ast.ImportFrom) for alias in item.names]
    declared = {item.target.id for item in tree.body if isinstance(item, ast.AnnAssign)}
    assert all(alias.asname == alias.name for alias in imported)
    assert {alias.name for alias in imported} | declared == set(package.__all__)
    for item in tree.body:
        if isinstance(item, ast.ImportFrom):
            scope = __import__(item.module, fromlist=["*"])
            assert all(getattr(scope, alias.name) is getattr(package, alias.name) for alias in item.names)


def test_the_citation_is_of_this_version():
    text = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^version: (.*)$", text, re.MULTILINE)[1] == dln.__version__


def test_the_extra_of_the_command_line_has_what_it_needs():
    assert names(PROJECT["project"]["optional-dependencies"]["scan"]) >= set(cli._NEEDED)


def test_all_means_every_extra():
    extras = PROJECT["project"]["optional-dependencies"]
    (everything,) = extras["all"]
    assert set(re.search(r"\[(.*)\]", everything)[1].split(",")) == set(extras) - {"all"}


def test_no_platform_is_claimed_that_is_not_tested():
    systems = [c for c in PROJECT["project"]["classifiers"] if c.startswith("Operating System")]
    assert systems == ["Operating System :: POSIX :: Linux"]


def test_the_guide_for_contributors_lists_every_session():
    tree = ast.parse((ROOT / "noxfile.py").read_text())
    sessions = {item.name for item in tree.body if isinstance(item, ast.FunctionDef) and item.decorator_list}
    assert set(re.findall(r"^\| `nox -s (\w+)`", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)) == sessions
