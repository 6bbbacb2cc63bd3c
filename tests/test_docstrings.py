"""Every public name is documented, in numpydoc form and completely."""

from __future__ import annotations

import inspect
import re
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from numpydoc.validate import validate

import fastdln
from fastdln.engines.choose import NAMES
from fastdln.integrate.methods import METHODS
from tests.support.names import exists

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CHECKS = set(PROJECT["tool"]["numpydoc_validation"]["checks"])
RETURNED = {"fastdln.Status", "fastdln.Trajectories"}  # nobody calls them: no parameters to explain


def public_names() -> Iterator[str]:
    """What `fastdln`, some of its modules and the chapters of its `theory` export, and the methods."""
    chapters = [getattr(fastdln.theory, chapter) for chapter in fastdln.theory.__all__]
    for module in (fastdln, fastdln.inits, fastdln.interop, fastdln.schedules, fastdln.figures, *chapters):
        for name in module.__all__:
            item = getattr(module, name)
            if isinstance(item, ModuleType | str | dict):
                continue
            yield f"{module.__name__}.{name}"
            for key, member in vars(item).items() if inspect.isclass(item) else ():
                if not key.startswith("_") and (inspect.isroutine(member) or isinstance(member, property)):
                    yield f"{module.__name__}.{name}.{key}"


@pytest.mark.parametrize("name", list(public_names()))
def test_docstring_is_complete(name: str) -> None:
    checks = CHECKS - {"PR01"} if name in RETURNED else CHECKS
    errors = [f"{code}: {message}" for code, message in validate(name)["errors"] if code in checks]
    assert not errors, f"{name}\n" + "\n".join(errors)


@pytest.mark.parametrize(("parameter", "names"), [("method", [*METHODS]), ("engine", [*NAMES])])
def test_flow_names_every_method_and_engine(parameter: str, names: list[str]) -> None:
    listed = re.search(rf"^ *{parameter} : {{(.*?)}}", fastdln.flow.__doc__ or "", re.MULTILINE)
    assert listed
    assert sorted(re.findall(r'"(\w+)"', listed[1])) == sorted(names)


def prose() -> Iterator[tuple[str, str]]:
    """What the package says in words, by file: strings and comments.  Pages have `test_documents`."""
    for path in sorted((ROOT / "fastdln").rglob("*.py")):
        with tokenize.open(path) as lines:
            for token in tokenize.generate_tokens(lines.readline):
                if token.type in (tokenize.STRING, tokenize.COMMENT):
                    yield str(path.relative_to(ROOT)), token.string


def test_names_of_the_package_that_it_speaks_of_exist() -> None:
    spoken = {(file, name) for file, text in prose() for name in re.findall(r"\bfastdln(?:\.[A-Za-z_]\w*)+", text)}
    assert len(spoken) > 50
    assert not {(file, name) for file, name in spoken if not exists(name)}


def test_what_is_not_there_is_found_out() -> None:
    assert exists("fastdln.Stop.loss")
    assert exists("fastdln.kernels.lockstep.learning.of_lane")
    for name in ("fastdln.kernels.loop", "fastdln.flow.method", "fastdln.Stop.gradient"):
        assert not exists(name)
