"""Conservation, boundedness and Jordan structure, against A itself and against integrated trajectories."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp

from fastdln import inits
from fastdln.field import product, rhs
from fastdln.losses import Quadratic, Regression
from fastdln.network import Network
from fastdln.theory import adjacency, exact, invariants
from tests.support.draws import random_losses, random_weights
from tests.support.reference import integrate

networks = st.lists(st.integers(1, 4), min_size=2, max_size=6).map(lambda widths: Network(tuple(widths)))
WIDTHS = [(3, 2), (2, 1, 2), (3, 5, 2), (4, 2, 5, 3), (1, 3, 3, 1), (2, 3, 2, 3, 2)]


@given(networks)
def test_balance_matrices_are_the_diagonal_blocks_of_the_commutator(net):
    weights = random_weights(net)
    A = adjacency.matrix(weights)
    commutator = A.T @ A - A @ A.T
    ends = np.cumsum([0, *net.widths])
    blocks = [commutator[start:stop, start:stop] for start, stop in pairwise(ends)]
    assert_allclose(blocks[0], weights[0].T @ weights[0], atol=1e-13)
    assert_allclose(blocks[-1], -weights[-1] @ weights[-1].T, atol=1e-13)
    for C, expected in zip(invariants.balance(weights), blocks[1:-1], strict=True):
        assert_allclose(C, expected, atol=1e-13)
    norms = [np.abs(np.linalg.eigvalsh(C)).max() for C in blocks[1:-1]]
    assert_allclose(invariants.imbalance(weights), norms, rtol=1e-12)


@pytest.mark.parametrize("widths", WIDTHS)
def test_only_the_corners_of_the_commutator_change(widths):
    net = Network(widths)
    weights = random_weights(net)
    A = adjacency.matrix(weights)
    for loss in random_losses(net):
        F = adjacency.flow_field(A, net, loss)
        rate = F.T @ A + A.T @ F - F @ A.T - A @ F.T
        inner, outer = invariants.corner_rates(weights, loss)
        expected = np.zeros_like(A)
        expected[: widths[0], : widths[0]] = inner
        expected[-widths[-1] :, -widths[-1] :] = outer
        assert_allclose(rate, expected, atol=1e-11)


@pytest.mark.parametrize("widths", WIDTHS)
def test_balance_along_trajectories(widths):
    net = Network(widths)
    weights = random_weights(net, scale=0.7)
    t = np.linspace(0, 1, 5)
    eta = np.linspace(0.5, 2, net.depth)
    for loss in random_losses(net):
        path = integrate(net, weights, loss, t)
        for C in invariants.balance(path):
            assert_allclose(C, np.broadcast_to(C[0], C.shape), atol=1e-10)
        path = integrate(net, weights, loss, t, weight_decay=0.4, layer_rates=eta)
        for C in invariants.balance(path, eta):
            assert_allclose(C, np.exp(-0.8 * t)[:, None, None] * C[0], atol=1e-10)


@pytest.mark.parametrize("widths", WIDTHS)
def test_balance_after_one_step_of_gradient_descent(widths):
    net = Network(widths)
    weights = random_weights(net)
    eta, mu = 0.1, 0.3
    for loss in random_losses(net):
        G = tuple(-F for F in rhs(weights, loss))
        stepped = tuple(W - eta * (dL + mu * W) for W, dL in zip(weights, G, strict=True))
        before, after, gradient = (invariants.balance(x) for x in (weights, stepped, G))
        for C, C_next, C_G in zip(before, after, gradient, strict=True):
            assert_allclose(C_next, (1 - eta * mu) ** 2 * C + eta**2 * C_G, atol=1e-11)


def test_balance_turns_with_orthogonal_gauges():
    net = Network((3, 4, 2, 5))
    weights = random_weights(net)
    rng = np.random.default_rng(0)
    P = [np.eye(3), *(np.linalg.qr(rng.standard_normal((d, d)))[0] for d in (4, 2)), np.eye(5)]
    turned = tuple(P[i + 1] @ W @ P[i].T for i, W in enumerate(weights))
    for C, D, Q in zip(invariants.balance(weights), invariants.balance(turned), P[1:-1], strict=True):
        assert_allclose(D, Q @ C @ Q.T, atol=1e-13)


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("scale", [0.01, 0.7, 2.0])
def test_no_trajectory_crosses_its_norm_bound(widths, scale):
    net = Network(widths)
    t = np.concatenate([[0], np.geomspace(1e-3, 2, 12)])
    weights = random_weights(net, seed=int(10 * scale), scale=scale)
    for loss in random_losses(net, seed=7):
        bound = invariants.norm_bound(weights, loss)
        path = integrate(net, weights, loss, t, rtol=1e-6)
        norms = np.stack([np.linalg.norm(W, 2, axis=(-2, -1)) for W in path], axis=-1)
        assert bound.shape == (net.depth,)
        assert (norms <= bound * (1 + 1e-5)).all()


@pytest.mark.parametrize("large", range(4))
def test_a_layer_that_is_large_alone_stays_below_its_norm_bound(large):
    """Such a layer is far above the target's root: it is the imbalance that allows for it, of the layers above it."""
    rng = np.random.default_rng(large)
    net, loss = Network((3, 3, 4, 3, 3)), Quadratic(np.diag([1.0, 0.5, 0.2]))
    sizes = np.where(np.arange(4) == large, 5.0, 0.05)
    weights = tuple(size * rng.standard_normal(shape) for size, shape in zip(sizes, net.shapes, strict=True))
    bound = invariants.norm_bound(weights, loss)
    along = integrate(net, weights, loss, np.linspace(0.0, 5.0, 11), rtol=1e-8)
    norms = np.array([np.linalg.norm(W, 2, axis=(-2, -1)) for W in along])
    assert (norms <= bound[:, None]).all()
    assert large > 0 or norms[0, 0] > 0.9 * bound[0]


