"""Figure 5: the smallest network, widths 1, 1, 1: its phase portrait and its loss surface (T4, T5, T8, T10).

L = 1/2 (sigma - w_2 w_1)^2 has the hyperbola w_2 w_1 = sigma of minima, and one more critical point, the saddle at the
origin. Flows run along the hyperbolas w_2^2 - w_1^2 = const; those from w_2 = -w_1 end in the saddle, all others in a
minimum, the slower the nearer they pass the saddle, whose surroundings are a plateau of the loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import fastdln as dln
from fastdln.figures import style
from fastdln.linalg import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Numbers", "numbers", "phase_portrait"]

SIGMA = 1.0
EXTENT, RADIUS, T_END = 2.2, 2.1, 20.0
VERTICES = np.arange(0.4, EXTENT, 0.4)  # where the hyperbolas of the flows cross the axes
OFFSETS = (0.5, 0.1, 0.02, 0.004)  # of starts from the line w_2 = -w_1


@dataclass(frozen=True, eq=False)
class Numbers:
    """What figure 5 shows; the weights are pairs (w_1, w_2).

    Parameters
    ----------
    minima : ndarray, shape (n, 2)
        Points of the branch w_1 > 0 of the hyperbola.
    gradients : ndarray, shape (n + 1,)
        Norms of the gradient at these, and at the origin.
    curvatures : ndarray, shape (2,)
        Eigenvalues of the Hessian at the origin.
    flows : ndarray, shape (n_flows, n_t, 2)
        Flows from the edge of the square, both ends of each hyperbola w_2^2 - w_1^2 = const.
    constants : ndarray, shape (n_flows, n_t)
        w_2^2 - w_1^2 along them.
    disc, surface : ndarray, shape (radii, angles, 2) and (radii, angles)
        Points of a disc, and the loss there.
    t : ndarray, shape (n_p,)
        Times.
    passing : ndarray, shape (starts, n_p, 2)
        Flows that pass the saddle, from points near the line w_2 = -w_1.
    loss : ndarray, shape (starts, n_p)
        The loss along them.
    into : ndarray, shape (2,)
        The end of the flow from a point of that line.
    """

    minima: Floats
    gradients: Floats
    curvatures: Floats
    flows: Floats
    constants: Floats
    disc: Floats
    surface: Floats
    t: Floats
    passing: Floats
    loss: Floats
    into: Floats


def numbers() -> Numbers:
    """Compute what figure 5 shows.

    Returns
    -------
    Numbers
        The numbers.
    """
    loss, origin = dln.Quadratic([[SIGMA]]), (np.zeros((1, 1)),) * 2
    w1 = np.geomspace(SIGMA / EXTENT, EXTENT, 201)
    minima = np.stack([w1, SIGMA / w1], axis=-1)
    flows = _flow(_edge(), loss, np.linspace(0, 1, 121) ** 2 * T_END)
    t = np.linspace(0.0, T_END / 2, 401)
    passing = _flow(np.array([(-1.5 + offset, 1.5) for offset in OFFSETS]), loss, t)
    radius, angle = np.meshgrid(np.linspace(0, RADIUS, 25), np.linspace(0, 2 * np.pi, 97), indexing="ij")
    disc = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return Numbers(
        minima=minima,
        gradients=np.append(dln.gradient_norm(_weights(minima), loss), dln.gradient_norm(origin, loss)),
        curvatures=dln.theory.hessian.spectrum(origin, loss),
        flows=flows,
        constants=dln.theory.invariants.balance(_weights(flows))[0][..., 0, 0],
        disc=disc,
        surface=dln.value(_weights(disc), loss),
        t=t,
        passing=passing,
        loss=dln.value(_weights(passing), loss),
        into=_flow(np.array([(-1.5, 1.5)]), loss, np.array([T_END]))[0, 0],
    )


def phase_portrait() -> Figure:
    """Draw figure 5: the phase portrait of widths 1, 1, 1, its loss surface, and the plateau at the saddle.

    Returns
    -------
    matplotlib.figure.Figure
        (a) Flows to the hyperbola of minima, and the saddle at the origin with its stable line; (b) the loss as a
        surface, with flows that pass the saddle; (c) the loss along these: a plateau at sigma^2 / 2.

    Examples
    --------
    >>> from fastdln import figures
    >>> len(figures.phase_portrait().axes)
    3
    """
    return _draw(numbers())


def _weights(points: Floats) -> tuple[Floats, Floats]:
    """Points (..., 2) as weights of a batch."""
    return points[..., :1, None], points[..., 1:, None]


def _edge() -> Floats:
    """Where the hyperbolas w_2^2 - w_1^2 = +-v^2 leave the square, (8 vertices, 2)."""
    along = np.sqrt(EXTENT**2 - VERTICES**2)
    ends = [(sign * along, np.full_like(along, side * EXTENT)) for sign in (1.0, -1.0) for side in (1.0, -1.0)]
    return np.concatenate([np.stack(pair, axis=-1) for x, y in ends for pair in ((x, y), (y, x))])


def _flow(starts: Floats, loss: dln.Quadratic, t: Floats) -> Floats:
    """Flows from points (n, 2), (n, n_t, 2)."""
    sol = dln.flow(_weights(starts), loss, (0.0, T_END), t, "dop853", 1e-10, record=("weights",)).raise_for_status()
    return np.concatenate([W[..., 0] for W in sol.weights], axis=-1)


@style.drawn
def _draw(found: Numbers) -> Figure:
    figure = style.sheet(2.5)
    portrait = figure.add_subplot(1, 3, 1)
    surface = figure.add_subplot(1, 3, 2, projection="3d")
    along = figure.add_subplot(1, 3, 3)
    _draw_portrait(portrait, found)
    _draw_surface(surface, found)
    style.panel(along, "c", "a plateau near the saddle")
    for values, offset, colour in zip(found.loss, OFFSETS, style.PALETTE, strict=False):
        along.plot(found.t, values, color=colour, label=f"{offset:g}")
    along.axhline(SIGMA**2 / 2, color=style.INK, lw=0.7, ls=(0, (3, 2)))
    along.set(xlim=(0, found.t[-1]), ylim=(0, 1.5), xlabel=style.TIME, ylabel="$L$")
    along.set_box_aspect(1)
    along.legend(loc="upper right", title="$w_1 + w_2$ at $t = 0$")
    return figure


def _draw_portrait(ax: Axes, found: Numbers) -> None:
    style.panel(ax, "a", r"minima $w_2 w_1 = \sigma$, and saddle")
    for line in found.flows:
        ax.plot(*line.T, color=style.PALETTE[5], lw=0.7)
        way = np.cumsum(np.hypot(*np.diff(line, axis=0).T))
        k = int(np.searchsorted(way, 0.35 * way[-1]))
        ax.annotate("", line[k + 1], line[k], arrowprops=style.ARROW)
    for sign in (1, -1):
        ax.plot(*(sign * found.minima.T), color=style.INK, lw=1.8)
    ax.plot([-EXTENT, EXTENT], [EXTENT, -EXTENT], color=style.PALETTE[1], lw=1)
    ax.plot(0, 0, "o", ms=5, mfc="white", mec=style.INK)
    ax.set(xlim=(-EXTENT, EXTENT), ylim=(-EXTENT, EXTENT), xlabel="$w_1$", ylabel="$w_2$", aspect="equal")


def _draw_surface(ax: Any, found: Numbers) -> None:
    ax.set_title("(b)  loss $L$", loc="left")
    ax.plot_surface(
        *np.moveaxis(found.disc, -1, 0), found.surface, cmap="Greys", vmin=-1, vmax=8, rstride=1, cstride=1,
        edgecolor="white", lw=0.1, zorder=1,
    )  # fmt: skip
    for line, values, colour in zip(found.passing, found.loss, style.PALETTE, strict=False):
        ax.plot(*line.T, values, color=colour, zorder=2)
    for sign in (1, -1):
        inside = np.hypot(*found.minima.T) <= RADIUS
        ax.plot(*(sign * found.minima[inside].T), 0, color=style.INK, lw=1.8, zorder=2)
    ax.plot(0, 0, SIGMA**2 / 2, "o", ms=4, mfc="white", mec=style.INK, zorder=3)
    ax.set(xlabel="$w_1$", ylabel="$w_2$", xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    ax.tick_params(labelsize=7, pad=-3, colors=style.INK)
    ax.set_box_aspect(None, zoom=1.12)
    for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
        axis.labelpad = -8
        axis.pane.set_alpha(0)
    ax.computed_zorder = False
    ax.view_init(elev=32, azim=20)
