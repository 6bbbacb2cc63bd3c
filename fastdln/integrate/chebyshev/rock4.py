"""ROCK4: a recurrence of three terms, and four more stages that give the step its order."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdln.integrate.control import SERIES, times_z


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
def degrees() -> tuple[Rock4, ...]:
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


@functools.cache
def series() -> NDArray[np.float64]:
    """Coefficients of the stability polynomials of all degrees of ROCK4."""
    found = []
    for method in degrees():
        one = np.zeros(SERIES)
        one[0] = 1.0
        before, now = one, one + method.mu[0] * times_z(one)
        for mu, kappa in zip(method.mu[1:], method.kappa[1:], strict=True):
            before, now = now, mu * times_z(now) + (1 + kappa) * now - kappa * before
        a21, a31, a32, a41, a42, a43 = method.a
        k1 = times_z(now)
        k2 = times_z(now + a21 * k1)
        k3 = times_z(now + a31 * k1 + a32 * k2)
        k4 = times_z(now + a41 * k1 + a42 * k2 + a43 * k3)
        found.append(now + sum(b * k for b, k in zip(method.b, (k1, k2, k3, k4), strict=True)))
    return np.array(found)
