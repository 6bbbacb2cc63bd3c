"""The scripts of the gallery have its form, and what they name is there; the build of the documentation runs them."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.names import exists

GALLERY = Path(__file__).parents[1] / "examples" / "gallery"
SCRIPTS = sorted(GALLERY.rglob("*.py"))
HEADER = "GALLERY_HEADER.rst"
TITLE = re.compile(r"\A(\S.*)\n(=+)\n\n\S")


def too_long(text: str) -> Iterator[str]:
    if (lines := len(text.splitlines())) > 60:
        yield f"{lines} lines"


def without_title(text: str) -> Iterator[str]:
    """No title, underlined, with one paragraph below it."""
    words = ast.get_docstring(ast.parse(text)) or ""
    title = TITLE.match(words)
    if title is None or len(title[2]) < len(title[1]):
        yield f"no title: {words[:60]!r}"
    elif words.count("\n\n") != 1:
        yield "not one paragraph"


def gone(text: str) -> Iterator[str]:
    """Names of the package that are not there, or not public."""
    tree = ast.parse(text)
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {item.asname or item.name: item.name for item in node.names}
        elif isinstance(node, ast.ImportFrom):
            known |= {item.asname or item.name: f"{node.module}.{item.name}" for item in node.names}
    used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for name in sorted({*known, *filter(re.compile(r"[\w.]+").fullmatch, used)}):
        first, *rest = name.split(".")
        full = ".".join([known.get(first, ""), *rest])
        if full.startswith("fastdln") and not (exists(full) and "._" not in full):
            yield name


def unfinished(text: str) -> Iterator[str]:
    """Blocks that draw and do not end with plt.show(): pages would show half a figure."""
    for block in text.split("# %%\n"):
        if "plt.subplot" in block and not block.rstrip().endswith("plt.show()"):
            yield block.splitlines()[0]


CHECKS = (too_long, without_title, gone, unfinished)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_has_the_form_of_the_gallery(script: Path) -> None:
    text = script.read_text()
    assert script.stem.startswith("plot_")
    assert "plt.show()" in text
    assert [fault for check in CHECKS for fault in check(text)] == []


def test_sections_have_headers_and_scripts_have_titles_of_their_own() -> None:
    titles = [(ast.get_docstring(ast.parse(script.read_text())) or "").splitlines()[0] for script in SCRIPTS]
    assert len(set(titles)) == len(titles) >= 20
    for folder in {GALLERY, *(script.parent for script in SCRIPTS)}:
        assert re.match(r"\S.*\n[=-]+\n\n\S", (folder / HEADER).read_text())


@pytest.mark.parametrize(
    ("check", "text", "faults"),
    [
        (too_long, "x = 1\n" * 61, ["61 lines"]),
        (without_title, "import sys", ["no title: ''"]),
        (without_title, "'''\nA title\n===\n\nWords.\n'''", ["no title: 'A title\\n===\\n\\nWords.'"]),
        (without_title, "'''\nA title\n=======\n\nWords.\n\nWords.\n'''", ["not one paragraph"]),
        (gone, "import fastdln as dln\ndln.flow, dln.float, x.flow", ["dln.float"]),
        (gone, "from fastdln import theory as th\nth.exact.mode(1).x, th.exact.node(1)", ["th.exact.node"]),
        (gone, "from fastdln.scan import scan, scam", ["scam"]),
        (unfinished, "a\n# %%\n# Then.\nplt.subplots()\n\n# %%\nplt.show()\n", ["# Then."]),
    ],
)
def test_what_is_not_of_that_form_is_found_out(
    check: Callable[[str], Iterator[str]], text: str, faults: list[str]
) -> None:
    assert list(check(text)) == faults
