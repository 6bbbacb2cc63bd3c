"""The tests of the certified finish that are the same for every engine: scalar functions, for Python and compiled code.

With E = 1/2 ||R||_F^2 for the residual R, ``fall`` the rate at which E falls and ``fastest`` the largest rate of a
layer, a check asks in this order: is it too early (`waits`); does the trajectory still move fast (`moves_fast`); by
how much must its loss fall (`shortfall`); and if no more, is the path that is left within the tolerance (`settled`).
Where a number is not one, nothing is settled.
"""

from __future__ import annotations

import math

EVERY = 8  # accepted steps between checks
BACK_OFF = 8  # after a check that failed at step n the next comes at n + n / BACK_OFF, or when it may succeed
UNIT = 2.0**-53
SMALL = 1e-250  # what is below may have lost digits to underflow
BELOW = 1.0 - 1e-12  # a factor that makes a bound of a few operations a lower one
# A trajectory is near its end within REACH sqrt(n) of its tolerances, n the number of entries.
REACH = 16.0


def waits(accepted: int, fall: float, retry_step: float, retry_fall: float) -> bool:
    """Whether it is too early for another check."""
    return accepted < retry_step and fall > retry_fall


def moves_fast(fastest: float, fall: float, reach2: float, delta2: float, steep: float) -> bool:
    """Whether the trajectory moves too fast to be near its end.

    ``reach2`` is the square of the number of tolerances that is near, ``delta2`` that of the tolerance; the loss falls
    no faster than 2 E ``steep``.
    """
    return not fastest * fall <= reach2 * delta2 * steep * steep


def shortfall(fastest: float, twice: float, delta2: float, fall: float, steep: float, noise: float) -> float:
    """By how much the loss must fall: up to 1 a check may succeed.

    ``twice`` is 2 E; ``noise`` bounds the rounding of the residual with which ``fall`` was computed.
    """
    below = delta2 * (fall + steep * (noise * noise))
    return math.inf if below == 0.0 else fastest * twice * twice / below


def residual_bound(twice: float, entries: int, rounding: float) -> float:
    """The norm of the residual, with the rounding of the sum over its entries and of the product in it."""
    return math.sqrt(twice) * (1.0 + UNIT * (entries + 4)) + rounding


def allowed(delta2: float, constant: float, fastest: float) -> float:
    """The square of the residual from which the path is no longer than the tolerance; ``constant`` bounds mu below."""
    return delta2 * constant / fastest * BELOW


def settled(distance: float, most2: float) -> bool:
    """Whether the residual is within what is allowed."""
    return SMALL < most2 < math.inf and distance * distance <= most2


def excess(distance: float, most2: float) -> float:
    """The square of the residual in units of what is allowed."""
    return math.inf if most2 == 0.0 else distance * distance / most2


def retry_fall(fall: float, short: float) -> float:
    """The rate of falling at which the next check may succeed: near the end the loss and its slope fall alike."""
    return math.inf if short == 0.0 else 1.25 * fall / short


def retry_step(accepted: int) -> float:
    """The number of accepted steps at which the next check comes in any case."""
    return accepted + accepted / BACK_OFF


def shifted(size: float, shift: float, norm: float, delta: float) -> float:
    """By how much a product of layers changes where each moves_fast by delta, with one more layer of a norm.

    ``size`` is the product of the norms before, ``shift`` the change so far.
    """
    return shift * (norm + delta) + size * delta


def lowered(value: float, shift: float, rounding: float) -> float:
    """A singular value of a product, less what moving its layers and rounding can take from it; 0 where that is all."""
    value -= shift * (1.0 + 1e-12) + rounding
    return value if value > 0.0 else 0.0
