"""The vector field against finite differences and against its defining formula, one network at a time."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fastdln.field import balance, gradient_norm, product, rhs, value
from fastdln.losses import Quadratic
from fastdln.network import Network
from tests.support.draws import random_losses, random_weights

WIDTHS = [(3, 2), (1, 1), (2, 1, 2), (3, 5, 2), (4, 2, 6, 3), (1, 3, 3, 1), (5, 4, 3, 2), (2, 3, 2, 3, 2, 3)]


def chain(matrices, size):
    """W_b ... W_a of the matrices W_a, ..., W_b; the identity for none."""
    return reduce(lambda below, W: W @ below, matrices, np.eye(size))


@pytest.mark.parametrize("widths", WIDTHS)
def test_rhs_is_the_formula_of_each_layer(widths):
    net = Network(widths)
    weights = random_weights(net)
    W = chain(weights, widths[0])
    assert_allclose(product(weights), W, rtol=1e-13, atol=1e-13)
    for loss in random_losses(net):
        assert_allclose(value(weights, loss), loss.value(W), rtol=1e-12)
        velocity = rhs(weights, loss)
        for i, V in enumerate(velocity):
            expected = chain(weights[i + 1 :], widths[i + 1]).T @ -loss.grad(W) @ chain(weights[:i], widths[0]).T
            assert_allclose(V, expected, rtol=1e-11, atol=1e-11)
        norm = np.linalg.norm(np.concatenate([V.ravel() for V in velocity]))
        assert_allclose(gradient_norm(weights, loss), norm, rtol=1e-13)


@pytest.mark.parametrize("widths", WIDTHS)
def test_rhs_is_minus_the_gradient_of_the_loss(widths):
    net = Network(widths)
    weights = random_weights(net)
    directions = random_weights(net, seed=5)
    for loss in random_losses(net):

        def along(step, loss=loss):
            return value(tuple(W + step * V for W, V in zip(weights, directions, strict=True)), loss)

        h = 1e-3
        slope = (8 * (along(h) - along(-h)) - (along(2 * h) - along(-2 * h))) / (12 * h)
        expected = -sum((F * V).sum() for F, V in zip(rhs(weights, loss), directions, strict=True))
        assert_allclose(slope, expected, rtol=1e-6, atol=1e-7)


def test_rates_and_decay_enter_the_velocity():
    net = Network((3, 4, 2))
    weights = random_weights(net, (5,))
    loss = random_losses(net)[0]
    plain = rhs(weights, loss)
    velocity = rhs(weights, loss, weight_decay=0.3, layer_rates=(2.0, 0.5))
    for V, F, W, eta in zip(velocity, plain, weights, (2.0, 0.5), strict=True):
        assert_allclose(V, eta * F - 0.3 * W, rtol=1e-14)


@pytest.mark.parametrize("batch", [(4,), (2, 3)])
def test_a_batch_is_many_networks(batch):
    net = Network((3, 4, 2, 5))
    weights = random_weights(net, batch)
    for loss in random_losses(net):
        velocity, values, norms = rhs(weights, loss), value(weights, loss), gradient_norm(weights, loss)
        for k in np.ndindex(batch):
            one = tuple(W[k] for W in weights)
            assert_allclose(values[k], value(one, loss), rtol=1e-12)
            assert_allclose(norms[k], gradient_norm(one, loss), rtol=1e-12)
            for V, expected in zip(velocity, rhs(one, loss), strict=True):
                assert_allclose(V[k], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("widths", [(3, 2), (3, 4, 2)])
def test_targets_broadcast_with_the_batch(widths):
    net = Network(widths)
    loss = Quadratic(np.random.default_rng(0).standard_normal((4, 2, 3)))
    one, many = random_weights(net), random_weights(net, (4,))
    assert value(one, loss).shape == gradient_norm(one, loss).shape == (4,)
    for weights in (one, many):
        velocity = rhs(weights, loss, weight_decay=0.1)
        assert [V.shape for V in velocity] == [(4, *shape) for shape in net.shapes]
        for k in range(4):
            single = one if weights is one else tuple(W[k] for W in weights)
            for V, expected in zip(velocity, rhs(single, loss[k], weight_decay=0.1), strict=True):
                assert_allclose(V[k], expected, rtol=1e-13, atol=1e-13)
    with pytest.raises(ValueError, match=r"the batch \(3,\) of the weights does not broadcast with the \(4,\)"):
        rhs(random_weights(net, (3,)), loss)


def test_the_dtype_follows_the_weights():
    net = Network((3, 4, 2))
    weights = tuple(W.astype(np.float32) for W in random_weights(net))
    for loss in random_losses(net):
        assert value(weights, loss).dtype == gradient_norm(weights, loss).dtype == np.float32
        for arrays in (rhs(weights, loss, weight_decay=0.1, layer_rates=(2, 3)), balance(weights)):
            assert {a.dtype for a in arrays} == {np.dtype(np.float32)}


def test_weights_that_overflow_spoil_nothing_else():
    net = Network((2, 2, 2))
    weights = random_weights(net, (3,))
    bad = tuple(W.copy() for W in weights)
    for W, fill in zip(bad, (1e200, np.nan), strict=True):
        W[1] = fill
    loss = random_losses(net)[0]
    for i in (0, 2):
        for V, expected in zip(rhs(bad, loss), rhs(weights, loss), strict=True):
            assert_allclose(V[i], expected[i], rtol=1e-14)
    assert np.isnan(gradient_norm(bad, loss)[1])
    assert np.isnan(balance(bad)[0][1]).all()
    huge = (np.full((2, 2), 1e200),) * 2
    assert value(huge, loss) == np.inf


@pytest.mark.parametrize("widths", WIDTHS)
def test_balance_is_conserved_to_first_order(widths):
    net = Network(widths)
    weights = random_weights(net)
    eta = np.linspace(0.5, 2, net.depth)
    mu = 0.7
    for loss in random_losses(net):
        velocity = rhs(weights, loss, weight_decay=mu, layer_rates=eta)
        C = balance(weights, eta)
        assert len(C) == net.depth - 1
        for i, C_i in enumerate(C):
            above, below = weights[i + 1].T @ velocity[i + 1], velocity[i] @ weights[i].T
            rate = (above + above.T) / eta[i + 1] - (below + below.T) / eta[i]
            assert_allclose(rate, -2 * mu * C_i, atol=1e-11)
            expected = weights[i + 1].T @ weights[i + 1] / eta[i + 1] - weights[i] @ weights[i].T / eta[i]
            assert_allclose(C_i, expected, atol=1e-13)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_decay": -1.0}, r"weight_decay must be at least 0 and finite, not -1\.0"),
        ({"weight_decay": np.nan}, "weight_decay .* nan"),
        ({"layer_rates": (1.0, 2.0, 3.0)}, r"layer_rates has shape \(3,\); expected .* \(2,\)"),
    ],
)
def test_refused_options(options, message):
    net = Network((2, 3, 2))
    with pytest.raises(ValueError, match=message):
        rhs(random_weights(net), random_losses(net)[0], **options)


def test_a_transposed_target_is_refused():
    net = Network((3, 4, 2))
    with pytest.raises(
        ValueError,
        match=r"product .* shape \(2, 3\); the loss expects \(\.\.\., d_h, d_0\) = \(\.\.\., 3, 2\)",
    ):
        rhs(random_weights(net), Quadratic(np.ones((3, 2))))
