"""Gradient descent of one balanced mode: a map of the line, its cycles, and how they double (T15).

With x = s / sigma^(1/h) and m = eta sigma^(2 - 2/h) the map is  f(x) = x + m x^(h-1) (1 - x^h),  whose fixed point 1 is
the minimum.  Orbits that leave a bound never come back, so all cycles lie within it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from fastdln.checked import checked
from fastdln.checks import integer, positive, reals, shown
from fastdln.linalg import Floats

__all__ = ["Cycle", "cascade", "cycles", "mode_map"]

MOST_ROOTS = 3**11  # of the equation whose roots are the points of cycles
MOST_DOUBLINGS = 10  # the distances between further ones are rounding
FINEST = 2.0**-29  # of the bound: intervals that are not divided further
FEIGENBAUM = 4.669201609


@dataclass(frozen=True)
class Cycle:
    """A periodic orbit of the scalar map.

    Parameters
    ----------
    points : ndarray, shape (period,)
        Its points in the order in which they follow each other, the least first.
    multiplier : float
        The derivative of the iterated map along it.
    """

    points: Floats
    multiplier: float

    @property
    def stable(self) -> bool:
        """Whether orbits near by approach it."""
        return abs(self.multiplier) < 1


@checked
def mode_map(s: ArrayLike, eta: ArrayLike, sigma: ArrayLike, depth: int) -> NDArray[np.float64]:
    """Apply one update of gradient descent to a balanced mode: s + eta s^(h-1) (sigma - s^h).

    A network whose layers share one singular value s along the directions of a mode of the target keeps it shared
    under gradient descent of a `Quadratic` loss, and the modes do not see each other (survey, arXiv 2511.10362,
    section on discrete updates).

    Parameters
    ----------
    s : array_like
        The layers' singular value.
    eta : array_like
        The learning rate.
    sigma : array_like
        The singular value of the target.
    depth : int
        Number of layers h, at least 1.

    Returns
    -------
    ndarray
        The singular value after the update, of the shape to which the arguments broadcast.

    Raises
    ------
    ValueError
        If the arguments do not broadcast, or `depth` is less than 1.

    Examples
    --------
    >>> mode_map(0.5, 0.1, 1.0, depth=2)
    array(0.5375)
    """
    h = _check_depth(depth, 1)
    values = [reals(name, value) for name, value in (("s", s), ("eta", eta), ("sigma", sigma))]
    try:
        x, rate, target = np.broadcast_arrays(*(value.astype(np.float64) for value in values))
    except ValueError:
        shapes = [value.shape for value in values]
        raise ValueError(f"s, eta and sigma must broadcast, but have the shapes {shapes}") from None
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(x + rate * x ** (h - 1) * (target - x**h))


@checked
def cycles(eta: float, sigma: float, depth: int, period: int) -> tuple[Cycle, ...]:
    """Find all cycles of a least period of the scalar map `mode_map`, stable or not.

    The roots of  f^period(s) = s  are isolated by halving intervals until the iterated map has none in them, or is
    monotone against the identity, so that none is missed.  Where cycles are born they touch, and count once.

    Parameters
    ----------
    eta : float
        The learning rate.
    sigma : float
        The singular value of the target, above 0.
    depth : int
        Number of layers h, at least 2.
    period : int
        The least period, at least 1.

    Returns
    -------
    tuple of Cycle
        The cycles by their least point.

    Raises
    ------
    ValueError
        If an argument is out of range, or the iterated map has more than 3^11 points to look for.

    Examples
    --------
    >>> [(cycle.points.round(6).tolist(), cycle.stable) for cycle in cycles(0.5, 1.0, depth=2, period=1)]
    [([-1.0], True), ([0.0], False), ([1.0], True)]
    """
    h, p = _check_depth(depth, 2), integer("period", period)
    if p < 1:
        raise ValueError(f"period must be at least 1, not {shown(period)}")
    if (2 * h - 1) ** p > MOST_ROOTS:
        raise ValueError(f"period = {p} at depth {h} has {2 * h - 1}^{p} points to look for, more than {MOST_ROOTS}")
    target = positive("sigma", sigma)
    unit = target ** (1 / h)
    f = _Map(positive("eta", eta) * target ** (2 - 2 / h), h)
    points = f.periodic(p)
    for d in (d for d in range(1, p) if p % d == 0):
        for cycle in cycles(eta, sigma, depth, d):
            points = _without(points, cycle.points / unit)
    found = []
    while len(points):
        orbit = [points[0]]
        for _ in range(p - 1):
            orbit.append(f(orbit[-1]))
        points = _without(points, orbit)
        found.append(Cycle(unit * np.array(orbit), float(np.prod(f.slope(np.array(orbit))))))
    return tuple(found)


@checked
def cascade(sigma: float, depth: int, doublings: int = 5) -> Floats:
    """Find the learning rates at which the limit of a balanced mode doubles its period: 1 to 2, 2 to 4, and so on.

    The first is the limit of stability 2 / (h sigma^(2 - 2/h)) of the minimum.  At each of the others a cycle that had
    taken over at the one before has the multiplier -1.  For two layers, in units of 1 / sigma, they are
    1, sqrt(5) - 1, 1.2880318, 1.2992279, 1.3016289, ....

    Parameters
    ----------
    sigma : float
        The singular value of the target, above 0.
    depth : int
        Number of layers h, at least 2.
    doublings : int
        How many, at most 10.

    Returns
    -------
    ndarray, shape (doublings,)
        The learning rates, increasing.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> cascade(1.0, depth=2, doublings=4).round(6)
    array([1.      , 1.236068, 1.288032, 1.299228])
    """
    h, n = _check_depth(depth, 2), integer("doublings", doublings)
    if not 1 <= n <= MOST_DOUBLINGS:
        raise ValueError(f"doublings must be from 1 to {MOST_DOUBLINGS}, not {shown(doublings)}")
    scale = positive("sigma", sigma) ** (2 - 2 / h)
    superstable = [1 / h]  # m at which the cycle of period 2^k contains the place where f is highest
    found = [2 / h]
    for k in range(1, n):
        first = found[-1] if k == 1 else superstable[-1] + (superstable[-1] - superstable[-2]) / FEIGENBAUM
        superstable.append(_superstable(h, 2**k, first, 0.1 * (found[-1] - superstable[-1])))
        after = superstable[-1] + (superstable[-1] - superstable[-2]) / FEIGENBAUM
        found.append(_doubling(h, 2**k, superstable[-1], after))
    return np.asarray(np.array(found) / scale)


def _check_depth(depth: int, least: int) -> int:
    h = integer("depth", depth)
    if h < least:
        raise ValueError(f"depth must be at least {least}, not {shown(depth)}")
    return h


def _without(points: Floats, others: Iterable[float]) -> Floats:
    """Points without those that come nearest to others."""
    for x in others:
        points = np.delete(points, np.abs(points - x).argmin()) if len(points) else points
    return points


class _Map:
    """f(x) = x + m x^(h-1) (1 - x^h), with its derivative, and images of intervals."""

    def __init__(self, m: float, h: int) -> None:
        coefficients = np.zeros(2 * h)
        coefficients[1] += 1
        coefficients[h - 1] += m
        coefficients[2 * h - 1] -= m
        self._f = Polynomial(coefficients)
        self.slope = self._f.deriv()
        self._turns, self._bends = _real_roots(self.slope), _real_roots(self.slope.deriv())
        # |f(x)| > |x| from here on, the more so the larger |x|; cycles lie below, for two layers one at the very limit
        self.bound = 1.001 * brentq(lambda x: m * x ** (h - 2) * (x**h - 1) - 2, 1, 2 + 2 / m)

    def __call__(self, x: Any) -> Any:
        return self._f(x)

    @property
    def highest(self) -> float:
        """The place between 0 and the bound where f is highest."""
        return float(max(self._turns))

    def orbit(self, x: Any, p: int) -> tuple[Any, Any]:
        """f^p(x), and its derivative."""
        slope = np.ones_like(x)
        for _ in range(p):
            slope, x = slope * self.slope(x), self._f(x)
        return x, slope

    def periodic(self, p: int) -> Floats:
        """All x with f^p(x) = x, increasing."""
        low, high = np.array([-self.bound]), np.array([self.bound])
        monotone: list[NDArray[np.float64]] = []
        fine: list[NDArray[np.float64]] = []
        while len(low):
            a, b, d_least, d_most = low, high, np.ones_like(low), np.ones_like(low)
            near = np.ones(len(low), bool)
            with np.errstate(over="ignore", invalid="ignore"):
                for _ in range(p):
                    near &= (a > -1) & (b < 1)
                    d_least, d_most = _times(d_least, d_most, *_image(self.slope, self._bends, a, b))
                    a, b = _image(self._f, self._turns, a, b)
                # between -1 and 1 every step but that from 0 goes the same way
                possible = (a <= high) & (b >= low) & ~near
            one_way = possible & ((d_least > 1) | (d_most < 1))
            monotone.append(np.stack([low, high], axis=1)[one_way])
            left = possible & ~one_way
            small = high - low < FINEST * self.bound
            fine.append(np.stack([low, high], axis=1)[left & small])
            left &= ~small
            middle = (low + high)[left] / 2
            low, high = np.concatenate([low[left], middle]), np.concatenate([middle, high[left]])
        clusters = _joined(np.concatenate(fine))
        ends = np.concatenate([*monotone, clusters])
        missed = self.orbit(ends, p)[0] - ends
        crossed = missed[:, 0] * missed[:, 1] < 0
        middles = clusters.mean(axis=1)
        touched = np.abs(self.orbit(middles, p)[0] - middles) <= (clusters[:, 1] - clusters[:, 0]) ** 2
        touched &= ~crossed[len(ends) - len(clusters) :]
        found = [self._bisect(ends[crossed], p), ends[missed == 0], middles[touched], [0.0]]
        roots = np.sort(np.concatenate(found))
        # the end of one interval is that of another
        return np.asarray(roots[np.diff(roots, prepend=-np.inf) > 1e-13 * self.bound])

    def _bisect(self, brackets: NDArray[np.float64], p: int) -> Floats:
        low, high = brackets.T
        rising = self.orbit(low, p)[0] < low
        for _ in range(60):
            middle = (low + high) / 2
            below = (self.orbit(middle, p)[0] < middle) == rising
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.asarray((low + high) / 2)


def _joined(intervals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intervals that touch as one."""
    low, high = intervals[np.argsort(intervals[:, 0])].T
    apart = low[1:] > high[:-1]
    return np.stack([low[np.append(True, apart)[: len(low)]], high[np.append(apart, True)[: len(high)]]], axis=1)


