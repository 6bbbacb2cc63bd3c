"""Kinds of critical points against the Hessian, against another decomposition, and under everything that keeps them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdln import inits
from fastdln.field import gradient_norm, value
from fastdln.losses import Quadratic, Regression
from fastdln.network import Network
from fastdln.theory import invariants, landscape, quotient
from fastdln.theory.residual import residual
from tests.support.critical import dense_hessian, random_critical_point

KINDS = ("global_minimum", "strict_saddle", "nonstrict_saddle")


def same(a, b):
    assert (a.kind, a.learned, a.pivots, a.tightened, a.ambiguous) == (
        b.kind, b.learned, b.pivots, b.tightened, b.ambiguous,
    )  # fmt: skip
    assert np.array_equal(a.ranks, b.ranks)


def test_the_kind_is_the_sign_of_the_least_eigenvalue_of_the_hessian():
    rng = np.random.default_rng(0)
    counts = dict.fromkeys(KINDS, 0)
    for _ in range(1500):
        net, loss, learned, _, weights = random_critical_point(rng)
        found = landscape.classify(weights, loss)
        counts[found.kind] += 1
        assert found.is_critical
        assert found.relative_gradient < 1e-12
        assert found.ambiguous == ()
        least = np.linalg.eigvalsh(dense_hessian(net, weights, loss))[0]
        assert (found.kind == "strict_saddle") == (least < -1e-6)
        sigma = loss.modes.sigma
        assert found.value == pytest.approx(0.5 * np.sum(np.delete(sigma, learned) ** 2), abs=1e-11)
        minimum = 0.5 * np.sum(sigma[net.rank :] ** 2)
        assert (found.kind == "global_minimum") == (found.value < minimum + 1e-9)
        assert found.gradient_norm == pytest.approx(float(gradient_norm(weights, loss)), abs=1e-30)
    assert min(counts.values()) > 150


def test_ranks_pivots_and_tightened_pairs_agree_with_the_residual_blocks():
    rng = np.random.default_rng(1)
    orders = set()
    for _ in range(400):
        net, loss, _, _, weights = random_critical_point(rng, depths=(2, 5), widths=(2, 5), condition=5.0)
        found = landscape.classify(weights, loss)
        split = residual(weights, loss, "the test")
        assert found.pivots == split.pivots
        assert found.tightened == {(i, j): split.tightened(i, j) for i in range(2, net.depth + 1) for j in range(1, i)}
        assert np.array_equal(found.ranks, invariants.ranks(weights, rtol=1e-8))
        orders.add(found.pivots)
    assert orders == {None, 2, 3, 4, 5}


def test_learned_modes_are_a_set_only_where_equal_sigma_leave_no_choice():
    rng = np.random.default_rng(2)
    seen = set()
    for _ in range(300):
        _, loss, learned, _, weights = random_critical_point(rng)
        sigma = np.round(loss.modes.sigma, 6)
        groups = [{j for j, s in enumerate(sigma) if s == value} for value in set(sigma[list(learned)])]
        whole = all(group <= set(learned) for group in groups)
        found = landscape.classify(weights, loss)
        assert found.learned == (tuple(sorted(learned)) if whole else None)
        seen.add(whole)
    assert seen == {True, False}
    # Any direction in the plane of two equal modes can be the learned one.
    turned = np.array([[0.6, 0.8]])
    found = landscape.classify((turned, 2 * turned.T), Quadratic(2 * np.eye(2)))
    assert (found.is_critical, found.learned, found.kind) == (True, None, "global_minimum")
    found = landscape.classify((turned, 2 * turned.T), Quadratic(np.diag([2.0, 1.0])))
    assert (found.is_critical, found.learned, found.pivots) == (False, None, None)


@given(st.integers(0, 10**6), st.floats(1.0, 30.0))
def test_gauges_keep_everything_that_is_found(seed, condition):
    rng = np.random.default_rng(seed)
    net, loss, _, _, weights = random_critical_point(rng, condition=3.0)
    moved = quotient.transform(weights, quotient.random_gauges(net, rng, condition))
    same(landscape.classify(weights, loss), landscape.classify(moved, loss))


@given(st.integers(0, 10**6), st.integers(-120, 120))
def test_powers_of_ten_keep_everything_that_is_found(seed, exponent):
    rng = np.random.default_rng(seed)
    net, loss, _, _, weights = random_critical_point(rng)
    unit = 10.0 ** (exponent / net.depth)
    scaled = tuple(unit * W for W in weights)
    same(landscape.classify(weights, loss), landscape.classify(scaled, Quadratic(loss.target * unit**net.depth)))


def test_transposition_reverses_the_network_and_keeps_the_kind():
    rng = np.random.default_rng(3)
    for _ in range(100):
        _, loss, _, _, weights = random_critical_point(rng)
        found = landscape.classify(weights, loss)
        mirrored = landscape.classify(tuple(W.T for W in reversed(weights)), Quadratic(loss.target.T))
        assert (found.kind, found.pivots) == (mirrored.kind, mirrored.pivots)
        assert np.array_equal(found.ranks, np.flip(mirrored.ranks).T)


def test_a_batch_is_many_points_in_any_order():
    rng = np.random.default_rng(4)
    net = Network((3, 4, 3, 3))
    loss = Quadratic(np.diag([3.0, 2.0, 1.0]))
    points = [
        landscape.critical_point(net, loss, learned, chains, rng)
        for learned in ((), (0,), (1,), (0, 1), (1, 2), (0, 1, 2))
        for chains in ((), ((1, 2),))
        if len(learned) + len(chains) <= 3
    ]
    points.append(inits.gaussian(net, rng=0))
    batch = tuple(np.stack(layers) for layers in zip(*points, strict=True))
    found = landscape.classify(batch, loss)
    assert found.shape == (len(points),)
    for one, point in zip(found, points, strict=True):
        alone = landscape.classify(point, loss)
        same(one, alone)
        assert one.value == pytest.approx(alone.value, abs=1e-12)
    order = rng.permutation(len(points))
    for one, k in zip(landscape.classify(tuple(W[order] for W in batch), loss), order, strict=True):
        same(one, found[k])
    square = landscape.classify(tuple(W[:4].reshape(2, 2, *W.shape[1:]) for W in batch), loss)
    assert square.shape == (2, 2)
    same(square[1, 0], found[2])
    assert landscape.classify(tuple(W[:0] for W in batch), loss).shape == (0,)


def test_many_points_are_classified_in_blocks():
    net = Network((2, 2, 2))
    loss = Quadratic(np.diag([2.0, 1.0]))
    kinds = [landscape.critical_point(net, loss, learned) for learned in ((), (0,), (1,), (0, 1))]
    batch = tuple(np.tile(np.stack(layers), (1500, 1, 1)) for layers in zip(*kinds, strict=True))
    found = landscape.classify(batch, loss)
    assert [point.learned for point in found] == [(), (0,), (1,), (0, 1)] * 1500


def test_origin_and_two_layers():
    for h in range(2, 6):
        found = landscape.classify((np.zeros((2, 2)),) * h, Quadratic(np.diag([2.0, 1.0])))
        assert (found.kind, found.pivots) == ("strict_saddle" if h == 2 else "nonstrict_saddle", h)
    # An escape needs three layers here, although the loss falls with the fourth power of the step only.
    W = (np.array([[0.0, 1.0]]), np.zeros((1, 1)), np.array([[0.0], [1.0]]))
    found = landscape.classify(W, Quadratic(np.diag([1.0, 0.0])))
    assert (found.kind, found.pivots) == ("nonstrict_saddle", 3)


def test_one_layer_and_the_zero_target_have_minima_only():
    target = np.random.default_rng(0).standard_normal((2, 3))
    found = landscape.classify((target,), Quadratic(target))
    assert (found.kind, found.learned, found.pivots, found.tightened) == ("global_minimum", (0, 1), None, {})
    found = landscape.classify((target + 0.1,), Quadratic(target))
    assert (found.kind, found.learned) == ("not_critical", None)
    zero = Quadratic(np.zeros((2, 2)))
    found = landscape.classify((np.diag([1.0, 0.0]), np.diag([0.0, 1.0])), zero)
    assert (found.kind, found.learned, found.value) == ("global_minimum", (), 0.0)
    assert landscape.classify((np.eye(2), np.eye(2)), zero).kind == "not_critical"


def test_unwhitened_data_are_classified_in_whitened_inputs():
    rng = np.random.default_rng(5)
    net = Network((3, 3, 3, 2))
    loss = Regression(rng.standard_normal((3, 8)), rng.standard_normal((2, 8)))
    for learned, chains in (((), ()), ((0,), ()), ((1,), ()), ((0, 1), ()), ((0,), ((1, 2),))):
        weights = landscape.critical_point(net, loss, learned, chains, rng)
        found = landscape.classify(weights, loss)
        assert found.is_critical
        assert found.learned == learned
        assert found.value == pytest.approx(float(value(weights, loss)))
        least = np.linalg.eigvalsh(dense_hessian(net, weights, loss))[0]
        assert (found.kind == "strict_saddle") == (least < -1e-6)


def test_decisions_that_the_tolerance_decides_are_reported():
    loss = Quadratic(np.diag([2.0, 1.0]))
    net = Network((2, 2, 2, 2))
    clear = landscape.critical_point(net, loss, (0,), ((1, 2),))
    assert landscape.classify(clear, loss).ambiguous == ()
    # A chain so weak that a tolerance ten times smaller makes another saddle of it.
    weak = (clear[0], clear[1] * np.array([[1.0, 1.0], [1.0, 1e-7]]), clear[2])
    found = landscape.classify(weak, loss)
    assert (found.kind, found.ambiguous) == ("nonstrict_saddle", ("pivots", "ranks"))
    assert landscape.classify(weak, loss, tol=1e-9).kind == "strict_saddle"
    assert landscape.classify(weak, loss, tol=1e-9).ambiguous == ()
    # Two sigma that a larger tolerance takes for one, of which one is learned.
    near = Quadratic(np.diag([2.0, 2.0 - 1e-6]))
    second = landscape.critical_point(Network((2, 2, 2)), near, (1,))
    assert "learned" in landscape.classify(second, near).ambiguous
    assert landscape.classify(second, near, tol=1e-9).ambiguous == ()
    # Critical within the tolerance, but not for what it consists of: three layers of size 1e-4 around the origin.
    small = tuple(1e-4 * np.eye(2) for _ in range(3))
    found = landscape.classify(small, loss)
    assert found.is_critical
    assert "gradient" in found.ambiguous
    assert landscape.classify(landscape.refine(small, loss), loss).ambiguous == ()


def test_weights_that_cannot_be_classified_are_refused():
    loss = Quadratic(np.eye(2))
    bad = np.stack([np.eye(2), np.full((2, 2), np.nan)])
    with pytest.raises(ValueError, match=r"index \(1,\)"):
        landscape.classify((bad, bad), loss)
    with pytest.raises(ValueError, match="overflow"):
        landscape.classify((1e200 * np.eye(2), 1e-200 * np.eye(2)), loss)
    with pytest.raises(ValueError, match="tol must be"):
        landscape.classify((np.eye(2), np.eye(2)), loss, tol=0.5)
    with pytest.raises(ValueError, match="2 targets"):
        landscape.classify((np.eye(2), np.eye(2)), Quadratic(np.ones((2, 2, 2))))
