"""Plateaus: where a trajectory is near a critical product and the loss stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdln.linalg import Floats
from fastdln.theory.itinerary.modes import Modes
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
        n, n_t, _ = sums.shape
        all_modes = records.modes.of_trajectories(np.arange(n))
        counts = _nearest(all_modes, sums)
        near = _nearness(all_modes, counts, records.strengths, sums, records.excess, pace, tol)
        quiet = near.ratio <= 1
        first, last = _runs(quiet, (counts[:, 1:] == counts[:, :-1]).all(axis=-1))
        trajectory = first // n_t
        modes = records.modes.of_trajectories(trajectory)
        S = counts.reshape(n * n_t, -1)[first]

        def ratio(at: NDArray[np.intp]) -> Floats:
            """How far the records ``at`` are from the plateaus, in units of what belongs to them."""
            flat = (x.reshape(n * n_t, *x.shape[2:])[at] for x in (records.strengths, sums, records.excess, pace))
            return _nearness(modes, S, *flat, tol).ratio

        begins, ends = first % n_t == 0, (last % n_t == n_t - 1)
        after = np.where(ends, last, last + 1)
        gone = ends | np.isnan(records.excess.ravel()[after])
        before = np.where(begins, first, first - 1)
        t, inside = np.tile(records.t, n), near.ratio.ravel()
        entry = np.where(begins, t[first], _boundary(t[first], t[before], inside[first], ratio(before)))
        exit_ = np.where(gone, np.inf, _boundary(t[last], t[after], inside[last], ratio(after)))
    # where one plateau follows another between two records there is no telling where: they share the middle
    follows = (first[1:] == last[:-1] + 1) & ~begins[1:]
    sign = 1.0 if records.t[-1] >= records.t[0] else -1.0
    shared = np.flatnonzero(follows & (sign * exit_[:-1] > sign * entry[1:]))
    exit_[shared] = entry[shared + 1] = 0.5 * (exit_[shared] + entry[shared + 1])
    exit_ = np.where(gone, sign * np.inf, exit_)

    stays = np.flatnonzero(quiet.ravel())
    starts = np.searchsorted(stays, first)
    distance = near.distance.ravel()[stays]
    least = _least(distance, starts)
    at = stays[np.flatnonzero(distance == np.repeat(least, np.diff([*starts, stays.size])))]
    closest = t[at[np.searchsorted(at, first)]]
    grad_norm = np.full(first.size, np.nan)
    if records.grad_norm is not None:
        grad_norm = _least(records.grad_norm.ravel()[stays], starts)
    whole = S == modes.size
    return Plateaus(
        trajectory, S, whole & modes.active, _value(modes, S), _kind(modes, S), entry, exit_, closest, least, grad_norm
    )


class _Nearness(NamedTuple):
    """How near records are to a plateau."""

    ratio: Floats
    """The worst criterion, in units of what it allows."""
    distance: Floats
    """||W - W_S||_F."""


def _nearness(
    modes: Modes, counts: NDArray[np.intp], strengths: Floats, sums: Floats, excess: Floats, pace: Floats, tol: float
) -> _Nearness:
    """Hold records (n, ..., r) against the sets ``counts``; the criteria are those that `itinerary` explains."""
    axes = sums.ndim - 2
    sigma, size, active, group = (modes.along(x, axes) for x in (modes.sigma, modes.size, modes.active, modes.group))
    allowed = tol * np.where(active, sigma, sigma[..., :1])
    apart = (np.abs(sums - counts * sigma) / allowed).max(axis=-1)

    some = np.maximum(counts, 1)
    # the loss that the strengths explain: sum over groups of ||sigma 1 - B||^2 / 2, B of rank `some` and trace `sums`
    explained = (0.5 * (sigma * sigma - 2 * sigma * strengths + sums * sums / (some * size))).sum(axis=-1)
    hidden = np.sqrt(np.maximum(2 * (excess - explained), 0))
    least = np.where(counts > 0, sigma, np.inf).min(axis=-1)
    scale = _value(modes, counts) + np.where(np.isfinite(least), 0.5 * least * least, 0.0)
    ratio = np.maximum(np.maximum(apart, pace / (tol * scale)), hidden / (tol * np.sqrt(2 * scale)))

    rank = (counts / size).sum(axis=-1)
    critical = rank < modes.rank + 0.5
    if modes.depth == 1:
        critical &= ((counts == size) | ~active).all(axis=-1)
    ratio = np.where(critical & (scale > 0), ratio, np.inf)
    distance = np.sqrt(((sums - counts * sigma) ** 2 / (some * size)).sum(axis=-1) + hidden * hidden)
    return _Nearness(ratio, distance)


def _nearest(modes: Modes, sums: Floats) -> NDArray[np.intp]:
    """The number of modes of each group that its strengths add up to; a mode counts from sigma/2."""
    axes = sums.ndim - 2
    sigma, size, active = (modes.along(x, axes) for x in (modes.sigma, modes.size, modes.active))
    part = np.where(active & np.isfinite(sums), sums / np.where(active, sigma, 1.0), 0.0)
    return np.clip(np.floor(part + 0.5), 0, size).astype(np.intp)


def _value(modes: Modes, counts: NDArray[np.intp]) -> Floats:
    """1/2 the sum of sigma_j^2 over the modes that are not learned."""
    axes = counts.ndim - 2
    sigma, size = (modes.along(x, axes) for x in (modes.sigma, modes.size))
    return np.asarray((0.5 * sigma * sigma * (1 - counts / size)).sum(axis=-1))


def _kind(modes: Modes, counts: NDArray[np.intp]) -> NDArray[np.intp]:
    """Index into `KINDS`: by which modes are learned, and how many can be."""
    learned = counts > 0
    unlearned = modes.active & (counts < modes.size)
    lowest = np.where(learned, modes.group, -1).max(axis=-1)
    leading = lowest <= np.where(unlearned, modes.group, modes.sigma.shape[-1]).min(axis=-1)
    rank = (counts / modes.size).sum(axis=-1)
    least = leading & (rank > np.minimum(modes.rank, modes.active.sum(axis=-1)) - 0.5)
    strict = ~leading | (modes.depth == 2)
    return np.where(least, 0, np.where(strict, 1, 2))


def _runs(quiet: NDArray[np.bool_], same: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First and last flat index of every run of quiet records that are near the same product."""
    joined = quiet[:, 1:] & quiet[:, :-1] & same
    edge = [(0, 0), (1, 0)], [(0, 0), (0, 1)]
    return tuple(np.flatnonzero(quiet & ~np.pad(joined, pad)) for pad in edge)  # type: ignore[return-value]


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
