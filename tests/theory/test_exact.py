"""The closed forms of one mode against quadrature, an ODE solver, the full flow, and their own limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.integrate import quad, solve_ivp

from fastdln.theory.exact import mode, mode_time

STARTS = [
    # s0, sigma: below, near and above the equilibrium, tiny, negative; no target.
    (0.1, 2.0),
    (0.9, 1.0),
    (1.7, 1.0),
    (3.0, 0.01),
    (1e-3, 5.0),
    (-0.1, 2.0),
    (-1.5, 0.7),
    (0.8, 0.0),
    (-0.8, 0.0),
]
DEPTHS = [1, 2, 3, 4, 5, 7, 12]


def velocity(s, sigma, h):
    return s ** (h - 1) * (sigma - s**h)


@pytest.mark.parametrize("h", DEPTHS)
@pytest.mark.parametrize(("s0", "sigma"), STARTS)
def test_mode_solves_its_equation(s0, sigma, h):
    scale = 1 / max(abs(s0) ** max(h - 2, 0), 1e-3) / max(sigma, 0.3)
    t = np.concatenate([[0], np.geomspace(1e-2, 1, 9)]) * scale
    with np.errstate(over="ignore", invalid="ignore"):  # SciPy tries steps that overflow, and rejects them
        solution = solve_ivp(
            lambda _, s: velocity(s, sigma, h), (0, t[-1]), [s0], "DOP853", t_eval=t, rtol=1e-12, atol=1e-16
        )
    assert_allclose(mode(t, s0, sigma, h), solution.y[0], rtol=2e-10, atol=1e-13)


def passage(s0, s, sigma, h):
    """The integral of 1/velocity from s0 to s, in ln |s|, where the integrand is tame over the decades."""
    return quad(
        lambda z: s * np.exp(z) / velocity(s * np.exp(z), sigma, h),
        np.log(s0 / s),
        0,
        epsabs=0,
        epsrel=1e-12,
        limit=400,
    )[0]


@pytest.mark.parametrize("h", DEPTHS)
@pytest.mark.parametrize(
    ("s0", "s", "sigma"),
    [
        (0.1, 0.9, 1.0),
        (0.1, 0.1001, 1.0),
        (1e-4, 0.5, 3.0),
        (0.2, 0.999999, 1.0),
        (2.0, 1.1, 1.0),
        (30.0, 1.0001, 1.0),
        (0.5, 0.2, 0.0),
    ],
)
def test_mode_time_is_the_integral_of_the_reciprocal_velocity(s0, s, sigma, h):
    t = mode_time(s, s0, sigma, h)
    assert_allclose(t, passage(s0, s, sigma, h), rtol=1e-10)
    assert_allclose(mode_time(s0, s, sigma, h), -t, rtol=1e-11)
    # s is worth what t resolves.
    assert abs(mode(t, s0, sigma, h) - s) <= 1e-11 * abs(s) + 1e-14 * t * abs(velocity(s, sigma, h))
    if h % 2 == 0 or sigma == 0:
        assert mode_time(-s, -s0, sigma, h) == t
        assert mode(t, -s0, sigma, h) == -mode(t, s0, sigma, h)


@pytest.mark.parametrize("h", [3, 5, 7])
@pytest.mark.parametrize(
    ("s0", "s", "sigma"), [(-0.3, -0.2, 1.7), (-4.0, -0.01, 0.5), (-1e3, -5.0, 1.0), (-2e-3, -1e-3, 9.0)]
)
def test_negative_modes_of_odd_depth_fade(s0, s, sigma, h):
    t = mode_time(s, s0, sigma, h)
    assert_allclose(t, passage(s0, s, sigma, h), rtol=1e-10)
    assert_allclose(mode_time(s0, s, sigma, h), -t, rtol=1e-11)
    # s is worth what t resolves.
    assert abs(mode(t, s0, sigma, h) - s) <= 1e-11 * abs(s) + 1e-14 * t * abs(velocity(s, sigma, h))


@given(
    st.integers(1, 30),
    st.floats(-9, 1.5),
    st.sampled_from([-1, 1]),
    st.floats(-3, 2),
    st.floats(-6, 2),
)
@example(1, -5.0, -1, 0.0, 0.0)  # one layer that just passes zero
def test_mode_and_mode_time_are_inverse(h, log_s0, sign, log_sigma, log_tau):
    s0, sigma = sign * 10.0**log_s0, 10.0**log_sigma
    assume(velocity(s0, sigma, h) != 0)
    t = 10.0**log_tau * abs(s0 / velocity(s0, sigma, h))  # on the scale on which the mode begins to move
    s = mode(t, s0, sigma, h)
    assert np.isfinite(s)
    # Near the equilibrium s forgets the time, and s holds t only up to its own rounding.
    assume(abs(abs(s) - sigma ** (1 / h)) > 1e-6 * abs(s))
    resolution = 1e-14 * abs(s / velocity(s, sigma, h))
    assert abs(mode_time(s, s0, sigma, h) - t) <= 1e-11 * t + 100 * resolution


def test_long_times_end_at_the_equilibrium():
    h = np.arange(1, 9)
    for s0 in (1e-2, 0.5, 4.0):
        assert_allclose(mode(1e30, s0, 3.0, h), 3.0 ** (1 / h), rtol=1e-15)
    assert_allclose(mode(1e30, -0.5, 3.0, h[1::2]), -(3.0 ** (1 / h[1::2])), rtol=1e-15)
    assert_allclose(mode(1e30, -0.5, 3.0, h[2::2]), 0, atol=1e-4)
    assert_allclose(mode(1e4, 1e-12, 1.0, 2), 1.0)


def test_points_of_rest_stay():
    h = np.arange(2, 9)
    assert np.array_equal(mode(5.0, 0.0, 2.0, h), np.zeros(7))
    assert np.array_equal(mode(5.0, 0.0, 0.0, h), np.zeros(7))
    assert_allclose(mode(5.0, 2.0 ** (1 / h), 2.0, h), 2.0 ** (1 / h), rtol=1e-15)
    assert_allclose(mode([0.0, 1.0], 0.0, 2.0, 1), [0.0, 2 * (1 - np.exp(-1))])


def test_the_start_is_exact():
    s0 = np.array([-0.3, 0.0, 0.1, 1.9])
    for h in DEPTHS:
        assert np.array_equal(mode(0.0, s0, 1.3, h), s0)
        assert np.array_equal(mode_time(s0, s0, 1.3, h), np.zeros(4))


def test_time_may_run_backwards_until_the_solution_came_from_infinity():
    for h in (2, 3, 4):
        earlier = mode(-0.5, 0.6, 1.0, h)
        assert_allclose(mode(0.5, earlier, 1.0, h), 0.6, rtol=1e-13)
    # s0 = 1.3, sigma = 1, three layers: from infinity at t = -0.12; with no target at t = -1/(4 s0^4).
    assert np.isfinite(mode(-0.11, 1.3, 1.0, 3))
    assert np.isnan(mode(-0.13, 1.3, 1.0, 3))
    assert np.isfinite(mode(-0.249, 1.0, 0.0, 3))
    assert np.isnan(mode(-0.251, 1.0, 0.0, 3))
    assert np.isnan(mode(-10.0, -1.3, 1.0, 3))


@pytest.mark.parametrize("h", [2, 3, 4, 5])
def test_values_that_are_never_passed(h):
    limit = 2.0 ** (1 / h)
    assert mode_time(limit, 0.1, 2.0, h) == np.inf
    assert mode_time(limit, 3.0, 2.0, h) == np.inf
    assert mode_time(0.0, 0.1, 2.0, h) == -np.inf
    assert mode_time(0.0, 0.1, 0.0, h) == np.inf
    assert np.isnan(mode_time([1.5 * limit, -0.1], 0.1, 2.0, h)).all()
    assert np.isnan(mode_time([0.5 * limit, 0.0, -3.0], 3.0, 2.0, h)).all()
    assert np.isnan(mode_time([0.1, 1.0], 0.0, 2.0, h)).all()
    assert np.isnan(mode_time([0.1, 1.0], limit, 2.0, h)).all()
    assert np.isnan(mode_time(0.3, -0.1, 0.0, h))
    if h % 2:
        assert mode_time(0.0, -0.1, 2.0, h) == np.inf
        assert np.isnan(mode_time(0.3, -0.1, 2.0, h))


def test_one_layer_passes_through_zero():
    assert_allclose(mode_time([0.0, 1.0], -1.0, 2.0, 1), np.log([3 / 2, 3.0]))
    assert mode_time(2.0, -1.0, 2.0, 1) == np.inf
    assert np.isnan(mode_time([3.0, 1.0], [1.0, 2.0], 2.0, 1)).all()


def test_extreme_scales_neither_overflow_nor_warn():
    s0 = np.array([1e-300, 1e-100, 1e-12, 1e12, 1e100])
    for h in (1, 2, 3, 8, 50):
        s = mode([[1e-3], [1.0], [1e300]], s0, 1.0, h)
        assert np.isfinite(s).all()
        assert (np.diff(s[:, :3], axis=0) >= 0).all()
        assert (s[:, 3:] >= 1).all()
        assert (mode([[1e-3], [1.0], [1e300]], s0, 0.0, h) >= 0).all()
    # Small starts are slow: h = 3 takes about 1/(s0 sigma), h = 2 about ln(1/s0)/sigma.
    assert_allclose(mode_time(0.5, 1e-12, 1.0, 3), 1e12, rtol=1e-10)
    assert_allclose(mode_time(0.5, 1e-12, 1.0, 2), np.log(1e12) - np.log(2) + np.log(4 / 3) / 2, rtol=1e-13)


def test_arguments_broadcast():
    t = np.linspace(0, 3, 4)[:, None, None]
    s0 = np.array([0.1, 0.2])[:, None]
    h = np.array([1, 2, 3])
    s = mode(t, s0, 2.0, h)
    assert s.shape == (4, 2, 3)
    for i, j, k in np.ndindex(s.shape):
        assert s[i, j, k] == mode(t[i, 0, 0], s0[j, 0], 2.0, h[k])
    assert_allclose(mode_time(s, s0, 2.0, h), np.broadcast_to(t, s.shape), atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.nan, 0.1, 1.0, 2), "t must hold finite real numbers, not nan"),
        ((1.0, np.inf, 1.0, 2), "s0 must hold finite"),
        ((1.0, 1j, 1.0, 2), "s0 must hold finite real"),
        ((1.0, 0.1, -1.0, 2), r"sigma must be a singular value, hence at least 0, not -1\.0"),
        ((1.0, 0.1, 1.0, 2.5), r"depth must be an integer of at least 1, not 2\.5"),
        ((1.0, 0.1, 1.0, 0), "depth must be an integer of at least 1, not 0"),
        ((np.ones(3), np.ones(2), 1.0, 2), r"do not broadcast \(t: \(3,\), s0: \(2,\)"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        mode(*arguments)


def test_times_that_overflow_in_units_of_the_mode():
    """tau = sigma^{2-2/h} t may overflow, and x^{2-h} with it, where the state and the time are plain numbers."""
    assert mode(1e300, 1e-3, 1e12, 2) == 1e6
    assert mode(1e300, 5e6, 1e12, 2) == 1e6
    assert_allclose(mode(1e300, [1e-3, 1e-6, 1e9], 1e12, [3, 4, 5]), 1e12 ** (1 / np.array([3, 4, 5])), rtol=1e-15)
    assert mode(-1e300, 1e-3, 1e12, 2) == 0.0
    assert np.isnan(mode(-1e300, 5e6, 1e12, [2, 5])).all()
    # ds/dt = sigma s^{h-1} while s is small: s^{2-h} falls by (h-2) sigma t
    assert_allclose(mode(-1e300, 0.5, 1e12, 5), 3e12 ** (-1 / 3) * 1e-100, rtol=1e-13)
    assert_allclose(mode(1e300, -1.0, 1e12, 5), -(3e12 ** (-1 / 3)) * 1e-100, rtol=1e-13)
    assert_allclose(mode(1e308, 1e-3, 0.0, 4), 6 ** (-1 / 6) * 1e-51 * 0.1 ** (1 / 3), rtol=1e-13)
    assert_allclose(mode([-1000.0, 1000.0], 2.0, 2.0, 1), 2.0)


def test_modes_that_start_where_their_time_overflows_still_rise():
    """1/(48 sigma s_0^48) = 1.4e288: T0 = -x_0^{-48}/48 overflows, the time does not."""
    expected = 1e288 * 1.41663418855564772350646506706801
    assert_allclose(mode_time([1e-3, 1.0], 5.2e-7, 6.3e11, 50), expected, rtol=1e-12)
    assert_allclose(mode(expected * np.array([0.5, 1.5]), 5.2e-7, 6.3e11, 50),
                    [5.2e-7 * 2 ** (1 / 48), 6.3e11 ** (1 / 50)], rtol=1e-12)  # fmt: skip
    assert_allclose(mode(-expected, 5.2e-7, 6.3e11, 50), 5.2e-7 * 2 ** (-1 / 48), rtol=1e-12)


def test_times_that_overflow_are_infinite():
    cases = [(1e-8, 1e-9, 1e-3, 60), (1e-200, 1e-300, 1.0, 5), (1e-300, 1e-200, 0.0, 2), (-1e-300, -1e-200, 1.0, 5)]
    for s, s0, sigma, h in cases:
        assert mode_time(s, s0, sigma, h) == np.inf
        assert mode_time(s0, s, sigma, h) == -np.inf


@pytest.mark.parametrize("h", [2, 3, 4, 7, 20, 50])
@pytest.mark.parametrize("sign", [1, -1])
def test_extremes_are_scaled_copies_of_what_is_not_extreme(h, sign):
    """s -> c s, sigma -> c^h sigma, t -> c^{2-2h} t leaves the equation as it is; powers of two are exact."""
    power = sign * (1000 // (2 * h - 2))
    c = 2.0**power
    s0 = np.geomspace(0.3, 0.9, 7) ** (2 / h)
    s = s0 + (1.0 - s0) * np.linspace(0.05, 0.9, 7)
    times = mode_time(s, s0, 1.0, h)
    scaled = mode_time(c * s, c * s0, np.ldexp(1.0, power * h), h)
    assert_allclose(np.ldexp(scaled, power * (2 * h - 2)), times, rtol=1e-12)
    assert_allclose(mode(scaled, c * s0, np.ldexp(1.0, power * h), h) / c, s, rtol=1e-12)


def test_modes_and_equilibria_further_apart_than_numbers_reach():
    """x = 1e-300 / 1e150: its ratio underflows, its logarithm does not."""
    t = mode_time(1.0, 1e-300, 1e300, 2)
    assert_allclose(t, np.log(1e300) / 1e300, rtol=1e-13)
    assert_allclose(mode(t, 1e-300, 1e300, 2), 1.0, rtol=1e-11)
