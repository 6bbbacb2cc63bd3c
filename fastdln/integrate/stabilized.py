"""Stabilized explicit methods, for stiff flows: Chebyshev recurrences whose stability interval grows as the square of
the number of stages.

A gradient flow has a symmetric Jacobian, so real stiffness: a step h needs all of [-h rho, 0], rho the spectral radius,
inside the interval of stability.  Two families:

**ROCK4** (order 4): a three-term recurrence of some degree m, then four more stages that give it its order; s = m + 4
stages reach 0.353 s^2 - 3.  The four stages multiply what rounding leaves in their slopes by up to `Rock4.noise`, which
grows like s^6: above some tens of stages this, not the damping, is what a small tolerance sees, and steps would never
grow.  So long steps are left to

**RKC2** (order 2): every stage stays of the size of the state, rounding grows no faster than s^2, and coefficients are
formulas for any s; s stages reach (s^2 - 1)/1.54.  Its error estimate and its continuous output are taken from the
stages themselves, the states at c_a and c_b near 1/3 and 2/3: slopes would multiply what is left in stiff directions by
h rho.
"""

from __future__ import annotations

import functools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdln.integrate.columns import LEAST2, MOST2
from fastdln.integrate.control import SERIES, Gains, followed
from fastdln.integrate.tableau import Tableau
from fastdln.integrate.tableaus import TSIT5

DAMPING = 2 / 13  # of RKC2
# of the controller, for errors of order 3; the kernels give those of RKC2 such that they fit
GAINS = Gains(safety=math.log2(0.8), least_factor=0.1, most_factor=5.0, alpha=1 / 4, beta=0.0)
NOISE_SHARE = 0.05  # of rtol, that rounding may come to in a step of ROCK4


@dataclass(frozen=True)
class Stabilized:
    """A stabilized method.

    Parameters
    ----------
    name : str
        What messages and files call it.
    order : int
        Order of the solution that is carried on, where steps are not so long that order 2 takes them.
    fourth : bool
        Whether ROCK4 takes the steps that it can; else all are RKC2's.
    starter : Tableau, optional
        The explicit method that begins; the stabilized one goes on where stability limits the steps.
    """

    name: str
    order: int
    fourth: bool
    starter: Tableau | None = None

    @property
    def explicit(self) -> bool:
        """Whether its stages are few and fixed, so that stability limits its steps."""
        return False

    @property
    def adaptive(self) -> bool:
        """Whether it estimates its errors, and so may choose its steps."""
        return True

    @property
    def error_order(self) -> int:
        """Order of the error estimate: the local error falls as the power one more of the step."""
        return 3 if self.fourth else 2


ROCK = Stabilized("rock", order=4, fourth=True)
RKC2 = Stabilized("rkc2", order=2, fourth=False)
AUTO = Stabilized("auto", order=4, fourth=True, starter=TSIT5)

STABILIZED = {method.name: method for method in (ROCK, RKC2, AUTO)}


class Rock4(NamedTuple):
    """One degree of ROCK4.

    g_1 = y + h mu_1 f(y),  g_j = h mu_j f(g_{j-1}) + (1 + kappa_j) g_{j-1} - kappa_j g_{j-2} for j = 2..m, then from
    g = g_m the stages k_1 = f(g), k_2 = f(g + h a_21 k_1), ...; the step is z = g + h sum_i b_i k_i and its error
    h (sum_i error_i k_i + error_5 f(z)).
    """

    mu: NDArray[np.float64]
    kappa: NDArray[np.float64]  # the first one is 0
    a: NDArray[np.float64]  # a21, a31, a32, a41, a42, a43
    b: NDArray[np.float64]
    error: NDArray[np.float64]

    @property
    def stages(self) -> int:
        """Slopes that a step takes, the one at its end included."""
        return len(self.mu) + 4

    @property
    def reach(self) -> float:
        """Length of the interval of stability."""
        return 0.353 * self.stages**2 - 3

    @property
    def noise(self) -> float:
        """What independent relative errors eps of the slopes leave in a step, in units of eps, where it is most.

        Slopes are differences of numbers of size rho |W|.  An error of the slope of g_j changes g_m by mu_{j+1} times
        p_{j+1}, where p_m = 1, p_{j-1} = (z mu_j + 1 + kappa_j) p_j - kappa_{j+1} p_{j+1}; the four stages make d of a
        change of g_m.
        """
        z = np.linspace(-self.reach, 0, 1001)
        (a21, a31, a32, a41, a42, a43), (b1, b2, b3, b4) = self.a, self.b
        d4 = np.full_like(z, b4)
        d3 = b3 + z * a43 * d4
        d2 = b2 + z * (a32 * d3 + a42 * d4)
        d1 = b1 + z * (a21 * d2 + a31 * d3 + a41 * d4)
        d = 1 + z * (d1 + d2 + d3 + d4)
        squares = d1**2 + d2**2 + d3**2 + d4**2
        later, p = np.zeros_like(z), np.ones_like(z)
        for j in reversed(range(len(self.mu))):
            squares += (self.mu[j] * p * d) ** 2
            after = self.kappa[j + 1] if j + 1 < len(self.mu) else 0.0
            later, p = p, (z * self.mu[j] + 1 + self.kappa[j]) * p - after * later
        return float(self.reach * np.sqrt(squares.max()))


