"""Exponents, bounds and certificates against measured losses, path lengths and dense Hessians."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp

from fastdln import inits
from fastdln.field import gradient_norm, product, rhs, value
from fastdln.losses import Quadratic, Regression
from fastdln.network import Network
from fastdln.theory import exact, hessian, rates
from tests.support.reference import integrate


def target(values, shape, seed=0):
    return Quadratic.from_singular_values(values, shape, rng=seed)


def regression(net, seed=0, samples=9):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((net.widths[0], samples))
    return Regression(X, rng.standard_normal((net.widths[-1], samples)))


def wide(rng):
    """A network whose hidden layers hide nothing, weights that have learned all modes, and a loss near them."""
    h = int(rng.integers(1, 5))
    ends = rng.integers(1, 4, size=2)
    net = Network((ends[0], *rng.integers(max(ends), 6, size=h - 1), ends[1]))
    weights = tuple(np.eye(*shape) + 0.2 * rng.standard_normal(shape) for shape in net.shapes)
    residual = rng.standard_normal((net.widths[-1], net.widths[0]))
    return net, weights, product(weights) + 10 ** rng.uniform(-4, -0.3) * residual / np.linalg.norm(residual)


# near a minimum


@pytest.mark.parametrize(
    ("widths", "sigma", "rho"),
    [
        ((3, 3, 3), (3.0, 2.0, 1.0), 2.0),  # h sigma_r^(2-2/h)
        ((2, 4, 3, 2), (3.0, 0.5), 3 * 0.5 ** (4 / 3)),
        ((4, 5, 3, 2), (3.0, 0.5), 0.5 ** (4 / 3)),  # sigma_r^(2-2/h)
        ((3, 2, 3), (3.0, 2.0, 1.0), 1.0),  # sigma_r^(1-2/h) (sigma_r - sigma_{r+1})
        ((3, 4, 2, 3), (3.0, 2.0, 1.5), 2 ** (1 / 3) * 0.5),
        ((3, 3), (3.0, 2.0, 1.0), 1.0),
        ((3, 2, 3), (3.0, 2.0, 2.0), 4.0),  # a tie: any of the tied modes
    ],
)
def test_the_exponent_at_balanced_minima_is_the_least_positive_entry_of_the_closed_list(widths, sigma, rho):
    net, loss = Network(widths), target(sigma, (widths[-1], widths[0]))
    r = net.rank
    weights = inits.decoupled(net, loss, np.array(sigma[:r]) ** (1 / net.depth), rng=1)
    found = rates.local(weights, loss)
    listed = hessian.minimum_spectrum(net, loss)
    assert found.tail == "exponential"
    assert np.isnan(found.power)
    if widths != (3, 2, 3) or sigma[2] < 2:
        assert_allclose(found.exponent, rho, rtol=1e-10)
    assert_allclose(float(found), listed[listed > 1e-9][0], rtol=1e-10)


@pytest.mark.parametrize(
    ("widths", "sigma"),
    [
        ((3, 3, 3), (3.0, 2.0, 1.0)),
        ((2, 4, 3), (2.0, 0.7)),
        ((3, 2, 3), (3.0, 2.0, 1.0)),
        ((2, 3, 2, 2), (2.0, 0.8)),
        ((2, 2, 2, 2, 2), (1.5, 1.0)),
        ((3, 2), (2.0, 1.0)),
    ],
)
@pytest.mark.parametrize("start", ["balanced", "near", "unwhitened"])
def test_measured_exponents_are_those_of_the_limit(widths, sigma, start):
    net = Network(widths)
    loss = target(sigma, (widths[-1], widths[0])) if start != "unwhitened" else regression(net, 1)
    minimum = inits.decoupled(net, loss, loss.modes.sigma[: net.rank] ** (1 / net.depth), rng=2)
    if start == "balanced":
        W = product(minimum)
        U, s, Vt = np.linalg.svd(W + 0.02 * np.random.default_rng(7).standard_normal(W.shape))
        root = np.diag(s[: net.rank] ** (1 / net.depth))
        frames = [Vt[: net.rank].T, *(np.eye(d, net.rank) for d in widths[1:-1]), U[:, : net.rank]]
        weights = tuple(b @ root @ a.T for a, b in pairwise(frames))
    else:
        weights = inits.near(minimum, 0.1, rng=3)
    t = np.linspace(0, 45 if net.depth > 1 else 150, 451)
    path = integrate(net, weights, loss, t, rtol=1e-12, atol=1e-15)
    rho = float(rates.local(tuple(W[-1] for W in path), loss, tol=1e-5))
    # The gradient falls like exp(-rho t), and unlike the loss it has no value that remains.
    gradient = gradient_norm(path, loss)
    last = np.flatnonzero(gradient > 1e-7)[-1]
    early = int(0.9 * last)
    assert_allclose(np.log(gradient[early] / gradient[last]) / (t[last] - t[early]), rho, rtol=2e-3)


def test_measured_exponents_agree_to_six_digits_in_exact_solutions():
    # Two layers: the closed form reaches far into the tail, where one exponent is left.
    for widths, sigma, rho in [((3, 4, 3), (3.0, 2.0, 1.0), 2.0), ((4, 3, 2), (2.0, 1.0), 1.0)]:
        net, loss = Network(widths), target(sigma, (widths[-1], widths[0]))
        weights = inits.balanced(net, 0.5, rng=4)
        t = np.array([7.0, 8.0]) if rho == 2 else np.array([15.0, 16.5])
        E = loss.value(exact.two_layer(t, weights, loss).product)
        assert_allclose(-np.diff(np.log(E)) / np.diff(t) / 2, rho, rtol=6e-5)
        limit = inits.decoupled(net, loss, np.sqrt(sigma))
        assert_allclose(float(rates.local(limit, loss)), rho, rtol=1e-10)


@pytest.mark.parametrize("h", [2, 3, 4])
def test_where_nothing_is_to_be_learned_the_balanced_tail_is_algebraic(h):
    for sigma, t in (((2.0, 0.0), [20.0, 200.0]), ((0.0, 0.0), [1e6, 1e7])):
        loss = Quadratic(np.diag(sigma))
        found = rates.local((np.diag(np.array(sigma) ** (1 / h)),) * h, loss)
        assert found.tail == "algebraic"
        assert found.power == h / (h - 1)
        L = loss.value(exact.end_to_end(t, np.diag([1.0, 1.0]), loss, h))
        assert_allclose(-np.diff(np.log(L)) / np.log(10), found.power, rtol=5e-2 if sigma[0] else 1e-5)
    if h == 2:
        # One scalar: L t^2 tends to 1/8.
        L = Quadratic([[0.0]]).value(exact.end_to_end([1e8], [[1.0]], Quadratic([[0.0]]), 2))
        assert_allclose(L * 1e16, 1 / 8, rtol=1e-6)


def test_imbalance_makes_the_tail_exponential():
    loss = Quadratic(np.diag([2.0, 0.0]))
    unbalanced = np.diag([np.sqrt(2), 0.0]), np.diag([np.sqrt(2), 1.3])
    found = rates.local(unbalanced, loss)
    assert found.tail == "exponential"
    start = np.diag([np.sqrt(2), 0.1]), np.diag([np.sqrt(2), 1.3])
    a, b = exact.scalar_two_layer([5.0, 10.0], 1.3, 0.1, 0.0)
    rate = a[1] ** 2
    assert_allclose(-np.diff(np.log((a * b) ** 2)) / 10, rate, rtol=1e-6)
    limit = np.diag([np.sqrt(2), 0.0]), np.diag([np.sqrt(2), np.sqrt(1.3**2 - 0.1**2)])
    assert_allclose(float(rates.local(limit, loss)), min(rate, 2.0), rtol=1e-10)
    assert value(start, loss) > 0


def test_where_the_hessian_does_not_tell():
    # A bottleneck of width 2 for a target of rank 1, unbalanced.
    u = np.array([[1.0], [0.0], [0.0]])
    W2 = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    found = rates.local((np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), W2), Quadratic(u @ u.T))
    assert found.tail == "undetermined"
    assert found.exponent > 0


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((np.diag([2.0, 0.0]), np.diag([2.0, 0.0])), "they are at a saddle"),
        ((np.zeros((2, 2)), np.zeros((2, 2))), "they are at a saddle"),
        ((np.eye(2), np.eye(2)), "the gradient is .* relative"),
        ((np.ones((3, 2, 2)), np.ones((3, 2, 2))), "batch axes"),
        ((np.eye(2) * np.nan, np.eye(2)), "must be finite"),
    ],
)
def test_only_minima_have_a_local_exponent(weights, message):
    with pytest.raises(ValueError, match=message):
        rates.local(weights, Quadratic(np.diag([4.0, 1.0])))


def test_a_learned_mode_in_place_of_a_larger_one_is_a_saddle():
    loss = Quadratic(np.diag([2.001, 2.0]))
    with pytest.raises(ValueError, match="saddle"):
        rates.local((np.array([[0.0, np.sqrt(2)]]), np.array([[0.0], [np.sqrt(2)]])), loss)


# steps of descent


@pytest.mark.parametrize("h", [1, 2, 3, 4])
def test_the_step_limit_is_two_over_the_sharpness(h):
    net = Network((3,) + (4,) * (h - 1) + (2,))
    for loss in (target((3.0, 0.5), (2, 3)), regression(net)):
        U, s, Vt = np.linalg.svd(loss.target, full_matrices=False)
        root = s ** (1 / h)
        frames = [Vt.T, *(np.eye(4, 2) for _ in range(h - 1)), U]
        weights = tuple((b * root) @ a.T for a, b in pairwise(frames))
        limit = rates.step_limit(loss, h)
        assert_allclose(limit, 2 / hessian.spectrum(weights, loss)[-1], rtol=1e-10)
        if loss.quadratic.input_gram is None:
            assert_allclose(limit, 2 / (h * 3.0 ** (2 - 2 / h)), rtol=1e-12)


@pytest.mark.parametrize("h", [2, 3, 4])
def test_descent_is_stable_below_the_limit_only(h):
    loss = Quadratic(np.diag([2.0, 1.0]))
    limit = rates.step_limit(loss, h)
    minimum = (np.diag(np.array([2.0, 1.0]) ** (1 / h)),) * h
    distance = []
    for factor in (0.98, 1.02):
        W = inits.near(minimum, 1e-6, rng=0)
        for _ in range(400):
            W = tuple(w + factor * limit * f for w, f in zip(W, rhs(W, loss), strict=True))
        distance.append(np.linalg.norm(product(W) - loss.target))
    assert distance[0] < 1e-8 < 1e-4 < distance[1]


def test_step_limits_without_curvature_and_refusals():
    assert rates.step_limit(Quadratic([[0.0]]), 2) == np.inf
    assert rates.step_limit(Quadratic([[0.0]]), 1) == 2.0
    with pytest.raises(ValueError, match="at least 1, not 0"):
        rates.step_limit(Quadratic([[1.0]]), 0)
    with pytest.raises(ValueError, match="one landscape"):
        rates.step_limit(Quadratic(np.ones((3, 1, 1))), 2)


# global bounds


def excess(loss, W):
    return loss.value(W) - loss.floor


@pytest.mark.parametrize("seed", range(25))
def test_losses_stay_below_every_bound(seed):
    rng = np.random.default_rng(seed)
    t = np.concatenate([[0.0], np.geomspace(1e-2, 10, 12)])
    cases = []
    for widths in [(3, 4, 3), (2, 3, 4, 2), (3, 5, 2), (2, 2), (2, 3, 3, 3, 3)]:
        net = Network(widths)
        weights = inits.balanced(net, 1.0, rng=rng)
        W = product(weights)
        residual = rng.standard_normal(W.shape)
        near = 0.4 * np.linalg.svd(W)[1][-1] * residual / np.linalg.norm(residual)
        cases.append((net, weights, Quadratic(W + near), "balanced"))
        gaussian = inits.gaussian(net, 1.0, rng=rng)
        if net.depth == 2:
            cases.append((net, gaussian, Quadratic(3 * rng.standard_normal(W.shape)), "two_layers"))
            cases.append((net, gaussian, regression(net, seed), "two_layers"))
    net = Network((3, 3, 3))
    weights = inits.lambda_balanced(net, [rng.uniform(0.1, 2)], 1.0, rng=rng)
    residual = rng.standard_normal((3, 3))
    near = 0.3 * np.linalg.svd(product(weights))[1][-1] * residual / np.linalg.norm(residual)
    cases.append((net, weights, Quadratic(product(weights) + near), "lambda_balanced"))
    for net, weights, loss, name in cases:
        bounds = rates.bound(weights, loss)
        measured = excess(loss, product(integrate(net, weights, loss, t, rtol=1e-10)))
        if name != "two_layers":
            assert not getattr(bounds, name).reason
        for one in (bounds.balanced, bounds.two_layers, bounds.lambda_balanced):
            if not one.reason:
                assert_allclose(one(0.0), measured[0], rtol=1e-8)
                assert (measured <= one(t) * (1 + 1e-5) + 1e-15).all()


def test_bounds_are_reached_where_they_are_sharp():
    # One layer; and two scalar layers at rest but for one of infinite imbalance.
    net, loss = Network((2, 2)), Quadratic(np.eye(2))
    bounds = rates.bound((np.zeros((2, 2)),), loss)
    assert bounds.balanced.exponent == 1.0
    assert bounds.best is bounds.balanced
    path = integrate(net, (np.zeros((2, 2)),), loss, np.linspace(0, 3, 4))
    assert_allclose(bounds.best(np.linspace(0, 3, 4)), loss.value(product(path)), rtol=1e-8)
    a, b = 100.0, 0.0
    found = rates.bound((np.array([[b]]), np.array([[a]])), Quadratic([[1.0]]))
    assert_allclose(found.two_layers.exponent, 1e4)
    t = 1e-4
    A, B = exact.scalar_two_layer(t, a, b, 1.0)
    assert_allclose(found.two_layers(t), 0.5 * (1 - A * B) ** 2, rtol=1e-3)


def test_bounds_tell_why_they_do_not_apply():
    far = rates.bound((np.eye(2), np.eye(2)), Quadratic(9 * np.eye(2)))
    assert far.best is None
    assert "too far from the target" in far.balanced.reason
    assert "too far from the target" in far.lambda_balanced.reason
    assert "neither enough positive nor enough negative" in far.two_layers.reason
    with pytest.raises(ValueError, match="this bound does not apply: the start is too far"):
        far.balanced(1.0)
    deep = rates.bound((np.eye(2), 2 * np.eye(2), np.eye(2)), Quadratic(2 * np.eye(2)))
    assert "not balanced: the largest ||C_i||_2 is about 3" in deep.balanced.reason
    assert "3 layers, not two" in deep.two_layers.reason
    assert "does not have two layers of equal widths" in deep.lambda_balanced.reason
    few = rates.bound((np.eye(2), np.eye(2)), Regression(np.ones((2, 1)), np.ones((2, 1))))
    assert "do not span" in few.balanced.reason
    uneven = rates.bound((np.diag([1.0, 2.0]), np.eye(2)), Quadratic(np.eye(2)))
    assert "C differs by 1.5 from lambda I" in uneven.lambda_balanced.reason
    with pytest.raises(ValueError, match="t must be at least 0"):
        rates.bound((np.eye(2),), Quadratic(np.eye(2))).balanced(-1.0)
    with pytest.raises(ValueError, match="batch axes"):
        rates.bound((np.ones((3, 2, 2)),), Quadratic(np.eye(2)))
    with pytest.raises(ValueError, match="must be finite"):
        rates.bound((np.full((2, 2), np.inf),), Quadratic(np.eye(2)))


# certificates


@given(st.integers(0, 10**6))
def test_the_gradient_is_at_least_what_mu_says(seed):
    rng = np.random.default_rng(seed)
    net = Network(rng.integers(1, 5, size=rng.integers(2, 6)))
    weights = tuple(rng.standard_normal(shape) for shape in net.shapes)
    eta = rng.uniform(0.1, 3, net.depth)
    for loss in (Quadratic(rng.standard_normal((net.widths[-1], net.widths[0]))), regression(net, seed)):
        given_by = rates.certificate(weights, loss)
        assert_allclose(given_by.excess, excess(loss, product(weights)), rtol=1e-9, atol=1e-12)
        assert gradient_norm(weights, loss) ** 2 >= 2 * given_by.mu * given_by.excess * (1 - 1e-9)
        weighted = sum(e * np.square(F).sum() for e, F in zip(eta, rhs(weights, loss), strict=True))
        certified = rates.certificate(weights, loss, eta)
        assert weighted >= 2 * certified.mu * certified.excess * (1 - 1e-9)
        assert given_by.mu <= certified.mu / eta.min() * (1 + 1e-12)


def test_mu_of_orthogonal_layers():
    rng = np.random.default_rng(0)
    weights = tuple(np.linalg.qr(rng.standard_normal((3, 3)))[0] for _ in range(4))
    assert_allclose(rates.certificate(weights, Quadratic(np.eye(3))).mu, 4.0)
    assert_allclose(rates.certificate(weights, Quadratic(np.eye(3)), [1, 2, 3, 4]).mu, 10.0)
    narrow = np.ones((1, 2)), np.ones((2, 1))
    assert rates.certificate(narrow, Quadratic(np.eye(2))).mu == 0
    assert rates.remaining_path(narrow, Quadratic(np.eye(2))) == np.inf


def measured_path(net, weights, loss, t, eta):
    """The excess at t, and the length of the path up to there."""

    def field(_, y):
        V = net.pack(rhs(net.unpack(y[:-1]), loss, layer_rates=eta))
        return np.append(V, np.linalg.norm(V))

    end = solve_ivp(field, (0, t), np.append(net.pack(weights), 0.0), "DOP853", rtol=1e-9, atol=1e-12).y[:, -1]
    return excess(loss, product(net.unpack(end[:-1]))), end[-1]


def test_certificates_are_kept():
    ratios, rng = [], np.random.default_rng(0)
    while len(ratios) < 200:
        net, weights, sigma = wide(rng)
        loss = Quadratic(sigma)
        if len(ratios) % 4 == 1:
            X = np.eye(net.widths[0]) + 0.3 * rng.standard_normal((net.widths[0],) * 2)
            loss = Regression(X, sigma @ X)
        eta = rng.uniform(0.5, 2, net.depth) if len(ratios) % 2 else np.ones(net.depth)
        given_by = rates.certificate(weights, loss, eta)
        if not np.isfinite(given_by.path):
            continue
        later = given_by.time_to(given_by.excess / 100)
        E, length = measured_path(net, weights, loss, later, eta)
        assert given_by.excess * (1 + 1e-6) >= 100 * E
        assert 0 < given_by.floor <= given_by.mu
        ratios.append(length / given_by.path)
    assert max(ratios) <= 1
    assert max(ratios) > 0.8  # of the whole path, a tenth is left at a hundredth of the loss


def test_the_ball_of_a_path_lowers_singular_values_by_every_product():
    """The path is a fixed point: with mu lowered over the ball of its own radius, (2E/mu)^(1/2) is its length.

    Any W_i + D_i with ||D_i||_2 <= d has a product within  prod (||W_i|| + d) - prod ||W_i||  of that of the W_i.
    """
    rng = np.random.default_rng(0)
    lower = lambda value, norms, d: max(value - (np.prod(np.add(norms, d)) - np.prod(norms)), 0.0)  # noqa: E731
    found = 0
    for k in range(60):
        h, size = 3 + k % 3, rng.uniform(0.8, 1.5)
        weights = tuple(size * np.linalg.qr(rng.standard_normal((2, 2)))[0] for _ in range(h))
        loss = Quadratic(product(weights) + 0.1 * size**h * rng.uniform() * rng.standard_normal((2, 2)))
        given_by = rates.certificate(weights, loss)
        if np.isinf(given_by.path):
            continue
        found += 1
        # of orthogonal layers of one size all singular values of a product are the product of the sizes
        sides = [(lower(size**i, [size] * i, given_by.path), lower(size**j, [size] * j, given_by.path))
                 for i, j in ((i, h - 1 - i) for i in range(h))]  # fmt: skip
        mu = sum((below * above) ** 2 for below, above in sides)
        assert given_by.floor <= mu * (1 + 1e-9)
        assert given_by.floor >= 0.9 * mu
        assert np.sqrt(2 * given_by.excess / mu) <= given_by.path * (1 + 1e-9)
    assert found > 20


def test_a_finished_trajectory_has_no_path_left():
    weights = np.diag([2.0, 1.0]), np.diag([2.0, 1.0])
    given_by = rates.certificate(weights, Quadratic(np.diag([4.0, 1.0])))
    assert given_by.path == 0
    assert given_by.time_to(0.0) == 0
    assert given_by.floor == given_by.mu == 2.0


def test_certificates_along_a_batch_of_trajectories():
    net, loss = Network((2, 3, 2)), Quadratic(np.array([[2.0, 0.1], [0.0, 1.0]]))
    t = np.linspace(0, 12, 25)
    starts = [tuple(s * np.eye(*shape) for shape in net.shapes) for s in (0.1, 0.2)]
    paths = [integrate(net, weights, loss, t) for weights in starts]
    batch = tuple(np.stack(layers) for layers in zip(*paths, strict=True))
    batch[0][1, -1] = np.nan
    along = rates.certificate(batch, loss)
    assert along.mu.shape == along.path.shape == along.excess.shape == (2, 25)
    assert_allclose(along.mu[0], rates.certificate(paths[0], loss).mu, rtol=1e-12)
    assert np.isnan(along.mu[1, -1])
    assert along.path[1, -1] == np.inf
    assert np.isnan(along.turns_positive(t)[1])
    assert along.turns_positive(t)[0] == 0
    # From each moment on: the guaranteed arrival is never before the true one.
    arrival = t + along.time_to(1e-3)[0]
    true = t[np.flatnonzero(along.excess[0] <= 1e-3)[0]]
    assert (arrival[np.isfinite(arrival)] >= true - (t[1] - t[0])).all()
    assert np.isfinite(arrival[-1])
    with pytest.raises(ValueError, match="expected one time for each"):
        along.turns_positive(t[:-1])


def test_mu_turns_positive_once_the_layers_reach_everything():
    given_by = rates.Certificate(
        mu=np.array([[0.0, 1.0, 0.0, 2.0, 3.0], [0.0, 0.0, 0.0, 0.0, 0.0]]),
        excess=np.ones((2, 5)),
        path=np.ones((2, 5)),
        floor=np.zeros((2, 5)),
    )
    assert_allclose(given_by.turns_positive(np.arange(5.0)), [3.0, np.nan])
