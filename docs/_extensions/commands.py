"""The directive ``commands``: what every command of ``fastdln`` says with ``--help``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docutils import nodes
from sphinx.util.docutils import SphinxDirective
from typer.main import get_command

from fastdln.cli.commands import app as program

if TYPE_CHECKING:
    from sphinx.application import Sphinx


class Commands(SphinxDirective):
    """A section for each command."""

    def run(self) -> list[nodes.Node]:
        group = get_command(program)
        context = group.make_context("fastdln", [], resilient_parsing=True)
        return [self.section(name, context) for name in group.list_commands(context)]

    def section(self, name: str, context: object) -> nodes.section:
        command = context.command.get_command(context, name)
        own = type(context)(command, info_name=name, parent=context, terminal_width=80, max_content_width=80)
        section = nodes.section("", nodes.title("", f"fastdln {name}"), ids=[f"fastdln-{name}"], names=[name])
        section += nodes.literal_block(text=command.get_help(own), language="text")
        self.state.document.note_implicit_target(section, section)
        return section


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
