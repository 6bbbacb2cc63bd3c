"""The survey's figures, each a whole computation through the public functions of this library.

`figure` draws one by its number, and `save` writes it so that the same figure gives the same bytes. The functions
behind them have names; the numbers that they draw come from ``numbers`` in their modules. Figures 6 and 7 are our
choice: we had no captions of those in the survey, and show what lies beside the flow of a quadratic loss, discrete
updates and other losses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastdln.checks import integer
from fastdln.figures.escapes import escape_arcs
from fastdln.figures.modes import scalar_mode
from fastdln.figures.plateaus import near_and_away
from fastdln.figures.portrait import phase_portrait
from fastdln.figures.separable import separable_data
from fastdln.figures.style import save
from fastdln.figures.updates import discrete_updates
from fastdln.figures.vectors import alignment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "FIGURES",
    "alignment",
    "discrete_updates",
    "escape_arcs",
    "figure",
    "near_and_away",
    "phase_portrait",
    "save",
    "scalar_mode",
    "separable_data",
]

FIGURES: dict[int, Callable[..., Figure]] = dict(
    enumerate(
        (scalar_mode, near_and_away, alignment, escape_arcs, phase_portrait, discrete_updates, separable_data), start=1
    )
)
"""What draws each figure, by its number."""


def figure(number: int, **options: Any) -> Figure:
    """Draw one of the survey's figures.

    Parameters
    ----------
    number : int
        Its number, from 1 to 7; 6 and 7 are our choice.
    **options : object
        What its function takes: ``seed``, but for figure 5, which has nothing random.

    Returns
    -------
    matplotlib.figure.Figure
        The figure, 7 inches wide: two columns of print. No window knows of it.

    Raises
    ------
    ValueError
        If there is no figure of this number.
    ImportError
        If Matplotlib is missing, with the command that installs it.

    Examples
    --------
    >>> from fastdln import figures
    >>> len(figures.figure(4, seed=1).axes)
    2
    """
    k = integer("number", number)
    if k not in FIGURES:
        raise ValueError(f"number must be that of a figure, from 1 to {len(FIGURES)}, not {number!r}")
    return FIGURES[k](**options)
