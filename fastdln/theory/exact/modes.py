"""Closed-form dynamics of one balanced mode.

When all layers share the singular vectors of the target and the singular value s, each mode moves by itself,

    ds/dt = s^{h-1} (sigma - s^h),

towards the equilibrium sigma^{1/h} (A. Saxe, J. McClelland & S. Ganguli, ICLR 2014, for h = 2; survey, arXiv
2511.10362, section on decoupled dynamics). The strength of the mode in the product is s^h.

For h >= 3 and sigma > 0 put x = s / sigma^{1/h} and tau = sigma^{2-2/h} t. Then tau = T(x) - T(x_0), with
F(b, u) the hypergeometric function 2F1(1, b; 1+b; u) and

    0 < x < 1 (rising):   T = -x^{2-h}/(h-2) + x^2/2 F(2/h, x^h)
    x > 1 (falling):      T = x^{2-2h}/(2h-2) F(2-2/h, x^{-h})
    x < 0 (fading, h odd): with z = -x, either of
        T = z^{2-h}/(h-2) + z^2/2 F(2/h, -z^h) - (pi/h)/sin(2 pi/h) = z^{2-2h}/(2h-2) F(2-2/h, -z^{-h}).

T is inverted by Newton's method in the logit of x^h (rising), of x^{-h} (falling) or in ln z^h (fading):
there T is concave or convex, so that the iteration is monotone from one side, and nothing overflows. Time may
run backwards. Where T overflows, as x^{2-h} may, or tau does, their logarithms are added instead: what T has beside
x^{2-h}/(h-2) is below rounding there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_expit

from fastdln.linalg import Floats
from fastdln.theory.exact.arguments import real_numbers
from fastdln.theory.exact.hypergeometric import at_logit, at_minus_exp
from fastdln.theory.exact.signed import Signed

__all__ = ["mode", "mode_time"]


def mode(t: ArrayLike, s0: ArrayLike, sigma: ArrayLike, depth: ArrayLike) -> Floats:
    """Evaluate the singular value s(t) that every layer has in a balanced mode.

    Parameters
    ----------
    t : array_like
        Times, of either sign; all arguments broadcast.
    s0 : array_like
        Value at t = 0, of any sign: layers may share a negative value.
    sigma : array_like
        Singular value of the target, at least 0.
    depth : array_like of int
        Number of layers h, at least 1.

    Returns
    -------
    ndarray
        s(t); NaN at negative times before which the solution came from infinity.

    Examples
    --------
    >>> mode([0.0, 1.0, 100.0], s0=0.1, sigma=4.0, depth=2).round(6)
    array([0.1     , 1.878245, 2.      ])
    """
    t, s0, sigma, h = _read("t", t, s0, sigma, depth)
    sign = np.where((h > 1) & (s0 < 0), -1.0, 1.0)
    s = np.array(sign * s0)
    for where, regime in _regimes(s0, sigma, h):
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            s[where] = regime.state(t[where], s[where], sigma[where], h[where])
    # The regimes know the start only up to rounding.
    return np.where(t == 0, s0, sign * s)


def mode_time(s: ArrayLike, s0: ArrayLike, sigma: ArrayLike, depth: ArrayLike) -> Floats:
    """Find the time at which a balanced mode passes a value: the inverse of `mode`.

    Parameters
    ----------
    s : array_like
        Singular values of the layers; all arguments broadcast.
    s0 : array_like
        Value at t = 0.
    sigma : array_like
        Singular value of the target, at least 0.
    depth : array_like of int
        Number of layers h, at least 1.

    Returns
    -------
    ndarray
        The time t with s(t) = s, negative where the mode was there before t = 0. It is infinite, with the
        sign of the direction, where s is only approached as t tends to infinity, and NaN where s is neither
        passed nor approached.

    Examples
    --------
    >>> mode_time([0.1, 1.0, 2.0, 3.0], s0=0.1, sigma=4.0, depth=2).round(6)
    array([0.      , 0.611294,      inf,      nan])
    """
    s, s0, sigma, h = _read("s", s, s0, sigma, depth)
    sign = np.where((h > 1) & (s0 < 0), -1.0, 1.0)
    t = np.full(s.shape, np.nan)
    for where, regime in _regimes(s0, sigma, h):
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            t[where] = regime.time((sign * s)[where], (sign * s0)[where], sigma[where], h[where])
    return np.where(s == s0, 0.0, t)


class _Regime(NamedTuple):
    """How modes of one kind move. For h > 1 values are given without the sign that they never lose."""

    state: Callable[[Floats, Floats, Floats, Floats], Floats]
    """s from (t, s0, sigma, h)."""
    time: Callable[[Floats, Floats, Floats, Floats], Floats]
    """t from (s, s0, sigma, h)."""


def _regimes(s0: Floats, sigma: Floats, h: Floats) -> list[tuple[NDArray[np.bool_], _Regime]]:
    """Tell which modes move in which way; those in no regime are at rest, at 0 or at the equilibrium."""
    moving = (h > 1) & (s0 != 0)
    fading = moving & (sigma > 0) & (s0 < 0) & (h % 2 == 1)
    attracted = moving & (sigma > 0) & ~fading
    rising = attracted & (np.abs(s0) < _equilibrium(sigma, h))
    falling = attracted & (np.abs(s0) > _equilibrium(sigma, h))
    return [
        (h == 1, _Regime(_linear_state, _linear_time)),
        (moving & (sigma == 0), _Regime(_decaying_state, _decaying_time)),
        (rising & (h == 2), _by(_LOGISTIC)),
        (rising & (h > 2), _by(_RISING)),
        (falling, _by(_FALLING)),
        (fading, _by(_FADING)),
    ]


def _linear_state(t: Floats, s0: Floats, sigma: Floats, h: Floats) -> Floats:
    """ds/dt = sigma - s: from sigma, or, while the start is remembered, from there, so that nothing cancels."""
    moved = np.where(np.abs(t) < 1, s0 + (s0 - sigma) * np.expm1(-t), sigma + (s0 - sigma) * np.exp(-t))
    return np.where(s0 == sigma, sigma, moved)


def _linear_time(s: Floats, s0: Floats, sigma: Floats, h: Floats) -> Floats:
    moved, left = (s - s0) / (s0 - sigma), (s - sigma) / (s0 - sigma)
    return np.where(s0 == sigma, np.nan, -np.where(np.abs(moved) < 0.5, np.log1p(moved), np.log(left)))


def _decaying_state(t: Floats, s0: Floats, sigma: Floats, h: Floats) -> Floats:
    """ds/dt = -s^{2h-1}, hence s^{-p} = s_0^{-p} + p t with p = 2h-2."""
    p = 2 * h - 2
    forwards = np.exp(-np.logaddexp(-p * np.log(s0), np.log(p) + np.log(t)) / p)
    return np.where(t > 0, forwards, s0 * (1 + p * s0**p * t) ** (-1 / p))


def _decaying_time(s: Floats, s0: Floats, sigma: Floats, h: Floats) -> Floats:
    p = 2 * h - 2
    plain = (s**-p - s0**-p) / p
    far = Signed(np.ones_like(s), -p * np.log(s)).plus(Signed(-np.ones_like(s), -p * np.log(s0))).times(-np.log(p))
    return np.where(s < 0, np.nan, np.where(np.isfinite(plain), plain, far))


class _Clock(NamedTuple):
    """The time T that a mode takes, by a coordinate y of x^h in which Newton's method is safe."""

    coordinate: Callable[[Floats], Floats]
    """y from ln x^h."""
    log_power: Callable[[Floats], Floats]
    """ln x^h from y."""
    T: Callable[[Floats, Floats], Floats]
    """T from (y, h); modes came from infinity at T = 0 where T is positive."""
    slope: Callable[[Floats, Floats], Floats]
    """dT/dy from (y, h)."""
    start: Callable[[Floats, Floats], Floats]
    """From (T, h) a first y, on the side from which Newton's method is monotone."""
    earliest: float
    """The infimum of T."""
    singular: int
    """The sign of x^{2-h}/(h-2) in T, which it tends to infinity with where x tends to 0; 0 without such a term."""


