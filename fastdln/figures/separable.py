"""Figure 7, which is our choice, as we had no caption of the survey's: losses that are not quadratic (T4, T16).

On separable data the logistic and the exponential loss have no minimum: the weights grow without bound, like a power
of ln t, the product turns to the direction of the largest margin and the layers to rank one, slowly, so that what is
seen is a trend over decades of time. The balance matrices C_i are conserved all the way, as by every loss of the
product.
(Z. Ji & M. Telgarsky, ICLR 2019.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import nnls

import fastdln as dln
from fastdln.figures import style
from fastdln.linalg import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Numbers", "numbers", "separable_data"]

NETWORK = dln.Network((2, 4, 3, 1))
LOSSES = {"logistic": dln.Logistic, "exponential": dln.Exponential}
SAMPLES, T_END = 16, 1e12
DASHES = ("-", (0, (4, 2)))  # of the losses
SHOWN = (1.0, 10.0, 100.0)  # times whose directions are drawn


@dataclass(frozen=True, eq=False)
class Numbers:
    """What figure 7 shows; arrays over losses are of the logistic and the exponential one.

    Parameters
    ----------
    inputs : ndarray, shape (2, samples)
        The data.
    labels : ndarray, shape (samples,)
        1 and -1.
    best : ndarray, shape (2,)
        The unit vector of the largest margin.
    margin : float
        That margin.
    t : ndarray, shape (n_t,)
        Times.
    direction : ndarray, shape (losses, n_t, 2)
        W / ||W||.
    angle : ndarray, shape (losses, n_t)
        Between W and the direction of the largest margin, in degrees.
    ratio : ndarray, shape (losses, n_t, 2)
        The second singular value of W_1 and of W_2 in units of the first.
    misalignment : ndarray, shape (losses, n_t, h-1)
        1 - |cos| of the angle between the leading singular vectors of successive layers.
    loss, drift : ndarray, shape (losses, n_t)
        The loss, and max_i ||C_i(t) - C_i(0)||_F.
    squares : ndarray, shape (losses, n_t, h)
        ||W_i||_F^2; successive ones differ by the trace of C_i.
    """

    inputs: Floats
    labels: Floats
    best: Floats
    margin: float
    t: Floats
    direction: Floats
    angle: Floats
    ratio: Floats
    misalignment: Floats
    loss: Floats
    drift: Floats
    squares: Floats


def numbers(seed: int = 0) -> Numbers:
    """Compute what figure 7 shows.

    Parameters
    ----------
    seed : int
        Draws the data and the start.

    Returns
    -------
    Numbers
        The numbers.
    """
    X, y = _data(np.random.default_rng(seed))
    best, margin = _largest_margin(X * y)
    w0 = dln.inits.gaussian(NETWORK, 0.5, rng=seed)
    t = np.append(0.0, np.geomspace(1e-2, T_END, 281))
    runs = [
        dln.flow(
            w0, kind(X, y[None]), (0.0, T_END), t, "dop853", 1e-9,
            record=("loss", "weights", "layer_alignment", "drift"),
        ).raise_for_status()
        for kind in LOSSES.values()
    ]  # fmt: skip
    W = np.array([dln.product(run.weights)[:, 0] for run in runs])
    direction = W / np.linalg.norm(W, axis=-1, keepdims=True)
    values = [[np.linalg.svd(layer, compute_uv=False) for layer in run.weights[:2]] for run in runs]
    return Numbers(
        inputs=X,
        labels=y,
        best=best,
        margin=margin,
        t=t,
        direction=direction,
        angle=np.degrees(np.arccos(np.clip(direction @ best, -1, 1))),
        ratio=np.array([np.stack([s[:, 1] / s[:, 0] for s in of], axis=-1) for of in values]),
        misalignment=np.array([1 - run.layer_alignment for run in runs]),
        loss=np.array([run.loss for run in runs]),
        drift=np.array([run.drift for run in runs]),
        squares=np.array([np.stack([np.square(W).sum(axis=(-2, -1)) for W in run.weights], axis=-1) for run in runs]),
    )


def separable_data(seed: int = 0) -> Figure:
    """Draw figure 7, which is our choice: logistic and exponential loss on separable data.

    The survey's caption was not known to us; here is what the same network does with losses that are not quadratic.

    Parameters
    ----------
    seed : int
        Draws the data and the start.

    Returns
    -------
    matplotlib.figure.Figure
        (a) The data, the boundary of the largest margin, and that of the network at three times; (b) the angle between
        the two over decades of time; (c) the layers tend to rank one and align; (d) weights grow, and the balance
        matrices C_i stay.

    Examples
    --------
    >>> from fastdln import figures
    >>> len(figures.separable_data().axes)
    4
    """
    return _draw(numbers(seed))


def _data(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Two clouds that a line through the origin separates; their means point elsewhere than the largest margin."""
    y = np.resize([1.0, -1.0], SAMPLES)
    many = np.arange(SAMPLES) < 3 * SAMPLES // 4
    along = np.where(many, rng.uniform(1.0, 2.4, SAMPLES), rng.uniform(-1.4, -0.4, SAMPLES))
    return np.stack([along, rng.uniform(0.5, 1.6, SAMPLES)]) * y, y


