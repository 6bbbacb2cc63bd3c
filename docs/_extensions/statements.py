"""The directive ``statements``: every claim that ``fastdln verify`` checks, item by item, from its registry."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from fastdln import claims
from fastdln.claims.registry import Check, registered

if TYPE_CHECKING:
    from sphinx.application import Sphinx

PAGE = "theory/claims"
"""The page that has the directive; `crossings` leads the names of claims there."""


def anchor(name: str) -> str:
    return f"claim-{name}"


class Statements(SphinxDirective):
    """A section for each item, and in it a definition for each claim."""

    def run(self) -> list[nodes.Node]:
        checks = registered()
        ordered = [checks[name] for name in claims.names()]
        return [self.section(item, list(group)) for item, group in groupby(ordered, key=lambda check: check.item)]

    def section(self, item: str, checks: list[Check]) -> nodes.section:
        section = nodes.section("", nodes.title("", item), ids=[f"item-{item.lower()}"], names=[item.lower()])
        section += nodes.definition_list("", *map(self.definition, checks))
        self.state.document.note_implicit_target(section, section)
        return section

    def definition(self, check: Check) -> nodes.definition_list_item:
        term = nodes.term("", "", nodes.literal(text=check.name), ids=[anchor(check.name)])
        paragraphs = [
            nodes.paragraph(text=check.statement),
            labelled("Hypotheses", f"{check.hypotheses}."),
            labelled("Checked on", f"{check.instances}. Tolerance {check.tolerance:g}."),
        ]
        return nodes.definition_list_item("", term, nodes.definition("", *paragraphs))


def labelled(label: str, text: str) -> nodes.paragraph:
    return nodes.paragraph("", "", nodes.emphasis(text=f"{label}: "), nodes.Text(text))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("statements", Statements)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
