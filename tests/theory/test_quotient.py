"""Gauges, fibers, orbits and normal forms, against their definitions on built critical points."""

from __future__ import annotations

from functools import reduce
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from fastdln import inits
from fastdln.claims.critical import critical_point, critical_points
from fastdln.claims.instances import target, weights
from fastdln.field import balance, product, rhs
from fastdln.losses import Quadratic, Regression
from fastdln.network import Network
from fastdln.theory import quotient
from fastdln.theory.invariants import ranks

networks = st.lists(st.integers(1, 4), min_size=2, max_size=6).map(lambda widths: Network(tuple(widths)))
seeds = st.integers(0, 1000)


def norm(layers):
    return np.sqrt(sum(np.square(W).sum() for W in layers))


def blockdiag(first, second):
    joined = np.zeros(np.add(first.shape, second.shape))
    joined[: first.shape[0], : first.shape[1]] = first
    joined[first.shape[0] :, first.shape[1] :] = second
    return joined


@given(networks, seeds)
def test_gauges_keep_the_product_and_move_gradients_covariantly(net, seed):
    rng = np.random.default_rng(seed)
    drawn, loss = weights(rng, net), target(rng, net)
    P = quotient.random_gauges(net, rng)
    moved = quotient.transform(drawn, P)
    assert_allclose(product(moved), product(drawn), atol=1e-11)
    frames = [np.eye(net.widths[0]), *P, np.eye(net.widths[-1])]
    for G, expected, (below, above) in zip(rhs(moved, loss), rhs(drawn, loss), pairwise(frames), strict=True):
        assert_allclose(G, np.linalg.inv(above).T @ expected @ below.T, atol=1e-10)


@given(networks, seeds)
def test_orthogonal_gauges_move_the_flow_with_the_weights(net, seed):
    rng = np.random.default_rng(seed)
    drawn, loss = weights(rng, net), target(rng, net)
    P = quotient.random_gauges(net, rng, condition=1.0)
    expected = quotient.transform(rhs(drawn, loss), P)
    for F, moved in zip(rhs(quotient.transform(drawn, P), loss), expected, strict=True):
        assert_allclose(F, moved, atol=1e-11)


def test_other_gauges_do_not_move_the_flow_with_the_weights():
    net = Network((2, 3, 2))
    rng = np.random.default_rng(0)
    drawn, loss = weights(rng, net), target(rng, net)
    P = (2 * np.eye(3),)
    moved, expected = rhs(quotient.transform(drawn, P), loss), quotient.transform(rhs(drawn, loss), P)
    assert norm([F - G for F, G in zip(moved, expected, strict=True)]) > 0.1


def test_gauges_of_gauges_compose():
    net = Network((2, 3, 4, 2))
    rng = np.random.default_rng(0)
    drawn = weights(rng, net)
    P, Q = quotient.random_gauges(net, rng), quotient.random_gauges(net, rng)
    both = quotient.transform(quotient.transform(drawn, P), Q)
    for W, expected in zip(both, quotient.transform(drawn, [q @ p for p, q in zip(P, Q, strict=True)]), strict=True):
        assert_allclose(W, expected, atol=1e-12)


@given(networks, seeds, st.floats(1.0, 1e4))
def test_random_gauges_have_bounded_condition(net, seed, condition):
    for P in quotient.random_gauges(net, seed, condition, size=3):
        assert P.shape[0] == 3
        s = np.linalg.svd(P, compute_uv=False)
        assert (s[:, 0] <= np.sqrt(condition) * (1 + 1e-12)).all()
        assert (s[:, -1] >= (1 - 1e-12) / np.sqrt(condition)).all()


def test_random_gauges_do_not_depend_on_the_batch():
    net = Network((2, 3, 4, 2))
    few, many = (quotient.random_gauges(net, 7, size=size) for size in (2, 5))
    for P, Q in zip(few, many, strict=True):
        assert np.array_equal(P, Q[:2])
    for P, Q in zip(quotient.random_gauges(net, 7), few, strict=True):
        assert np.array_equal(P, Q[0])


