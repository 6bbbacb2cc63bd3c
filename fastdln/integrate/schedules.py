"""Schedules of learning rates: what each update's is, as a factor of the trajectory's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.checks import count, integer, not_negative, number, of_each, reals, shown

__all__ = ["Schedule", "cosine", "cycle", "linear", "steps", "values"]

Floats = NDArray[np.float64]

GRAIN = 2.0**-40  # to which cosines are rounded: libraries differ in their last bits


class After(IntEnum):
    """What follows the last factor of a schedule."""

    NOTHING = 0
    LAST = 1
    """The last factor, again and again."""
    FIRST = 2
    """All of them, again and again."""


@dataclass(frozen=True, eq=False)
class Schedule:
    """Learning rates over the updates: update k, counted from 0, has the rate peak factors[k].

    Parameters
    ----------
    peak : ndarray, shape () or (n,)
        A number, or one for each trajectory.
    factors : ndarray, shape (length,)
        The factors.
    after : After
        What follows them.

    Examples
    --------
    >>> import fastdln as dln
    >>> dln.schedules.steps(0.1, at=[2], factor=0.5).factors
    array([1. , 1. , 0.5])
    """

    peak: Floats
    factors: Floats
    after: After

    def check(self, updates: int) -> None:
        """Refuse more updates than there are rates for.

        Parameters
        ----------
        updates : int
            How many there are to be.
        """
        if self.after == After.NOTHING and updates > len(self.factors):
            raise ValueError(
                f"learning_rate is a schedule of {len(self.factors)} updates, fewer than steps = {updates}"
            )

    def factor(self, k: int) -> float:
        """Return the factor of one update.

        Parameters
        ----------
        k : int
            The number of the update, counted from 0.

        Returns
        -------
        float
            The factor.
        """
        n = len(self.factors)
        return float(self.factors[k % n if self.after == After.FIRST else min(k, n - 1)])

    def sums(self, updates: NDArray[np.int64]) -> Floats:
        """Sum the factors of the first updates.

        Parameters
        ----------
        updates : ndarray of int
            How many, any number of times.

        Returns
        -------
        ndarray
            The sums, of the same shape.
        """
        n = len(self.factors)
        parts = np.concatenate([[0.0], np.cumsum(self.factors)])
        if self.after == After.FIRST:
            return np.asarray(updates // n * parts[-1] + parts[updates % n])
        beyond = np.maximum(updates - n, 0)
        return np.asarray(parts[np.minimum(updates, n)] + beyond * self.factors[-1])


def rates(learning_rate: Any) -> Schedule:
    """Read what is given as a learning rate: a number, one for each trajectory, or a schedule.

    Parameters
    ----------
    learning_rate : float, array_like or Schedule
        What is given.

    Returns
    -------
    Schedule
        A schedule, of one factor where the rate does not change.
    """
    if isinstance(learning_rate, Schedule):
        return learning_rate
    return Schedule(_peak("learning_rate", learning_rate), np.ones(1), After.LAST)


def cosine(peak: ArrayLike, steps: int, warmup: int = 0, least: float = 0.0) -> Schedule:
    """Rise to a peak in a straight line, and fall along half a wave of the cosine.

    Parameters
    ----------
    peak : float or array_like, shape (n,)
        The largest rate, or one for each trajectory.
    steps : int
        The number of updates.
    warmup : int
        Updates before the one that has the peak: they have 1/(warmup + 1), 2/(warmup + 1), ... of it.
    least : float
        What the rate falls to, as a part of the peak, from 0 to 1.

    Returns
    -------
    Schedule
        The learning rates.

    Examples
    --------
    >>> import fastdln as dln
    >>> dln.schedules.cosine(0.1, 4, warmup=1).factors.round(2)
    array([0.5 , 1.  , 0.75, 0.25])
    """
    n, before, low = count("steps", steps), integer("warmup", warmup), number("least", least)
    if not 0 <= before < n:
        raise ValueError(f"warmup must be from 0 to steps - 1 = {n - 1}, not {warmup!r}")
    if not 0 <= low <= 1:
        raise ValueError(f"least must be from 0 to 1, a part of the peak, not {least!r}")
    rise = np.arange(1, before + 1) / (before + 1)
    wave = np.cos(np.pi * np.arange(n - before) / (n - before))
    fall = 0.5 * (1.0 + np.round(wave / GRAIN) * GRAIN)
    return Schedule(_peak("peak", peak), np.concatenate([rise, low + (1.0 - low) * fall]), After.NOTHING)


def linear(peak: ArrayLike, steps: int) -> Schedule:
    """Fall from a peak in a straight line that would reach 0 after the last update.

    Parameters
    ----------
    peak : float or array_like, shape (n,)
        The first rate, or one for each trajectory.
    steps : int
        The number of updates.

    Returns
    -------
    Schedule
        The learning rates.

    Examples
    --------
    >>> import fastdln as dln
    >>> dln.schedules.linear(0.1, 4).factors
    array([1.  , 0.75, 0.5 , 0.25])
    """
    n = count("steps", steps)
    return Schedule(_peak("peak", peak), 1.0 - np.arange(n) / n, After.NOTHING)


def steps(peak: ArrayLike, at: Sequence[int], factor: float) -> Schedule:
    """Multiply the rate by a factor at some updates.

    Parameters
    ----------
    peak : float or array_like, shape (n,)
        The first rate, or one for each trajectory.
    at : sequence of int
        The updates, counted from 0, from which on the rate is another; increasing.
    factor : float
        What it is multiplied by, at least 0.

    Returns
    -------
    Schedule
        The learning rates, for any number of updates.

    Examples
    --------
    >>> import fastdln as dln
    >>> dln.schedules.steps(0.1, at=[1, 3], factor=0.1).factors.round(3)
    array([1.  , 0.1 , 0.1 , 0.01])
    """
    places = [integer("at", k) for k in at]
    if not places or places[0] < 1 or any(b <= a for a, b in pairwise(places)):
        raise ValueError(f"at must be increasing numbers of updates from 1 on, not {shown(at)}")
    ratio = not_negative("factor", factor)
    factors = np.ones(places[-1] + 1)
    factors[places] = ratio
    np.multiply.accumulate(factors, out=factors)
    return Schedule(_peak("peak", peak), factors, After.LAST)


def cycle(values: ArrayLike) -> Schedule:
    """Go through some rates again and again.

    Parameters
    ----------
    values : array_like, shape (length,)
        The rates, at least 0.

    Returns
    -------
    Schedule
        The learning rates, for any number of updates.

    Examples
    --------
    >>> import fastdln as dln
    >>> dln.schedules.cycle([0.1, 0.2]).factors
    array([0.1, 0.2])
    """
    return Schedule(np.ones(()), _listed(values), After.FIRST)


def values(values: ArrayLike) -> Schedule:
    """Take each update's rate from a list.

    Parameters
    ----------
    values : array_like, shape (steps,)
        The rates, at least 0.

    Returns
    -------
    Schedule
        The learning rates.

    Examples
    --------
    >>> import fastdln as dln
    >>> dln.schedules.values([0.1, 0.2]).factors
    array([0.1, 0.2])
    """
    return Schedule(np.ones(()), _listed(values), After.NOTHING)


def _peak(name: str, peak: ArrayLike) -> Floats:
    array = of_each(name, peak)
    if not (np.isfinite(array) & (array > 0)).all():
        raise ValueError(f"{name} must be positive and finite, not {shown(peak)}")
    array.setflags(write=False)
    return array


def _listed(values: ArrayLike) -> Floats:
    array = np.array(reals("values", values), np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"values must be a sequence of rates, not one of shape {array.shape}")
    if not (np.isfinite(array) & (array >= 0)).all():
        raise ValueError(f"values must be finite and at least 0, not {shown(values)}")
    array.setflags(write=False)
    return array
