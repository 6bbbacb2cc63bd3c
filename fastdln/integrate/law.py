"""How a trajectory begins and ends, and what it counts: scalar functions, called from Python and from compiled code.

They hold plain numbers and no arrays; Numba compiles them as they are.
"""

from __future__ import annotations

import math

from fastdln.integrate.status import Status

FINISHED, STOPPED, MAX_STEPS, NONFINITE, STEP_TOO_SMALL, DIVERGED = map(int, Status)
SMALLEST = 2.0**-51  # a step below this part of the time is lost in its rounding
LARGEST = 1e300  # the largest norm with which a trajectory begins
# Slopes are scaled by a power of two while they are squared for the first step: they may be far above their tolerance.
DOWN, DOWN_SINGLE = 2.0**-300, 2.0**-40
TURNS, DOUBTS, LEAST_ORDER = 2.0, 5.0, 4  # see `length_of_step`


def verdict(stopped: bool, reached: float, end: float, next_step: float, failed: bool, fixed: bool) -> int:
    """The status of a trajectory that is over; ``failed``: its last attempt was not finite."""
    if stopped:
        return STOPPED
    if reached >= end:
        return FINISHED
    if not next_step > reached * SMALLEST or (fixed and failed):
        return NONFINITE if failed else STEP_TOO_SMALL
    return MAX_STEPS


def slopes_taken(attempts: int, stages: int, fixed: bool) -> int:
    """Right-hand sides of an explicit method, without those that only records need."""
    first = 1 if fixed or attempts == 0 else 2  # the first step takes a slope to choose
    return first + attempts * (stages - 1)


def length_of_step(length: float, chord: float, doubt: float) -> float:
    """The length of the way in a step, or a part of it, from what the slopes tell, its chord, and the error estimated.

    Where stability limits the steps of an explicit method, what is left of fast motion goes to and fro within a step,
    and the slopes count it; the ends of the step hardly differ by it.  So what the slopes tell beyond the chord counts
    only where it is more than DOUBTS times its error, of pairs that estimate errors of LEAST_ORDER: then that falls
    faster with the step than what a way turns.  No way is shorter than its chord, nor longer than TURNS of them.
    """
    if length - chord <= DOUBTS * doubt:
        return chord
    return TURNS * chord if length > TURNS * chord else length


def joined(error: float, other: float) -> float:
    """The error of a number from one estimate, or from two of a pair as in `fastdln.Tableau`; not negative."""
    size = math.sqrt(error * error + 0.01 * other * other)
    return error * error / size if size > 0.0 else 0.0


def hypotenuse(a: float, b: float) -> float:
    """The root of a^2 + b^2, for a >= 0 and b >= 0."""
    larger, smaller = (a, b) if a >= b else (b, a)
    if not larger > 0.0:
        return larger + smaller
    ratio = smaller / larger
    return larger * math.sqrt(1.0 + ratio * ratio)


def begins(size: float, speed: float) -> bool:
    """Whether a trajectory begins at all: false where a norm overflows, or is not a number."""
    return size <= LARGEST and speed <= LARGEST


def first_guess(size: float, speed: float, duration: float) -> float:
    """The step that leads to the slope by which the first step is chosen; norms are relative to the tolerance."""
    h = 0.01 * size / speed if size > 1e-5 and speed > 1e-5 else 1e-6
    return h if h < duration else duration


def first_step(guess: float, speed: float, bend: float, order: int, duration: float) -> float:
    """The first step, where the slope has the norm ``speed``, its derivative ``bend``, and errors are of an order.

    It is that of Hairer, Norsett and Wanner (Solving Ordinary Differential Equations I, II.4), rounded down to a power
    of two: so it does not depend on how the mathematical library rounds.
    """
    fastest = bend if speed < bend <= LARGEST else speed
    other = (0.01 / fastest) ** (1.0 / (order + 1)) if fastest > 1e-15 else 1e-6
    h = 100.0 * guess if 100.0 * guess < other else other
    h = 2.0 ** math.floor(math.log2(h))
    return h if h < duration else duration
