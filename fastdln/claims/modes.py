"""The dynamics of single modes, reduced to scalar equations (T13)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.integrate import solve_ivp

from fastdln.claims.registry import claim
from fastdln.linalg import Floats
from fastdln.theory import exact


def _modes(
    rng: np.random.Generator, sign: int = 1, learning: bool = True
) -> Iterator[tuple[int, float, float, Floats]]:
    """Depth, start and target of modes below and above the equilibrium, and times on the scale of each."""
    for h in (1, 2, 3, 4, 6):
        for _ in range(3):
            sigma = float(rng.uniform(0.3, 3)) if learning else 0.0
            s0 = sign * float(rng.uniform(0.1, 1.8) * (sigma or 1.0) ** (1 / h))
            yield h, s0, sigma, np.array([0.0, 0.1, 1.0, 5.0]) / ((sigma or 1.0) ** (2 - 2 / h))


def _off_mode(h: int, s0: float, sigma: float, t: Floats) -> float:
    """The closed form less an integration of ds/dt = s^(h-1) (sigma - s^h)."""
    solved = solve_ivp(
        lambda _, s: s ** (h - 1) * (sigma - s**h), (0, t[-1]), [s0], "DOP853", t_eval=t, rtol=1e-12, atol=1e-14
    ).y[0]
    return float(np.abs(exact.mode(t, s0, sigma, h) - solved).max() / max(abs(s0), sigma ** (1 / h)))


@claim(
    "balanced-modes-in-closed-form",
    "T13",
    statement="A balanced mode, ds/dt = s^(h-1) (sigma - s^h), has a closed form: an exponential for h = 1, a "
    "logistic curve for h = 2, the inverse of hypergeometric functions for h >= 3.",
    hypotheses="s(0) > 0",
    instances="15 modes, h = 1, 2, 3, 4, 6, from below and above the equilibrium, against an integration with rtol "
    "1e-12",
    tolerance=1e-9,
)
def _mode(rng: np.random.Generator) -> Iterator[float]:
    for mode in _modes(rng):
        yield _off_mode(*mode)


@claim(
    "modes-tend-to-their-equilibrium",
    "T13",
    statement="s tends to sigma^(1/h), the strength s^h in the product to sigma.",
    hypotheses="s(0) > 0, or h = 1",
    instances="15 modes at t = 1e12, and 3 negative ones of one layer; relative difference",
    tolerance=1e-12,
)
def _equilibrium(rng: np.random.Generator) -> Iterator[float]:
    for h, s0, sigma, _ in _modes(rng):
        yield float(abs(exact.mode(1e12, s0, sigma, h) / sigma ** (1 / h) - 1))
        if h == 1:
            yield float(abs(exact.mode(1e12, -s0, sigma, h) / sigma - 1))


@_equilibrium.outside("a negative start of three layers")
def _(rng: np.random.Generator) -> float:
    return float(abs(exact.mode(1e12, -0.5, 2.0, 3) / 2 ** (1 / 3) - 1))


@claim(
    "negative-modes",
    "T13",
    statement="From s(0) < 0 even depths mirror the positive start, odd ones of 3 or more fade to 0 from below, one "
    "layer passes through 0.",
    hypotheses="s(0) < 0, sigma > 0",
    instances="15 modes, h = 1, 2, 3, 4, 6, against an integration with rtol 1e-12; the mirror image; the signs at "
    "the end",
    tolerance=1e-9,
)
def _negative(rng: np.random.Generator) -> Iterator[float]:
    for h, s0, sigma, t in _modes(rng, sign=-1):
        yield _off_mode(h, s0, sigma, t)
        if h % 2 == 0:
            yield np.abs(exact.mode(t, s0, sigma, h) + exact.mode(t, -s0, sigma, h)).max()
        late = exact.mode(1e9, s0, sigma, h)
        yield float(late < 0 if h == 1 else late > 0)
        if h > 1 and h % 2:
            yield float(abs(late) > 1e-2)


@claim(
    "modes-without-target-decay",
    "T13",
    statement="For sigma = 0, s = +-(|s_0|^(2-2h) + (2h-2) t)^(-1/(2h-2)).",
    hypotheses="h >= 2",
    instances="12 modes of either sign, h = 2, 3, 4, 6; against an integration with rtol 1e-12, and against the "
    "formula",
    tolerance=1e-9,
)
def _decay(rng: np.random.Generator) -> Iterator[float]:
    for sign in (-1, 1):
        for h, s0, sigma, t in _modes(rng, sign, learning=False):
            if h > 1:
                yield _off_mode(h, s0, sigma, t)
                formula = sign * (abs(s0) ** (2 - 2 * h) + (2 * h - 2) * t) ** (-1 / (2 * h - 2))
                yield np.abs(exact.mode(t, s0, sigma, h) - formula).max()


@_decay.outside("one layer, which decays exponentially")
def _(rng: np.random.Generator) -> float:
    return float(abs(exact.mode(5.0, 0.5, 0.0, 1) - 1 / np.sqrt(1 / 0.25 + 10)))


@claim(
    "time-of-a-mode",
    "T13",
    statement="The time in which a balanced mode goes from s_0 to s is the integral of ds / (s^(h-1) (sigma - s^h)).",
    hypotheses="s between s_0 and the equilibrium",
    instances="15 modes at 3 times each: the time found for the state that the integration reaches, relative",
    tolerance=1e-7,
)
def _time(rng: np.random.Generator) -> Iterator[float]:
    for h, s0, sigma, t in _modes(rng):
        s = exact.mode(t[1:3], s0, sigma, h)
        yield np.abs(exact.mode_time(s, s0, sigma, h) / t[1:3] - 1).max()


@claim(
    "two-scalar-layers-are-logistic",
    "T13",
    statement="Two scalar layers a = W_2, b = W_1, balanced or not: y = (a+b)^2 obeys y' = 2 sigma y - (y^2 - "
    "lambda^2)/2, lambda = a^2 - b^2, a logistic curve between 2 sigma +- (4 sigma^2 + lambda^2)^(1/2).",
    hypotheses="widths 1, 1, 1",
    instances="20 starts and targets of either sign; the equation by the layers' own, and both layers at t = 0.1, 1, "
    "5 against an integration with rtol 1e-12",
    tolerance=1e-8,
)
def _scalar(rng: np.random.Generator) -> Iterator[float]:
    for _ in range(20):
        a, b, sigma = rng.uniform(-2, 2, 3)
        y, shift = (a + b) ** 2, a**2 - b**2
        velocity = 2 * (a + b) * (a + b) * (sigma - a * b)
        yield abs(velocity - 2 * sigma * y + (y**2 - shift**2) / 2)
        t = np.array([0.0, 0.1, 1.0, 5.0])
        solved = solve_ivp(
            lambda _, w, s=sigma: w[::-1] * (s - w[0] * w[1]), (0, 5), [a, b], "DOP853", t, rtol=1e-12, atol=1e-14
        ).y
        yield np.abs(np.stack(exact.scalar_two_layer(t, a, b, sigma)) - solved).max()
