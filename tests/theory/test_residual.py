"""The residual network of critical points, against the Hessian and against the definition of open chains."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fastdln.claims.critical import critical_points
from fastdln.field import product, value
from fastdln.losses import Quadratic
from fastdln.network import Network
from fastdln.theory import hessian
from fastdln.theory.landscape import classify
from fastdln.theory.residual import relative_gradient, residual


def is_open(split, chain):
    """The definition: a nonzero end and nonzero connectors, for a chain from the top down."""
    if not np.abs(split.end(chain[-1], chain[0])).max(initial=0) > 1e-6:
        return False
    return all(np.abs(split.chain(low, top - 1)).max(initial=0) > 1e-6 for top, low in pairwise(chain))


def test_saddles_are_strict_exactly_where_two_pivots_suffice():
    rng = np.random.default_rng(0)
    kinds = {}
    for _, loss, _, point in critical_points(rng, 500):
        split = residual(point, loss, "a test")
        negative = np.linalg.eigvalsh(hessian.matrix(point, loss))[0] < -1e-6
        assert negative == (split.pivots == 2)
        kinds[split.pivots] = kinds.get(split.pivots, 0) + 1
    assert all(kinds[pivots] > 5 for pivots in (None, 2, 3, 4, 5))


def test_pivots_are_the_least_length_of_an_open_chain():
    rng = np.random.default_rng(1)
    for net, loss, _, point in critical_points(rng, 300):
        split = residual(point, loss, "a test")
        layers = range(net.depth, 0, -1)
        assert not any(is_open(split, (i,)) for i in layers)
        if split.minimum or not split.leading:
            continue
        lengths = range(2, net.depth + 1)
        chains = next(found for m in lengths if (found := [c for c in combinations(layers, m) if is_open(split, c)]))
        assert split.pivots == len(chains[0])
        assert sorted(split.open_chains()) == sorted(chains)


def test_classification_agrees():
    rng = np.random.default_rng(2)
    for _, loss, _, point in critical_points(rng, 300, depths=(1, 5)):
        split, found = residual(point, loss, "a test"), classify(point, loss)
        assert found.pivots == split.pivots
        assert (found.kind == "global_minimum") is split.minimum
        for (i, j), tightened in found.tightened.items():
            assert split.tightened(i, j) is tightened


def test_moving_blocks_changes_the_loss_as_in_the_residual_network():
    rng = np.random.default_rng(3)
    for _, loss, _, point in critical_points(rng, 100):
        split = residual(point, loss, "a test")
        X = [rng.standard_normal(Z.shape) for Z in split.blocks]
        moved = tuple(
            W + above @ x @ below.T
            for W, above, x, below in zip(split.weights, split.bases[1:], X, split.duals[:-1], strict=True)
        )
        chain = np.eye(split.target.shape[1])
        for Z, x in zip(split.blocks, X, strict=True):
            chain = (Z + x) @ chain
        assert_allclose(product(moved) - product(point), split.bases[-1] @ chain @ split.bases[0].T, atol=1e-9)
        change = 0.5 * np.square(split.target - chain).sum() - 0.5 * np.square(split.target).sum()
        assert_allclose(value(moved, loss) - value(point, loss), change, atol=1e-8)
        for N, M in zip(split.bases, split.duals, strict=True):
            assert_allclose(M.T @ N, np.eye(N.shape[1]), atol=1e-10)


def test_residual_blocks_are_critical_with_product_zero():
    rng = np.random.default_rng(4)
    for net, loss, learned, point in critical_points(rng, 100):
        split = residual(point, loss, "a test")
        assert [Z.shape for Z in split.blocks] == [(a - split.rank, b - split.rank) for a, b in net.shapes]
        assert_allclose(split.chain(0, net.depth), 0, atol=1e-10)
        for i in range(1, net.depth + 1):
            assert_allclose(split.end(i, i), 0, atol=1e-10)
        unlearned = np.delete(loss.modes.sigma, list(learned))
        s = np.linalg.svd(split.target, compute_uv=False)
        assert_allclose(s, np.pad(unlearned, (0, max(0, len(s) - len(unlearned))))[: len(s)], atol=1e-10)


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
def test_relative_gradients_do_not_depend_on_units(factor):
    net = Network((2, 3, 3, 2))
    rng = np.random.default_rng(5)
    drawn = tuple(rng.standard_normal(shape) for shape in net.shapes)
    sigma = rng.standard_normal((2, 2))
    scaled = tuple(factor ** (1 / 3) * W for W in drawn)
    expected = relative_gradient(drawn, Quadratic(sigma))
    assert_allclose(relative_gradient(scaled, Quadratic(factor * sigma)), expected, rtol=1e-10)


def test_relative_gradients_of_a_target_of_zero():
    zero = Quadratic(np.zeros((1, 1)))
    one = np.ones((1, 1))
    assert relative_gradient((0 * one, one), zero) == 0
    assert_allclose(relative_gradient((1e-9 * one, 1e-9 * one), zero), 1)