def test_the_norm_bound_of_one_layer_is_the_first_sublevel_set():
    net = Network((3, 2))
    weights, (loss, _) = random_weights(net, seed=3), random_losses(net)
    (bound,) = invariants.norm_bound(weights, loss)
    assert_allclose(bound, np.linalg.norm(loss.target, 2) + np.linalg.norm(loss.target - weights[0]))
    path = integrate(net, weights, loss, np.linspace(0, 5, 6))
    assert (np.linalg.norm(path[0], 2, axis=(1, 2)) <= bound).all()


def test_the_norm_bound_of_a_start_at_zero_and_of_inputs_that_do_not_span():
    loss = Quadratic([[8.0]])
    assert_allclose(invariants.norm_bound((np.zeros((1, 1)),) * 3, loss), np.full(3, 16 ** (1 / 3)))
    few = Regression(np.ones((2, 1)), np.ones((1, 1)))
    assert np.isinf(invariants.norm_bound((np.ones((1, 2)),), few)).all()


@given(networks, st.integers(0, 10))
def test_jordan_structure_agrees_with_the_ranks_of_the_powers(net, seed):
    # Layers of random low rank, some of them zero.
    rng = np.random.default_rng(seed)
    weights = []
    for rows, columns in net.shapes:
        r = rng.integers(0, min(rows, columns) + 1)
        weights.append(rng.standard_normal((rows, r)) @ rng.standard_normal((r, columns)))
    m = invariants.chains(weights)
    assert (m >= 0).all()
    for k, width in enumerate(net.widths):
        assert m[: k + 1, k:].sum() == width
    A = adjacency.matrix(weights)
    n = net.n_nodes
    rank = [np.linalg.matrix_rank(np.linalg.matrix_power(A, k), tol=1e-10) for k in range(net.depth + 3)]
    assert rank[0] == n
    assert rank[net.depth + 1] == 0
    expected = [rank[k - 1] - 2 * rank[k] + rank[k + 1] for k in range(1, net.depth + 2)]
    assert invariants.jordan_blocks(weights).tolist() == expected


