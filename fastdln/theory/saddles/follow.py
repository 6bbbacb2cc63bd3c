"""Following the flow from saddle to saddle."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastdln.checked import checked
from fastdln.field import gradient_norm
from fastdln.gradient_flow import Stop, flow
from fastdln.linalg import Floats
from fastdln.losses import Loss
from fastdln.network import Weights
from fastdln.theory.landscape import CriticalPoint, classify, refine
from fastdln.theory.saddles.arcs import escape_arc
from fastdln.theory.whitening import whiten

__all__ = ["Path", "follow"]

_FIRST_PIECE = 10.0  # the length of the first piece of a leg, in units of ||Sigma||_2^{2/h - 2}; the next are doubled
_SAMPLES = 64  # records of a piece, among which a plateau is looked for
_ARRIVED = 1e-9  # gradients, in units of ||Sigma||_2^{2 - 1/h}, at which the flow has come to rest
_DIP = 0.3  # on a plateau the gradient is below this part of the largest one before it


@dataclass(frozen=True, eq=False)
class Path:
    """The critical points that a path from saddle to saddle came by.

    Parameters
    ----------
    points : tuple of weights
        The critical points, in order; the first is the start, refined, where that is critical.
    found : tuple of CriticalPoint
        What `landscape.classify` says of each.
    times : ndarray, shape (k,)
        The time of the flow to each plateau from the end of the step along the arc of the saddle before; 0 for a start
        that is critical.
    status : str
        "minimum": the path ended in a global minimum; "max_legs": it was cut off after `max_legs` legs; "lost": a leg
        came to no plateau within its time or before the integration failed, or no arc leads on.
    message : str
        The status in words.
    """

    points: tuple[Weights, ...]
    found: tuple[CriticalPoint, ...]
    times: Floats
    status: Literal["minimum", "max_legs", "lost"]
    message: str

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kind of each point."""
        return tuple(point.kind for point in self.found)

    @property
    def values(self) -> Floats:
        """The loss at each point."""
        return np.array([point.value for point in self.found])

    @property
    def learned(self) -> tuple[tuple[int, ...] | None, ...]:
        """The learned modes at each point, as `landscape.classify` gives them."""
        return tuple(point.learned for point in self.found)


@checked
def follow(
    weights: Sequence[ArrayLike],
    loss: Loss,
    *,
    max_legs: int = 20,
    alpha: float = 0.1,
    t_max: float = 1e6,
    rtol: float = 1e-8,
    tol: float = 1e-7,
) -> Path:
    """Follow the flow from saddle to saddle until it ends in a global minimum.

    A saddle is left by a step along its escape arc. From there, or from a start that is no critical point, the flow is
    integrated to the next plateau, where the norm of its gradient has fallen to a minimum or to zero; the critical
    point there is refined and classified, and the path goes on from it. (Survey, arXiv 2511.10362, section on saddles:
    for small balanced starts the modes are learned one after the other, by falling sigma.)

    Parameters
    ----------
    weights : tuple of h arrays, shape (d_i, d_{i-1})
        The start: a critical point, or any other.
    loss : Loss
        The loss, with one target.
    max_legs : int
        The largest number of legs.
    alpha : float
        How far along an arc a saddle is left, in (0, 0.1]: see `escape_arc`.
    t_max : float
        The longest time of a leg, in units of ||Sigma||_2^{2/h - 2}.
    rtol : float
        The relative tolerance of the integration.
    tol : float
        The tolerance of `landscape.classify`.

    Returns
    -------
    Path
        The critical points on the way, with their kinds, values and times.

    Raises
    ------
    TypeError
        If the inputs of the loss cannot be whitened.
    ValueError
        If the weights are not one finite network that fits the loss, the target is zero, or an option is out of range.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> path = follow((np.zeros((2, 2)),) * 3, Quadratic(np.diag([2.0, 1.0])))
    >>> path.learned
    ((), (0,), (0, 1))
    >>> path.kinds
    ('nonstrict_saddle', 'nonstrict_saddle', 'global_minimum')
    >>> path.values.round(9)
    array([2.5, 0.5, 0. ])
    """
    unit = _unit(weights, loss)
    if operator.index(max_legs) < 1:
        raise ValueError(f"max_legs must be at least 1, not {max_legs}")
    if not 0 < alpha <= 0.1:
        raise ValueError(f"alpha must be in (0, 0.1], where the loss falls along an arc, not {alpha!r}")
    if not 0 < t_max < np.inf:
        raise ValueError(f"t_max must be positive and finite, not {t_max!r}")
    current = tuple(np.asarray(W, dtype=np.float64) for W in weights)
    critical = classify(current, loss, tol).is_critical
    first = _visit(current, 0.0, loss, tol) if critical else None
    path = [first] if first is not None else []
    for _ in range(max_legs):
        if path and path[-1].found.kind == "global_minimum":
            break
        try:
            current = escape_arc(path[-1].point, loss, tol).weights_at(alpha) if path else current
        except ValueError as error:
            return _path(path, "lost", str(error))
        visit = _leg(current, loss, path[-1].found.value if path else np.inf, unit, t_max, rtol, tol)
        if isinstance(visit, str):
            return _path(path, "lost", visit)
        path.append(visit)
    if path[-1].found.kind == "global_minimum":
        return _path(path, "minimum", "the path ended in a global minimum")
    return _path(path, "max_legs", f"the path was cut off after {max_legs} legs; raise max_legs")


