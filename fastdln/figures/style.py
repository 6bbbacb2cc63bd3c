"""What all figures share: settings of Matplotlib that hold while one is drawn or saved, panels, and files."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

from fastdln.resources import optional

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ARROW", "FORMATS", "INK", "PALETTE", "TIME", "drawn", "mode_label", "panel", "plain", "save", "sheet"]

# Okabe & Ito's colours, which colour-blind people tell apart; the first four are those of the modes.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
INK = "#262626"

ARROW = {"arrowstyle": "-|>", "color": INK, "lw": 0, "mutation_scale": 6, "shrinkA": 0, "shrinkB": 0}
"""The head of an arrow, for `annotate`."""

TIME = "$t$ (time of the flow)"

P = ParamSpec("P")

_WIDTH = 7.0  # inches, of two columns of print; no text is smaller than 7 points at this size
_DPI = 300
_SETTINGS = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.labelspacing": 0.3,
    "lines.linewidth": 1.3,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.6,
    "pdf.fonttype": 42,  # journals refuse Type 3
    "svg.hashsalt": "fastdln",
}
# The dates of files are left out.
_METADATA: dict[str, dict[str, Any]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
FORMATS = tuple(_METADATA)
"""The formats in which `save` is known to give the same bytes again."""

# The settings belong to the process: one figure is drawn at a time, whatever the threads.
_ALONE = threading.RLock()


@contextmanager
def _settings() -> Iterator[None]:
    """Hold Matplotlib's own defaults and the settings above, whatever those of the session are."""
    mpl = optional("matplotlib", "scan")
    fonts = logging.getLogger("fontTools")  # warns of dates within Matplotlib's own fonts
    with _ALONE, mpl.rc_context():
        level = fonts.level
        fonts.setLevel(logging.ERROR)
        try:
            mpl.rcdefaults()
            mpl.rcParams.update(_SETTINGS)
            yield
        finally:
            fonts.setLevel(level)


def drawn(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw with the settings of all figures, and lay the panels out, once and for all.

    Parameters
    ----------
    draw : callable
        What returns a figure.

    Returns
    -------
    callable
        The same, with settings that hold meanwhile.
    """

    @wraps(draw)
    def within(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with _settings():
            figure = draw(*args, **kwargs)
            # Laid out again for every file, panels would move a little with its resolution, and with what came before.
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
            return figure

    return within


def sheet(height: float) -> Figure:
    """Make an empty figure, two columns wide, without pyplot: no window knows of it.

    Parameters
    ----------
    height : float
        In inches.

    Returns
    -------
    matplotlib.figure.Figure
        The figure.
    """
    figure: Figure = optional("matplotlib.figure", "scan").Figure(figsize=(_WIDTH, height), layout="constrained")
    optional("matplotlib.backends.backend_agg", "scan").FigureCanvasAgg(figure)
    return figure


def panel(ax: Axes, letter: str, title: str) -> None:
    """Give a panel its letter and title, and the looks of all panels.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        The panel.
    letter : str
        As in "a".
    title : str
        What is seen.
    """
    ax.set_title(f"({letter})  {title}", loc="left")
    plain(ax)


def plain(ax: Axes) -> None:
    """Give axes the looks of all panels.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        The axes.
    """
    ax.spines[["top", "right"]].set_visible(False)
    # Said here, because ticks may be made when the figure is shown, with the settings of the session.
    ax.tick_params(which="both", colors=INK, labelsize=7)
    ax.tick_params(which="major", width=0.6, length=2.5, pad=2)
    ax.tick_params(which="minor", width=0.4, length=1.5)


def mode_label(j: int, sigma: float) -> str:
    """Name a mode by its singular value, counted from 1 as in formulas.

    Parameters
    ----------
    j : int
        The mode, counted from 0.
    sigma : float
        Its singular value.

    Returns
    -------
    str
        The label.
    """
    return rf"$\sigma_{j + 1} = {sigma:g}$"


def save(figure: Figure, path: Path | str) -> None:
    """Save a figure so that the same figure gives the same bytes, on one machine and with one Matplotlib.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The figure.
    path : Path or str
        Where to; its suffix, ".png", ".svg" or ".pdf", tells the format.

    Raises
    ------
    ValueError
        If the suffix is another one.

    Examples
    --------
    >>> import tempfile
    >>> from fastdln import figures
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     figures.save(figures.escape_arcs(), Path(folder) / "arcs.svg")
    """
    kind = Path(path).suffix.removeprefix(".")
    if kind not in FORMATS:
        raise ValueError(f"path must end in one of {', '.join(f'.{name}' for name in FORMATS)}, not {str(path)!r}")
    with _settings():
        figure.savefig(path, dpi=_DPI, metadata=_METADATA[kind])
