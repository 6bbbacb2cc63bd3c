"""Integration of reduced equations to nearly full precision, by SciPy's method of order 8."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.integrate import DOP853

from fastdln.linalg import Floats

__all__ = ["integrate"]

_RTOL = 1e-13
_MAX_STEPS = 20_000
_STEPS_BETWEEN_CHECKS = 10


def integrate(
    field: Callable[[Floats], Floats],
    start: Floats,
    t: Floats,
    atol: float,
    limit: Callable[[Floats], Floats | None],
) -> Floats:
    """Integrate dy/dt = field(y) from t = 0 in both directions.

    Parameters
    ----------
    field : callable
        The velocity of a state.
    start : ndarray, shape (n,)
        The state at t = 0.
    t : ndarray, shape (n_t,)
        Times, in any order.
    atol : float
        The absolute tolerance of a step, beside a relative one of 1e-13.
    limit : callable
        From a state, the state in which the trajectory ends where it is there up to rounding, else None.

    Returns
    -------
    ndarray, shape (n_t, n)
        The states; NaN at negative times before which the solution came from infinity.

    Raises
    ------
    ArithmeticError
        If a time is not reached within 20000 steps.
    """
    states = np.empty((len(t), len(start)))
    order = np.argsort(t)
    past, future = order[t[order] < 0][::-1], order[t[order] >= 0]
    states[future] = _forwards(field, start, t[future], atol, limit)
    states[past] = _forwards(lambda y: -field(y), start, -t[past], atol, lambda y: None)
    if np.isnan(states[future]).any():
        raise ArithmeticError("the solution could not be continued: the method's steps became too small")
    return states


def _forwards(
    field: Callable[[Floats], Floats],
    start: Floats,
    t: Floats,
    atol: float,
    limit: Callable[[Floats], Floats | None],
) -> Floats:
    """The states at increasing times, NaN from where the method fails."""
    states = np.full((len(t), len(start)), np.nan)
    solver = DOP853(lambda _, y: field(y), 0.0, start, np.inf, rtol=_RTOL, atol=atol)
    steps = 0
    for n, time in enumerate(t):
        solver.t_bound = time
        while solver.t < time:
            solver.status = "running"
            with np.errstate(all="ignore"):  # the method tries steps that overflow, and rejects them
                solver.step()
            if solver.status == "failed":
                return states
            steps += 1
            if steps % _STEPS_BETWEEN_CHECKS == 0 and (end := limit(solver.y)) is not None:
                states[n:] = end
                return states
            if steps > _MAX_STEPS:
                raise ArithmeticError(
                    f"after {_MAX_STEPS} steps the solution is at t = {solver.t:.6g}, short of {time:.6g}: "
                    f"its fastest rate is too fast for so long a time"
                )
        states[n] = solver.y
    return states
