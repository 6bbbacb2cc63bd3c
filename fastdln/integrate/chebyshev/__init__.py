"""Stabilized explicit methods, for stiff flows: Chebyshev recurrences whose stability interval grows as the square of
the number of stages.

A gradient flow has a symmetric Jacobian, so real stiffness: a step h needs all of [-h rho, 0], rho the spectral radius,
inside the interval of stability.  Two families:

**ROCK4** (order 4): a three-term recurrence of some degree m, then four more stages that give it its order; s = m + 4
stages reach 0.353 s^2 - 3.  The four stages multiply what rounding leaves in their slopes by up to `Rock4.noise`, which
grows like s^6: above some tens of stages this, not the damping, is what a small tolerance sees, and steps would never
grow.  So long steps are left to

**RKC2** (order 2): every stage stays of the size of the state, rounding grows no faster than s^2, and coefficients are
formulas for any s; s stages reach (s^2 - 1)/1.54.  Its error estimate and its continuous output are taken from the
stages themselves, the states at c_a and c_b near 1/3 and 2/3: slopes would multiply what is left in stiff directions by
h rho.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fastdln.integrate.chebyshev import rkc2, rock4
from fastdln.integrate.control import Gains, followed
from fastdln.integrate.tableau import Tableau
from fastdln.integrate.tableaus import TSIT5

# of the controller, for errors of order 3; the kernels give those of RKC2 such that they fit
GAINS = Gains(safety=math.log2(0.8), least_factor=0.1, most_factor=5.0, alpha=1 / 4, beta=0.0)


@dataclass(frozen=True)
class Stabilized:
    """A stabilized method.

    Parameters
    ----------
    name : str
        What messages and files call it.
    order : int
        Order of the solution that is carried on, where steps are not so long that order 2 takes them.
    fourth : bool
        Whether ROCK4 takes the steps that it can; else all are RKC2's.
    starter : Tableau, optional
        The explicit method that begins; the stabilized one goes on where stability limits the steps.
    """

    name: str
    order: int
    fourth: bool
    starter: Tableau | None = None

    @property
    def explicit(self) -> bool:
        """Whether its stages are few and fixed, so that stability limits its steps."""
        return False

    @property
    def adaptive(self) -> bool:
        """Whether it estimates its errors, and so may choose its steps."""
        return True

    @property
    def error_order(self) -> int:
        """Order of the error estimate: the local error falls as the power one more of the step."""
        return 3 if self.fourth else 2


ROCK = Stabilized("rock", order=4, fourth=True)
RKC2 = Stabilized("rkc2", order=2, fourth=False)
AUTO = Stabilized("auto", order=4, fourth=True, starter=TSIT5)

STABILIZED = {method.name: method for method in (ROCK, RKC2, AUTO)}


def growth_limits(method: Stabilized, rtol: float) -> tuple[float, float]:
    """Largest h g at which the method follows growth at rate g: while ROCK4 takes the steps, and while RKC2 does."""
    fourth, second = (
        min(followed(series, order, rtol) for series in found)
        for order, found in ((4, rock4.series()), (2, rkc2.series()))
    )
    return (fourth if method.fourth else second), second