@given(networks, st.integers(0, 10))
def test_the_index_of_nilpotency_is_the_first_power_that_vanishes(net, seed):
    rng = np.random.default_rng(seed)
    weights = tuple(rng.integers(0, 2, shape).astype(float) for shape in net.shapes)
    index = invariants.nilpotency(weights)
    assert adjacency.power(weights, int(index) - 1).any()
    assert not adjacency.power(weights, int(index)).any()
    assert invariants.jordan_blocks(weights)[index - 1] > 0
    assert not invariants.jordan_blocks(weights)[index:].any()
    batch = tuple(np.stack([W, 0 * W]) for W in weights)
    assert invariants.nilpotency(batch).tolist() == [index, 1]


def test_the_jordan_structure_may_change_in_time():
    net = Network((2, 2, 2))
    weights = (np.eye(2), np.zeros((2, 2)))
    path = integrate(net, weights, Quadratic(np.diag([2.0, 1.0])), np.array([0.0, 0.1, 1.0]))
    assert invariants.ranks(path)[:, 0, 2].tolist() == [0, 2, 2]
    assert invariants.jordan_blocks(path).tolist() == [[2, 2, 0], [0, 0, 2], [0, 0, 2]]


def test_ranks_do_not_depend_on_the_scale_of_the_layers():
    weights = random_weights(Network((3, 4, 2, 3)))
    small = tuple(1e-8 * W for W in weights)
    assert np.array_equal(invariants.ranks(weights), invariants.ranks(small))
    cancelling = (np.array([[1.0], [1.0]]), np.array([[0.1 + 0.2, -0.3]]))
    assert invariants.ranks(cancelling)[0, 2] == 0


@pytest.mark.parametrize("widths", [(3, 4, 2), (2, 5, 3, 3), (4, 2, 3, 2, 3)])
@pytest.mark.parametrize("rates", [False, True])
def test_projection_returns_to_the_leaf_and_keeps_the_product(widths, rates):
    net = Network(widths)
    start = random_weights(net)
    eta = np.linspace(0.5, 2, net.depth) if rates else None
    wanted = invariants.balance(start, eta)
    moved = inits.near(start, 1e-3, size=4, rng=0)
    found = invariants.project(moved, wanted, eta)
    # Newton's method squares a residual of 4e-4: 1e-7, then 1e-13, then rounding
    assert found.iterations <= 3
    assert (found.residual <= 5 * max(widths) * np.finfo(float).eps).all()
    assert (found.residual < 1e-14).all()
    for C, C0 in zip(invariants.balance(found.weights, eta), wanted, strict=True):
        assert_allclose(C, np.broadcast_to(C0, C.shape), atol=1e-13)
    assert_allclose(product(found.weights), product(moved), rtol=1e-12, atol=1e-13)
    distance = net.pack(found.weights) - net.pack(moved)
    assert (np.linalg.norm(distance, axis=-1) < 1e-2).all()


def test_projection_takes_no_step_for_the_sake_of_rounding():
    net = Network((2, 4, 2, 4, 2, 4, 2))
    start = inits.orthogonal(net, size=100, rng=0)
    moved = inits.near(start, 1e-9, rng=0)  # the square of this residual is below rounding
    assert invariants.project(moved, invariants.balance(start)).iterations == 1


def test_projection_of_a_drifted_trajectory():
    net = Network((3, 4, 2))
    loss = random_losses(net)[0]
    start = random_weights(net)
    path = integrate(net, start, loss, np.linspace(0, 2, 5), rtol=1e-3)
    drift = np.abs(invariants.balance(path)[0] - invariants.balance(start)[0]).max()
    assert drift > 1e-7
    projected = invariants.project(path, invariants.balance(start))
    exactly = integrate(net, start, loss, np.linspace(0, 2, 5))
    assert_allclose(product(projected.weights), product(path), atol=1e-13)
    assert_allclose(projected.weights[0], exactly[0], atol=0.05)
    assert (projected.residual < 1e-13).all()