def _by(clock: _Clock) -> _Regime:
    return _Regime(partial(_state, clock), partial(_time, clock))


def _state(clock: _Clock, t: Floats, s0: Floats, sigma: Floats, h: Floats) -> Floats:
    log_x0 = _log_x(s0, sigma, h)
    T0 = clock.T(clock.coordinate(h * log_x0), h)
    rate = sigma ** (1 - 1 / h)
    T = T0 + rate * t * rate  # in this order it overflows only where it must
    log_x = _log_x_at(clock, T, h)
    far = ~np.isfinite(T)
    if far.any():
        tau = Signed(np.sign(t), (2 - 2 / h) * np.log(sigma) + np.log(np.abs(t)))
        log_x = np.where(far, _log_x_far(clock, _signed(clock, T0, log_x0, h).plus(tau), h), log_x)
    # From the equilibrium, to rounding, no mode moves.
    at_rest = np.isinf(T0) & (np.sign(T0) != clock.singular)
    return np.where(at_rest, s0, _from_log_x(log_x, sigma, h))


def _time(clock: _Clock, s: Floats, s0: Floats, sigma: Floats, h: Floats) -> Floats:
    log_x, log_x0 = _log_x(s, sigma, h), _log_x(s0, sigma, h)
    T, T0 = (clock.T(clock.coordinate(h * log), h) for log in (log_x, log_x0))
    rate = sigma ** (1 - 1 / h)
    plain = (T - T0) / rate / rate
    before = _signed(clock, T0, log_x0, h)
    passed = _signed(clock, T, log_x, h).plus(Signed(-before.sign, before.log))
    return np.where(np.isfinite(plain) | np.isnan(T), plain, passed.times((2 / h - 2) * np.log(sigma)))


