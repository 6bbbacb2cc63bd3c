"""Plateaus: where a trajectory is near a critical product and the loss stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdln.linalg import Floats
from fastdln.theory.itinerary.modes import Modes, total
from fastdln.theory.itinerary.reading import Records

__all__ = ["Plateaus", "plateaus"]


@dataclass(frozen=True)
class Plateaus:
    """The plateaus of some trajectories in one list, by trajectory and time."""

    trajectory: NDArray[np.intp]
    counts: NDArray[np.intp]
    """Learned modes in the group of each mode, shape (m, r)."""
    learned: NDArray[np.bool_]
    """Whether the whole group of the mode is learned, shape (m, r)."""
    value: Floats
    """Critical value above the floor of the loss."""
    kind: NDArray[np.intp]
    """Index into `KINDS`."""
    entry: Floats
    exit: Floats
    closest: Floats
    distance: Floats
    grad_norm: Floats


def plateaus(records: Records, tol: float) -> Plateaus:
    """Find the plateaus of the trajectories of ``records``."""
    with np.errstate(all="ignore"):
        sums, pace = records.modes.sums(records.strengths), records.pace()
        r, n, n_t = sums.shape
        seen = _Seen(records.strengths.reshape(r, -1), sums.reshape(r, -1), records.excess.ravel(), pace.ravel())
        everywhere = records.modes.of(np.repeat(np.arange(n), n_t))
        counts = _nearest(everywhere, seen.sums)
        near = _nearness(everywhere, counts, seen, tol)
        quiet = near.ratio <= 1
        joined = quiet[1:] & quiet[:-1] & (counts[:, 1:] == counts[:, :-1]).all(axis=0)
        joined[n_t - 1 :: n_t] = False
        first, last = np.flatnonzero(quiet & ~np.pad(joined, (1, 0))), np.flatnonzero(quiet & ~np.pad(joined, (0, 1)))
        trajectory, S = first // n_t, counts[:, first]
        modes = records.modes.of(trajectory)

        def ratio(at: NDArray[np.intp]) -> Floats:
            """How far the records ``at`` are from the plateaus, in units of what belongs to them."""
            return _nearness(modes, S, seen.at(at), tol).ratio

        begins, ends = first % n_t == 0, (last % n_t == n_t - 1)
        after = np.where(ends, last, last + 1)
        gone = ends | np.isnan(seen.excess[after])
        before = np.where(begins, first, first - 1)
        t = np.tile(records.t, n)
        entry = np.where(begins, t[first], _boundary(t[first], t[before], near.ratio[first], ratio(before)))
        exit_ = np.where(gone, np.inf, _boundary(t[last], t[after], near.ratio[last], ratio(after)))
    # where one plateau follows another between two records there is no telling where: they share the middle
    follows = (first[1:] == last[:-1] + 1) & ~begins[1:]
    sign = 1.0 if records.t[-1] >= records.t[0] else -1.0
    shared = np.flatnonzero(follows & (sign * exit_[:-1] > sign * entry[1:]))
    exit_[shared] = entry[shared + 1] = 0.5 * (exit_[shared] + entry[shared + 1])
    exit_ = np.where(gone, sign * np.inf, exit_)

    stays = np.flatnonzero(quiet)
    starts = np.searchsorted(stays, first)
    distance = near.distance[stays]
    least = _least(distance, starts)
    at = stays[np.flatnonzero(distance == np.repeat(least, np.diff([*starts, stays.size])))]
    closest = t[at[np.searchsorted(at, first)]]
    grad_norm = np.full(first.size, np.nan)
    if records.grad_norm is not None:
        grad_norm = _least(records.grad_norm.ravel()[stays], starts)
    whole = (modes.size == S) & modes.active
    return Plateaus(
        trajectory, S.T, whole.T, _value(modes, S), _kind(modes, S), entry, exit_, closest, least, grad_norm
    )


class _Seen(NamedTuple):
    """Records in one list: strengths and sums are (r, m), loss above the floor and pace (m,)."""

    strengths: Floats
    sums: Floats
    excess: Floats
    pace: Floats

    def at(self, index: NDArray[np.intp]) -> _Seen:
        """Some of the records."""
        return _Seen(*(x[..., index] for x in self))


class _Nearness(NamedTuple):
    """How near records are to a plateau."""

    ratio: Floats
    """The worst criterion, in units of what it allows."""
    distance: Floats
    """||W - W_S||_F."""


def _nearness(modes: Modes, counts: NDArray[np.intp], seen: _Seen, tol: float) -> _Nearness:
    """Hold records against the sets ``counts`` (r, m) by the criteria that `itinerary` explains."""
    strengths, sums, excess, pace = seen
    sigma, size = modes.sigma, modes.size
    off = np.abs(sums - counts * sigma)
    apart = (off / (tol * np.where(modes.active, sigma, sigma[:1]))).max(axis=0)

    weight = 1 / (np.maximum(counts, 1) * size)
    # the loss that the strengths explain: sum over groups of ||sigma 1 - B||^2 / 2, B of the least norm for its trace
    explained = total(0.5 * sigma * (sigma - 2 * strengths) + 0.5 * sums * sums * weight)
    hidden = np.sqrt(np.maximum(2 * (excess - explained), 0))
    least = np.where(counts > 0, sigma, np.inf).min(axis=0)
    scale = _value(modes, counts) + np.where(np.isfinite(least), 0.5 * least * least, 0.0)
    ratio = np.maximum(np.maximum(apart, pace / (tol * scale)), hidden / (tol * np.sqrt(2 * scale)))

    critical = (total(counts / size) < modes.rank + 0.5) & (scale > 0)
    if modes.depth == 1:
        critical &= ((counts == size) | ~modes.active).all(axis=0)
    distance = np.sqrt(total(off * off * weight) + hidden * hidden)
    return _Nearness(np.where(critical, ratio, np.inf), distance)


def _nearest(modes: Modes, sums: Floats) -> NDArray[np.intp]:
    """The number of modes of each group that its strengths add up to; a mode counts from sigma/2."""
    part = np.where(modes.active & np.isfinite(sums), sums / modes.sigma, 0.0)
    return np.clip(np.floor(part + 0.5), 0, modes.size).astype(np.intp)


def _value(modes: Modes, counts: NDArray[np.intp]) -> Floats:
    """1/2 the sum of sigma_j^2 over the modes that are not learned."""
    return total(0.5 * modes.sigma * modes.sigma * (1 - counts / modes.size))


def _kind(modes: Modes, counts: NDArray[np.intp]) -> NDArray[np.intp]:
    """Index into `KINDS`: by which modes are learned, and how many can be."""
    lowest_learned = np.where(counts > 0, modes.group, -1).max(axis=0)
    unlearned = modes.active & (counts < modes.size)
    leading = lowest_learned <= np.where(unlearned, modes.group, len(counts)).min(axis=0)
    rank = total(counts / modes.size)
    least = leading & (rank > np.minimum(modes.rank, modes.active.sum(axis=0)) - 0.5)
    return np.where(least, 0, np.where(~leading | (modes.depth == 2), 1, 2))


def _boundary(t_in: Floats, t_out: Floats, inside: Floats, outside: Floats) -> Floats:
    """Where the ratio passes 1 between two records: interpolated in its logarithm, as near critical points the distance
    grows and falls exponentially.
    """
    a, b = (np.log(np.maximum(x, 1e-12)) for x in (inside, outside))
    theta = np.where(np.isfinite(b), -a / (b - a), 0.0)
    return np.asarray(t_in + np.clip(theta, 0.0, 1.0) * (t_out - t_in))


def _least(values: Floats, starts: NDArray[np.intp]) -> NDArray[Any]:
    """The least value from each start to the next."""
    return np.minimum.reduceat(values, starts) if starts.size else np.empty(0)
