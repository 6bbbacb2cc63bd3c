"""Figure 4: the loss along arcs from the kinds of critical point (T8, T9, T10).

At a saddle of order p the loss falls like -c alpha^p along its escape arc A(alpha): p = 2 where the saddle is strict,
more where the Hessian shows no descent. One network has them all, with the same product and the same loss: chains in
the residual blocks, which the loss does not see, decide how many layers m* must move together. p is m*, but for some
saddles with m* = 3.
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
    from matplotlib.figure import Figure

__all__ = ["Numbers", "escape_arcs", "numbers"]

NETWORK = dln.Network((2,) * 6)
SIGMA = (2.0, 1.0)
CHAINS = (((1, 4),), ((1, 3),), ((1, 2),), ())  # of saddles of order 2, 3, 4, 5
LAST = len(CHAINS) + 1  # of the curves, the saddle with p > m*
REACH = 0.4  # up to here logarithmic axes show alpha
FITTED = 8  # of the least alpha, over which orders are fitted


@dataclass(frozen=True, eq=False)
class Numbers:
    """What figure 4 shows; the first curve is that of the minimum, the last that of a saddle with p > m*.

    Parameters
    ----------
    alpha : ndarray, shape (n_alpha,)
        The lengths of steps.
    loss : ndarray, shape (curves, n_alpha)
        The loss of the weights A(alpha).
    value : ndarray, shape (curves,)
        The loss at the critical point.
    exact : ndarray, shape (curves, n_alpha)
        L(A(alpha)) - L(A) from the polynomial of the arc; for the minimum half the eigenvalue times alpha^2.
    kinds : tuple of str
        What `fastdln.theory.landscape.classify` says of the points.
    orders, pivots : tuple of int
        p and m* of the arcs; 2 and 0 for the minimum.
    fitted : ndarray, shape (curves,)
        Slopes of log |L(A(alpha)) - L(A)| against log alpha, from the losses.
    """

    alpha: Floats
    loss: Floats
    value: Floats
    exact: Floats
    kinds: tuple[str, ...]
    orders: tuple[int, ...]
    pivots: tuple[int, ...]
    fitted: Floats


def numbers(seed: int = 0) -> Numbers:
    """Compute what figure 4 shows.

    Parameters
    ----------
    seed : int
        Draws the bases of the modes.

    Returns
    -------
    Numbers
        The numbers.
    """
    th, alpha = dln.theory, np.geomspace(0.01, 1.0, 81)
    loss = dln.Quadratic.from_singular_values(SIGMA, shape=(2, 2), rng=seed)
    minimum = th.landscape.critical_point(NETWORK, loss, (0, 1))
    curvature, direction = _softest(minimum, loss)
    points = [th.landscape.critical_point(NETWORK, loss, (0,), chains) for chains in CHAINS]
    cases: list[tuple[Weights, dln.Quadratic]] = [(point, loss) for point in points]
    cases.append(_delayed())
    arcs = [th.saddles.escape_arc(*case) for case in cases]
    rise = tuple(W + alpha[:, None, None] * V for W, V in zip(minimum, direction, strict=True))
    ways = [(rise, loss), *((arc.weights_at(alpha), own) for arc, (_, own) in zip(arcs, cases, strict=True))]
    losses = np.array([dln.value(way, own) for way, own in ways])
    values = np.array([float(dln.value(point, own)) for point, own in ((minimum, loss), *cases)])
    few = slice(None, FITTED)
    changes = np.log(np.abs(losses - values[:, None])[:, few])
    return Numbers(
        alpha=alpha,
        loss=losses,
        value=values,
        exact=np.array([curvature * alpha**2 / 2, *(arc.change_at(alpha) for arc in arcs)]),
        kinds=tuple(th.landscape.classify(*case).kind for case in ((minimum, loss), *cases)),
        orders=(2, *(arc.order for arc in arcs)),
        pivots=(0, *(arc.pivots for arc in arcs)),
        fitted=np.polyfit(np.log(alpha[few]), changes.T, 1)[0],
    )


def escape_arcs(seed: int = 0) -> Figure:
    """Draw figure 4: the loss along arcs from a minimum, a strict saddle, and nonstrict saddles of order 3, 4, 5.

    Parameters
    ----------
    seed : int
        Draws the bases of the modes.

    Returns
    -------
    matplotlib.figure.Figure
        (a) L(A(alpha)) along the arcs; (b) how much it changes, on logarithmic axes: the slopes are the orders.

    Examples
    --------
    >>> from fastdln import figures
    >>> len(figures.escape_arcs().axes)
    2
    """
    return _draw(numbers(seed))


def _softest(minimum: Weights, loss: dln.Quadratic) -> tuple[float, Weights]:
    """The least positive eigenvalue of the Hessian, and its direction."""
    values, vectors = np.linalg.eigh(dln.theory.hessian.matrix(minimum, loss))
    k = int(np.argmax(values > 1e-6 * values[-1]))
    return float(values[k]), NETWORK.unpack(vectors[:, k])


def _delayed() -> tuple[Weights, dln.Quadratic]:
    """A saddle whose loss falls with order 4 though three layers suffice to move it."""
    point = (np.array([[0.0, 1.0]]), np.array([[0.0]]), np.array([[0.0], [1.0]]))
    return point, dln.Quadratic([[1.0, 0.0], [0.0, 0.0]])


@style.drawn
def _draw(found: Numbers) -> Figure:
    figure = style.sheet(2.7)
    linear, logarithmic = figure.subplots(1, 2)
    style.panel(linear, "a", "loss along arcs from critical points")
    style.panel(logarithmic, "b", "its change, and the fitted slopes")
    names = ["minimum", "strict saddle, $p = 2$", *(f"nonstrict saddle, $p = {p}$" for p in (3, 4, 5))]
    names.append("nonstrict, $m^* = 3$ but $p = 4$")
    colours = (style.INK, *style.PALETTE[:5])
    for k, (name, colour) in enumerate(zip(names, colours, strict=True)):
        dashes = (0, (4, 1.5)) if k == LAST else "-"
        change = found.loss[k] - found.value[k]
        linear.plot(np.append(0, found.alpha), np.append(0, change), color=colour, ls=dashes, label=name)
        near = found.alpha <= REACH
        logarithmic.loglog(found.alpha[near], np.abs(found.exact[k, near]), color=colour, ls=dashes)
        some = np.flatnonzero(near)[::8]
        logarithmic.loglog(found.alpha[some], np.abs(change[some]), "o", color=colour, ms=3.4, mec="white", mew=0.4)
        place = {"va": "bottom" if k in (0, LAST) else "top", "ha": "right", "fontsize": 7}
        logarithmic.text(0.0092, abs(change[0]), f"{found.fitted[k]:.2f}", color=colour, **place)
    linear.axhline(0, color=style.INK, lw=0.5)
    linear.set(xlim=(0, 1), ylim=(-0.5, 0.5), xlabel=r"$\alpha$", ylabel=r"$L(A(\alpha)) - L(A)$")
    linear.legend(loc="lower left")
    logarithmic.set(xlim=(0.0065, 0.5), ylim=(2e-13, 3), xlabel=r"$\alpha$", ylabel=r"$|L(A(\alpha)) - L(A)|$")
    return figure
