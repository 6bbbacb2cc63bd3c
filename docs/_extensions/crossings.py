"""Links that pages need not write: code that names something public, a claim or a page leads to it."""

from __future__ import annotations

import inspect
import re
from functools import cache
from typing import TYPE_CHECKING, Any

from docutils import nodes
from reference import documented
from sphinx.addnodes import pending_xref
from sphinx.transforms import SphinxTransform
from statements import PAGE, anchor

import fastdln
from fastdln import claims

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

SHORT = {"dln.": "fastdln.", "th.": "fastdln.theory.", "theory.": "fastdln.theory.", "sol.": "fastdln.Trajectories."}

# pages outside of docs/ that have one inside, which includes them
STAND_INS = {"../CONTRIBUTING.md": "contributing.md", "../fastdln/kernels/README.md": "kernel-files.md"}


@cache
def targets() -> frozenset[str]:
    return frozenset(documented())


@cache
def claimed() -> frozenset[str]:
    return frozenset(claims.names())


def full_name(code: str) -> str | None:
    """The public name that a piece of code is, or calls."""
    found = re.fullmatch(r"([\w.]+)(\(.*\))?", code, re.DOTALL)
    if found is None:
        return None
    name, called = found.groups()
    for short, long in SHORT.items():
        if name.startswith(short):
            name = long + name.removeprefix(short)
    first = name.partition(".")[0]
    if first in fastdln.__all__ and (called or inspect.isclass(getattr(fastdln, first))):
        name = f"fastdln.{name}"
    return name if name in targets() else None


class Crossings(SphinxTransform):
    """Wrap code in lines that is a public name, or that of a claim, in a link."""

    default_priority = 5  # before references are collected

    def apply(self, **kwargs: object) -> None:
        here = self.env.docname
        for literal in list(self.document.findall(nodes.literal)):
            if isinstance(literal.parent, nodes.reference | pending_xref | nodes.term | nodes.title):
                continue
            code = " ".join(literal.astext().split())
            if code in claimed():
                uri = f"{self.app.builder.get_relative_uri(here, PAGE)}#{anchor(code)}"
                literal.replace_self(nodes.reference("", "", literal.deepcopy(), refuri=uri, internal=True))
            elif name := full_name(code):
                literal.replace_self(
                    pending_xref("", literal.deepcopy(), refdomain="py", reftype="obj", reftarget=name, refdoc=here)
                )


def stand_in(app: Sphinx, docname: str, source: list[str]) -> None:
    """Lead to the page within the site where a page links to one outside."""
    for outside, inside in STAND_INS.items():
        source[0] = source[0].replace(f"({outside}", f"({inside}")


# ---- docstrings, which are plain text with single backticks around names


def as_markup(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Make links of the pages that a docstring names, and escape what would be markup: |w| and m*."""
    code = False
    for number, line in enumerate(lines):
        code = line.lstrip().startswith(">>>") or (code and bool(line.strip()))
        if not code:
            parts = re.split(r"(``.*?``)", line)
            parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
            line = re.sub(r"(?<=\bm)\*(?=\W)|(?<=[ (])\*(?=\w+\.)", r"\*", "".join(parts))
            lines[number] = re.sub(r"\bdocs/([\w/-]+)\.md\b", r":doc:`/\1`", line)


def near(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element) -> nodes.Node | None:
    """Resolve a name in backticks as readers do; a parameter, an attribute or what others made is plain code."""
    if node["refdomain"] != "py" or node["reftype"] != "obj":
        return None
    target = node["reftarget"]
    ends = sorted((name for name in targets() if name.endswith(f".{target}")), key=len)
    if ends and (target[0].isupper() or "." in target):
        return env.domains.python_domain.resolve_xref(env, node["refdoc"], app.builder, "obj", ends[0], node, content)
    return None if target.startswith("fastdln.") else content


def skip(app: Sphinx, what: str, name: str, obj: object, skipped: bool, options: Any) -> bool | None:
    """Leave out constants of classes that only their own code reads."""
    return True if what == "class" and name.isupper() and not isinstance(obj, int) else None


def without_private(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returns: str | None
) -> tuple[str, str | None] | None:
    """Show no call of a class that nobody calls: one with private parameters."""
    return ("", returns) if what == "class" and re.search(r"[(,] ?_", signature or "") else None


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_transform(Crossings)
    app.connect("source-read", stand_in)
    app.connect("autodoc-process-docstring", as_markup, priority=600)  # after numpydoc
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-signature", without_private)
    app.connect("missing-reference", near)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
