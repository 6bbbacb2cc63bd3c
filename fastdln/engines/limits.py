"""What engines decide alike: goals, limits and the numbers of step-size control."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.base import Problem
from fastdln.integrate.descent import Descent
from fastdln.integrate.methods import gains, growth_limits
from fastdln.losses import modes_of

DIGITS = 30  # binary ones, of singular values that steps depend on

# Part of the tolerance to which the times are located at which modes are learned.
TIMING = 0.01

# Near the end of a trajectory that is to be certified, the tolerance of explicit methods, whose steps stability limits
# there, is scaled by TIGHT, but not to less than ROUNDING times the rounding unit.
TIGHT, ROUNDING = 2.0**-10, 16.0


def numbers(problem: Problem) -> dict[str, float]:
    """The parameters of step-size control."""
    stop_gradient, stop_loss = problem.options.stop_gradient, problem.options.stop_loss
    return {
        "end": problem.duration,
        "rtol": problem.options.rtol,
        **gains(problem.options.method)._asdict(),
        "max_attempts": problem.options.max_steps,
        "fixed_step": problem.options.step or 0.0,
        "growth_cap": growth_caps(problem)[0],
        "stop_gradient": -1.0 if stop_gradient is None else stop_gradient,
        "stop_loss2": -1.0 if stop_loss is None else 2 * (stop_loss - problem.loss.floor),
        "direction": problem.direction,
        # ||T||_2^2 is at most this many times the sum over pairs of layers, each once
        "growth_share": 2 * (1 - 1 / problem.network.depth),
        "growth_doubt": math.sqrt(max(problem.network.widths)) - 1.0,
    }


def hides_growth(problem: Problem) -> bool:
    """Whether steps are limited by the growth of what no error norm sees: see `fastdln.kernels.lockstep.growth`."""
    return problem.network.depth > 1 and problem.options.step is None and problem.direction > 0


def growth_caps(problem: Problem) -> tuple[float, float]:
    """The largest steps times the rate of hidden growth with learning rates of 1, or 0; the second for RKC2."""
    if not hides_growth(problem):
        return 0.0, 0.0
    method = problem.options.method
    assert not isinstance(method, Descent)  # its steps are fixed
    first, second = growth_limits(method, problem.options.rtol)
    fastest = max(problem.options.layer_rates or (1.0,))
    return first / fastest, second / fastest


def least_losses(problem: Problem) -> NDArray[np.float64]:
    """Twice the least loss above its floor, for each target: the squares of the modes that the widths cannot hold.

    Of the singular values only those digits are taken that do not depend on the library that finds them.
    """
    form = problem.loss.quadratic
    if form is None:
        return np.zeros(math.prod(problem.loss.batch_shape))
    whitened = form.whitened.reshape(-1, *problem.loss.shape)
    if not hides_growth(problem) or problem.network.rank >= min(problem.loss.shape):
        return np.zeros(len(whitened))
    return np.array([_rounded_squares(np.linalg.svd(S, compute_uv=False)[problem.network.rank :]) for S in whitened])


def _rounded_squares(values: NDArray[np.floating]) -> float:
    """The sum of the squares of numbers, largest first, each rounded to the same place."""
    unit = math.ldexp(1.0, math.frexp(float(values[0]))[1] - DIGITS) if values[0] > 0 else 1.0
    return math.fsum((round(float(value) / unit) * unit) ** 2 for value in values)


def goals(problem: Problem) -> NDArray[Any]:
    """Strengths at which modes are learned, one row for each target; infinite where a mode is not waited for.

    A mode counts as learned at half its singular value; one whose singular value is rounding is never learned.
    """
    loss, dtype = problem.loss, problem.start.dtype
    if not problem.watched:
        return np.zeros((math.prod(loss.batch_shape), 0), dtype)
    sigma = modes_of(loss, "learning_times").sigma.reshape(-1, loss.n_modes)
    learnable = sigma > 1e-12 * sigma[:, :1] if problem.learning else np.zeros(sigma.shape, bool)
    return np.where(learnable, sigma / 2, np.inf).astype(dtype)


def timing(problem: Problem) -> float:
    """How well a strength must meet its threshold at the time that is found, in units of the threshold."""
    return max(TIMING * problem.options.rtol, 16 * float(np.finfo(problem.start.dtype).eps))


def reachable(widths: tuple[int, ...]) -> NDArray[np.int64]:
    """Whether the layers below a layer can reach all inputs, and those above it all outputs.

    Nothing bounds the path of a network in which this is true of no layer: it may rest in saddles.
    """
    below = [d >= widths[0] for d in accumulate(widths[:-1], min)]
    above = [d >= widths[-1] for d in accumulate(widths[:0:-1], min)][::-1]
    return np.array([a and b for a, b in zip(below, above, strict=True)], np.int64)


def tightest(problem: Problem) -> float:
    """By what the tolerance of steps is scaled near the end."""
    if not problem.options.method.explicit:
        return 1.0
    return min(1.0, max(TIGHT, ROUNDING * float(np.finfo(problem.start.dtype).eps) / problem.options.rtol))