def test_what_is_on_the_leaf_stays_and_layers_keep_their_dtype():
    weights = random_weights(Network((3, 4, 2)))
    found = invariants.project(weights, invariants.balance(weights))
    assert found.iterations == 0
    for W, V in zip(weights, found.weights, strict=True):
        assert np.array_equal(W, V)
    single = tuple(W.astype(np.float32) for W in weights)
    assert invariants.project(single, invariants.balance(weights)).weights[0].dtype == np.float32
    (one,) = invariants.project((np.eye(2),), ()).weights
    assert np.array_equal(one, np.eye(2))
    zero = (np.zeros((2, 2)), np.zeros((2, 2)))
    assert invariants.project(zero, (np.zeros((2, 2)),)).residual == 0


def test_leaves_that_are_not_met_are_refused():
    weights = np.eye(2), np.eye(2)
    with pytest.raises(ArithmeticError, match="the balance matrices still differ from those wanted by"):
        invariants.project((np.zeros((2, 2)), np.zeros((2, 2))), (np.eye(2),))
    with pytest.raises(ArithmeticError, match="after 1 Newton steps"):
        invariants.project(weights, (50 * np.eye(2),), max_iterations=1)
    with pytest.raises(ValueError, match="balance holds 2 matrices; expected one for each of 1 hidden layers"):
        invariants.project(weights, (np.eye(2), np.eye(2)))
    with pytest.raises(ValueError, match=r"C_1 has shape \(3, 3\); expected \(\.\.\., 2, 2\)"):
        invariants.project(weights, (np.eye(3),))
    for C in (np.array([[0.0, 1.0], [0.0, 0.0]]), np.full((2, 2), np.nan)):
        with pytest.raises(ValueError, match="C_1 must be symmetric and finite"):
            invariants.project(weights, (C,))
    with pytest.raises(ValueError, match="weights must be finite"):
        invariants.project((np.full((2, 2), np.nan), np.eye(2)), (np.eye(2),))


def test_the_nearest_multiples_of_the_identity():
    net = Network((3, 3, 3, 3))
    found = invariants.lambda_balance(inits.lambda_balanced(net, [0.5, -0.3], size=2, rng=0))
    assert_allclose(found.lambdas, [[0.5, -0.3]] * 2, atol=1e-13)
    assert (found.distances < 1e-13).all()
    weights = random_weights(net)
    found = invariants.lambda_balance(weights)
    for C, shift, off in zip(invariants.balance(weights), found.lambdas, found.distances, strict=True):
        assert_allclose(off, np.abs(np.linalg.eigvalsh(C - shift * np.eye(3))).max())
        # no other multiple is nearer in the Frobenius norm
        other = [np.linalg.norm(C - (shift + d) * np.eye(3)) for d in (-1e-3, 0, 1e-3)]
        assert other[1] == min(other)
    assert invariants.lambda_balance((np.eye(2),)).lambdas.shape == (0,)
    assert (found.sizes > found.distances).all()


@pytest.mark.parametrize("net", [Network(w) for w in WIDTHS[2:]], ids=str)
def test_delta_balanced_starts_stay_delta_balanced(net):
    weights = inits.delta_balanced(net, 0.04, rng=0)
    path = integrate(net, weights, random_losses(net)[0], np.linspace(0, 3, 7))
    assert_allclose(invariants.imbalance(path).max(axis=-1), 0.04, rtol=1e-8)


def test_one_layer_has_no_balance_matrix():
    weights = random_weights(Network((3, 2)), (4,))
    assert invariants.balance(weights) == ()
    assert invariants.imbalance(weights).shape == (4, 0)


def test_a_batch_is_many_networks():
    net = Network((3, 4, 2))
    weights = random_weights(net, (4,))
    loss = random_losses(net)[0]
    for k in range(4):
        one = tuple(W[k] for W in weights)
        assert_allclose(invariants.imbalance(weights)[k], invariants.imbalance(one), rtol=1e-13)
        assert_allclose(invariants.norm_bound(weights, loss)[k], invariants.norm_bound(one, loss), rtol=1e-13)
        assert np.array_equal(invariants.jordan_blocks(weights)[k], invariants.jordan_blocks(one))


