"""Matrix completion and sensing: against plain NumPy, what is not seen, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastdln as dln

rng = np.random.default_rng(5)
SIGMA = rng.standard_normal((3, 4))
SEEN = np.array([[1, 0, 1, 1], [0, 1, 1, 0], [1, 1, 0, 1]], bool)
A, MEASURED = rng.standard_normal((7, 3, 4)), rng.standard_normal(7)


def test_values_by_their_definitions():
    W, weights = rng.standard_normal((3, 4)), rng.random((3, 4))
    error = SIGMA - W
    assert_allclose(dln.Masked(SIGMA, SEEN).value(W), 0.5 * (error[SEEN] ** 2).sum())
    assert_allclose(dln.Masked(SIGMA, weights).value(W), 0.5 * (weights * error**2).sum())
    assert_allclose(dln.Masked(SIGMA, weights).grad(W), -weights * error)
    assert_allclose(dln.Masked(SIGMA).value(W), dln.Quadratic(SIGMA).value(W))
    images = np.array([np.trace(a.T @ W) for a in A])
    loss = dln.Sensing(A, MEASURED)
    assert_allclose(loss.value(W), ((images - MEASURED) ** 2).sum() / 14)
    assert_allclose(loss.grad(W), sum((z - y) * a for a, z, y in zip(A, images, MEASURED, strict=True)) / 7)
    assert loss.n_measurements == 7


def test_all_entries_measured_one_by_one_are_the_quadratic_loss():
    loss, W = dln.Sensing(np.eye(12).reshape(12, 3, 4), SIGMA.ravel()), rng.standard_normal((2, 3, 4))
    assert_allclose(12 * loss.value(W), dln.Quadratic(SIGMA).value(W))
    assert_allclose(12 * loss.grad(W), dln.Quadratic(SIGMA).grad(W))


@pytest.mark.parametrize("hidden", [np.nan, np.inf, 1e300])
def test_what_is_not_seen_counts_for_nothing(hidden):
    W, other = rng.standard_normal((3, 4)), np.where(SEEN, SIGMA, hidden)
    loss, found = dln.Masked(SIGMA, SEEN), dln.Masked(other, SEEN)
    assert found.value(W) == loss.value(W)
    assert np.array_equal(found.grad(W), loss.grad(W))
    if np.isnan(hidden):
        assert np.array_equal(dln.Masked(other).grad(W), loss.grad(W))
    start = dln.inits.gaussian(dln.Network((4, 5, 3)), rng=0)
    for engine in ("lanes", "dense"):
        expected = dln.flow(start, loss, (0.0, 1.0), engine=engine)
        sol = dln.flow(start, found, (0.0, 1.0), engine=engine)
        assert all(np.array_equal(U, V) for U, V in zip(sol.final, expected.final, strict=True))


def test_targets_and_masks_of_trajectories():
    sigma, masks, W = rng.standard_normal((5, 3, 4)), rng.random((5, 3, 4)), rng.standard_normal((5, 3, 4))
    for loss, target, mask in [
        (dln.Masked(sigma, masks), lambda k: sigma[k], lambda k: masks[k]),
        (dln.Masked(sigma, SEEN), lambda k: sigma[k], lambda k: SEEN),
        (dln.Masked(SIGMA, masks), lambda k: SIGMA, lambda k: masks[k]),
    ]:
        assert loss.batch_shape == (5,)
        for k in range(5):
            assert loss.value(W)[k] == loss[k].value(W[k]) == dln.Masked(target(k), mask(k)).value(W[k])
        assert repr(loss[1:3]) == "Masked(shape=(3, 4), targets=2)"
    assert repr(dln.Sensing(A, MEASURED)) == "Sensing(shape=(3, 4))"
    with pytest.raises(TypeError, match="one target only"):
        dln.Sensing(A, MEASURED)[0]


def descended(loss, layers, rate, steps):
    """The layers after explicit Euler steps, in plain NumPy."""
    for _ in range(steps):
        slopes = []
        for i in range(len(layers)):
            below, above = np.eye(layers[0].shape[1]), np.eye(len(layers[-1]))
            for W in layers[:i]:
                below = W @ below
            for W in layers[:i:-1]:
                above = above @ W
            slopes.append(above.T @ loss(above @ layers[i] @ below) @ below.T)
        layers = [W - rate * slope for W, slope in zip(layers, slopes, strict=True)]
    return layers


@pytest.mark.parametrize("engine", ["lanes", "dense"])
def test_completion_and_sensing_against_a_plain_twin(engine):
    euler = dln.Tableau("euler", order=1, a=[[]], b=[1])
    truth = rng.standard_normal((6, 2)) @ rng.standard_normal((2, 5)) / 3
    seen = rng.random((6, 5)) < 0.6
    matrices = rng.standard_normal((17, 6, 5))
    images = np.tensordot(matrices, truth)
    start = dln.inits.gaussian(dln.Network((5, 7, 4, 6)), 0.5, rng=1)
    for loss, slope in [
        (dln.Masked(np.where(seen, truth, np.nan)), lambda W: np.where(seen, W - truth, 0.0)),
        (dln.Sensing(matrices, images), lambda W: np.tensordot(np.tensordot(matrices, W) - images, matrices, 1) / 17),
    ]:
        sol = dln.flow(start, loss, (0.0, 10.0), method=euler, step=0.05, engine=engine)
        assert sol.n_accepted == 200
        for W, expected in zip(sol.final, descended(slope, list(start), 0.05, 200), strict=True):
            assert_allclose(W, expected, atol=1e-11)
        assert sol.loss[-1] < 0.1 * loss.value(np.zeros((6, 5)))


REFUSALS = [
    (lambda: dln.Masked(np.ones(3)), r"sigma has shape \(3,\)"),
    (lambda: dln.Masked(SIGMA, SEEN[:2]), r"mask has shape \(2, 4\); sigma has \(3, 4\)"),
    (lambda: dln.Masked(SIGMA, SEEN[0]), r"mask has shape \(4,\)"),
    (lambda: dln.Masked(np.ones((5, 3, 4)), np.ones((4, 3, 4))), r"mask has shape \(4, 3, 4\); .* one mask, or 5"),
    (lambda: dln.Masked(SIGMA, -1.0 * SEEN), "weights of at least 0, not -1"),
    (lambda: dln.Masked(SIGMA, np.where(SEEN, np.nan, 1.0)), r"mask\[0, 0\] = nan"),
    (lambda: dln.Masked(SIGMA, np.where(SEEN, np.inf, 1.0)), r"mask\[0, 0\] = inf"),
    (lambda: dln.Masked(np.where(SEEN, np.nan, 1.0), SEEN), r"sigma\[0, 0\] = nan"),
    (lambda: dln.Masked(np.where(SEEN, np.inf, 1.0)), r"sigma\[0, 0\] = inf"),
    (lambda: dln.Masked(SIGMA, 0 * SEEN), "no entry is seen"),
    (lambda: dln.Masked(np.full((3, 4), np.nan)), "no entry is seen"),
    (lambda: dln.Masked(np.ones((2, 3, 4)), [SEEN, 0 * SEEN]), "no entry of target 1 is seen"),
    (lambda: dln.Sensing(A[0], MEASURED[:3]), r"A has shape \(3, 4\); expected \(m, d_h, d_0\)"),
    (lambda: dln.Sensing(A[:0], MEASURED[:0]), r"A has shape \(0, 3, 4\)"),
    (lambda: dln.Sensing(A, MEASURED[:3]), r"y has shape \(3,\); expected \(7,\)"),
    (lambda: dln.Sensing(np.full((7, 3, 4), np.inf), MEASURED), r"A\[0, 0, 0\] = inf"),
    (lambda: dln.Sensing(A, np.full(7, np.nan)), r"y\[0\] = nan"),
]


@pytest.mark.parametrize(("make", "message"), REFUSALS)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_text_is_no_mask():
    with pytest.raises(TypeError, match="mask has dtype"):
        dln.Masked(SIGMA, [["yes"] * 4] * 3)
