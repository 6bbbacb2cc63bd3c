"""The Lyapunov exponents of a balanced mode: along the scalar map, and across it (T15)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastdln.checked import checked
from fastdln.checks import integer, reals, shown
from fastdln.linalg import Floats

__all__ = ["ModeExponents", "mode_exponents"]

FAR = 1e12  # of the singular value at the minimum, or 1: beyond, an orbit never comes back


class ModeExponents(NamedTuple):
    """The exponents per update of a balanced mode.

    Parameters
    ----------
    along : ndarray
        Of changes that keep the mode balanced: those of the scalar map.
    across : ndarray
        Of changes that make the layers' singular values unequal; -inf for one layer, which has none.
    """

    along: Floats
    across: Floats


@checked
def mode_exponents(
    eta: ArrayLike, sigma: ArrayLike, depth: int, start: ArrayLike, updates: int, burn_in: int = 0
) -> ModeExponents:
    """Follow a balanced mode and average what one update makes of a small change.

    With s the singular value that the h layers share and r = sigma - s^h, a change of all of them alike is multiplied
    by  1 + eta ((h-1) s^(h-2) r - h s^(2h-2)), the derivative of `mode_map`, and one that sums to zero over the layers
    by  1 - eta s^(h-2) r.  Where the second exponent is positive, the mode does not stay balanced (survey, arXiv
    2511.10362, section on discrete updates).  At the minimum it is zero, as minima come in fibers; so a network below
    the limit of stability has no negative exponent, but its mode has.

    Parameters
    ----------
    eta : array_like
        The learning rate.
    sigma : array_like
        The singular value of the target.
    depth : int
        Number of layers h, at least 1.
    start : array_like
        The layers' singular value at the start.
    updates : int
        Over how many updates to average.
    burn_in : int
        How many to take before.

    Returns
    -------
    ModeExponents
        Both exponents, of the shape to which the arguments broadcast; NaN where the orbit escapes.

    Raises
    ------
    ValueError
        If the arguments do not broadcast, or a number is out of range.

    Examples
    --------
    >>> found = mode_exponents([0.9, 1.1, 2.0], 1.0, depth=2, start=0.7, updates=20000, burn_in=100)
    >>> found.along.round(3)
    array([-0.223, -0.857,  1.099])
    """
    h, n, first = (
        integer(name, value) for name, value in (("depth", depth), ("updates", updates), ("burn_in", burn_in))
    )
    for name, value, least in (("depth", h, 1), ("updates", n, 1), ("burn_in", first, 0)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, not {shown(value)}")
    values = [reals(name, value) for name, value in (("eta", eta), ("sigma", sigma), ("start", start))]
    try:
        rate, target, s = (x.astype(np.float64) for x in np.broadcast_arrays(*values))
    except ValueError:
        shapes = [value.shape for value in values]
        raise ValueError(f"eta, sigma and start must broadcast, but have the shapes {shapes}") from None
    bound = FAR * np.maximum(np.abs(target) ** (1 / h), 1.0)
    along, across = np.zeros(rate.shape), np.zeros(rate.shape)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for k in range(first + n):
            left = target - s**h
            if k >= first:
                bend = s ** (h - 2) * left if h > 1 else 0.0 * left
                along += np.log(np.abs(1 + rate * ((h - 1) * bend - h * s ** (2 * h - 2))))
                across += np.log(np.abs(1 - rate * bend))
            s = s + rate * s ** (h - 1) * left
            s = np.where(np.abs(s) <= bound, s, np.nan)
    across = np.where(np.isnan(along), np.nan, across if h > 1 else -np.inf)
    return ModeExponents(along / n, across / n)
