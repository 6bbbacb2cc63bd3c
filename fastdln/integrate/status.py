"""How trajectories end, as a number: kernels write it, stores hold it."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """What became of a trajectory."""

    FINISHED = 0
    """It reached the end of the span."""
    STOPPED = 1
    """The stop condition held."""
    MAX_STEPS = 2
    """It took max_steps: raise max_steps or loosen rtol, or, if the problem is stiff, take method="auto"."""
    NONFINITE = 3
    """State or slope overflowed, or the start was not finite; the last finite state is kept."""
    STEP_TOO_SMALL = 4
    """The step fell below the rounding of the time: the solution may blow up there, or rtol is too tight."""
    DIVERGED = 5
    """An update of a descent led to an entry that is not finite or above ``bound``; the state before it is kept."""


# What to change where a trajectory failed.
ADVICE = {
    Status.MAX_STEPS: 'raise max_steps, loosen rtol, shorten the span, or take method="auto" if the problem is stiff',
    Status.NONFINITE: "start from smaller, finite weights; a backward flow may blow up",
    Status.STEP_TOO_SMALL: "end the span before t_final, where the solution may blow up, or loosen rtol",
    Status.DIVERGED: "take a smaller learning rate, see theory.rates.step_limit, or smaller weights at the start",
}
