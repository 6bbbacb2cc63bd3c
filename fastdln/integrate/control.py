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

from fastdln.integrate.tableau import Tableau


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


def growth_cap(order: int, rtol: float) -> float:
    """Largest h g at which a method follows growth at rate g to about 10 rtol: ((p + 1)! 10 rtol)^(1/p), p its order.

    Needed where no error norm sees the growth: modes not yet learned, hidden behind learned ones of order one.
    """
    return float((math.factorial(order + 1) * 10 * rtol) ** (1 / order))
