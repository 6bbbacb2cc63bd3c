"""Exact flows of whole networks against independent integrations, their limits, and each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp

from fastdln import inits
from fastdln.field import product, rhs
from fastdln.losses import Quadratic, Regression
from fastdln.network import Network
from fastdln.theory import exact
from fastdln.theory.exact.graded import graded_basis
from tests.support.reference import integrate

TIMES = np.array([0.0, 0.02, 0.5, 3.0, 40.0])


def gram(weights):
    Z = np.concatenate([np.swapaxes(weights[0], -1, -2), weights[1]], axis=-2)
    return Z @ np.swapaxes(Z, -1, -2)


def random_target(net, seed=0):
    return Quadratic(np.random.default_rng(seed).standard_normal((net.widths[-1], net.widths[0])))


# two layers


@pytest.mark.parametrize(
    ("widths", "shift"),
    [
        ((3, 4, 2), 0.0),
        ((2, 5, 3), 0.0),
        ((4, 2, 5), 0.0),
        ((4, 1, 3), 0.0),
        ((2, 9, 3), 0.0),
        ((3, 3, 3), 0.7),
        ((3, 3, 3), -0.4),
        ((4, 2, 3), 0.3),
        ((3, 1, 2), -0.5),
        ((2, 4, 5), 0.2),
        ((1, 1, 1), 0.3),
    ],
)
@pytest.mark.parametrize("scale", [0.05, 1.0])
def test_two_layers_follow_the_closed_form(widths, shift, scale):
    net, loss = Network(widths), random_target(Network(widths))
    weights = inits.lambda_balanced(net, [shift], scale, rng=1)
    path = integrate(net, weights, loss, TIMES, rtol=1e-13, atol=1e-15)
    solved = exact.two_layer(TIMES, weights, loss)
    assert_allclose(solved.product, product(path), atol=5e-11)
    assert_allclose(solved.gram, gram(path), atol=5e-11)


@pytest.mark.parametrize(
    "sigma", [[[0.0, 0.0], [0.0, 0.0]], [[2.0, 0.0], [0.0, 2.0]], [[1.0, 1.0], [1.0, 1.0]], [[3.0, 0.0], [0.0, 0.0]]]
)
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_two_layers_on_degenerate_targets(sigma, shift):
    net, loss = Network((2, 2, 2)), Quadratic(sigma)
    weights = inits.lambda_balanced(net, [shift], 0.3, rng=6)
    path = integrate(net, weights, loss, TIMES, rtol=1e-13, atol=1e-16)
    assert_allclose(exact.two_layer(TIMES, weights, loss).product, product(path), atol=5e-11)


def test_two_layers_from_the_origin_stay():
    net = Network((3, 2, 4))
    still = exact.two_layer([0.0, 1.0, 1e6], (np.zeros((2, 3)), np.zeros((4, 2))), random_target(net))
    assert not still.product.any()
    assert not still.gram.any()


@pytest.mark.parametrize(("widths", "shift"), [((4, 5, 3), 0.0), ((4, 2, 3), 0.0), ((3, 3, 3), 0.6), ((5, 5, 5), 0.0)])
def test_two_layers_converge_to_the_best_approximation_at_any_time(widths, shift):
    net, loss = Network(widths), random_target(Network(widths))
    weights = inits.lambda_balanced(net, [shift], 1e-6, rng=3)
    U, sigma, V = (a[..., : net.rank] for a in loss.modes)
    for W in exact.two_layer([2e3, 1e6, 1e12], weights, loss).product:
        assert_allclose(W, (U * sigma) @ V.T, atol=1e-12)


def test_two_layers_keep_the_rank_of_the_start():
    # One direction of the plane is not there at all: rounding must not put it in.
    loss = Quadratic.from_singular_values((3.0, 2.0, 1.0), (3, 3), rng=0)
    u, v, direction = np.random.default_rng(1).standard_normal((3, 3))
    hidden = direction[:2] / np.linalg.norm(direction[:2])
    u, v = (0.1 * x / np.linalg.norm(x) for x in (u, v))
    weights = np.outer(hidden, v), np.outer(u, hidden)
    U, _, V = loss.modes
    late = exact.two_layer([50.0, 1e3, 1e9], weights, loss).product
    assert_allclose(late, np.broadcast_to(3 * np.outer(U[:, 0], V[:, 0]), late.shape), atol=1e-12)


def test_the_sign_of_a_square_determinant_stays_in_balanced_layers():
    # For such starts the flow ends in a saddle, which rounding makes an integrator leave.
    net, loss = Network((2, 2, 2)), Quadratic(2 * np.eye(2))
    W1, W2 = inits.balanced(net, 0.3, rng=3)
    assert np.linalg.det(W2 @ W1) < 0
    late = exact.two_layer([1.0, 10.0, 1e3, 1e9], (W1, W2), loss).product
    values = np.linalg.svd(late, compute_uv=False)
    assert (np.linalg.det(late) < 1e-15).all()
    assert_allclose(values[2:], [[2.0, 0.0]] * 2, atol=1e-12)


def test_two_layers_of_very_unequal_modes_learn_each_in_its_time():
    s0, sigma = np.array([1e-1, 1e-20, 1e-80]), np.array([1.0, 3.0, 2.0])
    t = np.array([0.0, 1.0, 15.0, 40.0, 92.0, 100.0])
    weights = (np.diag(s0), np.diag(s0))
    solved = exact.two_layer(t, weights, Quadratic(np.diag(sigma))).product
    s = exact.mode(t[:, None], s0, sigma, 2)
    assert_allclose(np.diagonal(solved, 0, 1, 2), s**2, rtol=1e-12)


def test_two_layers_backwards_in_time():
    net, loss = Network((3, 4, 2)), random_target(Network((3, 4, 2)))
    weights = inits.balanced(net, 0.7, rng=4)
    t = np.array([0.0, -0.05, -0.1])
    path = integrate(net, weights, loss, t, rtol=1e-13, atol=1e-15)
    assert_allclose(exact.two_layer(t, weights, loss).gram, gram(path), rtol=1e-10, atol=1e-12)
    # Generic starts came from infinity a finite time ago, aligned ones with W >= 0 did not.
    assert np.isnan(exact.two_layer(-50.0, weights, loss).product).all()
    aligned = inits.decoupled(net, loss, 0.1, rng=5)
    back = exact.two_layer(-300.0, aligned, loss).product
    assert_allclose(np.linalg.norm(back), 0, atol=1e-80)
    weights, loss = (np.diag([1.3, 1.3]), np.diag([1.3, 1.3])), Quadratic(np.diag([0.7, 0.4]))
    s = exact.mode(-0.3, 1.3, [0.7, 0.4], 2)
    assert_allclose(exact.two_layer(-0.3, weights, loss).product, np.diag(s**2), rtol=1e-12, atol=1e-13)
    assert np.isnan(exact.mode(-0.36, 1.3, 0.4, 2))
    assert np.isnan(exact.two_layer(-0.36, weights, loss).product).all()


@given(st.integers(0, 10**6), st.floats(0.01, 20), st.floats(0.01, 5))
def test_two_layers_compose(seed, first, second):
    # The flow of the flow: from an intermediate state, any factor of whose Gram matrix may serve as weights.
    net = Network((3, 2, 2))
    loss = random_target(net, seed)
    weights = inits.balanced(net, 0.3, rng=seed)
    G = exact.two_layer(first, weights, loss).gram
    values, vectors = np.linalg.eigh(G)
    Z = vectors[:, -2:] * np.sqrt(values[-2:])
    again = exact.two_layer(second, (Z[:3].T, Z[3:]), loss).gram
    assert_allclose(again, exact.two_layer(first + second, weights, loss).gram, atol=1e-9)


def test_a_batch_of_two_layer_networks_is_many_networks():
    net, loss = Network((3, 4, 2)), random_target(Network((3, 4, 2)))
    weights = inits.balanced(net, 0.3, size=3, rng=0)
    solved = exact.two_layer([0.5, 2.0], weights, loss)
    assert solved.product.shape == (3, 2, 2, 3)
    assert solved.gram.shape == (3, 2, 5, 5)
    for k in range(3):
        one = exact.two_layer(2.0, tuple(W[k] for W in weights), loss)
        assert one.product.shape == (2, 3)
        assert_allclose(solved.product[k, 1], one.product, atol=1e-14)
    single = exact.two_layer(2.0, tuple(W.astype(np.float32) for W in weights), loss)
    assert single.product.dtype == np.float64
    assert_allclose(single.product, solved.product[:, 1], atol=1e-5)


@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 10**6), st.floats(0, 1500))
def test_graded_bases_are_orthonormal_and_span_the_rows_they_are_given(n_rows, m, seed, spread):
    rng = np.random.default_rng(seed)
    rows = np.concatenate([rng.standard_normal((n_rows, m)), np.eye(m)])
    sizes = np.concatenate([rng.uniform(-spread, spread, n_rows), np.zeros(m)])
    basis = graded_basis(sizes[None], rows[None])[0]
    assert_allclose(basis.T @ basis, np.eye(m), atol=1e-13)
    if spread < 20:
        A = np.exp(sizes)[:, None] * rows
        assert_allclose(basis @ (basis.T @ A), A, rtol=1e-9, atol=1e-9 * np.exp(-spread))


REFUSED = [
    (((3, 3, 3), 0.3), "differs by .* from lambda I, lambda = "),
    (((3, 3), None), "weights has 1 layers; expected 2"),
    (((3, 3, 3, 3), None), "weights has 3 layers; expected 2"),
]


@pytest.mark.parametrize(("start", "message"), REFUSED)
def test_two_layers_refuse_other_starts(start, message):
    net = Network(start[0])
    with pytest.raises(ValueError, match=message):
        exact.two_layer(1.0, inits.gaussian(net, rng=0), random_target(net))


def test_refusals_of_exact_flows():
    net = Network((2, 2, 2))
    weights = inits.balanced(net, rng=0)
    with pytest.raises(ValueError, match="two_layer is about one landscape; the loss has 3 targets"):
        exact.two_layer(1.0, weights, Quadratic(np.ones((3, 2, 2))))
    with pytest.raises(TypeError, match="two_layer needs whitened data"):
        exact.two_layer(1.0, weights, Regression(np.eye(2), np.eye(2)))
    with pytest.raises(ValueError, match="weights must be finite"):
        exact.two_layer(1.0, (weights[0] * np.nan, weights[1]), Quadratic(np.eye(2)))
    with pytest.raises(ValueError, match=r"t has shape \(1, 1\); expected a number or a list"):
        exact.two_layer([[1.0]], weights, Quadratic(np.eye(2)))
    with pytest.raises(ValueError, match="t must hold finite"):
        exact.two_layer(np.inf, weights, Quadratic(np.eye(2)))
    with pytest.raises(ValueError, match=r"product0 has shape \(3, 2\); the loss expects"):
        exact.end_to_end(1.0, np.ones((3, 2)), Quadratic(np.eye(2)), 2)
    with pytest.raises(ValueError, match="depth must be an integer of at least 1"):
        exact.end_to_end(1.0, np.eye(2), Quadratic(np.eye(2)), 0)
    with pytest.raises(ValueError, match="end_to_end is about one landscape"):
        exact.end_to_end(1.0, np.eye(2), Quadratic(np.ones((3, 2, 2))), 2)
    with pytest.raises(ValueError, match=r"sigma has shape \(3,\); expected a number or one a mode, \(2,\)"):
        exact.decoupled(1.0, np.ones((3, 2)), np.ones(3))
    with pytest.raises(ValueError, match="sigma must be a singular value"):
        exact.decoupled(1.0, np.ones(3), -1.0)
    with pytest.raises(ValueError, match=r"layer_values has shape \(\); expected"):
        exact.decoupled(1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="do not broadcast"):
        exact.scalar_two_layer(np.ones(2), np.ones(3), 1.0, 1.0)


# two scalar layers


def scalar_path(t, values, sigma, **options):
    """The layers of one mode by SciPy, shape (n_t, h)."""

    def field(_, w):
        others = np.array([np.delete(w, i).prod() for i in range(len(w))])
        return others * (sigma - w.prod())

    options = {"rtol": 1e-13, "atol": 1e-16} | options
    return solve_ivp(field, (0, t[-1]), values, "DOP853", t_eval=t, **options).y.T


# SciPy's error norm is 0/0 where values are so small that their squares are not
decimals = st.floats(-2, 2).map(lambda x: round(x, 9))


@given(decimals, decimals, decimals)
def test_scalar_two_layers_follow_the_logistic_curve(a, b, sigma):
    t = np.array([0.0, 0.3, 1.0, 4.0])
    assume(min(abs(a + b), abs(a - b)) > 1e-3)  # else SciPy leaves the line that the flow keeps to
    path = scalar_path(t, [b, a], sigma)
    assert_allclose(np.stack(exact.scalar_two_layer(t, a, b, sigma), axis=-1), path[:, ::-1], atol=1e-10)


@pytest.mark.parametrize("sigma", [0.0, 1.5, -1.5])
def test_scalar_two_layers_in_their_limits(sigma):
    t = np.array([0.0, 1.0, 30.0])
    late = np.array([1e3, 1e9, 1e300])
    for a, b in [(0.3, 0.3), (0.3, -0.3), (0.0, 0.4), (0.0, 0.0), (1e-200, 2e-200), (3.0, 0.01)]:
        found = np.stack(exact.scalar_two_layer(t, a, b, sigma), axis=-1)
        if abs(a) != abs(b) or a * b * sigma >= 0:
            assert_allclose(found, scalar_path(t, [b, a], sigma)[:, ::-1], atol=1e-10)
        end = np.stack(exact.scalar_two_layer(late, a, b, sigma), axis=-1)
        assert np.isfinite(end).all()
        assert_allclose(end[:, 0] ** 2 - end[:, 1] ** 2, a**2 - b**2, atol=1e-12)
        if a == b != 0:
            assert_allclose(end.prod(axis=1), max(sigma, 0.0), atol=1e-3)  # algebraic for sigma = 0


def test_scalar_two_layers_agree_with_the_balanced_mode_and_the_matrix_form():
    t = np.array([0.0, 0.5, 2.0, 7.0])
    assert_allclose(exact.scalar_two_layer(t, 0.1, 0.1, 2.0)[0], exact.mode(t, 0.1, 2.0, 2), rtol=1e-12)
    a, b = exact.scalar_two_layer(t, 0.9, -0.2, 1.3)
    solved = exact.two_layer(t, (np.array([[-0.2]]), np.array([[0.9]])), Quadratic([[1.3]]))
    assert_allclose(a * b, solved.product[:, 0, 0], atol=1e-14)
    assert_allclose(a**2, solved.gram[:, 1, 1], atol=1e-14)


def test_scalar_two_layers_came_from_infinity():
    a, b = exact.scalar_two_layer([-0.1, -0.25, -0.4, -5.0], 1.5, 1.0, 0.5)
    t = np.array([0.0, -0.1, -0.25])
    assert_allclose(np.stack([a, b], axis=-1)[:2], scalar_path(t, [1.0, 1.5], 0.5)[1:, ::-1], rtol=1e-11)
    assert np.isfinite(a[:2]).all()
    assert np.isnan(a[3])
    assert np.isnan(b[3])


# the product of balanced layers


@pytest.mark.parametrize("widths", [(3, 2), (3, 4, 2), (3, 3, 3, 3), (2, 5, 3, 2), (4, 2, 5, 3), (2, 3, 3, 2, 3)])
@pytest.mark.parametrize("kind", ["whitened", "unwhitened"])
def test_the_product_of_balanced_layers_moves_by_itself(widths, kind):
    net, rng = Network(widths), np.random.default_rng(0)
    loss = random_target(net)
    if kind == "unwhitened":
        loss = Regression(rng.standard_normal((widths[0], 9)), rng.standard_normal((widths[-1], 9)))
    weights = inits.balanced(net, 0.6, rng=1)
    t = np.array([0.0, 0.1, 1.0, 10.0])
    path = product(integrate(net, weights, loss, t, rtol=1e-13, atol=1e-15))
    assert_allclose(exact.end_to_end(t, product(weights), loss, net.depth), path, atol=1e-10)
    back = integrate(net, weights, loss, np.array([0.0, -0.1]), rtol=1e-13, atol=1e-15)
    assert_allclose(exact.end_to_end(-0.1, product(weights), loss, net.depth), product(back)[1], rtol=1e-9, atol=1e-12)


def fractional(W, power):
    """A power of W W', the identity for 0; rounding in its null space must not be raised to a fraction."""
    U, s, _ = np.linalg.svd(W, full_matrices=False)
    return (U * s ** (2 * power)) @ U.T if power else np.eye(len(W))


