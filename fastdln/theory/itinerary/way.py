"""Reading the itinerary of every trajectory off what was recorded."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastdln.checks import real, shown
from fastdln.losses import Loss, check_loss, quadratic_of
from fastdln.theory.itinerary.learning import learning
from fastdln.theory.itinerary.plateaus import Plateaus, plateaus
from fastdln.theory.itinerary.reading import read
from fastdln.theory.itinerary.result import KINDS, Itinerary

if TYPE_CHECKING:
    from fastdln.results.trajectories import Trajectories

__all__ = ["itinerary"]


def itinerary(sol: Trajectories, loss: Loss | None = None, tol: float = 0.1) -> Itinerary:
    """Tell for every trajectory which plateaus it passed, and in which order it learned the modes.

    A record belongs to the plateau with the learned modes S, those with a strength w_j >= sigma_j/2, where

        |w_j - sigma_j| <= tol sigma_j for j in S,
        |w_j| <= tol sigma_j for the others (tol sigma_1 where sigma_j = 0),
        |dL/d ln t| <= tol D,   D = L_S - L_floor + 1/2 min_{j in S} sigma_j^2   (t from the start of the span),
        and what no strength sees, the rest of U' W V, is at most tol sqrt(2 D) in norm.

    L_S = L_floor + 1/2 sum_{j not in S} sigma_j^2 is the critical value, so that D is the loss one mode higher: what
    the plateau stands out from. The last line follows from the loss and the strengths, and makes sure that the product
    is near the critical one. A plateau is a longest stretch of records that belong to one S.

    Parameters
    ----------
    sol : Trajectories
        With the observables that `records` names recorded, at times that resolve the plateaus.
    loss : Loss, optional
        The loss that was descended, as ``sol`` knows it itself.
    tol : float
        Between 0 and 1/2.

    Returns
    -------
    Itinerary
        Arrays over trajectories.

    Raises
    ------
    TypeError
        If ``sol`` is no `Trajectories`, or its loss has inputs that do not span R^{d_0}.
    ValueError
        If an observable that is needed was not recorded, ``loss`` is another one, or ``tol`` is out of range.

    Notes
    -----
    *Times.* Modes are learned at the recorded learning times where these are there, otherwise at what interpolation of
    the strengths in the logit of w_j/sigma_j gives; plateaus are entered and left where the worst of the criteria,
    relative to what it allows, passes 1 by interpolation of its logarithm. dL/dt is minus the square of the recorded
    gradient norm where there is one, for flows without weight decay and with equal learning rates; otherwise it is
    the difference of the recorded losses.

    *Kinds.* A "global_minimum" has learned the leading min(r_max, rank Sigma) modes. A saddle is a "strict_saddle" if a
    larger mode is unlearned than a learned one, and always for two layers; otherwise it may be strict or not, depending
    on the weights, and is a "saddle" (E. Achour, F. Malgouyres & S. Gerchinovitz, JMLR 25 (2024) 242): `kinds` tells
    them apart where weights were recorded.

    *Equal singular values.* Modes that share sigma (within 1e-9 sigma_1) are a subspace, of which critical points learn
    any part: then only the sum of their strengths counts, which passes (i - 1/2) sigma when the i-th of them is
    learned, and the modes stand for the first, the second, ... of them. Those with sigma_j <= 1e-12 sigma_1 are never
    learned; a target that is zero has no plateaus.

    *Depth one.* The only critical point is the minimum, so there are no other plateaus; and none has more than r_max
    modes learned.

    *Unwhitened inputs.* Critical points are those of the whitened target Sigma_yx Sigma_xx^(-1/2), and so are modes and
    strengths here, taken from the recorded weights.

    Near the start of the span log time passes quickly: a start whose product is near critical is on a plateau for a
    while even where its gradient is not small, which `Itinerary.grad_norm` tells.

    Examples
    --------
    >>> import fastdln as dln
    >>> loss = dln.Quadratic.from_singular_values((4.0, 1.0), shape=(2, 2))
    >>> start = dln.inits.decoupled(dln.Network((2, 2, 2)), loss, 1e-4)
    >>> record = ("loss", "strengths", "grad_norm", "learning_times")
    >>> sol = dln.flow(start, loss, (0.0, 40.0), t_eval=np.linspace(0, 40, 400), record=record)
    >>> way = itinerary(sol)
    >>> way.value, way.order, bool(way.sequential)
    (array([8.5, 0.5, 0. ]), array([0, 1]), True)
    >>> way.entry.round(1), way.exit.round(1)
    (array([ 0. ,  2.8, 10.7]), array([1.8, 7.8, inf]))
    """
    if loss is not None:
        check_loss(loss)
    if not 0 < real("tol", tol) < 0.5:
        raise ValueError(f"tol must lie between 0 and 1/2, not {shown(tol)}")
    parts = [(rows.start, plateaus(part, tol), *learning(part)) for rows, part in read(sol, loss)]
    if not parts:
        raise ValueError("sol has no trajectories")
    firsts, found, *learned = zip(*parts, strict=True)
    times, order, windows, sequential = (np.concatenate(arrays) for arrays in learned)
    lists = {f.name: np.concatenate([getattr(p, f.name) for p in found]) for f in dataclasses.fields(Plateaus)}
    trajectory = np.concatenate([first + p.trajectory for first, p in zip(firsts, found, strict=True)])
    n_plateaus = np.bincount(trajectory, minlength=len(times))
    place = np.arange(trajectory.size) - np.repeat(np.cumsum(n_plateaus) - n_plateaus, n_plateaus)

    def padded(values: NDArray[Any], fill: Any) -> NDArray[Any]:
        table = np.full((len(times), n_plateaus.max(), *values.shape[1:]), fill, values.dtype)
        table[trajectory, place] = values
        return table

    everything = Itinerary(
        n_plateaus=n_plateaus,
        value=padded(lists["value"] + quadratic_of(sol.loss_function, "an itinerary").floor, np.nan),
        learned=padded(lists["learned"], False),
        counts=padded(lists["counts"].astype(np.int16), -1),
        kind=padded(np.array(KINDS)[lists["kind"]], ""),
        **{name: padded(lists[name], np.nan) for name in ("entry", "exit", "closest", "distance", "grad_norm")},
        learning_times=times, order=order, windows=windows, sequential=sequential, single=False,
    )  # fmt: skip
    return everything[0] if sol.single else everything
