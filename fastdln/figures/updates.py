"""Figure 6, which is our choice, as we had no caption of the survey's: discrete updates against the flow (T15).

Gradient descent follows the flow to first order in the learning rate eta, and the modified flow to second. What the
flow conserves drifts by eta^2 (G_{i+1}' G_{i+1} - G_i G_i') in each update. A balanced minimum is stable up to
eta = 2/lambda_max, lambda_max = h sigma_1^{2 - 2/h}. Beyond, the scalar mode doubles its period again and again, until
there is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import fastdln as dln
from fastdln.figures import style
from fastdln.linalg import Floats, transpose
from fastdln.network import Weights

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Numbers", "discrete_updates", "numbers"]

NETWORK = dln.Network((4, 4, 4, 4))
SIGMA = (4.0, 3.0, 2.0, 1.0)
RATES = (0.04, 0.02, 0.01, 0.005)
T_END, SHARES, UPDATES = 8.0, (0.9, 0.98, 1.02, 1.1), 300
# of the scalar mode, h = 2: eta sigma, the start, and updates before and within what is recorded
ETAS, SCALAR, BURN_IN, RECORDED = np.linspace(0.9, 2.0, 551), 0.7, 3000, 256
SHOWN = 40  # points of an orbit without a period


@dataclass(frozen=True, eq=False)
class Numbers:
    """What figure 6 shows.

    Parameters
    ----------
    rates : ndarray, shape (rates,)
        Learning rates below the limit.
    to_flow, to_modified : ndarray, shape (rates,)
        The largest distance of descent from the flow, and from the modified flow.
    order_flow, order_modified : float
        Their orders in the learning rate.
    t : tuple of ndarray
        The times eta k of the updates, for each rate.
    drift : tuple of ndarray
        max_i ||C_i(t) - C_i(0)||_F there, for each rate.
    summed : ndarray
        The same at the largest rate, from the sum of eta^2 (G_{i+1}' G_{i+1} - G_i G_i').
    flow_drift : ndarray
        The drift of the flow, at the times of the smallest rate.
    limit : float
        2 / lambda_max at the balanced minimum.
    near : ndarray, shape (shares, updates + 1)
        The loss of descents from near that minimum, at some shares of the limit.
    etas : ndarray, shape (n,)
        eta sigma of the scalar mode of two layers.
    orbits : ndarray, shape (n, n_o)
        The layers' singular value after each of the last updates, in units of sigma^{1/2}.
    periods : ndarray of int, shape (n,)
        Their least periods, 0 where there is none.
    along, across : ndarray, shape (n,)
        Lyapunov exponents of the mode, and of changes that make its layers unequal.
    doublings : ndarray
        Where the period doubles.
    """

    rates: Floats
    to_flow: Floats
    to_modified: Floats
    order_flow: float
    order_modified: float
    t: tuple[Floats, ...]
    drift: tuple[Floats, ...]
    summed: Floats
    flow_drift: Floats
    limit: float
    near: Floats
    etas: Floats
    orbits: Floats
    periods: NDArray[np.intp]
    along: Floats
    across: Floats
    doublings: Floats


def numbers(seed: int = 0) -> Numbers:
    """Compute what figure 6 shows.

    Parameters
    ----------
    seed : int
        Draws the bases of the modes, and the starts.

    Returns
    -------
    Numbers
        The numbers.
    """
    th = dln.theory
    loss = dln.Quadratic.from_singular_values(SIGMA, shape=(4, 4), rng=seed)
    w0 = dln.inits.gaussian(NETWORK, 0.8, rng=seed)
    distances = dln.compare(w0, loss, RATES, t_end=2.0, n_times=20)
    runs = [dln.descend(w0, loss, rate, round(T_END / rate), record=("drift", "weights")) for rate in RATES]
    exact = dln.flow(w0, loss, (0.0, T_END), runs[-1].t, "dop853", 1e-11, record=("drift",)).raise_for_status()
    minimum = th.landscape.critical_point(NETWORK, loss, range(len(SIGMA)))
    limit = th.descent.step_limit(minimum, loss)
    nearby = dln.inits.near(minimum, 1e-3, rng=seed)
    scalar = dln.descend(
        (np.array([[SCALAR]]),) * 2, dln.Quadratic([[1.0]]), ETAS, BURN_IN + RECORDED, record=("weights", "strengths"),
        record_from=BURN_IN,
    )  # fmt: skip
    exponents = th.descent.mode_exponents(ETAS, 1.0, 2, SCALAR, 4000, BURN_IN)
    return Numbers(
        rates=np.array(RATES),
        to_flow=distances.to_flow.max(axis=-1),
        to_modified=distances.to_modified.max(axis=-1),
        order_flow=float(distances.order_flow),
        order_modified=float(distances.order_modified),
        t=tuple(run.t for run in runs),
        drift=tuple(run.drift for run in runs),
        summed=_summed(runs[0].weights, loss, RATES[0]),
        flow_drift=exact.drift,
        limit=limit,
        near=dln.descend(nearby, loss, limit * np.array(SHARES), UPDATES).loss,
        etas=ETAS,
        orbits=scalar.weights[0][:, -RECORDED:, 0, 0],
        periods=scalar.period(),
        along=exponents.along,
        across=exponents.across,
        doublings=th.descent.cascade(1.0, 2),
    )


def discrete_updates(seed: int = 0) -> Figure:
    """Draw figure 6, which is our choice: discrete updates against the flow, and what lies beyond their limit.

    The survey's caption was not known to us; here is what gradient descent does where the flow does not go.

    Parameters
    ----------
    seed : int
        Draws the bases of the modes, and the starts.

    Returns
    -------
    matplotlib.figure.Figure
        (a) Distances from the flow and the modified flow; (b) the drift of the balance matrices C_i, which the flow
        conserves; (c) the loss near a minimum, below and above eta = 2/lambda_max; (d) orbits of the scalar mode of two
        layers beyond it; (e) their Lyapunov exponents.

    Examples
    --------
    >>> from fastdln import figures
    >>> len(figures.discrete_updates().axes)
    5
    """
    return _draw(numbers(seed))


def _summed(weights: Weights, loss: dln.Quadratic, rate: float) -> Floats:
    """The drift that the gradients of all updates add up to, max_i of the Frobenius norms."""
    gradients = dln.rhs(weights, loss)
    drifts = []
    for below, above in pairwise(gradients):
        each = rate**2 * (transpose(above) @ above - below @ transpose(below))
        drifts.append(np.linalg.norm(np.cumsum(each, axis=0), axis=(-2, -1)))
    return np.append(0.0, np.max(drifts, axis=0)[:-1])


@style.drawn
def _draw(found: Numbers) -> Figure:
    figure = style.sheet(5.6)
    halves: Any = figure.subfigures(2, 1, height_ratios=(1, 1.45))
    distances, drift, near = halves[0].subplots(1, 3)
    _draw_distances(distances, found)
    _draw_drift(drift, found)
    _draw_near(near, found)
    orbits, exponents = halves[1].subplots(2, 1, sharex=True, height_ratios=(1.7, 1))
    _draw_orbits(orbits, found)
    _draw_exponents(exponents, found)
    return figure


def _draw_distances(ax: Axes, found: Numbers) -> None:
    style.panel(ax, "a", r"distance to the flow, $t \leq 2$")
    for values, order, colour, name in (
        (found.to_flow, found.order_flow, style.PALETTE[0], "flow"),
        (found.to_modified, found.order_modified, style.PALETTE[1], "modified flow"),
    ):
        ax.loglog(found.rates, values, "o-", ms=3.5, color=colour, label=f"{name}: order {order:.2f}")
    ax.set(xlabel=r"learning rate $\eta$", ylabel=r"$\max_t \|W_k - W(\eta k)\|_F$", ylim=(1e-4, 3))
    ax.set_xticks(found.rates, [f"{rate:g}" for rate in found.rates], minor=False)
    ax.set_xticks([], minor=True)
    ax.legend(loc="upper left", borderaxespad=0.1)


def _draw_drift(ax: Axes, found: Numbers) -> None:
    style.panel(ax, "b", "drift of $C_i$")
    for t, drift, rate, colour in zip(found.t, found.drift, found.rates, style.PALETTE, strict=False):
        ax.plot(t, drift, color=colour, label=rf"$\eta = {rate:g}$")
    ax.plot(found.t[0][::16], found.summed[::16], "o", ms=3.4, mec="white", mew=0.4, color=style.PALETTE[0])
    ax.plot(found.t[-1], found.flow_drift, color=style.INK, label="flow", clip_on=False)
    ax.set(xlabel=r"$t = \eta k$", ylabel=r"$\max_i \|C_i(t) - C_i(0)\|_F$", xlim=(0, T_END), ylim=(0, 0.33))
    ax.legend(loc="upper right", ncols=2, borderaxespad=0.1)


def _draw_near(ax: Axes, found: Numbers) -> None:
    style.panel(ax, "c", r"loss near a minimum")
    for values, share, colour in zip(found.near, SHARES, style.PALETTE, strict=False):
        ax.semilogy(values, color=colour, label=f"{share:g}")
    ax.set(xlabel="update $k$", ylabel="$L$", xlim=(0, UPDATES), ylim=(1e-30, 1e2))
    ax.legend(
        loc="upper right", title=r"$\eta \lambda_\mathrm{max} / 2$", ncols=2, bbox_to_anchor=(1.03, 0.86),
        columnspacing=1,
    )  # fmt: skip


def _draw_orbits(ax: Axes, found: Numbers) -> None:
    style.panel(ax, "d", "orbits of the scalar mode, $h = 2$; their period doubles at the dashed lines")
    shown = [orbit[: period or SHOWN] for orbit, period in zip(found.orbits, found.periods, strict=True)]
    etas = np.repeat(found.etas, [len(orbit) for orbit in shown])
    ax.plot(etas, np.concatenate(shown), "o", ms=0.6, mew=0, color=style.INK)
    for k, eta in enumerate(found.doublings[:3]):
        ax.axvline(eta, color=style.PALETTE[k], lw=0.8, ls=(0, (3, 2)))
        side = 1 if k == 2 else -1
        ax.text(eta + 0.004 * side, -1.4, f"{eta:.4g}", ha="left" if side > 0 else "right", fontsize=7)
    ax.set(ylabel=r"$s / \sigma^{1/2}$", ylim=(-1.55, 1.55))


def _draw_exponents(ax: Axes, found: Numbers) -> None:
    style.panel(ax, "e", "Lyapunov exponents")
    ax.axhline(0, color=style.INK, lw=0.6)
    ax.plot(found.etas, found.along, color=style.PALETTE[0], lw=0.8, label="of the mode")
    ax.plot(found.etas, found.across, color=style.PALETTE[1], lw=0.8, label="across: layers unequal")
    for k, eta in enumerate(found.doublings[:3]):
        ax.axvline(eta, color=style.PALETTE[k], lw=0.8, ls=(0, (3, 2)))
    ax.axhline(np.log(3), color=style.INK, lw=0.6, ls=(0, (1, 2)))
    ax.text(0.91, np.log(3) - 0.1, r"$\ln 3$", va="top", fontsize=7)
    ax.set(xlim=(0.9, 2.0), ylim=(-2, 1.3), xlabel=r"$\eta \sigma$", ylabel="per update")
    ax.legend(loc="lower right", ncols=2)