@pytest.mark.parametrize("widths", WIDTHS)
def test_layers_that_start_balanced_keep_equal_singular_values(widths):
    net = Network(widths)
    for loss in random_losses(net):
        path = integrate(net, inits.balanced(net, 0.5, rng=0), loss, np.linspace(0, 3, 5))
        values = [np.linalg.svd(W, compute_uv=False)[:, : net.rank] for W in path]
        for one, other in pairwise(values):
            assert_allclose(one, other, atol=1e-7)  # the root of the conserved 1e-14 where a value is near 0


def misalignment(below, above):
    """The commutator of the two Gram matrices that meet in a hidden layer, relative to their sizes."""
    inner, outer = below @ np.swapaxes(below, -1, -2), np.swapaxes(above, -1, -2) @ above
    size = np.linalg.norm(inner, axis=(-2, -1)) * np.linalg.norm(outer, axis=(-2, -1))
    return np.linalg.norm(inner @ outer - outer @ inner, axis=(-2, -1)) / size


def test_alignment_lasts_when_layers_are_balanced_and_is_lost_when_they_are_not():
    net = Network((3, 3, 3, 3))
    loss = random_losses(net)[0]
    t = np.linspace(0, 3, 7)
    starts = {
        "balanced": inits.balanced(net, rng=0),
        "lambda": inits.lambda_balanced(net, [0.5, -0.3], rng=0),
        "generic": inits.aligned(net, np.random.default_rng(0).uniform(0.3, 1.2, (3, 3)), rng=0),
    }
    worst = {
        name: np.array([misalignment(*layers) for layers in pairwise(integrate(net, weights, loss, t))])
        for name, weights in starts.items()
    }
    assert worst["balanced"].max() < 1e-9
    assert worst["lambda"].max() < 1e-9
    assert worst["generic"][:, 0].max() < 1e-14
    assert worst["generic"].max() > 0.05


@pytest.mark.parametrize("widths", WIDTHS)
def test_decoupled_modes_follow_their_scalar_equations(widths):
    net = Network(widths)
    loss = random_losses(net)[0]
    values = np.random.default_rng(2).uniform(0.2, 1.5, (net.depth, net.rank))
    t = np.linspace(0, 2, 5)
    path = integrate(net, inits.decoupled(net, loss, values, rng=0), loss, t)
    U, sigma, V = (a[..., : net.rank] for a in loss.modes)
    strengths = U.T @ product(path) @ V
    # With c_i = w_i^2 - w_1^2 constant, y = w_1^2 obeys dy/dt = 2 w (sigma - w), w = sqrt(prod (y + c_i)).
    c = values**2 - values[0] ** 2

    def field(_, y):
        w = np.sqrt(np.prod(y + c, axis=0))
        return 2 * w * (sigma - w)

    solution = solve_ivp(field, (0, t[-1]), values[0] ** 2, "DOP853", t_eval=t, rtol=1e-11, atol=1e-13)
    expected = np.sqrt(np.prod(solution.y.T[:, None] + c, axis=1))
    assert_allclose(strengths, expected[:, :, None] * np.eye(net.rank), atol=1e-9)


@pytest.mark.parametrize("widths", WIDTHS)
def test_balanced_decoupled_modes_follow_the_closed_form(widths):
    net = Network(widths)
    loss = random_losses(net)[0]
    start = np.random.default_rng(2).uniform(0.1, 1.5, net.rank)
    t = np.linspace(0, 4, 5)
    path = integrate(net, inits.decoupled(net, loss, start, rng=0), loss, t)
    U, sigma, V = (a[..., : net.rank] for a in loss.modes)
    s = exact.mode(t[:, None], start, sigma, net.depth)
    assert_allclose(U.T @ product(path) @ V, s[..., None] ** net.depth * np.eye(net.rank), atol=1e-9)
