"""The survey's figures for the page that shows them: docs/_figures/figure<N>.svg, drawn where the code is newer."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.util import logging

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DRAWN = Path(__file__).parents[1] / "_figures"
NUMBERS = range(1, 8)


def draw(app: Sphinx) -> None:
    """Call ``fastdln figures all``, in a process of its own as it changes settings of Matplotlib."""
    spec = find_spec("fastdln.figures")
    if spec is None or not spec.submodule_search_locations:
        return
    (folder,) = spec.submodule_search_locations
    code = max(path.stat().st_mtime for path in Path(folder).glob("*.py"))
    pictures = [DRAWN / f"figure{number}.svg" for number in NUMBERS]
    if all(picture.exists() and picture.stat().st_mtime > code for picture in pictures):
        return
    logging.getLogger(__name__).info("drawing the survey's figures")
    program = [sys.executable, "-c", "from fastdln.cli import main; main()"]
    subprocess.run([*program, "figures", "all", "--out", str(DRAWN), "--format", "svg"], check=True)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", draw)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
