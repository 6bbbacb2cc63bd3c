"""The survey's figures for the page that shows them: docs/_figures/figure<N>.svg, drawn where the code is newer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.util import logging

from fastdln import figures

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DRAWN = Path(__file__).parents[1] / "_figures"


def draw(app: Sphinx) -> None:
    """Draw what is missing or older than the code."""
    code = max(path.stat().st_mtime for path in Path(figures.__file__).parent.glob("*.py"))
    DRAWN.mkdir(exist_ok=True)
    for number in figures.FIGURES:
        picture = DRAWN / f"figure{number}.svg"
        if not picture.exists() or picture.stat().st_mtime < code:
            logging.getLogger(__name__).info("drawing figure %d of the survey", number)
            figures.save(figures.figure(number), picture)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", draw)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
