"""What the pages show runs as shown, and flow() leads to every guide."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import fastdln as dln
from fastdln.scan.reading import read

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
GUIDES = sorted((DOCS / "guides").glob("*.md"))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


# all but the page whose code is parts of files
RUN = [page for page in sorted(DOCS.rglob("*.md")) if blocks(page, "python") and page.name != "extending.md"]


def run(page: Path) -> dict[str, object]:
    """Run the blocks of a page, one after another with the same names."""
    names: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), names)
    return names


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(page)


def test_guides_and_tutorial_have_code() -> None:
    pages = {page for folder in ("guides", "tutorial") for page in (DOCS / folder).glob("*.md")}
    assert {page for page in pages if page not in RUN} == {DOCS / "guides" / "index.md", DOCS / "tutorial" / "index.md"}


def test_the_theory_finds_a_saddle_and_a_way_down(capsys: pytest.CaptureFixture[str]) -> None:
    names = run(DOCS / "theory" / "index.md")
    point = names["point"]
    assert isinstance(point, dln.theory.landscape.CriticalPoint)
    assert (point.kind, point.learned) == ("strict_saddle", (0, 2))
    assert point.value == pytest.approx(5.0)
    *_, arc = capsys.readouterr().out.splitlines()
    losses = [float(loss) for loss in arc.strip("[]").split()]
    assert losses == sorted(losses, reverse=True)


def test_the_scan_files_are_such() -> None:
    flows, descents = (read(tomllib.loads(text)) for text in blocks(DOCS / "guides" / "scans.md", "toml"))
    assert (flows.trajectories, flows.descends) == (256, False)
    assert (descents.trajectories, descents.descends) == (8, True)


def test_the_first_scan_is_the_same_as_a_file_and_from_python() -> None:
    page = DOCS / "tutorial" / "first-scan.md"
    (text,) = blocks(page, "toml")
    spec = run(page)["spec"]
    assert isinstance(spec, dict)
    assert {**tomllib.loads(text), "trajectories": 8, "name": "scan"} == {**spec, "name": "scan"}


def test_flow_leads_to_every_guide() -> None:
    led = re.findall(r"docs/guides/\w+\.md", dln.flow.__doc__ or "")
    assert sorted(set(led)) == [str(page.relative_to(ROOT)) for page in GUIDES]


def test_the_index_leads_to_every_guide() -> None:
    led = re.findall(r"\((\w+\.md)\)", (DOCS / "guides" / "index.md").read_text())
    assert sorted({*led, "index.md"}) == [page.name for page in GUIDES]
