"""What the pages name is there: links, files, names, sessions of nox, variables, and the lines that diffs change."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.names import exists

ROOT = Path(__file__).parents[1]
FOLDERS = ("fastdln", "tests", "bench", "docs", "examples", ".ci")
WITH_PAGES = ("docs", "fastdln", "examples")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in WITH_PAGES for page in (ROOT / folder).rglob("*.md"))])
CONTENTS = re.compile(r"^```\{toctree\}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = {
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*")))
    if path.is_file() and "__pycache__" not in path.parts
}
SHORT = {"dln": "fastdln", "th": "fastdln.theory"}  # as the pages import them
DIFF = re.compile(r"^```diff\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^```(?:\w*|\{[\w-]+\}.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DEFINED = r"^\s*(?:(?:def|class)\s+{0}\b|{0}\s*(?::[^=\n]+)?=|\"{0}\":)"


def is_there(name: str) -> bool:
    """Whether a path is that of a file or a folder, or the end of that of a file."""
    return (ROOT / name).exists() or any(file.endswith(f"/{name}") for file in FILES)


def without_diffs(text: str) -> str:
    return DIFF.sub("", text)


def code(text: str) -> Iterator[str]:
    """Code within lines, in one line each, and the lines of fenced code."""
    text = without_diffs(text)
    for block in FENCE.findall(text):
        yield from block.splitlines()
    for span in re.findall(r"`+([^`]+)`+", FENCE.sub("", text)):
        yield " ".join(span.split())


# ---- what is not there, by what it is


def links(text: str, page: Path) -> Iterator[str]:
    """Relative links, with the headings that they lead to."""
    for link in re.findall(r"\]\(([^)\s]+)\)", without_diffs(text)):
        if "://" in link:
            continue
        name, _, heading = link.partition("#")
        target = page.parent / name
        if not target.exists() or (heading and heading not in headings(target.read_text())):
            yield link


def headings(text: str) -> set[str]:
    """What links call the headings of a page."""
    found = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


def paths(text: str, page: Path) -> Iterator[str]:
    """Paths from the root anywhere, and names of files in code."""
    rooted = rf"(?<![\w./-])(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]*\w"
    named = {name for name in re.findall(rooted, without_diffs(text)) if not (ROOT / name).exists()}
    files = (span for span in code(text) if re.fullmatch(r"[\w./-]+\.(?:py|md|json|toml|cff)", span))
    yield from sorted(named.union(file for file in files if not is_there(file)))


def dotted(text: str, page: Path) -> Iterator[str]:
    """Names of the package, in full or as pages import it."""
    for name in re.findall(r"(?<![\w./-])(?:fastdln|dln|th)(?:\.[A-Za-z_]\w*)+", without_diffs(text)):
        first, _, rest = name.partition(".")
        if not exists(f"{SHORT.get(first, first)}.{rest}"):
            yield name


def modules(text: str, page: Path) -> Iterator[str]:
    """Scripts, as `bench.cold`."""
    for span in code(text):
        for name in re.findall(r"(?<![\w./-])(?:bench|tests)(?:\.[A-Za-z_]\w*)+", span):
            path = name.replace(".", "/")
            if not ((ROOT / path).is_dir() or (ROOT / f"{path}.py").exists()):
                yield name


def definitions(text: str, page: Path) -> Iterator[str]:
    """Names with the file that defines them: `name` (`file.py`), or `name` in `file.py`."""
    pair = r"`(?:\w+\.)*([A-Za-z_]\w*)(?:\([^`]*\))?`\s+(?:in |\()`([\w/]+\.py)`"
    for name, file in re.findall(pair, without_diffs(text)):
        found = [known for known in FILES if known == file or known.endswith(f"/{file}")]
        if not any(re.search(DEFINED.format(name), (ROOT / known).read_text(), re.MULTILINE) for known in found):
            yield f"{name} in {file}"


def sessions(text: str, page: Path) -> Iterator[str]:
    tree = ast.parse((ROOT / "noxfile.py").read_text())
    known = {item.name for item in tree.body if isinstance(item, ast.FunctionDef) and item.decorator_list}
    for span in code(text):
        for named in re.findall(r"\bnox\b.*?\s(?:-s|--sessions)\s+((?:\w+\s*)+)", span.partition("#")[0]):
            yield from sorted(set(named.split()) - known)


def variables(text: str, page: Path) -> Iterator[str]:
    sources = "".join((ROOT / file).read_text() for file in FILES if re.fullmatch(r"fastdln/.*\.py", file))
    for name in re.findall(r"\bFASTDLN_\w+", text):
        if f'"{name}"' not in sources:
            yield name


def diffs(text: str, page: Path) -> Iterator[str]:
    """Files that a diff changes, and the lines that it keeps or removes."""
    for diff in DIFF.findall(text):
        lines: list[str] = []
        for line in diff.splitlines():
            if line.startswith("--- "):
                old = ROOT / line.removeprefix("--- a/")
                lines = old.read_text().splitlines() if old.exists() else []
                if not lines:
                    yield line
            elif line.startswith((" ", "-")) and line[1:] not in lines:
                yield line


CHECKS: tuple[Callable[[str, Path], Iterator[str]], ...] = (
    links, paths, dotted, modules, definitions, sessions, variables, diffs,
)  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_what_a_page_speaks_of_is_there(page: Path, check: Callable[[str, Path], Iterator[str]]) -> None:
    assert not list(check(page.read_text(), page))


def test_every_page_is_in_the_contents() -> None:
    """From the start page on, each once; what is generated is not here, and what others write may not be yet."""
    docs = ROOT / "docs"

    def below(page: Path) -> Iterator[Path]:
        yield page
        for block in CONTENTS.findall(page.read_text()):
            for entry in re.findall(r"^(?:.* <)?([\w/-]+)>?$", block, re.MULTILINE):
                if (child := (page.parent / entry).with_suffix(".md")).exists():
                    yield from below(child)

    assert sorted(below(docs / "index.md")) == sorted(docs.rglob("*.md"))


def test_the_pages_are_found() -> None:
    names = {page.relative_to(ROOT).as_posix() for page in PAGES}
    assert names >= {
        *("README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/kernels.md", "docs/extending.md"),
        "fastdln/kernels/README.md",
    }


@pytest.mark.parametrize(
    ("check", "text", "gone"),
    [
        (links, "[a](pyproject.toml) [b](https://a.org/b.md) [c](gone.md#part)", ["gone.md#part"]),
        (links, "[a](README.md#how-fast) [b](README.md#how-slow)", ["README.md#how-slow"]),
        (paths, "see `loop.py`, `gone.py`, fastdln/losses/gone.py and tests/.", ["fastdln/losses/gone.py", "gone.py"]),
        (dotted, "`dln.flow`, dln.float, fastdln.Stop.loss, `th.rates.local(w)`, th.rats", ["dln.float", "th.rats"]),
        (modules, "`python -m bench.cold`, `python -m\nbench.warm`, `tests.golden`", ["bench.warm"]),
        (definitions, "`choose(problem)` (`choose.py`), `DIRECT` in `direct.py`, `f` in `loop.py`", ["f in loop.py"]),
        (sessions, "`nox -s lint typos`\n```sh\nnox --no-venv -s moles  # -s men\n```", ["moles", "typos"]),
        (variables, "FASTDLN_LANES=4 FASTDLN_LINES=4", ["FASTDLN_LINES"]),
        (diffs, "```diff\n--- a/noxfile.py\n+++ b/noxfile.py\n import nox\n-import box\n+new\n```\n", ["-import box"]),
        (diffs, "```diff\n--- a/nofile.py\n+++ b/nofile.py\n```\n", ["--- a/nofile.py"]),
    ],
)
def test_what_is_not_there_is_found_out(
    check: Callable[[str, Path], Iterator[str]], text: str, gone: list[str]
) -> None:
    assert list(check(text, ROOT / "page.md")) == gone