def _signed(clock: _Clock, T: Floats, log_x: Floats, h: Floats) -> Signed:
    """T by sign and logarithm, also where its singular term overflows."""
    overflown = np.isinf(T) & (np.sign(T) == clock.singular)
    return Signed(np.sign(T), np.where(overflown, (2 - h) * log_x - np.log(h - 2), np.log(np.abs(T))))


def _log_x_at(clock: _Clock, T: Floats, h: Floats) -> Floats:
    """ln x at a time; NaN where it is not finite, or before that at which modes came from infinity."""
    possible = np.isfinite(T) & (clock.earliest < T)
    return clock.log_power(_solve(clock, np.where(possible, T, np.nan), h)) / h


def _log_x_far(clock: _Clock, T: Signed, h: Floats) -> Floats:
    """ln x at a time that may overflow."""
    plain = T.times(np.zeros_like(h))
    singular = -(T.log + np.log(h - 2)) / (h - 2)
    # Without a singular term modes rise from 0 so early that no number is as small, or came from infinity later.
    first = -np.inf if np.isneginf(clock.earliest) else np.nan
    limit = np.where(T.sign == clock.singular, singular, np.where(T.sign > 0, 0.0, first))
    return np.where(np.isinf(plain), limit, _log_x_at(clock, plain, h))


def _solve(clock: _Clock, T: Floats, h: Floats) -> Floats:
    """Invert T(y) by Newton's method."""
    y = clock.start(T, h)
    for _ in range(_MAX_ITERATIONS):
        step = (T - clock.T(y, h)) / clock.slope(y, h)
        y = y + step
        if not (np.abs(step) > _TOLERANCE * (1 + np.abs(y))).any():
            return y
    raise ArithmeticError(f"the time of a mode could not be inverted in {_MAX_ITERATIONS} iterations")


def _logit(log_u: Floats) -> Floats:
    """The logit of u, from ln u."""
    return log_u - np.log(-np.expm1(log_u))


def _rising_time(y: Floats, h: Floats) -> Floats:
    log_u: Floats = log_expit(y)
    return np.exp((2 / h - 1) * log_u) / (2 - h) + _rising_part(y, h)


def _rising_part(y: Floats, h: Floats) -> Floats:
    log_u: Floats = log_expit(y)
    return 0.5 * np.exp(2 / h * log_u) * at_logit(2 / h, y)


def _rising_start(T: Floats, h: Floats) -> Floats:
    # T exceeds its singular term by an increasing part, so an upper bound of that part bounds y from below.
    zero = np.zeros_like(T)
    p = 2 - h
    upper = np.where(T < 0, h / p * np.log(p * T), 0.0)
    upper = _logit(np.minimum(upper, -np.log(2.0)))
    lower = _logit(h / p * np.log(p * (T - _rising_part(upper, h))))
    return np.where(_rising_time(zero, h) < T, zero, lower)


