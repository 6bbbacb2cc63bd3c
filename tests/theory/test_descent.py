"""Limits of stability, cycles of the scalar map and their doublings, against closed forms and high precision."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from fastdln import inits
from fastdln.field import rhs
from fastdln.losses import Quadratic
from fastdln.network import Network
from fastdln.theory import descent, hessian, rates

# ---- the scalar map


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_a_balanced_network_moves_as_the_map_says(depth):
    s, eta, sigma = 0.8, 0.3, 1.7
    weights = tuple(np.array([[s]]) for _ in range(depth))
    slope = rhs(weights, Quadratic([[sigma]]))
    for W, G in zip(weights, slope, strict=True):
        assert_allclose(W + eta * G, descent.mode_map(s, eta, sigma, depth), rtol=1e-15)


def test_the_map_broadcasts():
    s, eta = np.linspace(-1, 1, 3)[:, None], np.array([0.1, 0.2])
    found = descent.mode_map(s, eta, 1.0, 3)
    assert found.shape == (3, 2)
    assert found[2, 1] == descent.mode_map(1.0, 0.2, 1.0, 3)


def test_all_periodic_points_of_two_layers_at_the_end_of_the_bounded_range():
    """There the map is conjugate to the Chebyshev polynomial of degree 3, whose iterates have all roots real."""
    counts = {p: len(descent.cycles(2.0, 1.0, 2, p)) * p for p in range(1, 7)}
    assert counts == {1: 3, 2: 6, 3: 24, 4: 72, 5: 240, 6: 696}
    # the multipliers of all but the ends are 3^p in size there
    for cycle in descent.cycles(2.0, 1.0, 2, 3):
        assert_allclose(abs(cycle.multiplier), 27.0, rtol=1e-9)


@given(
    m=st.floats(0.1, 2.0), sigma=st.floats(0.01, 100.0), depth=st.integers(2, 5), period=st.integers(1, 4)
)  # fmt: skip
def test_cycles_are_cycles(m, sigma, depth, period):
    eta = m * sigma ** (2 / depth - 2)
    for cycle in descent.cycles(eta, sigma, depth, period):
        x = cycle.points
        assert x.shape == (period,)
        assert x.min() == x[0]
        after = descent.mode_map(x, eta, sigma, depth)
        scale = sigma ** (1 / depth)
        assert_allclose(after, np.roll(x, -1), atol=1e-9 * scale * max(1, abs(cycle.multiplier)))
        if period > 1:
            assert np.abs(x[1:] - x[0]).min() > 1e-12 * scale
        y = complex(x[0], 1e-30)
        for _ in range(period):
            y += eta * y ** (depth - 1) * (sigma - y**depth)
        assert_allclose(cycle.multiplier, y.imag / 1e-30, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("m", "stable"),
    [(0.9, {1: 2, 2: 0, 4: 0}), (1.1, {1: 0, 2: 2, 4: 0}), (1.25, {1: 0, 2: 0, 4: 2}), (1.2895, {2: 0, 4: 0, 8: 2})],
)
def test_which_cycles_of_two_layers_are_stable(m, stable):
    found = {p: sum(cycle.stable for cycle in descent.cycles(m, 1.0, 2, p)) for p in stable}
    assert found == stable


def test_the_two_cycle_of_two_layers_in_closed_form():
    """y+ = -y of y^2 = 2 + m, and else y y+ = 1 with y^2 + y+^2 = 1 + m."""
    m = 1.5
    points = np.sort(np.concatenate([cycle.points for cycle in descent.cycles(m, 1.0, 2, 2)])) * np.sqrt(m)
    squares = np.roots([1, -(1 + m), 1])
    expected = np.sort(np.concatenate([sign * np.sqrt([2 + m, *squares]) for sign in (1, -1)]))
    assert_allclose(points, expected, rtol=1e-12)


def _doubling(h, p, m, x):
    """m and a point where the cycle of period p has the multiplier -1, in 40 digits."""
    with mpmath.workdps(40):

        def system(m, x):
            slope = mpmath.mpf(1)
            y = x
            for _ in range(p):
                slope *= 1 + m * ((h - 1) * y ** (h - 2) - (2 * h - 1) * y ** (2 * h - 2))
                y = y + m * y ** (h - 1) * (1 - y**h)
            return [y - x, slope + 1]

        return float(mpmath.findroot(system, (m, x))[0])


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_doublings_in_high_precision(depth):
    found = descent.cascade(1.0, depth, 4 if depth == 2 else 3)
    assert found[0] == 2 / depth
    for k, m in enumerate(found[1:], 1):
        cycle = max(descent.cycles(m, 1.0, depth, 2**k), key=lambda c: -abs(c.multiplier + 1))
        assert_allclose(m, _doubling(depth, 2**k, m, cycle.points[-1]), rtol=1e-11)
    assert (np.diff(found) > 0).all()


def test_doublings_of_two_layers():
    assert_allclose(
        descent.cascade(1.0, 2, 5), [1, np.sqrt(5) - 1, 1.2880318, 1.2992279, 1.3016289], atol=1e-7
    )  # fmt: skip
    ratios = np.diff(descent.cascade(1.0, 2, 9))
    assert_allclose(ratios[-2] / ratios[-1], 4.6692, rtol=1e-3)


def test_doublings_scale_with_the_target():
    assert_allclose(descent.cascade(10.0, 3, 4), descent.cascade(1.0, 3, 4) / 10 ** (4 / 3), rtol=1e-14)
    assert_allclose(descent.cascade(10.0, 3, 1), rates.step_limit(Quadratic([[10.0]]), 3), rtol=1e-14)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: descent.mode_map(1.0, 0.1, 1.0, 0), "depth must be at least 1, not 0"),
        (lambda: descent.mode_map(np.ones(2), np.ones(3), 1.0, 2), r"broadcast, but have the shapes \[\(2,\), \(3,\)"),
        (lambda: descent.cycles(0.1, 1.0, 1, 1), "depth must be at least 2, not 1"),
        (lambda: descent.cycles(-0.1, 1.0, 2, 1), "eta must be .* not -0.1"),
        (lambda: descent.cycles(0.1, 0.0, 2, 1), "sigma must be"),
        (lambda: descent.cycles(0.1, 1.0, 2, 0), "period must be at least 1, not 0"),
        (lambda: descent.cycles(0.1, 1.0, 2, 12), r"period = 12 at depth 2 has 3\^12 points"),
        (lambda: descent.cascade(1.0, 2, 0), "doublings must be from 1 to 10, not 0"),
        (lambda: descent.cascade(1.0, 2, 11), "doublings must be from 1 to 10, not 11"),
    ],
)
def test_refusals_of_the_map(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ---- limits


def _grows(weights, loss, eta, momentum, nesterov, decay, layer_rates):
    """The largest growth per update of the linear updates about a minimum: the spectral radius of their matrix."""
    net = Network((weights[0].shape[1], *(len(W) for W in weights)))
    D = np.repeat(layer_rates, [rows * columns for rows, columns in net.shapes])
    M = eta * (D[:, None] * hessian.matrix(weights, loss) + decay * np.eye(net.n_parameters))
    one, zero = np.eye(net.n_parameters), np.zeros_like(M)
    # (W, v) -> (W + v', v'), v' = beta v - M (W + beta v), or - M W
    v = np.hstack([-M, momentum * (one - M if nesterov else one)])
    return np.abs(np.linalg.eigvals(np.vstack([np.hstack([one, zero]) + v, v]))).max()


@pytest.mark.parametrize("layer_rates", [None, (1.0, 0.3, 2.0)])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.8, False), (0.8, True)])
@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_linear_updates_are_stable_below_the_limit_and_not_above(momentum, nesterov, decay, layer_rates):
    rng = np.random.default_rng(3)
    net = Network((3, 4, 4, 2))
    weights = tuple(rng.standard_normal(shape) for shape in net.shapes)
    loss = Quadratic(weights[2] @ weights[1] @ weights[0])
    limit = descent.step_limit(weights, loss, momentum, nesterov, decay, layer_rates)
    told = (momentum, nesterov, decay, layer_rates or (1.0,) * 3)
    # zero eigenvalues of H give the multiplier 1 without decay
    assert _grows(weights, loss, 0.999 * limit, *told) <= 1 + 1e-7
    assert _grows(weights, loss, 1.001 * limit, *told) > 1 + 1e-5


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_the_balanced_minimum_has_the_largest_limit(depth):
    net = Network((3,) * (depth + 1))
    loss = Quadratic.from_singular_values((3.0, 2.0, 1.0), (3, 3), rng=0)
    minimum = inits.decoupled(net, loss, loss.modes.sigma ** (1 / depth), rng=1)
    assert_allclose(descent.step_limit(minimum, loss), rates.step_limit(loss, depth), rtol=1e-10)
    turned = (2.0 * minimum[0], *minimum[1:-1], minimum[-1] / 2.0)
    assert descent.step_limit(turned, loss) < 0.999 * rates.step_limit(loss, depth)


def test_where_nothing_curves_up_every_step_is_stable():
    assert descent.step_limit((np.zeros((2, 2)),) * 3, Quadratic(np.eye(2))) == np.inf


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1, not 1.0"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"layer_rates": (1.0,)}, r"layer_rates has shape \(1,\)"),
    ],
)
def test_refusals_of_limits(arguments, message):
    with pytest.raises(ValueError, match=message):
        descent.step_limit((np.eye(2), np.eye(2)), Quadratic(np.eye(2)), **arguments)
    with pytest.raises(ValueError, match="one network and target"):
        descent.step_limit((np.ones((3, 2, 2)), np.eye(2)), Quadratic(np.eye(2)))
