"""Figure 3: do the singular vectors of adjacent layers align? (T12)

From a delta-balanced start W_{i+1}' W_{i+1} and W_i W_i' differ by at most delta for all times, so singular vectors of
W_i on the left and of W_{i+1} on the right come together where the squares of the layers' singular values, about
sigma_j^{2/h} at the end, are much further apart than delta: sin(angle) <= delta / gap, or less (C. Davis & W. Kahan,
SIAM J. Numer. Anal. 1970). Where two sigma nearly agree, they need not.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

import fastdln as dln
from fastdln.figures import style
from fastdln.linalg import Floats, transpose
from fastdln.network import Weights

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Numbers", "alignment", "numbers"]

SPECTRA = ((5.5, 4.0, 2.5, 1.0), (4.0, 3.9, 2.5, 2.4))
NETWORK = dln.Network((4, 4, 4, 4))
DELTA = 0.04
STARTS = 200
T_END = 300.0


@dataclass(frozen=True, eq=False)
class Numbers:
    """What figure 3 shows, of singular values that are 1.5 apart, and of pairs that are 0.1 apart.

    Parameters
    ----------
    t : ndarray, shape (n_t,)
        Times.
    alignment : ndarray, shape (2, n_t, h-1, modes)
        |cos| of the angle between singular vector j of W_i, left, and of W_{i+1}, right, of one start.
    overlaps : ndarray, shape (2, h-1, modes, modes)
        |cos| between every two of them at the end.
    least : ndarray, shape (2, starts)
        The least alignment at the end, over modes and layers, of many starts; the one shown is that of the median.
    imbalance : ndarray, shape (2, starts)
        max_i ||C_i||_2 at the end.
    loss : ndarray, shape (2, starts)
        The loss at the end.
    """

    t: Floats
    alignment: Floats
    overlaps: Floats
    least: Floats
    imbalance: Floats
    loss: Floats


def numbers(seed: int = 0) -> Numbers:
    """Compute what figure 3 shows.

    Parameters
    ----------
    seed : int
        Draws the bases of the modes, and the starts.

    Returns
    -------
    Numbers
        The numbers.
    """
    starts = dln.inits.delta_balanced(NETWORK, DELTA, size=STARTS, rng=seed)
    t = np.geomspace(0.1, T_END, 500)
    along, overlaps, least, imbalance, ends = [], [], [], [], []
    for spectrum in SPECTRA:
        loss = dln.Quadratic.from_singular_values(spectrum, shape=(4, 4), rng=seed)
        sol = dln.flow(starts, loss, (0.0, T_END), rtol=1e-8, record=("loss", "imbalance")).raise_for_status()
        least.append(_diagonal(_overlaps(sol.final)).min(axis=(-2, -1)))
        imbalance.append(sol.imbalance[:, -1])
        ends.append(sol.loss[:, -1])
        median = int(np.argsort(least[-1])[STARTS // 2])
        one = dln.flow(tuple(W[median] for W in starts), loss, (0.0, T_END), t, rtol=1e-8, record=("weights",))
        along.append(_diagonal(_overlaps(one.weights)))
        overlaps.append(_overlaps(tuple(W[median] for W in sol.final)))
    return Numbers(t, np.array(along), np.array(overlaps), np.array(least), np.array(imbalance), np.array(ends))


def alignment(seed: int = 0) -> Figure:
    """Draw figure 3: from delta-balanced starts, singular vectors of adjacent layers align, or not.

    Parameters
    ----------
    seed : int
        Draws the bases of the modes, and the starts.

    Returns
    -------
    matplotlib.figure.Figure
        (a), (b): the alignment of adjacent layers along a flow, mode by mode, for singular values 1.5 apart and for
        pairs 0.1 apart; (c): the largest angle at the end of many starts; (d) to (g): all overlaps at the end.

    Examples
    --------
    >>> from fastdln import figures
    >>> figures.alignment().axes[0].get_title(loc="left")
    '(a)  $\\\\delta = 0.04$; $\\\\sigma$ = 5.5, 4, 2.5, 1'
    """
    return _draw(numbers(seed))


def _overlaps(weights: Weights) -> Floats:
    """|cos| of the angles between left singular vectors of W_i and right ones of W_{i+1}, (..., h-1, modes, modes)."""
    factors = [np.linalg.svd(W) for W in weights]
    overlaps = [transpose(below.U) @ transpose(above.Vh) for below, above in pairwise(factors)]
    return np.asarray(np.abs(np.stack(overlaps, axis=-3)))


def _diagonal(matrices: Floats) -> Floats:
    return np.asarray(np.diagonal(matrices, axis1=-2, axis2=-1))


@style.drawn
def _draw(found: Numbers) -> Figure:
    figure = style.sheet(3.9)
    halves: Any = figure.subfigures(2, 1, height_ratios=(1.25, 1))
    *along, many = halves[0].subplots(1, 3)
    for i, (ax, spectrum) in enumerate(zip(along, SPECTRA, strict=True)):
        style.panel(ax, "ab"[i], rf"$\delta = {DELTA:g}$; $\sigma$ = " + ", ".join(f"{sigma:g}" for sigma in spectrum))
        _draw_along(ax, found.t, found.alignment[i])
    along[0].set_ylabel("$|u_j(W_i)' v_j(W_{i+1})|$")
    along[1].legend(loc="lower right", ncols=2, title="mode $j$; $i = 2$ dashed")
    style.panel(many, "c", f"{STARTS} starts, at the end")
    _draw_many(many, found.least)
    for k, ax in enumerate(halves[1].subplots(1, 4)):
        i, layer = divmod(k, 2)
        style.panel(ax, "defg"[k], ("1.5 apart", "pairs")[i] + f", $i = {layer + 1}$")
        _draw_overlaps(ax, layer, found.overlaps[i, layer])
    return figure


def _draw_along(ax: Axes, t: Floats, values: Floats) -> None:
    for j, colour in enumerate(style.PALETTE[:4]):
        for i, dashes in enumerate(("-", (0, (3, 1)))):
            ax.semilogx(t, values[:, i, j], color=colour, ls=dashes, lw=1, label=None if i else f"{j + 1}")
    ax.set(xlim=(t[0], t[-1]), ylim=(0, 1.03), xlabel=style.TIME)


def _draw_overlaps(ax: Axes, layer: int, values: Floats) -> None:
    ax.pcolormesh(values, cmap="Greys", vmin=0, vmax=1.4)
    ax.set_aspect("equal")
    ax.invert_yaxis()
    for (j, k), value in np.ndenumerate(values):
        ink = "white" if value > 0.6 else style.INK
        ax.text(k + 0.5, j + 0.5, f"{value:.2f}", ha="center", va="center", fontsize=7, color=ink)
    places, names = np.arange(len(values)) + 0.5, [str(j + 1) for j in range(len(values))]
    ax.set_xticks(places, names)
    ax.set_yticks(places, names)
    ax.set(xlabel=f"$v_k(W_{layer + 2})$", ylabel=f"$u_j(W_{layer + 1})$")
    ax.tick_params(length=0)


def _draw_many(ax: Axes, least: Floats) -> None:
    sines = np.sqrt(1 - least**2)
    bins = np.geomspace(5e-3, 1, 40).tolist()
    names = ("1.5 apart", "0.1 apart")
    for values, spectrum, colour, name in zip(sines, SPECTRA, style.PALETTE[4:], names, strict=True):
        ax.hist(values, bins, color=colour, label=name)
        gap = -np.diff(np.array(spectrum) ** (2 / NETWORK.depth)).max()
        ax.axvline(DELTA / gap, 0, 0.78, color=colour, ls=(0, (3, 1.5)))
    ax.plot([], color=style.INK, ls=(0, (3, 1.5)), label=r"$\delta$ / gap of $\sigma^{2/h}$")
    ax.set(xscale="log", xlim=(bins[0], 1.2), xlabel="sine of the largest angle", ylabel="starts")
    ax.set_ylim(top=1.3 * ax.get_ylim()[1])
    ax.legend(loc="upper center", ncols=2, borderaxespad=0, columnspacing=1)
