"""RKC2: a recurrence whose stages are all of order 2, with coefficients that are formulas for any number of stages."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdln.integrate.control import SERIES, times_z

DAMPING = 2 / 13
REACH2 = 1.54  # s stages reach (s^2 - 1)/REACH2
LEAST2, MOST2 = 4, 1000  # stages


class Rkc2(NamedTuple):
    """RKC2 with s stages.

    With T_j the Chebyshev polynomials, b_j = T_j''(w0)/T_j'(w0)^2 (b_0 = b_1 = b_2), a_j = 1 - b_j T_j(w0):
    g_1 = y + h b_1 w1 f(y),  g_j = (1 - mu - nu) y + mu g_{j-1} + nu g_{j-2} + h m f(g_{j-1}) - h a_{j-1} m f(y)  with
    mu = 2 b_j w0/b_{j-1}, nu = -b_j/b_{j-2}, m = 2 b_j w1/b_{j-1}.  Stage g_j is at c_j and of order 2 too.

    The error estimate is weights . (y, g_a, g_b, g_s): a third difference, scaled to be the error of the step where z
    is small.
    """

    w0: float
    w1: float
    nodes: tuple[int, int]  # the stages a and b
    c: tuple[float, float]  # where they are
    weights: tuple[float, float, float, float]


def coefficients(s: int) -> Rkc2:
    """Coefficients for s >= 4 stages.

    References
    ----------
    B. P. Sommeijer, L. F. Shampine, J. G. Verwer, J. Comput. Appl. Math. 88 (1998) 315-326.
    """
    w0, w1, a, b, *rest = map(float, rows(np.array([s]))[0])
    return Rkc2(w0, w1, (int(a), int(b)), (rest[0], rest[1]), (rest[2], rest[3], rest[4], rest[5]))


def rows(s: NDArray[np.int64]) -> NDArray[np.float64]:
    """Rows w0, w1, a, b, c_a, c_b, weights for the numbers of stages s."""
    w0 = 1 + DAMPING / s**2
    # c_j is (j^2 - 1)/(s^2 - 1), nearly
    chosen = np.stack([np.rint(np.sqrt((s**2 + 2) / 3)), np.rint(np.sqrt((2 * s**2 + 1) / 3)), s])
    before, now = np.zeros((2, 4, len(s)))  # T_j and its derivatives at w0
    before[0], now[0], now[1] = 1, w0, 1
    at = np.empty((3, 4, len(s)))
    for j in range(2, s.max() + 1):
        after = 2 * w0 * now - before
        after[1:] += 2 * np.arange(1, 4)[:, None] * now[:-1]
        before, now = now, after
        at = np.where((chosen == j)[:, None], now, at)
    _, first, second, third = np.moveaxis(at, 1, 0)
    w1 = first[2] / second[2]
    c = w1 * second / first
    # one by one: with AVX-512 NumPy's power of an array rounds otherwise
    cubes = np.array([float(w) ** 3 for w in w1])
    cubic = second / first**2 * cubes * third / 6  # coefficients of z^3 of the stages; e^z has 1/6
    nodes = np.stack([np.zeros(len(s)), *c])
    gaps = nodes[:, None] - nodes
    weights = 1 / np.prod(gaps, axis=1, where=gaps != 0)
    weights *= (1 / 6 - cubic[2]) / (weights[1:] * cubic).sum(axis=0)
    return np.stack([w0, w1, *chosen[:2], *c[:2], *weights], axis=1)


@functools.cache
def series() -> NDArray[np.float64]:
    """Coefficients of the stability polynomials of RKC2, for some numbers of stages from the least to the most."""
    found = []
    for s in np.unique(np.geomspace(LEAST2, MOST2, 12).astype(int)):
        w0, w1, *_ = rows(np.array([s]))[0]
        # T_s(w0 + w1 z) as a series, and T_s' and T_s'' at w0 from its coefficients
        before, now = np.zeros((2, SERIES))
        before[0], now[0], now[1] = 1.0, w0, w1
        for _ in range(2, s + 1):
            before, now = now, 2 * (w0 * now + w1 * times_z(now)) - before
        first, second = now[1] / w1, 2 * now[2] / w1**2
        b = second / first**2
        series = b * now
        series[0] += 1 - b * now[0]
        found.append(series)
    return np.array(found)
