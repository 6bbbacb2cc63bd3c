"""Numbers by sign and logarithm: sums of what would overflow, or vanish, on the way to a number that does not."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastdln.linalg import Floats

__all__ = ["Signed"]


class Signed(NamedTuple):
    """sign exp(log), entry by entry."""

    sign: Floats
    log: Floats

    def plus(self, other: Signed) -> Signed:
        """The sum; NaN where infinities of opposite signs meet.

        Parameters
        ----------
        other : Signed
            The other term.

        Returns
        -------
        Signed
            The sum.

        Examples
        --------
        >>> three = Signed(np.array(1.0), np.log(3.0)).plus(Signed(np.array(-1.0), np.log(5.0)))
        >>> float(three.sign), round(float(np.exp(three.log)), 12)
        (-1.0, 2.0)
        """
        larger = np.maximum(self.log, other.log)
        apart = np.where(self.log == other.log, 0.0, -np.abs(self.log - other.log))
        grown = np.where(self.sign == other.sign, np.log1p(np.exp(apart)), np.log(-np.expm1(apart)))
        sign = np.where(self.log >= other.log, self.sign, other.sign)
        return Signed(sign, np.where(np.isneginf(larger), larger, larger + grown))

    def times(self, log_factor: Floats) -> Floats:
        """The number itself, times exp(log_factor).

        Parameters
        ----------
        log_factor : ndarray
            Logarithms of factors.

        Returns
        -------
        ndarray
            The products.
        """
        return np.asarray(self.sign * np.exp(self.log + log_factor))
