"""Figure 2: loss, singular values and strengths from a start near the origin and from one away from it (T5, T6, T10).

Near the origin the loss stays on plateaus, at critical values 1/2 sum_{j not in S} sigma_j^2: the flow passes from
saddle to saddle and learns one mode on each way. From afar there are none. Both flows end in a global minimum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

import fastdln as dln
from fastdln.figures import style
from fastdln.linalg import Floats
from fastdln.theory.itinerary import Itinerary, itinerary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Numbers", "near_and_away", "numbers"]

SIGMA = (4.0, 2.0, 1.0, 0.5)
NETWORK = dln.Network((4, 4, 4, 4))
SCALES = (0.08, 1.0)
SHOWN = (100.0, 10.0)  # until when
T_END = 300.0  # by when both have arrived


@dataclass(frozen=True, eq=False)
class Numbers:
    """What figure 2 shows, of a start near the origin and of one away from it.

    Parameters
    ----------
    t : ndarray, shape (n_t,)
        Times, dense at first.
    loss : ndarray, shape (2, n_t)
        The loss.
    singular_values, strengths : ndarray, shape (2, n_t, modes)
        Singular values of the product, and u_j' W v_j.
    critical : ndarray, shape (modes + 1,)
        The loss at critical points that have learned the first 0, 1, ... modes.
    itinerary : Itinerary
        The plateaus.
    grad_norm : ndarray, shape (2,)
        The norm of the gradient at the end.
    """

    t: Floats
    loss: Floats
    singular_values: Floats
    strengths: Floats
    critical: Floats
    itinerary: Itinerary
    grad_norm: Floats


def numbers(seed: int = 0) -> Numbers:
    """Compute what figure 2 shows.

    Parameters
    ----------
    seed : int
        Draws the bases of the modes, and the starts.

    Returns
    -------
    Numbers
        The numbers.
    """
    loss = dln.Quadratic.from_singular_values(SIGMA, shape=(4, 4), rng=seed)
    w0 = [dln.inits.gaussian(NETWORK, scale, rng=seed) for scale in SCALES]
    fine = [np.linspace(0.0, end, 400, endpoint=False) for end in reversed(SHOWN)]
    t = np.unique(np.concatenate([*fine, np.geomspace(SHOWN[0], T_END, 40)]))
    sol = dln.flow(
        tuple(np.stack(pair) for pair in zip(*w0, strict=True)), loss, (0.0, T_END), t, rtol=1e-8,
        record=("loss", "singular_values", "strengths", "grad_norm", "learning_times"),
    ).raise_for_status()  # fmt: skip
    points = [dln.theory.landscape.critical_point(NETWORK, loss, range(k)) for k in range(len(SIGMA) + 1)]
    return Numbers(
        t=t,
        loss=sol.loss,
        singular_values=sol.singular_values,
        strengths=sol.strengths,
        critical=np.array([float(dln.value(point, loss)) for point in points]),
        itinerary=itinerary(sol),
        grad_norm=sol.grad_norm[:, -1],
    )


def near_and_away(seed: int = 0) -> Figure:
    """Draw figure 2: loss, singular values and strengths from a start near the origin, and from one away from it.

    Parameters
    ----------
    seed : int
        Draws the bases of the modes, and the starts.

    Returns
    -------
    matplotlib.figure.Figure
        Above, (a) to (c): from near the origin, with plateaus at critical values of the loss; below, (d) to (f): from
        afar, without. Both end in a global minimum.

    Examples
    --------
    >>> from fastdln import figures
    >>> len(figures.near_and_away().axes)
    6
    """
    return _draw(numbers(seed))


@style.drawn
def _draw(found: Numbers) -> Figure:
    figure = style.sheet(3.7)
    rows = figure.subplots(2, 3)
    for i, (row, start, end) in enumerate(zip(rows, ("near 0", "away from 0"), SHOWN, strict=True)):
        shown = found.t <= end
        t = found.t[shown]
        titles = (f"$A(0)$ {start}: loss", "singular values of $W$", "strengths $u_j' W v_j$")
        for ax, letter, what in zip(row, "abcdef"[3 * i :], titles, strict=False):
            style.panel(ax, letter, what)
            ax.set(xlim=(0, end), xlabel=style.TIME if i else "")
        _draw_loss(row[0], t, found.loss[i, shown], found.critical)
        for ax, values in zip(row[1:], (found.singular_values, found.strengths), strict=True):
            for j, colour in enumerate(style.PALETTE[:4]):
                ax.axhline(SIGMA[j], color=colour, lw=0.5, ls=(0, (1, 2)))
                ax.plot(t, values[i, shown, j], color=colour, label=style.mode_label(j, SIGMA[j]))
            ax.set(ylim=(-0.2, 4.4))
    rows[0, 1].legend(loc="center right", bbox_to_anchor=(1.0, 0.7), borderaxespad=0)
    return figure


def _draw_loss(ax: Axes, t: Floats, loss: Floats, critical: Floats) -> None:
    for k, value in enumerate(critical[:-1]):
        ax.axhline(value, color=style.PALETTE[k], lw=0.7, ls=(0, (3, 2)))
        learned = ",".join(str(j + 1) for j in range(k))
        name = rf"$S = \{{{learned}\}}$" if k else r"$S = \emptyset$"
        ax.text(t[-1], 1.12 * value, name, ha="right", va="bottom", fontsize=7)
    ax.semilogy(t, loss, color=style.INK)
    ax.set(ylim=(1e-4, 40), ylabel="$L$")
