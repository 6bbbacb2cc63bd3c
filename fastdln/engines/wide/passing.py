"""When strengths first pass their thresholds within a step: the search of `fastdln.kernels.lockstep.learning`."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.kernels.lockstep.control import NEAR
from fastdln.kernels.lockstep.learning import KNOWN, NOWHERE, SEEK_ARGUMENTS, TABLE, TOLERANCE, VALUE, seek_alone
from fastdln.kernels.machine.compile import address_of


class Search:
    """The search in one step.

    Parameters
    ----------
    ends : list of ndarray
        Strengths at the end of the step, at its beginning, and at the beginnings of up to two steps before it.
    lengths : list of float
        Lengths of this step and of those before it.
    goals : ndarray
        The thresholds; infinite where none is waited for.
    tolerance : float
        How well a strength must meet its threshold, in units of the threshold.

    Attributes
    ----------
    found : dict
        The modes that pass their thresholds, and theta in [0, 1] where they do first.
    theta : float or None
        Where the strengths are wanted next.
    """

    def __init__(
        self, ends: list[NDArray[np.floating]], lengths: list[float], goals: NDArray[np.float64], tolerance: float
    ) -> None:
        self._goals = goals
        self._table, self._answer = np.empty(TABLE), np.empty(2)
        self._table[TOLERANCE] = tolerance
        self._modes = [int(j) for j in np.flatnonzero(np.isfinite(goals) & (ends[0] >= NEAR * goals))]
        elapsed = np.cumsum([-lengths[0], *lengths])[: len(ends)]
        self._thetas = [float(-t / lengths[0]) for t in reversed(elapsed)]
        self._values = [self._excess(strengths) for strengths in reversed(ends)]
        self._first = KNOWN - len(ends)
        self.found: dict[int, float] = {}
        self._aim()

    def add(self, strengths: NDArray[np.floating]) -> None:
        """Go on, with the strengths where they were wanted."""
        assert self.theta is not None
        self._thetas.append(self.theta)
        self._values.append(self._excess(strengths))
        self._aim()

    def _excess(self, strengths: NDArray[np.floating]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            return (strengths - self._goals) / self._goals

    def _aim(self) -> None:
        self.theta = None
        last = self._first + len(self._thetas)
        self._table[self._first : last] = self._thetas
        for j in self._modes.copy():
            self._table[VALUE + self._first : VALUE + last] = [values[j] for values in self._values]
            _seek()(self._table.ctypes.data, self._first, last, self._answer.ctypes.data)
            theta, settled = self._answer.tolist()
            if settled:
                self.found[j] = theta
            if settled or theta == NOWHERE:
                self._modes.remove(j)
            elif self.theta is None:
                self.theta = theta


@functools.cache
def _seek() -> Any:
    """The compiled search for one mode."""
    return ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * SEEK_ARGUMENTS)(address_of(seek_alone, SEEK_ARGUMENTS))
