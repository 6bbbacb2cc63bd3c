"""From nearly critical weights to critical ones: perturbed points, and plateaus of integrated trajectories."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp

from fastdln import inits
from fastdln.field import gradient_norm, product, rhs, value
from fastdln.losses import Quadratic, Regression
from fastdln.network import Network
from fastdln.theory import landscape
from tests.support.critical import random_critical_point


def displacement(a, b):
    return np.sqrt(sum(np.square(x - y).sum() for x, y in zip(a, b, strict=True)))


@pytest.mark.parametrize("noise", [1e-2, 1e-3, 1e-6])
def test_perturbed_critical_points_are_refined_to_rounding(noise):
    rng = np.random.default_rng(6)
    kinds = []
    for _ in range(120):
        _, loss, _, _, weights = random_critical_point(rng, widths=(1, 5), condition=3.0, values=(0, 1, 1.5, 2, 3))
        if not loss.target.any():
            continue
        near = tuple(W + noise * rng.standard_normal(W.shape) for W in weights)
        if landscape.classify(near, loss).relative_gradient > 0.1:
            continue
        refined = landscape.refine(near, loss)
        found, before = (landscape.classify(point, loss) for point in (refined, weights))
        assert found.relative_gradient < 1e-12
        assert found.learned == before.learned
        assert displacement(refined, near) < 30 * displacement(weights, near)
        kinds.append((found.kind, before.kind))
    assert len(kinds) > 80
    # A few perturbed saddles are near to ones of a more general kind.
    assert sum(a == b for a, b in kinds) > 0.9 * len(kinds)


@pytest.mark.parametrize(
    ("widths", "scale"), [((3, 3, 3), 1e-3), ((3, 4, 4, 3), 0.1), ((3, 3, 3, 3, 3), 0.25), ((4, 2, 3), 1e-3)]
)
def test_plateaus_of_a_trajectory_are_refined_to_the_saddles_that_it_visits(widths, scale):
    net = Network(widths)
    loss = Quadratic.from_singular_values((4.0, 2.0, 1.0)[: min(widths[0], widths[-1])], (widths[-1], widths[0]), rng=1)
    start = net.pack(inits.gaussian(net, scale, rng=0))

    def field(_, flat):
        return net.pack(rhs(net.unpack(flat), loss))

    solution = solve_ivp(field, (0, 120), start, "DOP853", rtol=1e-9, atol=1e-12)
    path = net.unpack(solution.y.T)
    slow, height = gradient_norm(path, loss), value(path, loss)
    slowest = (slow[1:-1] <= np.minimum(slow[:-2], slow[2:])) & (slow[1:-1] < 0.4)
    plateaus = 1 + np.flatnonzero(slowest & (height[1:-1] > height[-1] + 0.01))
    assert len(plateaus)
    visited = []
    for k in plateaus:
        refined = landscape.refine(tuple(W[k] for W in path), loss)
        found = landscape.classify(refined, loss)
        assert found.relative_gradient < 1e-13
        assert found.ambiguous == ()
        assert found.kind == ("strict_saddle" if net.depth == 2 else "nonstrict_saddle")
        assert found.pivots == net.depth
        visited.append(found.learned)
    # Modes are learned one after the other, the largest first.
    assert visited == sorted(visited, key=len)
    assert all(learned == tuple(range(len(learned))) for learned in visited)
    end = landscape.refine(tuple(W[-1] for W in path), loss)
    assert landscape.classify(end, loss).kind == "global_minimum"


def test_refinement_keeps_batch_dtype_and_critical_points():
    rng = np.random.default_rng(7)
    net = Network((3, 4, 3, 3))
    loss = Quadratic(np.diag([3.0, 2.0, 1.0]))
    points = [landscape.critical_point(net, loss, learned, ((1, 2),), rng) for learned in ((), (0,), (0, 1), (1,))]
    batch = tuple(np.stack(layers) for layers in zip(*points, strict=True))
    for W, refined in zip(batch, landscape.refine(batch, loss), strict=True):
        assert_allclose(refined, W, atol=1e-13)
    near = tuple((W + 1e-3 * rng.standard_normal(W.shape)).reshape(2, 2, *W.shape[1:]) for W in batch)
    refined = landscape.refine(near, loss)
    for W, a in zip(landscape.refine(tuple(W[1, 0] for W in near), loss), refined, strict=True):
        assert np.array_equal(W, a[1, 0])
    single = landscape.refine(tuple(W.astype(np.float32) for W in near), loss)
    assert all(W.dtype == np.float32 and W.shape == a.shape for W, a in zip(single, refined, strict=True))


def test_refinement_scales_with_the_target_and_whitens():
    rng = np.random.default_rng(8)
    net = Network((3, 3, 3, 2))
    loss = Quadratic.from_singular_values((3.0, 2.0), (2, 3), rng=0)
    near = tuple(
        W + 1e-3 * rng.standard_normal(W.shape) for W in landscape.critical_point(net, loss, (0,), ((1, 2),), rng)
    )
    plain = landscape.refine(near, loss)
    scaled = landscape.refine(tuple(1e10 * W for W in near), Quadratic(1e30 * loss.target))
    for W, a in zip(scaled, plain, strict=True):
        assert_allclose(W, 1e10 * a, atol=1e-2)
    data = Regression(rng.standard_normal((3, 8)), rng.standard_normal((2, 8)))
    point = landscape.critical_point(net, data, (0,), (), rng)
    refined = landscape.refine(tuple(W + 1e-3 * rng.standard_normal(W.shape) for W in point), data)
    assert landscape.classify(refined, data).relative_gradient < 1e-13
    assert_allclose(product(refined), product(point), atol=1e-12)


def test_refinement_of_one_layer_and_refusals():
    loss = Quadratic(np.diag([2.0, 1.0]))
    (W,) = landscape.refine((np.zeros((2, 2)),), loss)
    assert np.array_equal(W, loss.target)
    for tiny in (0.0, 1e-300, 1e-60, 1e-20):
        found = landscape.classify(landscape.refine((np.full((2, 2), tiny),) * 4, loss), loss)
        assert (found.kind, found.pivots, found.ambiguous) == ("nonstrict_saddle", 4, ())
    with pytest.raises(ValueError, match=r"index \(1,\) of the batch are not nearly critical"):
        landscape.refine((np.stack([np.zeros((2, 2)), np.eye(2)]),) * 2, loss)
    with pytest.raises(ValueError, match="finite"):
        landscape.refine((np.full((2, 2), np.nan),) * 2, loss)
    with pytest.raises(ValueError, match="max_iterations"):
        landscape.refine((np.eye(2), np.eye(2)), loss, max_iterations=0)
    net = Network((3, 4, 4, 3))
    loss = Quadratic(np.diag([3.0, 2.0, 1.0]))
    rng = np.random.default_rng(0)
    point = landscape.critical_point(net, loss, (0,), ((0, 1), (1, 2)), rng)
    near = tuple(W + 1e-2 * rng.standard_normal(W.shape) for W in point)
    with pytest.raises(ArithmeticError, match=r"in 1 iterations: the relative gradient is .* and still .* at the end"):
        landscape.refine(near, loss, max_iterations=1)
    assert landscape.classify(landscape.refine(near, loss), loss).is_critical
