"""Where continuous output is to be checked: its defect tells its error.

What is left of stiff motion at the beginning of a step is damped at its end, but not between: continuous output of high
order enlarges it, by tens of times for DOP853 where stability limits the steps.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdln.integrate.tableau import Tableau

ENLARGED = 5.0  # the error of output, in units of that of the step, from which on it is checked
MOST = 2.5  # error that is let pass, in units of the tolerance
GROWING = 1.0  # the largest z of growth that is looked at


class Check(NamedTuple):
    """Where in a step to look, and from what on output is wrong."""

    slant: NDArray[np.float64]  # weights of the slopes in du/dtheta / h there
    theta: float
    most: float  # of the norm of h (du/dt - f(u)) there


@functools.lru_cache(maxsize=64)
def check(tableau: Tableau) -> Check | None:
    """How the output of a method is checked; None where that is not needed.

    On y' = z y with z from the end of stability to GROWING, the error of the output anywhere in the step is known from
    its defect at one theta: that where the defect is never small beside the error.
    """
    if not tableau.errors:
        return None
    theta = np.linspace(0.0, 1.0, 101)
    dense = np.array(tableau.dense)
    degrees = np.arange(1, dense.shape[1] + 1)
    powers = theta[:, None] ** degrees
    slants = degrees * theta[:, None] ** (degrees - 1)
    enlarged, ratios = False, []
    for z in [0.5 * GROWING, GROWING, *np.arange(-0.5, -40.0, -0.25)]:
        slopes, ends = _scalar(tableau, z)
        if abs(ends[0]) > max(1.0, np.exp(z)) + 1e-3:
            break
        output = 1.0 + powers @ dense.T @ slopes
        error = np.abs(output - np.exp(z * theta)).max()
        enlarged |= z < -1.0 and error > ENLARGED * max(abs(ends[0] - np.exp(z)), *ends[1:])
        ratios.append(np.abs(slants @ dense.T @ slopes - z * output) / error)
    if not enlarged:
        return None
    worst = np.min(ratios, axis=0)
    at = int(np.argmax(worst))
    return Check(slants[at] @ dense.T, float(theta[at]), MOST * float(worst[at]))


def _scalar(tableau: Tableau, z: float) -> tuple[NDArray[np.float64], list[float]]:
    """Slopes of a step of length 1 of y' = z y from 1; where it ends, and the error estimates."""
    slopes = np.zeros(len(tableau.rows))
    for s, row in enumerate(tableau.rows):
        slopes[s] = z * (1.0 + np.dot(row, slopes[: len(row)]))
    end = 1.0 + np.dot(tableau.b, slopes[: len(tableau.b)])
    return slopes, [float(end), *(abs(float(np.dot(row, slopes[: len(row)]))) for row in tableau.errors)]