@pytest.mark.parametrize("h", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(3, 3), (2, 3), (4, 2)])
def test_the_velocity_of_the_product_is_the_formula(h, shape):
    rng = np.random.default_rng(h)
    W, sigma = rng.standard_normal(shape), rng.standard_normal(shape)
    dt = 1e-5
    velocity = sum(fractional(W, (h - j) / h) @ (sigma - W) @ fractional(W.T, (j - 1) / h) for j in range(1, h + 1))
    ahead, behind = exact.end_to_end([dt, -dt], W, Quadratic(sigma), h)
    assert_allclose((ahead - behind) / (2 * dt), velocity, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("h", [1, 2, 3, 5])
def test_an_aligned_product_follows_the_modes(h):
    s0, sigma = np.array([0.7, 0.4, 1.3]), np.array([2.0, 1.0, 0.5])
    t = np.array([0.0, 0.5, 4.0, 100.0, 1e4])
    W = exact.end_to_end(t, np.diag(s0**h), Quadratic(np.diag(sigma)), h)
    expected = exact.mode(t[:, None], s0, sigma, h) ** h
    assert_allclose(W, expected[:, :, None] * np.eye(3), atol=2e-11)


@pytest.mark.parametrize("h", [2, 3, 4])
def test_the_rank_of_the_product_stays(h):
    rng = np.random.default_rng(0)
    W0 = np.outer(*rng.standard_normal((2, 3))) / 3
    W = exact.end_to_end([0.5, 5.0, 50.0], W0, Quadratic(np.diag([3.0, 2.0, 0.0])), h)
    values = np.linalg.svd(W, compute_uv=False)
    assert (values[:, 1:] < 1e-13).all()
    assert_allclose(values[-1, 0], 3.0, atol=1e-10)
    assert not exact.end_to_end([0.0, 5.0], np.zeros((2, 3)), Quadratic(np.ones((2, 3))), h).any()


def test_one_layer_moves_from_zero():
    assert_allclose(exact.end_to_end(2.0, np.zeros((2, 3)), Quadratic(np.ones((2, 3))), 1), 1 - np.exp(-2))


def test_without_a_target_the_product_decays_algebraically():
    for h in (2, 3, 4):
        W = exact.end_to_end([1.0, 100.0], 2.0 * np.eye(2), Quadratic(np.zeros((2, 2))), h)
        s = exact.mode([1.0, 100.0], 2 ** (1 / h), 0.0, h)
        assert_allclose(W, (s**h)[:, None, None] * np.eye(2), rtol=1e-10)


def test_products_that_came_from_infinity_are_nan():
    # The scalar of T = -0.12 in another coordinate: s = 1.3, sigma = 1, three layers.
    W = exact.end_to_end([-0.11, -0.13, 0.0], [[1.3**3]], Quadratic([[1.0]]), 3)
    assert_allclose(W[0, 0, 0], exact.mode(-0.11, 1.3, 1.0, 3) ** 3, rtol=1e-8)
    assert np.isnan(W[1]).all()
    assert W[2, 0, 0] == pytest.approx(1.3**3)


# modes whose layers differ


MODES = [
    ((0.5, -0.1, 1.0), 2.0),  # passes 0
    ((0.5, 0.1, 0.1), 2.0),
    ((-0.5, 0.1, 0.1), 2.0),  # two least layers: tends to 0
    ((0.3, -0.3, 0.3, 0.3), 1.0),
    ((0.3, -0.3, -0.3, 0.3), 1.0),
    ((-0.3, -0.3, -0.3), 1.0),
    ((0.0, 0.3, 0.4), 1.0),
    ((0.0, 0.3, 0.0, 0.4), 1.0),  # at rest
    ((0.4, 0.3, 0.2), 0.0),
    ((0.4, 0.2, 0.2), 0.0),
    ((0.3,), 1.0),
    ((0.3, -0.2), 1.0),
    ((0.5, -0.4, 0.6, -0.3, -0.7), 3.0),
    ((2.0, 1.0, 1.5), 0.1),
    ((1e-3, 0.1, 0.2), 1.0),
]


@pytest.mark.parametrize(("values", "sigma"), MODES)
def test_layers_of_a_mode_follow_their_equations(values, sigma):
    t = np.array([0.0, 0.05, 0.5, 3.0, 40.0])
    found = exact.decoupled(t, values, sigma)
    assert_allclose(found, scalar_path(t, values, sigma), atol=1e-10)
    squares = found**2 - found[:, :1] ** 2
    assert_allclose(squares, np.broadcast_to(squares[0], squares.shape), atol=1e-13)
    assert_allclose(exact.decoupled([-0.05], values, sigma), scalar_path([0, -0.05], values, sigma)[1:], rtol=1e-10)
    late = exact.decoupled([1e6, 1e12], values, sigma).prod(axis=1)
    reached = scalar_path(np.array([0.0, 200.0]), values, sigma)[-1].prod()
    assert_allclose(late, sigma if reached > sigma / 2 else 0.0, atol=1e-5)  # algebraic where nothing is learned


@pytest.mark.parametrize("h", [1, 2, 3, 4])
def test_modes_side_by_side(h):
    values = np.random.default_rng(h).uniform(0.2, 1, (h, 3))
    sigma, t = np.array([2.0, 1.0, 0.5]), [0.5, 2.0]
    found = exact.decoupled(t, values, sigma)
    assert found.shape == (2, h, 3)
    for k in range(3):
        assert_allclose(found[..., k], exact.decoupled(t, values[:, k], sigma[k]), rtol=1e-13)
    assert exact.decoupled(0.5, values, sigma).shape == (h, 3)
    assert np.array_equal(exact.decoupled(0.0, values, sigma), values)


@pytest.mark.parametrize("widths", [(3, 2), (2, 3, 4), (4, 2, 5, 3), (2, 3, 3, 2, 3)])
def test_decoupled_networks_follow_their_modes(widths):
    net, loss = Network(widths), random_target(Network(widths))
    values = np.random.default_rng(2).uniform(-1, 1.5, (net.depth, net.rank))
    weights = inits.decoupled(net, loss, values, rng=0)
    t = np.linspace(0, 2, 5)
    path = integrate(net, weights, loss, t)
    U, sigma, V = (a[..., : net.rank] for a in loss.modes)
    strengths = exact.decoupled(t, values, sigma).prod(axis=1)
    assert_allclose(U.T @ product(path) @ V, strengths[:, :, None] * np.eye(net.rank), atol=1e-9)


def test_equal_layers_follow_the_closed_form():
    t = np.array([0.0, 1.0, 10.0, 1e5])
    for h in (1, 2, 3, 6):
        w = exact.decoupled(t, np.full(h, 0.4), 1.5)
        assert_allclose(w, np.broadcast_to(exact.mode(t, 0.4, 1.5, h)[:, None], w.shape), rtol=1e-10)


def test_modes_that_came_from_infinity_are_nan():
    w = exact.decoupled([-0.01, -1.0, 1.0], (1.3, 1.5, -1.4), 1.0)
    assert np.isfinite(w[[0, 2]]).all()
    assert np.isnan(w[1]).all()


def test_what_is_too_stiff_is_refused(monkeypatch):
    monkeypatch.setattr("fastdln.theory.exact.integration._MAX_STEPS", 50)
    with pytest.raises(ArithmeticError, match=r"after 50 steps the solution is at t = .*, short of 1000"):
        exact.end_to_end(1e3, np.diag([1.0, 0.0]), Quadratic(np.diag([3.0, 2.0])), 3)


def test_the_rhs_of_the_closed_form_is_the_flow():
    # d/dt of the product by the closed form, against the layers' own equations.
    net, loss = Network((3, 4, 2)), random_target(Network((3, 4, 2)))
    W1, W2 = inits.balanced(net, rng=0)
    V1, V2 = rhs((W1, W2), loss)
    ahead, behind = exact.two_layer([1e-5, -1e-5], (W1, W2), loss).product
    assert_allclose((ahead - behind) / 2e-5, V2 @ W1 + W2 @ V1, rtol=1e-8, atol=1e-8)
