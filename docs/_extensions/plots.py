"""The directive ``plot``: the picture that a script of docs/plots draws, and the script itself to download.

That of Matplotlib is for reStructuredText only.
"""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import matplotlib as mpl
from cycler import cycler
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.addnodes import download_reference
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DRAWN = "_plots"
STYLE = {
    "figure.figsize": (6.4, 3.2),
    "figure.constrained_layout.use": True,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    # Okabe and Ito: apart for all eyes
    "axes.prop_cycle": cycler(color=["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]),
    "svg.hashsalt": "fastdln",
    "savefig.dpi": 150,
}


class Plot(SphinxDirective):
    """Its argument is the path of the script from docs/; ``alt`` says what is to be seen."""

    required_arguments = 1
    option_spec: ClassVar = {"alt": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        script = Path(self.env.srcdir, self.arguments[0])
        self.env.note_dependency(str(script))
        picture = Path(self.env.srcdir, DRAWN, f"{script.stem}.svg")
        if not picture.exists() or picture.stat().st_mtime < script.stat().st_mtime:
            self.draw(script, picture)
        figure = nodes.figure("", nodes.image(uri=f"/{DRAWN}/{picture.name}", alt=self.options["alt"]))
        source = download_reference(
            "", "", nodes.literal(text=self.arguments[0]), reftarget=f"/{self.arguments[0]}", refdoc=self.env.docname
        )
        figure += nodes.caption("", "", nodes.Text(f"{self.options['alt']} Drawn by "), source, nodes.Text("."))
        return [figure]

    def draw(self, script: Path, picture: Path) -> None:
        mpl.use("agg")
        from matplotlib import pyplot as plt

        picture.parent.mkdir(exist_ok=True)
        draft = picture.with_suffix(f".{os.getpid()}.svg")
        with mpl.rc_context(STYLE):
            try:
                runpy.run_path(str(script))
                plt.gcf().savefig(draft, metadata={"Date": None})
            except Exception as error:
                raise self.error(f"{script.name}: {type(error).__name__}: {error}") from error
            finally:
                plt.close("all")
        draft.replace(picture)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("plot", Plot)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