@functools.cache
def rock4() -> tuple[Rock4, ...]:
    """All degrees, least first.

    The published tables go up to 152; here are those that rounding lets be used at an rtol of 0.1, without the one of
    degree 63, which leaves the unit disc before the end of its interval, as 129 and 148 do within theirs.

    References
    ----------
    A. Abdulle, SIAM J. Sci. Comput. 23 (2002) 2041-2054.
    """
    published = json.loads((Path(__file__).parent / "rock4.json").read_text())
    methods = []
    for row in published["rows"]:
        recurrence, b = np.array(row["recurrence"]), np.array(row["b"])
        methods.append(
            Rock4(
                mu=np.append(recurrence[0], recurrence[1::2]),
                kappa=np.append(0.0, recurrence[2::2]),
                a=np.array(row["a"]),
                b=b,
                error=np.array(row["b_embedded"]) - np.append(b, 0.0),
            )
        )
    return tuple(methods)


def _times_z(series: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.append(0.0, series[:-1])


@functools.cache
def _rock4_series() -> NDArray[np.float64]:
    """Coefficients of the stability polynomials of all degrees of ROCK4."""
    found = []
    for method in rock4():
        one = np.zeros(SERIES)
        one[0] = 1.0
        before, now = one, one + method.mu[0] * _times_z(one)
        for mu, kappa in zip(method.mu[1:], method.kappa[1:], strict=True):
            before, now = now, mu * _times_z(now) + (1 + kappa) * now - kappa * before
        a21, a31, a32, a41, a42, a43 = method.a
        k1 = _times_z(now)
        k2 = _times_z(now + a21 * k1)
        k3 = _times_z(now + a31 * k1 + a32 * k2)
        k4 = _times_z(now + a41 * k1 + a42 * k2 + a43 * k3)
        found.append(now + sum(b * k for b, k in zip(method.b, (k1, k2, k3, k4), strict=True)))
    return np.array(found)


@functools.cache
def _rkc2_series() -> NDArray[np.float64]:
    """Coefficients of the stability polynomials of RKC2, for some numbers of stages from the least to the most."""
    found = []
    for s in np.unique(np.geomspace(LEAST2, MOST2, 12).astype(int)):
        w0, w1, *_ = _rkc2(np.array([s]))[0]
        # T_s(w0 + w1 z) as a series, and T_s' and T_s'' at w0 from its coefficients
        before, now = np.zeros((2, SERIES))
        before[0], now[0], now[1] = 1.0, w0, w1
        for _ in range(2, s + 1):
            before, now = now, 2 * (w0 * now + w1 * _times_z(now)) - before
        first, second = now[1] / w1, 2 * now[2] / w1**2
        b = second / first**2
        series = b * now
        series[0] += 1 - b * now[0]
        found.append(series)
    return np.array(found)


def growth_limits(method: Stabilized, rtol: float) -> tuple[float, float]:
    """Largest h g at which the method follows growth at rate g: while ROCK4 takes the steps, and while RKC2 does."""
    fourth, second = (
        min(followed(series, order, rtol) for series in found)
        for order, found in ((4, _rock4_series()), (2, _rkc2_series()))
    )
    return (fourth if method.fourth else second), second


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


def rkc2(s: int) -> Rkc2:
    """Coefficients for s >= 4 stages.

    References
    ----------
    B. P. Sommeijer, L. F. Shampine, J. G. Verwer, J. Comput. Appl. Math. 88 (1998) 315-326.
    """
    w0, w1, a, b, *rest = map(float, _rkc2(np.array([s]))[0])
    return Rkc2(w0, w1, (int(a), int(b)), (rest[0], rest[1]), (rest[2], rest[3], rest[4], rest[5]))


def _rkc2(s: NDArray[np.int64]) -> NDArray[np.float64]:
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


class Tables(NamedTuple):
    """The methods as the arrays that the kernels read; see `fastdln.kernels.lockstep.stabilized` for the columns."""

    rock: NDArray[np.float64]  # (degrees, 18)
    recurrence: NDArray[np.float64]  # (all degrees', 2): mu, kappa
    rkc: NDArray[np.float64]  # (MOST2 + 1, 10), row s
    longest: int  # number of the highest degree of ROCK4 to be used


@functools.lru_cache(maxsize=16)
def tables(rtol: float, dtype: DTypeLike) -> Tables:
    """Lay out the methods; ROCK4 up to the degree at which rounding stays below a small part of the tolerance."""
    methods = rock4()
    first = np.cumsum([0, *(len(method.mu) for method in methods)])
    rock = [
        (method.stages, method.reach, at, *method.a, *method.b, *method.error)
        for method, at in zip(methods, first[:-1], strict=True)
    ]
    quiet = sum(np.finfo(dtype).eps * method.noise <= NOISE_SHARE * rtol for method in methods)
    return Tables(
        rock=np.array(rock),
        recurrence=np.concatenate([np.stack([method.mu, method.kappa], axis=1) for method in methods]),
        rkc=np.concatenate([np.zeros((LEAST2, 10)), _rkc2(np.arange(LEAST2, MOST2 + 1))]),
        longest=max(quiet - 1, 0),
    )
