"""When modes are learned, and whether one after another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastdln.linalg import Floats
from fastdln.theory.itinerary.reading import Records

__all__ = ["Learning", "learning"]

Learning = tuple[Floats, NDArray[np.intp], Floats, NDArray[np.bool_]]

_BEGUN, _LEARNED, _DONE = 0.1, 0.5, 0.9


def learning(records: Records) -> Learning:
    """Times (n, r), order (n, r), windows (n, r, 2) and sequentiality (n,) of learning.

    The i-th mode of a group of g equal singular values, from 0, is learned when the sum of the group's strengths passes
    (i + 1/2) sigma.
    """
    modes, t = records.modes, records.t
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        part = modes.sums(records.strengths) / modes.sigma[..., None] - modes.member[..., None]

    learned = part >= _LEARNED
    ever = learned.any(axis=-1) & modes.active
    at = learned.argmax(axis=-1)
    times = np.where(ever, _passing(t, part, at, _LEARNED), np.nan)
    if records.learning_times is not None:
        times = np.where(modes.size == 1, records.learning_times, times)

    index = np.arange(t.size)
    # under way from the last record below 10 % before the mode is learned, to the first at 90 % from then on
    low = np.where((part < _BEGUN) & (index < at[..., None]), index, -1).max(axis=-1)
    high = (part >= _DONE) & (index >= at[..., None])
    sign = 1.0 if t[-1] >= t[0] else -1.0
    begin = _passing(t, part, low + 1, _BEGUN)
    end = np.where(high.any(axis=-1), _passing(t, part, high.argmax(axis=-1), _DONE), sign * np.inf)
    underway = ever & ~(part[..., 0] >= _DONE)
    begin, end = (np.where(underway, x, np.nan) for x in (begin, end))
    return times.T, _order(sign * times).T, np.stack([begin.T, end.T], axis=-1), _apart(sign * begin, sign * end)


def _passing(t: Floats, part: Floats, after: NDArray[np.intp], level: float) -> Floats:
    """Time in the record interval before ``after`` (r, n) at which ``part`` (r, n, n_t) passes ``level``.

    Interpolated in the logit of the part, which moves at constant speed in a balanced mode of two layers; the first
    time where there is no record before.
    """
    before = np.maximum(after - 1, 0)
    a, b = (np.take_along_axis(part, at[..., None], axis=-1)[..., 0] for at in (before, after))
    odds_a, odds_b = (np.log(x) - np.log1p(-x) for x in (np.clip(x, 1e-12, 1 - 1e-12) for x in (a, b)))
    with np.errstate(divide="ignore", invalid="ignore"):
        theta = (np.log(level) - np.log1p(-level) - odds_a) / (odds_b - odds_a)
    theta = np.where(after == before, 0.0, np.clip(theta, 0.0, 1.0))
    return np.asarray(t[before] + theta * (t[after] - t[before]))


def _order(times: Floats) -> NDArray[np.intp]:
    """The learned modes by time, those of equal time by index, then -1."""
    order = np.argsort(times, axis=0, kind="stable")
    return np.where(np.isnan(np.take_along_axis(times, order, axis=0)), -1, order)


def _apart(begin: Floats, end: Floats) -> NDArray[np.bool_]:
    """Whether there is a window, and no two overlap."""
    there = ~np.isnan(begin)
    order = np.argsort(begin, axis=0, kind="stable")  # NaN last
    begin, end = (np.take_along_axis(x, order, axis=0) for x in (begin, end))
    overlap = begin[1:] < np.fmax.accumulate(end, axis=0)[:-1]
    return np.asarray(there.any(axis=0) & ~overlap.any(axis=0))