def _largest_margin(Z: Floats) -> tuple[Floats, float]:
    """The unit vector whose least product with the columns is largest, and that product.

    The vector of least norm with products of at least 1 is a problem of least distance: least squares with weights that
    are not negative (C. Lawson & R. Hanson, Solving Least Squares Problems, chapter 23).
    """
    system, goal = np.vstack([Z, np.ones(Z.shape[1])]), np.array([0.0, 0.0, 1.0])
    rest = system @ nnls(system, goal)[0] - goal
    best = rest[:2] / np.linalg.norm(rest[:2])
    return best, float((best @ Z).min())


@style.drawn
def _draw(found: Numbers) -> Figure:
    figure = style.sheet(4.4)
    (data, angle), (rank, squares) = figure.subplots(2, 2)
    _draw_data(data, found)
    _draw_angle(angle, found)
    _draw_rank(rank, found)
    _draw_squares(squares, found)
    return figure


def _draw_data(ax: Axes, found: Numbers) -> None:
    style.panel(ax, "a", "separable data, and boundaries")
    for label, marker, colour in ((1, "o", style.PALETTE[0]), (-1, "s", style.PALETTE[1])):
        ax.plot(*found.inputs[:, found.labels == label], marker, color=colour, ms=4, mec="white", mew=0.4)
    reach = np.array([-4.0, 4.0])
    across = np.array([-found.best[1], found.best[0]])
    for k in (-1, 1):
        line = reach[:, None] * across + k * found.margin * found.best
        ax.plot(*line.T, color=style.INK, lw=0.6, ls=(0, (4, 2)))
    ax.plot(*(reach[:, None] * across).T, color=style.INK, label="largest margin")
    for time, colour in zip(SHOWN, style.PALETTE[2:], strict=False):
        w = found.direction[0, np.searchsorted(found.t, time)]
        ax.plot(*(reach[:, None] * np.array([-w[1], w[0]])).T, color=colour, lw=1, label=f"$t = {time:g}$")
    ax.set(xlim=(-2.6, 2.6), ylim=(-2, 2), xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))


def _draw_angle(ax: Axes, found: Numbers) -> None:
    style.panel(ax, "b", "angle to the largest margin")
    for values, name, colour, dashes in zip(found.angle, LOSSES, style.PALETTE, DASHES, strict=False):
        ax.loglog(found.t[1:], values[1:], color=colour, ls=dashes, label=name)
    late = found.t > 1e3
    guide = found.angle[0, -1] * np.log(found.t[-1]) / np.log(found.t[late])
    ax.loglog(found.t[late], 2 * guide, color=style.INK, lw=0.7, ls=(0, (1, 2)), label=r"$\propto 1 / \ln t$")
    ax.set(xlim=(found.t[1], T_END), xlabel=style.TIME, ylabel="degrees")
    ax.legend(loc="upper right")


def _draw_rank(ax: Axes, found: Numbers) -> None:
    style.panel(ax, "c", "layers tend to rank one, and align")
    for ratio, off, dashes in zip(found.ratio, found.misalignment, DASHES, strict=True):
        for i in (0, 1):
            names = (rf"$s_2 / s_1$ of $W_{i + 1}$", rf"$1 - |\cos|$, $W_{i + 1}$ and $W_{i + 2}$")
            for values, name, colour in zip((ratio, off), names, style.PALETTE[i::2], strict=False):
                label = name if dashes == "-" else None
                ax.loglog(found.t[1:], values[1:, i], color=colour, ls=dashes, label=label)
    ax.set(xlim=(found.t[1], T_END), xlabel=style.TIME, ylim=(1e-6, 3))
    ax.legend(loc="lower left", title="dashed: exponential loss")


def _draw_squares(ax: Axes, found: Numbers) -> None:
    style.panel(ax, "d", "weights grow, $C_i$ stay")
    for squares, dashes in zip(found.squares, DASHES, strict=True):
        for i, colour in enumerate(style.PALETTE[:3]):
            label = rf"$\|W_{i + 1}\|_F^2$" if dashes == "-" else None
            ax.semilogx(found.t[1:], squares[1:, i], color=colour, ls=dashes, label=label)
        for i, colour in enumerate(style.PALETTE[3:5]):
            label = rf"tr $C_{i + 1}$" if dashes == "-" else None
            ax.semilogx(found.t[1:], squares[1:, i + 1] - squares[1:, i], color=colour, ls=dashes, label=label)
    ax.set(xlim=(found.t[1], T_END), xlabel=style.TIME)
    ax.legend(loc="upper left")
