"""Which saddles a trajectory passed, strict or not, where its weights were recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastdln.losses import Loss
from fastdln.network import Weights
from fastdln.theory.itinerary.result import Itinerary
from fastdln.theory.landscape import classify, refine
from fastdln.theory.landscape.refinement import NEARLY
from fastdln.theory.residual import relative_gradient
from fastdln.theory.whitening import whiten

if TYPE_CHECKING:
    from fastdln.results.trajectories import Trajectories

__all__ = ["kinds"]


def kinds(sol: Trajectories, way: Itinerary) -> NDArray[np.str_]:
    """Classify the saddles on the way by the weights that were recorded nearest to them.

    Strengths tell which modes a plateau has learned, and thereby its kind, except for saddles of three and more layers
    that have learned the leading modes: these are strict or not depending on what the layers carry beside the learned
    modes. So the weights at `Itinerary.closest` are refined to a critical point and that is classified.

    Parameters
    ----------
    sol : Trajectories
        With "weights" recorded.
    way : Itinerary
        Their itinerary.

    Returns
    -------
    ndarray of str, shape (n, p)
        `Itinerary.kind` with "strict_saddle" or "nonstrict_saddle" in the place of "saddle". It stays "saddle" where
        the trajectory does not come near enough: its relative gradient is above 0.1, or the critical point that the
        refinement ends in has other modes learned than the plateau.

    Raises
    ------
    ValueError
        If "weights" were not recorded, or the itinerary is not of these trajectories.

    Notes
    -----
    Some milliseconds for each saddle in question.

    Examples
    --------
    >>> import fastdln as dln
    >>> from fastdln.theory.itinerary import itinerary
    >>> loss = dln.Quadratic.from_singular_values((4.0, 1.0), shape=(2, 2))
    >>> start = dln.inits.balanced(dln.Network((2, 3, 3, 2)), 0.01, rng=1)
    >>> record = ("loss", "strengths", "grad_norm", "weights")
    >>> sol = dln.flow(start, loss, (0.0, 2000.0), t_eval=np.geomspace(0.1, 2000, 400), record=record)
    >>> way = itinerary(sol)
    >>> way.kind.tolist()
    ['saddle', 'saddle', 'global_minimum']
    >>> kinds(sol, way).tolist()
    ['nonstrict_saddle', 'nonstrict_saddle', 'global_minimum']
    """
    if sol.weights is None:
        raise ValueError('"weights" were not recorded: call flow(..., record=(..., "weights"))')
    if way.single != sol.single or len(way) != len(sol):
        raise ValueError(f"way is the itinerary of other trajectories: {len(way)} of them, not {len(sol)}")
    found: NDArray[np.str_] = _batch(way.kind, sol.single).astype("U16")  # room for "nonstrict_saddle"
    learned, closest = _batch(way.learned, sol.single), _batch(way.closest, sol.single)
    weights = tuple(_batch(W, sol.single) for W in sol.weights)
    losses = sol.loss_function
    for n, p in np.argwhere(found == "saddle"):
        record = int(np.argmin(np.abs((sol.t[n] if sol.varied else sol.t) - closest[n, p])))
        loss = losses[n] if losses.batch_shape else losses
        modes = tuple(map(int, np.flatnonzero(learned[n, p])))
        found[n, p] = _kind(tuple(W[n, record] for W in weights), loss, modes) or "saddle"
    return np.asarray(found[0]) if sol.single else found


def _batch(values: NDArray[Any], single: bool) -> NDArray[Any]:
    return values[None] if single else values


def _kind(weights: Weights, loss: Loss, learned: tuple[int, ...]) -> str | None:
    """The kind of the critical point nearby with these modes learned; None if there is none."""
    white = whiten(loss, "kinds")
    if not relative_gradient(white.there(weights)[1], white.loss) <= NEARLY:
        return None
    try:
        point = classify(refine(weights, loss), loss)
    except ArithmeticError:  # no critical point was found from here
        return None
    return point.kind if point.is_critical and point.learned == learned else None