class _Visit(NamedTuple):
    """A critical point on the way."""

    point: Weights
    found: CriticalPoint
    time: float


def _path(visits: Sequence[_Visit], status: Literal["minimum", "max_legs", "lost"], message: str) -> Path:
    return Path(
        points=tuple(visit.point for visit in visits),
        found=tuple(visit.found for visit in visits),
        times=np.array([visit.time for visit in visits]),
        status=status,
        message=message,
    )


def _unit(weights: Sequence[ArrayLike], loss: Loss) -> float:
    """||Sigma||_2^{1/h}, the size of the layers of a minimum."""
    whitened = whiten(loss, "follow")
    net, arrays = whitened.there(weights)
    if arrays[0].ndim > 2:
        raise ValueError(f"follow takes one network; weights has the batch axes {arrays[0].shape[:-2]}")
    sigma = float(np.linalg.norm(whitened.loss.target, 2))
    if sigma == 0:
        raise ValueError("the target is zero: every critical point is a global minimum, and there is no path to follow")
    return float(sigma ** (1 / net.depth))


def _leg(start: Weights, loss: Loss, below: float, unit: float, t_max: float, rtol: float, tol: float) -> _Visit | str:
    """Integrate to a plateau whose critical point has a lower loss than `below`, or say why there is none."""
    h = len(start)
    rest = min(_ARRIVED * unit ** (2 * h - 1), 1e-3 * float(gradient_norm(start, loss)))
    clock = unit ** (2 - 2 * h)
    elapsed, piece = 0.0, _FIRST_PIECE * clock
    current, highest = start, 0.0
    before: list[tuple[float, float, Weights]] = []  # the last two records: time, gradient, weights
    while elapsed < t_max * clock:
        times = np.linspace(0.0, piece, _SAMPLES + 1)[1:]
        sol = flow(
            current, loss, (0.0, piece), times, rtol=rtol, record=("grad_norm", "weights"), stop=Stop(grad_norm=rest)
        )
        if not sol.success:
            return f"the integration failed after the time {elapsed + float(sol.t_final):.3g}: {sol.message}"
        gradients, recorded = np.asarray(sol.grad_norm), sol.weights
        for k in np.flatnonzero(np.isfinite(gradients)):
            record = (elapsed + float(times[k]), float(gradients[k]), tuple(W[k] for W in recorded))
            if len(before) == 2 and _dips(before[0][1], before[1][1], record[1], highest):
                visit = _visit(before[1][2], before[1][0], loss, tol)
                if visit is not None and visit.found.value < below:
                    return visit
            before = [*before[-1:], record]
            highest = max(highest, record[1])
        current = sol.final
        elapsed += float(sol.t_final)
        if sol.t_final < piece:
            visit = _visit(current, elapsed, loss, tol)
            if visit is not None and visit.found.value < below:
                return visit
            return f"the flow came to rest after the time {elapsed:.3g}, but near no critical point of lower loss"
        piece *= 2
    return f"no plateau was found in the time {elapsed:.3g}; raise t_max"


def _dips(earlier: float, gradient: float, later: float, highest: float) -> bool:
    """Whether the gradient has a minimum, well below what it was before."""
    return earlier > gradient < later and gradient <= _DIP * highest


def _visit(near: Weights, time: float, loss: Loss, tol: float) -> _Visit | None:
    """The critical point near a plateau, if there is one."""
    try:
        point = refine(near, loss)
    except (ArithmeticError, ValueError):
        return None
    found = classify(point, loss, tol)
    return _Visit(point, found, time) if found.is_critical else None
