"""The choice of the engine: the one that is named, or with "auto" that which suits the problem."""

from __future__ import annotations

from collections.abc import Callable

from fastdln.engines.base import Engine, Problem
from fastdln.engines.direct import DIRECT, direct
from fastdln.engines.reduced import Reduced

ENGINES: dict[str, Callable[[Problem], Engine]] = {**DIRECT, "reduced": Reduced.asked}
AUTO = "auto"
NAMES = (AUTO, *ENGINES)


def choose(problem: Problem) -> Engine:
    """The engine of a problem."""
    name, loss = problem.options.engine, problem.loss
    if loss.quadratic is None and name == "reduced":
        raise ValueError(f"engine={name!r} is for losses that are quadratic, not {loss!r}: leave engine out")
    if name != AUTO:
        return ENGINES[name](problem)
    if loss.quadratic is None or problem.descent is not None or problem.options.modified:
        return direct(problem)
    reduced = Reduced.promised(problem.network, problem.loss, problem.start.dtype, problem.options.certify)
    return reduced or direct(problem)
