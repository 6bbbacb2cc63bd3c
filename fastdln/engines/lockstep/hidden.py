"""The look at hidden growth, as the kernels are told of it: see `fastdln.kernels.lockstep.growth`."""

from __future__ import annotations

import functools

from fastdln.engines.base import Problem
from fastdln.engines.limits import hides_growth
from fastdln.kernels.lockstep.growth import EVERY, FIRST_ROUNDS, FIRST_ROUNDS_ALONE, Growth, growth
from fastdln.kernels.lockstep.workspace import BY_LOSS, BY_RESIDUAL
from fastdln.kernels.products.program import program
from fastdln.kernels.products.rows import Program
from fastdln.losses.form import Form


def hidden_growth(problem: Problem, plan: Program, unit: int) -> Growth:
    """The look at hidden growth after a program; nothing where it does not limit steps."""
    if not hides_growth(problem):
        return Growth((), (), 0, 0, 0, plan.n_scratch)
    return _growth(problem.network.widths, problem.loss.form, problem.watched, unit, problem.options.modified > 0)


@functools.lru_cache(maxsize=64)
def _growth(widths: tuple[int, ...], form: Form, modes: int, unit: int, negated: bool) -> Growth:
    return growth(program(widths, **form._asdict(), modes=modes, unit=unit, negated=negated), widths, unit)


def attempts_between(problem: Problem, hidden: Growth) -> int:
    """Attempts between looks: stabilized methods go far in a step, and a look is cheap beside their stages."""
    return EVERY if hidden.norms and problem.options.method.explicit else 1


def look_sizes(hidden: Growth, lanes: int, plan: Program, limited: bool) -> dict[str, int]:
    """What the kernels are told of the looks; ``limited``: whether a least loss bounds the growth."""
    by = BY_LOSS if "root" in plan.constants else BY_RESIDUAL
    return {
        "first_rounds": FIRST_ROUNDS if lanes > 1 else FIRST_ROUNDS_ALONE,
        "n_norms": len(hidden.norms),
        "residual": hidden.residual,
        "vectors": hidden.vectors,
        "n_vectors": hidden.n_vectors,
        "excess": by if hidden.norms and limited else 0,
    }
