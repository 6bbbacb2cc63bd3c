"""The pages of docs/theory hold every item that a claim names: hypotheses, a plot, functions, and all its claims."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from fastdln import claims
from fastdln.claims.registry import registered

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "theory").glob("*.md"))
NAMES = claims.names()
CHECKS = registered()
ITEMS = sorted({check.item for check in CHECKS.values()}, key=lambda item: int(item[1:]))


def sections() -> list[tuple[str, str, str]]:
    """Item, page and text of every section that is headed by an item."""
    texts = [(page.name, re.split(r"^(?=## )", page.read_text(), flags=re.MULTILINE)[1:]) for page in PAGES]
    return [
        (heading[1], page, section)
        for page, own in texts
        for section in own
        if (heading := re.match(r"## (T\d+) \S", section))
    ]


def named(text: str) -> list[str]:
    """The claims that a text names."""
    return [name for name in re.findall(r"`([a-z0-9-]+)`", text) if name in CHECKS]


def test_every_item_has_one_section() -> None:
    assert Counter(item for item, *_ in sections()) == Counter(ITEMS)


@pytest.mark.parametrize("item", ITEMS)
def test_a_section_names_the_claims_of_its_item(item: str) -> None:
    (text,) = [text for own, _, text in sections() if own == item]
    (listed,) = re.findall(r"^Claims: (.*?)\.$", text, flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"`(.*?)`", listed) == [name for name in NAMES if CHECKS[name].item == item]


@pytest.mark.parametrize("item", ITEMS)
def test_a_section_has_hypotheses_functions_and_a_plot(item: str) -> None:
    (text,) = [text for own, _, text in sections() if own == item]
    assert re.search(r"^Hypotheses", text, re.MULTILINE)
    assert re.search(r"^Functions: `fastdln\.", text, re.MULTILINE)
    (script,) = re.findall(r"^```\{plot\} (.*)\n:alt: .+\n```$", text, re.MULTILINE)
    assert (ROOT / "docs" / script).exists()


def test_every_plot_is_shown_once() -> None:
    pages = [page.read_text() for page in (ROOT / "docs").rglob("*.md")]
    shown = [script for text in pages for script in re.findall(r"^```\{plot\} plots/(.*)$", text, re.MULTILINE)]
    assert sorted(shown) == sorted(script.name for script in (ROOT / "docs" / "plots").glob("*.py"))


def test_no_claim_is_named_elsewhere() -> None:
    assert Counter(name for page in PAGES for name in named(page.read_text())) == Counter(list(CHECKS))


def test_the_index_leads_to_every_item_and_page() -> None:
    index = (ROOT / "docs" / "theory" / "index.md").read_text()
    rows = {row: re.findall(r"\((\w+\.md)\)", row) for row in index.splitlines() if row.startswith("| T")}
    leads = [(item, page) for row, pages in rows.items() for item in re.findall(r"\bT\d+\b", row) for page in pages]
    assert sorted(leads) == sorted((item, page) for item, page, _ in sections())
    assert set(re.findall(r"\]\((\w+\.md)\)", index)) == {page.name for page in PAGES} - {"index.md"}