def test_a_batch_is_many_networks():
    net = Network((2, 3, 4, 2))
    rng = np.random.default_rng(0)
    drawn, P = weights(rng, net, size=4), quotient.random_gauges(net, rng, size=4)
    moved, least = quotient.transform(drawn, P), quotient.minimal_norm(drawn)
    for k in range(4):
        one = tuple(W[k] for W in drawn)
        for W, expected in zip(moved, quotient.transform(one, [p[k] for p in P]), strict=True):
            assert_allclose(W[k], expected, atol=1e-13)
        assert_allclose(norm(quotient.minimal_norm(one)), norm([W[k] for W in least]), rtol=1e-12)
    assert quotient.same_fiber(drawn, moved).tolist() == [True] * 4
    assert quotient.same_fiber(drawn, tuple(W[0] for W in drawn)).tolist() == [True, False, False, False]
    spread = quotient.transform(tuple(W[0] for W in drawn), P)
    assert_allclose(spread[1][2], quotient.transform(tuple(W[0] for W in drawn), [p[2] for p in P])[1], atol=1e-13)


def test_weights_keep_their_dtype():
    net = Network((2, 3, 2))
    single = tuple(W.astype(np.float32) for W in weights(np.random.default_rng(0), net))
    P = quotient.random_gauges(net, 0)
    for moved in (
        quotient.transform(single, P),
        quotient.minimal_norm(single),
        quotient.along_fiber(single, P, 0.1),
        quotient.gauge_motion(single, P),
    ):
        assert all(W.dtype == np.float32 for W in moved)
    assert quotient.same_fiber(single, quotient.transform(single, P), tol=1e-5)


@pytest.mark.parametrize(
    ("gauges", "message"),
    [
        ((np.eye(3),), "gauges has 1 matrices"),
        ((np.eye(3), np.eye(3)), r"P_2 has shape \(3, 3\)"),
        ((np.diag([1.0, 1.0, 0.0]), np.eye(4)), "P_1 is singular"),
        ((np.diag([1.0, 1.0, 1e-17]), np.eye(4)), "P_1 is singular"),
        ((np.eye(3), np.full((4, 4), np.nan)), "P_2 must be finite"),
        ((np.ones((2, 3, 3)) * np.eye(3), np.stack([np.eye(4)] * 3)), "do not broadcast|could not be broadcast"),
    ],
)
def test_gauges_that_do_not_fit_are_refused(gauges, message):
    drawn = weights(np.random.default_rng(0), Network((2, 3, 4, 2)))
    with pytest.raises(ValueError, match=message):
        quotient.transform(drawn, gauges)


def test_other_arguments_that_do_not_fit_are_refused():
    net = Network((2, 3, 2))
    drawn = weights(np.random.default_rng(0), net)
    with pytest.raises(TypeError, match="P_1 has dtype"):
        quotient.transform(drawn, (np.eye(3, dtype=complex),))
    with pytest.raises(TypeError, match="directions must be a tuple"):
        quotient.along_fiber(drawn, np.eye(3), 1.0)
    with pytest.raises(ValueError, match="t must be finite"):
        quotient.along_fiber(drawn, (np.eye(3),), np.nan)
    with pytest.raises(ValueError, match="condition must be at least 1"):
        quotient.random_gauges(net, condition=0.5)
    with pytest.raises(ValueError, match="size must be at least 1"):
        quotient.random_gauges(net, size=0)
    with pytest.raises(ValueError, match=r"Network\(\(2, 3, 2\)\) expects"):
        quotient.same_fiber(drawn, weights(np.random.default_rng(0), Network((2, 4, 2))))
    with pytest.raises(ValueError, match="b must be one network"):
        quotient.same_orbit(drawn, tuple(np.stack([W, W]) for W in drawn))
    with pytest.raises(ValueError, match="a must be finite"):
        quotient.same_orbit(tuple(np.nan * W for W in drawn), drawn)
    with pytest.raises(ValueError, match="takes one network"):
        quotient.fiber_directions(tuple(np.stack([W, W]) for W in drawn))


