"""Step-size control: the constants of the PI controller.

After an accepted step of error norm e (tolerated: e <= 1) the next step is h times

    safety e^(-alpha) e_old^beta,   within [least, most], and at most 1 after a rejection,

with k = error order + 1, beta = 0.2/k and alpha = 1/k - 0.75 beta: the choice of Hairer and Wanner (Solving Ordinary
Differential Equations II, IV.2, and the code DOPRI5), under which few steps are rejected where stability limits them.
After a rejected step e_old is left out.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdln.integrate.tableau import Tableau

Floats = NDArray[np.float64]


class Gains(NamedTuple):
    """Constants of the controller; ``safety`` as a binary logarithm, as the kernels reckon."""

    safety: float
    least_factor: float
    most_factor: float
    alpha: float
    beta: float


def gains(tableau: Tableau) -> Gains:
    """The controller's constants for a method."""
    k = tableau.error_order + 1
    beta = 0.2 / k
    return Gains(safety=math.log2(0.9), least_factor=0.2, most_factor=10.0, alpha=1 / k - 0.75 * beta, beta=beta)


SERIES = 24  # coefficients of a stability polynomial that count for arguments up to LONGEST
LONGEST = 4.0
FOLLOWED = {1: 30, 2: 30, 3: 15, 4: 10}  # in units of rtol, by order


def followed(coefficients: Floats, order: int, rtol: float) -> float:
    """Largest z = h g at which a method follows growth at rate g: where |ln R(z)/z - 1| is within its bound, and below.

    Needed where no error norm sees the growth: modes not yet learned, hidden behind learned ones.  The bound is 5 rtol,
    and more for methods of an order below 5, whose steps that would make too short.

    Parameters
    ----------
    coefficients : ndarray
        Those of the method's own stability polynomial R, as many as are not 0, or SERIES of them.
    order : int
        The method's order.
    rtol : float
        The relative tolerance.

    Returns
    -------
    float
        Rounded down to ten bits, so that it does not depend on how a mathematical library rounds.
    """
    bound = FOLLOWED.get(order, 5) * rtol
    defect = np.zeros(SERIES)
    defect[: len(coefficients)] = coefficients[:SERIES]
    defect -= [1 / math.factorial(k) for k in range(SERIES)]
    defect[: order + 1] = 0  # but for rounding
    z = np.geomspace(1e-5, LONGEST, 6000)
    error = np.abs(np.log1p(np.exp(-z) * np.polynomial.polynomial.polyval(z, defect))) / z
    last = max(int(np.argmax(np.append(error[:-1] > bound, True))) - 1, 0)
    mantissa, exponent = math.frexp(float(z[last]))
    return math.ldexp(math.floor(mantissa * 1024), exponent - 10)


def times_z(series: Floats) -> Floats:
    """Coefficients of z times a polynomial, as many as before."""
    return np.append(0.0, series[:-1])


def stability_polynomial(tableau: Tableau) -> Floats:
    """Coefficients of R(z), what a step of length z makes of y' = y."""
    A = np.zeros((tableau.stages, tableau.stages))
    for i, row in enumerate(tableau.rows[: tableau.stages]):
        A[i, : len(row)] = row
    coefficients, power = [1.0], np.ones(tableau.stages)
    for _ in range(tableau.stages - 1):
        coefficients.append(float(A[-1] @ power))  # the last row is the step itself
        power = A @ power
    return np.array(coefficients)