def _falling_time(y: Floats, h: Floats) -> Floats:
    b = 2 - 2 / h
    log_u: Floats = log_expit(y)
    return np.exp(b * log_u) / (h * b) * at_logit(b, y)


def _falling_start(T: Floats, h: Floats) -> Floats:
    # Both are upper bounds: T >= u^b / (h b), and T >= (-ln(1-u) - 1) / h.
    b = 2 - 2 / h
    log_u = np.log(h * b * T) / b
    return np.where(log_u < 0, np.fmin(_logit(log_u), h * T + 1), h * T + 1)


def _fading_time(y: Floats, h: Floats) -> Floats:
    b, c = 2 - 2 / h, 2 / h
    small = np.exp((c - 1) * y) / (h - 2) + 0.5 * np.exp(c * y) * at_minus_exp(c, np.minimum(y, 0))
    large = np.exp(-b * y) / (h * b) * at_minus_exp(b, np.minimum(-y, 0))
    return np.where(y < 0, small - _fading_constant(h), large)


def _fading_start(T: Floats, h: Floats) -> Floats:
    # Both are lower bounds of z, by T >= z^{2-h}/(h-2) - K and, where z >= 1, T >= z^{2-2h}/(4h-4).
    b = 2 - 2 / h
    small = -h / (h - 2) * np.log((h - 2) * (T + _fading_constant(h)))
    large = -np.log(2 * h * b * T) / b
    return np.where(large > 0, np.fmax(small, large), small)


def _fading_constant(h: Floats) -> Floats:
    """K, the integral of y / (1 + y^h) over the half-line."""
    return np.pi / h / np.sin(2 * np.pi / h)


_TOLERANCE = 1e-13
_LEAST = 1e-290  # ratios from here to its inverse have all their digits
_MAX_ITERATIONS = 200

_LOGISTIC = _Clock(
    coordinate=_logit,
    log_power=log_expit,
    T=lambda y, h: y / 2,
    slope=lambda y, h: np.full_like(y, 0.5),
    start=lambda T, h: np.zeros_like(T),
    earliest=-np.inf,
    singular=0,
)
_RISING = _Clock(
    coordinate=_logit,
    log_power=log_expit,
    T=_rising_time,
    slope=lambda y, h: np.exp((2 / h - 1) * log_expit(y)) / h,
    start=_rising_start,
    earliest=-np.inf,
    singular=-1,
)
_FALLING = _Clock(
    coordinate=lambda log_power: _logit(-log_power),
    log_power=lambda y: -log_expit(y),
    T=_falling_time,
    slope=lambda y, h: np.exp((2 - 2 / h) * log_expit(y)) / h,
    start=_falling_start,
    earliest=0.0,
    singular=0,
)
_FADING = _Clock(
    coordinate=lambda log_power: log_power,
    log_power=lambda y: y,
    T=_fading_time,
    slope=lambda y, h: -np.exp((2 / h - 1) * y + log_expit(-y)) / h,
    start=_fading_start,
    earliest=0.0,
    singular=1,
)


def _equilibrium(sigma: Floats, h: Floats) -> Floats:
    return sigma ** (1 / h)


def _log_x(s: Floats, sigma: Floats, h: Floats) -> Floats:
    """ln x for x = s / sigma^{1/h}."""
    x = s / _equilibrium(sigma, h)
    return np.where((x > _LEAST) & (x < 1 / _LEAST), np.log(x), np.log(s) - np.log(sigma) / h)


def _from_log_x(log_x: Floats, sigma: Floats, h: Floats) -> Floats:
    """The inverse of `_log_x`."""
    x = np.exp(log_x)
    near = (x > _LEAST) & (x < 1 / _LEAST)
    return np.where(near, _equilibrium(sigma, h) * x, np.exp(log_x + np.log(sigma) / h))


def _read(name: str, value: ArrayLike, s0: ArrayLike, sigma: ArrayLike, depth: ArrayLike) -> list[Floats]:
    read = real_numbers(**{name: value, "s0": s0, "sigma": sigma, "depth": depth})
    if (read[2] < 0).any():
        raise ValueError(f"sigma must be a singular value, hence at least 0, not {sigma!r}")
    if np.asarray(depth).dtype.kind == "f" or (read[3] < 1).any():
        raise ValueError(f"depth must be an integer of at least 1, not {depth!r}")
    return read
