"""How states between the ends of a step are had, and how it is told that they are right.

What is left of stiff motion at the beginning of a step is damped at its end, but not between: continuous output of high
order enlarges it, by tens of times for DOP853 where stability limits the steps.  There the cubic through the states and
slopes at both ends is right, which in turn is not where steps are long.  Which of them is right the defect tells; where
none is, a step within the step takes their place.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdln.integrate.interpolate import hermite
from fastdln.integrate.tableau import Tableau

ENLARGED = 5.0  # the error of output, in units of that of the step, from which on it is checked
MOST = 3.0  # error that is let pass, in units of the tolerance
GROWING = 1.0  # the largest z of growth that is looked at


class Output(NamedTuple):
    """Continuous output, and its check."""

    dense: NDArray[np.float64]  # polynomials of the slopes, without the constant term
    theta: float  # where it is checked
    slant: NDArray[np.float64]  # weights of the slopes in du/dtheta / h there
    most: float  # norm of h (du/dt - f(u)) there, above which it is wrong; infinite where it need not be checked


@functools.lru_cache(maxsize=64)
def outputs(tableau: Tableau) -> tuple[Output, ...]:
    """The outputs of a method, in the order in which they are tried: its own and, where that is checked, the cubic.

    The cubic needs no stages beyond those of the step, and is given over its slopes only.
    """
    own = _checked(tableau, np.array(tableau.dense))
    if not np.isfinite(own.most):
        return (own,)
    cubic = np.zeros((tableau.stages, own.dense.shape[1]))
    cubic[:, :3] = hermite(tableau.b)
    return own, _checked(tableau, cubic, needed=True)


def tried(tableau: Tableau, adaptive: bool) -> tuple[Output, ...]:
    """The outputs of a method that are tried; its own alone with fixed steps, which have no tolerance to be held to."""
    return outputs(tableau) if adaptive else outputs(tableau)[:1]


def _checked(tableau: Tableau, dense: NDArray[np.float64], needed: bool = False) -> Output:
    """Output with its check, where that is ``needed`` or found to be.

    On y' = z y with z from the end of stability to GROWING, the error of the output anywhere in the step is known from
    its defect at one theta: that where the defect is never small beside the error.
    """
    theta = np.linspace(0.0, 1.0, 101)
    degrees = np.arange(1, dense.shape[1] + 1)
    powers = theta[:, None] ** degrees
    slants = degrees * theta[:, None] ** (degrees - 1)
    unchecked = Output(dense, 0.0, np.zeros(len(dense)), np.inf)
    if not tableau.errors:
        return unchecked
    ratios = []
    for z in [0.5 * GROWING, GROWING, *np.arange(-0.5, -40.0, -0.25)]:
        slopes, ends = _scalar(tableau, z)
        if abs(ends[0]) > max(1.0, np.exp(z)) + 1e-3:
            break
        taken = slopes[: len(dense)]
        output = 1.0 + powers @ dense.T @ taken
        error = np.abs(output - np.exp(z * theta)).max()
        needed |= bool(z < -1.0 and error > ENLARGED * max(abs(ends[0] - np.exp(z)), *ends[1:]))
        ratios.append(np.abs(slants @ dense.T @ taken - z * output) / error)
    if not needed:
        return unchecked
    worst = np.min(ratios, axis=0)
    at = int(np.argmax(worst))
    return Output(dense, float(theta[at]), slants[at] @ dense.T, MOST * float(worst[at]))


def _scalar(tableau: Tableau, z: float) -> tuple[NDArray[np.float64], list[float]]:
    """Slopes of a step of length 1 of y' = z y from 1; where it ends, and the error estimates."""
    slopes = np.zeros(len(tableau.rows))
    for s, row in enumerate(tableau.rows):
        slopes[s] = z * (1.0 + np.dot(row, slopes[: len(row)]))
    end = 1.0 + np.dot(tableau.b, slopes[: len(tableau.b)])
    return slopes, [float(end), *(abs(float(np.dot(row, slopes[: len(row)]))) for row in tableau.errors)]
