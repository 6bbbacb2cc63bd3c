"""The look at hidden growth, as the kernels are told of it: see `fastdln.kernels.lockstep.growth`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.base import Problem
from fastdln.engines.limits import hides_growth
from fastdln.kernels.lockstep import workspace as layout
from fastdln.kernels.lockstep.growth import EVERY, FIRST_ROUNDS, FIRST_ROUNDS_ALONE, Growth, growth
from fastdln.kernels.products.program import Program


def hidden_growth(problem: Problem, plan: Program, unit: int) -> Growth:
    """The look at hidden growth behind a program; nothing where it does not limit steps."""
    if not hides_growth(problem):
        return Growth((), (), 0, 0, 0, plan.n_scratch)
    return growth(plan, problem.network.widths, unit)


def look_sizes(
    problem: Problem, hidden: Growth, lanes: int, plan: Program, least: NDArray[np.float64]
) -> dict[str, int]:
    """What the kernels are told of the look at hidden growth."""
    by = layout.BY_LOSS if "root" in plan.constants else layout.BY_RESIDUAL
    return {
        # stabilized methods go far in a step, and a look is cheap beside their stages
        "every": EVERY if hidden.norms and problem.options.method.explicit else 1,
        "first_rounds": FIRST_ROUNDS if lanes > 1 else FIRST_ROUNDS_ALONE,
        "n_norms": len(hidden.norms),
        "residual": hidden.residual,
        "vectors": hidden.vectors,
        "n_vectors": hidden.n_vectors,
        "excess": by if hidden.norms and least.any() else 0,
    }
