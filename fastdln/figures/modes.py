"""Figure 1: one balanced mode as a scalar flow, and many modes from equal and from unequal starts (T13).

The layers of a balanced mode share the singular value s, with ds/dt = s^{h-1} (sigma - s^h): s = 0 and s = sigma^{1/h}
are its equilibria. From equal small starts the modes are learned one after another, in the order of their sigma. That
is a matter of the starts: from others, all are learned at one time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

import fastdln as dln
from fastdln.figures import style
from fastdln.linalg import Floats
from fastdln.network import Weights

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Numbers", "numbers", "scalar_mode"]

SIGMA = (4.0, 3.0, 2.0, 1.0)
NETWORK = dln.Network((4, 4, 4, 4))
START, T_END = 0.1, 14.0
TOGETHER = 5.0  # when the unequal starts are learned


@dataclass(frozen=True, eq=False)
class Numbers:
    """What figure 1 shows.

    Parameters
    ----------
    s, slope : ndarray, shape (n_s,) and (modes, n_s)
        Singular values of a layer, and ds/dt there.
    equilibria : ndarray, shape (modes,)
        sigma_j^{1/h}.
    t : ndarray, shape (n_t,)
        Times.
    layers : ndarray, shape (2, n_t, h, modes)
        The singular values of every layer by mode, from equal and from unequal starts.
    closed : ndarray, shape (2, n_t, modes)
        The same in closed form.
    learning_times : ndarray, shape (2, modes)
        When the strength of each mode passes sigma_j / 2.
    """

    s: Floats
    slope: Floats
    equilibria: Floats
    t: Floats
    layers: Floats
    closed: Floats
    learning_times: Floats


def numbers(seed: int = 0) -> Numbers:
    """Compute what figure 1 shows.

    Parameters
    ----------
    seed : int
        Draws the bases of the modes and of the hidden layers.

    Returns
    -------
    Numbers
        The numbers.
    """
    h, sigma = NETWORK.depth, np.array(SIGMA)
    s = np.linspace(-0.4, 1.75, 400)
    loss = dln.Quadratic.from_singular_values(SIGMA, shape=(4, 4), rng=seed)
    halves = (sigma / 2) ** (1 / h)
    starts = np.stack([np.full(4, START), dln.theory.exact.mode(-TOGETHER, halves, sigma, h)])
    w0 = [dln.inits.decoupled(NETWORK, loss, start, rng=seed) for start in starts]
    t = np.linspace(0.0, T_END, 281)
    sol = dln.flow(
        tuple(np.stack(pair) for pair in zip(*w0, strict=True)), loss, (0.0, T_END), t, "dop853", 1e-10,
        record=("weights", "learning_times"),
    ).raise_for_status()  # fmt: skip
    return Numbers(
        s=s,
        slope=s ** (h - 1) * (sigma[:, None] - s**h),
        equilibria=sigma ** (1 / h),
        t=t,
        layers=_by_mode(sol.weights, loss.modes.V),
        closed=dln.theory.exact.mode(t[:, None], starts[:, None], sigma, h),
        learning_times=sol.learning_times,
    )


def scalar_mode(seed: int = 0) -> Figure:
    """Draw figure 1: the scalar flow of a balanced mode, and what equal and unequal starts make of it.

    Parameters
    ----------
    seed : int
        Draws the bases of the modes and of the hidden layers.

    Returns
    -------
    matplotlib.figure.Figure
        (a) ds/dt against s for four modes, with the equilibria, and 0 from near. (b), (c) The layers' singular values
        along two flows: learned one after another from equal starts, all at once from unequal ones.

    Examples
    --------
    >>> from fastdln import figures
    >>> [ax.get_title(loc="left")[:3] for ax in figures.scalar_mode().axes]
    ['(a)', '(b)', '(c)']
    """
    return _draw(numbers(seed))


def _by_mode(weights: Weights, V: Floats) -> Floats:
    """Follow every mode from the input through the layers: how much each stretches it, (2, n_t, h, modes)."""
    direction, values = V, []
    for W in weights:
        image = W @ direction
        values.append(np.linalg.norm(image, axis=-2))
        direction = image / values[-1][..., None, :]
    return np.stack(values, axis=-2)


@style.drawn
def _draw(found: Numbers) -> Figure:
    figure = style.sheet(2.6)
    field, *flows = figure.subplots(1, 3, width_ratios=(1.15, 1, 1))
    _draw_field(field, found)
    titles = ("equal starts: in sequence", "unequal starts: together")
    for i, (ax, letter, title) in enumerate(zip(flows, "bc", titles, strict=True)):
        style.panel(ax, letter, title)
        for j, colour in enumerate(style.PALETTE[:4]):
            ax.axhline(found.equilibria[j], color=colour, lw=0.5, ls=(0, (1, 2)))
            ax.plot(found.t, found.layers[i, :, :, j], color=colour)
            ax.plot(found.t[::16], found.closed[i, ::16, j], "o", color=colour, ms=3.4, mec="white", mew=0.4)
            ax.plot(found.learning_times[i, j], 0, "|", color=colour, ms=9, mew=1.2, clip_on=False, zorder=3)
        ax.set(xlim=(0, T_END), ylim=(0, 1.7), xticks=(0, 5, 10), xlabel=style.TIME)
    flows[0].set_ylabel("singular values $s_j$ of the layers")
    flows[1].tick_params(labelleft=False)
    ink = {"color": style.INK}
    flows[1].plot([], [], label="flow", **ink)
    flows[1].plot([], [], "o", ms=3.4, mec="white", mew=0.4, label="closed form", **ink)
    flows[1].plot([], [], "|", ms=9, mew=1.2, label=r"passing $\sigma_j/2$", **ink)
    flows[1].legend(loc="lower right", borderaxespad=0.2)
    return figure


def _draw_field(ax: Axes, found: Numbers) -> None:
    style.panel(ax, "a", r"$\dot s = s^{h-1}(\sigma - s^h)$, $h = 3$")
    inset = ax.inset_axes((0.15, 0.1, 0.43, 0.26))
    style.plain(inset)
    for part, size in ((ax, 4.0), (inset, 4.5)):
        part.axhline(0, color=style.INK, lw=0.6)
        for j, (slope, colour) in enumerate(zip(found.slope, style.PALETTE, strict=False)):
            part.plot(found.s, slope, color=colour, label=style.mode_label(j, SIGMA[j]))
            part.plot(found.equilibria[j], 0, "o", color=colour, ms=size, mec="white", mew=0.5, zorder=3)
        # approached from below, left above
        part.plot(0, 0, "o", ms=size, color=style.INK, mfcalt="white", mew=0.6, fillstyle="left", zorder=3)
    ax.set(xlim=(-0.4, 1.72), ylim=(-3.2, 3.6), xlabel="$s$", ylabel=r"$\dot s$")
    ax.legend(loc="upper left", borderaxespad=0.2)
    for x in (-0.12, 0.06):
        inset.annotate("", (x + 0.06, 0), (x, 0), arrowprops={"arrowstyle": "-|>", "color": style.INK, "lw": 0.8})
    inset.set(xlim=(-0.15, 0.15), ylim=(-0.02, 0.08), xticks=(-0.1, 0, 0.1), yticks=(0, 0.05))
    inset.text(0.5, 0.95, "near 0", fontsize=7, ha="center", va="top", transform=inset.transAxes)
