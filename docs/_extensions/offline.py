"""The site is read without a network: what a page loads lies in the site, and what it links to within is there."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

TAG = re.compile(r"<(a|img|link|script|object|iframe|source)\b[^>]*?\b(?:src|href|data)=\"([^\"]*)\"")


def missing(page: Path) -> Iterator[str]:
    """What a page loads from elsewhere, and files that it loads or links to but that are not there."""
    for tag, address in TAG.findall(page.read_text()):
        path = unquote(unescape(address)).partition("#")[0].partition("?")[0]
        if re.match(r"[a-z+]+:|//", path):
            if tag != "a" and not path.startswith("data:"):
                yield address
        elif path and not (page.parent / path).exists():
            yield address


def check(app: Sphinx, exception: Exception | None) -> None:
    """Warn of every such address; what the theme keeps in _static is no page."""
    from sphinx.util import logging

    if exception is None and app.builder.format == "html":
        for page in sorted(Path(app.outdir).rglob("*.html")):
            if "_static" in page.parts:
                continue
            for address in sorted(set(missing(page))):
                name = page.relative_to(app.outdir)
                logging.getLogger(__name__).warning("%s is not in the site", address, location=str(name))


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", check, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
