"""The limit of steps by growth that no error norm sees, as engines are told: see `fastdln.kernels.lockstep.growth`."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.base import Problem
from fastdln.engines.lockstep.methods import growth_limits
from fastdln.integrate.stabilized import Stabilized
from fastdln.kernels.lockstep import workspace as layout
from fastdln.kernels.lockstep.growth import EVERY, FIRST_ROUNDS, FIRST_ROUNDS_ALONE, Growth, growth
from fastdln.kernels.products.program import Program

DIGITS = 30  # binary ones, of singular values that steps depend on


def hides_growth(problem: Problem) -> bool:
    """Whether steps are limited by the growth of what no error norm sees: see `fastdln.kernels.lockstep.growth`."""
    return problem.network.depth > 1 and problem.options.step is None and problem.direction > 0


def hidden_growth(problem: Problem, plan: Program, unit: int) -> Growth:
    """The look at hidden growth behind a program; nothing where it does not limit steps."""
    if not hides_growth(problem):
        return Growth((), (), 0, 0, 0, plan.n_scratch)
    return growth(plan, problem.network.widths, unit)


def growth_caps(problem: Problem) -> tuple[float, float]:
    """The largest steps times the rate of hidden growth with learning rates of 1, or 0; the second for RKC2."""
    if not hides_growth(problem):
        return 0.0, 0.0
    first, second = growth_limits(problem.options.method, problem.options.rtol)
    fastest = max(problem.options.layer_rates or (1.0,))
    return first / fastest, second / fastest


def least_losses(problem: Problem) -> NDArray[np.float64]:
    """Twice the least loss above its floor, for each target: the squares of the modes that the widths cannot hold.

    Of the singular values so many digits are taken as do not depend on the library that finds them.
    """
    whitened = problem.loss.whitened.reshape(-1, *problem.loss.shape)
    if not hides_growth(problem) or problem.network.rank >= min(problem.loss.shape):
        return np.zeros(len(whitened))
    return np.array([_rounded_squares(np.linalg.svd(S, compute_uv=False)[problem.network.rank :]) for S in whitened])


def _rounded_squares(values: NDArray[np.floating]) -> float:
    """The sum of the squares of numbers, largest first, each rounded to the same place."""
    unit = math.ldexp(1.0, math.frexp(float(values[0]))[1] - DIGITS) if values[0] > 0 else 1.0
    return math.fsum((round(float(value) / unit) * unit) ** 2 for value in values)


def look_sizes(
    problem: Problem, hidden: Growth, lanes: int, plan: Program, least: NDArray[np.float64]
) -> dict[str, int]:
    """What the kernels are told of the look at hidden growth."""
    by = layout.BY_LOSS if "root" in plan.constants else layout.BY_RESIDUAL
    return {
        # stabilized methods go far in a step, and a look is cheap beside their stages
        "every": EVERY if hidden.norms and not isinstance(problem.options.method, Stabilized) else 1,
        "first_rounds": FIRST_ROUNDS if lanes > 1 else FIRST_ROUNDS_ALONE,
        "n_norms": len(hidden.norms),
        "residual": hidden.residual,
        "vectors": hidden.vectors,
        "n_vectors": hidden.n_vectors,
        "excess": by if hidden.norms and least.any() else 0,
    }