def test_two_hundred_critical_points_have_their_normal_form():
    rng = np.random.default_rng(0)
    for net, loss, learned, point in critical_points(rng, 200, depths=(1, 5)):
        form = quotient.normal_form(point, loss)
        r, h = form.rank, net.depth
        assert r == len(learned)
        expected = loss.modes.sigma[list(learned)]
        assert_allclose(form.strengths, expected, atol=1e-10)
        root = np.diag(form.strengths ** (1 / h))
        for W, Z in zip(form.weights[1:-1], form.residual[1:-1], strict=True):
            assert_allclose(W, blockdiag(root, Z), atol=1e-10)
        if h > 1:
            assert_allclose(form.weights[0], np.vstack([root @ form.V.T, form.residual[0]]), atol=1e-10)
            assert_allclose(form.weights[-1], np.hstack([form.U @ root, form.residual[-1]]), atol=1e-10)
        assert_allclose(reduce(lambda below, Z: Z @ below, form.residual), 0, atol=1e-10)
        assert_allclose((form.U * form.strengths) @ form.V.T, product(point), atol=1e-10)
        for W, moved in zip(form.weights, quotient.transform(point, form.gauges), strict=True):
            assert np.array_equal(W, moved)


def test_canonical_points_are_reached_exactly_where_every_partial_product_has_the_rank_of_the_product():
    rng = np.random.default_rng(1)
    found = {True: 0, False: 0}
    for net, loss, learned, point in critical_points(rng, 200):
        reference, gauges = quotient.canonical(point, loss)
        partial = ranks(point, rtol=1e-9)[np.triu_indices(net.depth + 1, 1)]
        reached = bool((partial == len(learned)).all())
        found[reached] += 1
        assert (gauges is not None) is reached
        assert quotient.same_fiber(point, reference)
        assert quotient.same_orbit(point, reference) is reached
        assert_allclose(norm(rhs(reference, loss)), 0, atol=1e-10)
        assert_allclose([np.abs(C).max() for C in balance(reference)], 0, atol=1e-10)
        if gauges is not None:
            for W, expected in zip(quotient.transform(point, gauges), reference, strict=True):
                assert_allclose(W, expected, atol=1e-9)
    assert min(found.values()) > 20


def test_there_is_one_canonical_point_for_each_critical_value():
    rng = np.random.default_rng(2)
    net = Network((4, 3, 4, 3))
    loss = target(rng, net)
    points = [quotient.canonical(critical_point(rng, net, loss, (0, 2)), loss)[0] for _ in range(10)]
    for point in points[1:]:
        for W, first in zip(point, points[0], strict=True):
            assert_allclose(W, first, atol=1e-9)


def test_regression_has_the_normal_form_of_whitened_inputs():
    rng = np.random.default_rng(3)
    net = Network((3, 4, 3, 2))
    loss = Regression(rng.standard_normal((3, 20)), rng.standard_normal((2, 20)))
    root = loss.quadratic.input_root
    first, *others = critical_point(rng, net, Quadratic(loss.quadratic.whitened), (1,))
    point = (first @ np.linalg.inv(root), *others)
    form = quotient.normal_form(point, loss)
    D = form.strengths ** (1 / 3)
    assert_allclose(form.weights[0] @ root, np.vstack([D[:, None] * form.V.T, form.residual[0]]), atol=1e-10)
    assert_allclose(form.strengths, np.linalg.svd(loss.quadratic.whitened, compute_uv=False)[1], atol=1e-10)
    reference, _ = quotient.canonical(point, loss)
    assert quotient.same_fiber(point, reference)


@pytest.mark.parametrize("function", [quotient.normal_form, quotient.canonical])
def test_points_without_a_normal_form_are_refused_with_the_reason(function):
    net = Network((2, 3, 2))
    loss = Quadratic(np.diag([2.0, 1.0]))
    with pytest.raises(ValueError, match="weights is none"):
        function(weights(np.random.default_rng(0), net), loss)
    with pytest.raises(ValueError, match="batch axes"):
        function(weights(np.random.default_rng(0), net, size=2), loss)
    with pytest.raises(ValueError, match="finite"):
        function(tuple(np.full(shape, np.nan) for shape in net.shapes), loss)
    with pytest.raises(ValueError, match="rank of the product is undecided"):
        function((np.eye(2), np.diag([2.0, 3e-7])), Quadratic(np.diag([2.0, 3e-7])))
    with pytest.raises(ValueError, match="one landscape"):
        function(weights(np.random.default_rng(0), net), Quadratic(np.ones((3, 2, 2))))
    with pytest.raises(TypeError, match="cannot be whitened"):
        function((np.zeros((1, 2)), np.zeros((1, 1))), Regression(np.ones((2, 3)), np.ones((1, 3))))


