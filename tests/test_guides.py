"""The guides run as shown, and flow() leads to them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import fastdln as dln
from fastdln.scan.reading import read

ROOT = Path(__file__).parents[1]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_a_guide_runs(page: Path) -> None:
    code = blocks(page, "python")
    assert code
    names: dict[str, object] = {}
    for block in code:
        exec(compile(block, page.name, "exec"), names)


def test_the_scan_files_are_such() -> None:
    flows, descents = (read(tomllib.loads(text)) for text in blocks(ROOT / "docs" / "guides" / "scans.md", "toml"))
    assert (flows.trajectories, flows.descends) == (256, False)
    assert (descents.trajectories, descents.descends) == (8, True)


def test_flow_leads_to_every_guide() -> None:
    led = re.findall(r"docs/guides/\w+\.md", dln.flow.__doc__ or "")
    assert sorted(set(led)) == [str(page.relative_to(ROOT)) for page in GUIDES]