def _real_roots(polynomial: Polynomial) -> Floats:
    roots = polynomial.roots()
    return np.sort(roots[np.abs(roots.imag) < 1e-9 * (1 + np.abs(roots))].real)


def _image(polynomial: Polynomial, turns: Floats, a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """The least and the largest value in each of the intervals [a, b]."""
    values = np.stack([polynomial(a), polynomial(b)])
    least, most = values.min(axis=0), values.max(axis=0)
    for turn in turns:
        within, value = (a < turn) & (turn < b), polynomial(turn)
        least, most = np.where(within, np.minimum(least, value), least), np.where(within, np.maximum(most, value), most)
    return least, most


def _times(a: Floats, b: Floats, c: Floats, d: Floats) -> tuple[Floats, Floats]:
    """The products of the numbers in [a, b] and [c, d]."""
    ends = np.stack([a * c, a * d, b * c, b * d])
    return ends.min(axis=0), ends.max(axis=0)


def _superstable(h: int, p: int, first: float, step: float) -> float:
    """m above ``first`` at which the highest place of f is on a cycle of period p that has just been born."""

    def returned(m: float) -> float:
        f = _Map(m, h)
        return float(f.orbit(f.highest, p)[0] - f.highest)

    # before the first there is the cycle of half the period, whose returns keep the sign
    low = first
    while returned(low) * returned(low + step) > 0:
        low += step
    return float(brentq(returned, low, low + step, xtol=1e-15))


def _doubling(h: int, p: int, low: float, high: float) -> float:
    """m at which the cycle of period p through the neighbourhood of the highest place has the multiplier -1."""

    def above(m: float) -> float:
        f = _Map(m, h)
        x = f.highest
        for _ in range(60):
            image, slope = f.orbit(x, p)
            x, before = x - (image - x) / (slope - 1), x
            if abs(x - before) <= 4e-16 * abs(x):
                break
        return float(f.orbit(x, p)[1]) + 1

    return float(brentq(above, low, high, xtol=1e-15))