def test_a_target_of_zero_has_one_critical_value():
    zero = Quadratic(np.zeros((2, 2)))
    form = quotient.normal_form((np.diag([1.0, 0.0]), np.diag([0.0, 1.0])), zero)
    assert form.rank == 0
    with pytest.raises(ValueError, match="weights is none"):
        quotient.normal_form((1e-9 * np.eye(2), 1e-9 * np.eye(2)), zero)


@given(networks, seeds)
def test_gauges_connect_the_points_of_an_orbit(net, seed):
    rng = np.random.default_rng(seed)
    # Layers of random low rank: stabilizers of every size.
    point = []
    for rows, columns in net.shapes:
        k = int(rng.integers(0, min(rows, columns) + 1))
        point.append(rng.standard_normal((rows, k)) @ rng.standard_normal((k, columns)))
    moved = quotient.transform(point, quotient.random_gauges(net, rng, condition=100.0))
    P = quotient.connecting_gauges(point, moved)
    assert P is not None
    for W, expected in zip(quotient.transform(point, P), moved, strict=True):
        assert_allclose(W, expected, atol=1e-7 * max(1, np.abs(expected).max()))


def test_points_of_different_orbits_are_told_apart():
    rng = np.random.default_rng(4)
    net = Network((4, 4, 4, 4))
    loss = target(rng, net)
    one = critical_point(rng, net, loss, (0, 1), chains=False)
    assert quotient.same_orbit(one, critical_point(rng, net, loss, (0, 1), chains=False))
    assert not quotient.same_orbit(one, critical_point(rng, net, loss, (0, 2), chains=False))
    for _ in range(10):
        other = critical_point(rng, net, loss, (0, 1))
        chained = not np.array_equal(ranks(other, 1e-9), ranks(one, 1e-9))
        assert quotient.same_fiber(one, other)
        assert quotient.same_orbit(one, other) is not chained


def test_equal_products_and_equal_ranks_do_not_make_an_orbit():
    # Both first layers have the same rank, but no gauge turns the kernel of W_1.
    W2 = np.zeros((2, 2))
    a, b = (np.diag([1.0, 0.0]), W2), (np.diag([0.0, 1.0]), W2)
    assert quotient.same_fiber(a, b)
    assert np.array_equal(ranks(a), ranks(b))
    assert not quotient.same_orbit(a, b)


def test_one_layer_has_no_gauge_but_the_identity():
    W = (np.arange(6.0).reshape(2, 3),)
    assert quotient.transform(W, ()) == W
    assert quotient.random_gauges(Network((3, 2))) == ()
    assert quotient.connecting_gauges(W, W) == ()
    assert quotient.connecting_gauges(W, (2 * W[0],)) is None
    assert quotient.fiber_directions(W)[0].shape == (0, 2, 3)
    assert_allclose(quotient.minimal_norm(W)[0], W[0], atol=1e-12)


def test_products_that_cancel_are_compared_within_their_rounding():
    a = (np.array([[1.0], [1.0]]), np.array([[0.1 + 0.2, -0.3]]))
    assert quotient.same_fiber(a, (np.zeros((2, 1)), np.zeros((1, 2))))
    assert not quotient.same_fiber((np.array([[1e-9]]),), (np.array([[2e-9]]),))
    assert not quotient.same_fiber((np.array([[np.nan]]),), (np.array([[1.0]]),))
    assert not quotient.same_fiber((np.array([[np.inf]]),), (np.array([[np.inf]]),))


@given(networks, seeds)
def test_no_point_of_a_fiber_has_less_norm_than_the_balanced_one(net, seed):
    rng = np.random.default_rng(seed)
    drawn = weights(rng, net)
    least = quotient.minimal_norm(drawn)
    s = np.linalg.svd(product(drawn), compute_uv=False)[: net.rank]
    bound = net.depth * (s ** (2 / net.depth)).sum()
    assert quotient.same_fiber(drawn, least)
    assert_allclose(norm(least) ** 2, bound, rtol=1e-8)
    for C in balance(least):
        assert_allclose(C, 0, atol=1e-9)
    moved = quotient.transform(drawn, quotient.random_gauges(net, rng, size=20))
    assert (sum(np.square(W).sum(axis=(-2, -1)) for W in moved) >= bound * (1 - 1e-9)).all()
    turned = quotient.transform(least, quotient.random_gauges(net, rng, condition=1.0))
    assert_allclose(norm(turned) ** 2, bound, rtol=1e-8)


def test_balanced_starts_have_the_least_norm_of_their_fiber():
    start = inits.balanced(Network((3, 4, 2, 5)), rng=0)
    assert_allclose(norm(quotient.minimal_norm(start)), norm(start), rtol=1e-12)


@given(networks, seeds)
def test_motion_along_a_fiber_keeps_the_product_and_has_the_velocity_of_its_generator(net, seed):
    rng = np.random.default_rng(seed)
    drawn = weights(rng, net)
    X = [rng.standard_normal((d, d)) for d in net.widths[1:-1]]
    t = np.array([-1.0, -1e-5, 0.0, 1e-5, 1.0])
    path = quotient.along_fiber(drawn, X, t)
    assert_allclose(product(path), np.broadcast_to(product(drawn), (5, *product(drawn).shape)), atol=1e-9)
    for W, start, velocity in zip(path, drawn, quotient.gauge_motion(drawn, X), strict=True):
        assert_allclose(W[2], start, atol=0)
        assert_allclose((W[3] - W[1]) / 2e-5, velocity, atol=1e-6)


def test_times_come_after_the_batch():
    net = Network((2, 3, 2))
    rng = np.random.default_rng(0)
    drawn = weights(rng, net, size=4)
    X = (rng.standard_normal((3, 3)),)
    path = quotient.along_fiber(drawn, X, np.ones((5, 6)))
    assert path[0].shape == (4, 5, 6, 3, 2)
    single = quotient.along_fiber(tuple(W[2] for W in drawn), X, 1.0)
    assert_allclose(path[1][2, 3, 4], single[1], atol=1e-13)


@given(networks, seeds)
def test_symmetric_gauge_directions_are_gradients_of_the_balance(net, seed):
    rng = np.random.default_rng(seed)
    drawn, moved = weights(rng, net), weights(rng, net)
    X = [M + M.T for M in (rng.standard_normal((d, d)) for d in net.widths[1:-1])]

    def potential(t):
        along = tuple(W + t * V for W, V in zip(drawn, moved, strict=True))
        return sum((x * C).sum() for x, C in zip(X, balance(along), strict=True))

    # A quadratic function: the central difference is exact up to rounding.
    slope = (potential(1.0) - potential(-1.0)) / 2
    motion = quotient.gauge_motion(drawn, X)
    assert_allclose(slope, -2 * sum((V * M).sum() for V, M in zip(moved, motion, strict=True)), atol=1e-9)


@given(networks, seeds)
def test_directions_of_a_fiber_span_the_motions_of_gauges(net, seed):
    rng = np.random.default_rng(seed)
    drawn = weights(rng, net)
    basis = net.pack(quotient.fiber_directions(drawn))
    assert_allclose(basis @ basis.T, np.eye(len(basis)), atol=1e-12)
    step = 1e-6
    for V in basis:
        ahead, behind = (product(net.unpack(net.pack(drawn) + s * V)) for s in (step, -step))
        assert_allclose((ahead - behind) / (2 * step), 0, atol=1e-7)
    X = [rng.standard_normal((d, d)) for d in net.widths[1:-1]]
    motion = net.pack(quotient.gauge_motion(drawn, X))
    assert_allclose(basis.T @ (basis @ motion), motion, atol=1e-10)


@pytest.mark.parametrize(
    ("widths", "count"),
    [((3, 3, 3, 3), 18), ((4, 3, 2), 9), ((1, 5, 1), 9), ((2, 3, 2), 8), ((1, 2, 3), 4), ((2, 2), 0)],
)
def test_orbits_have_the_dimension_of_the_gauges_less_their_stabilizers(widths, count):
    # Stabilizers: none where a layer is onto from below or into above; of a vector and a covector 25 - 9; 9 - 8.
    drawn = weights(np.random.default_rng(0), Network(widths))
    assert len(quotient.fiber_directions(drawn)[0]) == count
