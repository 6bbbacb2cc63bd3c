"""The Hessian of losses that are not quadratic: complex steps, edges of the second derivative, dense linear algebra."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fastdln.field import rhs
from fastdln.losses import Huber, Logistic, Power, PseudoHuber
from fastdln.network import Network
from fastdln.theory import hessian
from fastdln.theory.hessian.products import Point
from tests.support.draws import mapped_losses, random_weights
from tests.support.mapped import gradient, hessian_product

WIDTHS = [(4, 3), (4, 1, 3), (4, 3, 5, 3), (5, 9, 2, 6, 3), (60, 50, 70, 40)]
NAMES = [*mapped_losses(Network((2, 2)), targets=5)]
EPS = {np.float64: 2.0**-52, np.float32: 2.0**-23}

names = pytest.mark.parametrize("name", NAMES)


def problem(widths, name, batch=(5,), scale=0.6):
    net = Network(widths)
    weights, directions = (random_weights(net, batch, seed, scale) for seed in (3, 4))
    return net, weights, directions, mapped_losses(net, targets=5)[name]


@names
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_products_are_the_derivative_of_the_gradient(widths, name):
    net, weights, directions, loss = problem(widths, name)
    exact = net.pack(hessian_product(weights, loss, directions))
    size = np.abs(exact).max(axis=-1, keepdims=True)
    assert_allclose(-net.pack(rhs(weights, loss)), net.pack(gradient(weights, loss)), atol=1e-12 * size.max())
    for found in (hessian.apply(weights, loss, directions), Point(weights, loss).apply(directions)):
        assert np.abs(net.pack(found) - exact).max() < 1e-13 * size.max()
        assert (np.abs(net.pack(found) - exact) < 1e-12 * size).all()


@names
@pytest.mark.parametrize("widths", WIDTHS[:4], ids=str)
def test_single_precision(widths, name):
    net, weights, directions, loss = problem(widths, name)
    single = [tuple(W.astype(np.float32) for W in x) for x in (weights, directions)]
    found = net.pack(hessian.apply(single[0], loss, single[1]))
    assert found.dtype == np.float32
    doubled = [tuple(W.astype(np.float64) for W in x) for x in single]
    exact = net.pack(hessian_product(doubled[0], loss, doubled[1]))
    assert np.abs(found - exact).max() < 40 * EPS[np.float32] * np.abs(exact).max()


@names
def test_batches_broadcast(name):
    net, weights, directions, loss = problem((4, 3, 5, 3), name)
    few = tuple(V[:, None] for V in directions)
    found = hessian.apply(weights, loss, few)
    H = hessian.matrix(weights, loss)
    assert [V.shape for V in found] == [(5, 5, *shape) for shape in net.shapes]
    for i, j in np.ndindex(5, 5):
        one = loss[j] if loss.batch_shape else loss
        alone = hessian.apply(tuple(W[j] for W in weights), one, tuple(V[i] for V in directions))
        for V, expected in zip(found, alone, strict=True):
            assert np.array_equal(V[i, j], expected)
        assert_allclose(H[j] @ net.pack(directions)[i], net.pack(alone), atol=1e-12 * np.abs(H[j]).max())


@names
@pytest.mark.parametrize("widths", WIDTHS[:4], ids=str)
def test_matrix_spectrum_inertia_and_bound_agree(widths, name, monkeypatch):
    net, weights, _, loss = problem(widths, name)
    H = hessian.matrix(weights, loss)
    assert np.array_equal(H, H.swapaxes(-2, -1))
    units = net.unpack(np.eye(net.n_parameters)[:, None])
    exact = np.moveaxis(net.pack(hessian_product(weights, loss, units)), 0, -1)
    size = np.abs(exact).max()
    assert_allclose(H, exact, atol=1e-13 * size)
    monkeypatch.setattr("fastdln.theory.hessian.dense.COLUMNS", 1)
    assert np.array_equal(hessian.matrix(weights, loss), H)
    values = hessian.spectrum(weights, loss)
    assert_allclose(values, np.linalg.eigvalsh(exact), atol=1e-12 * size)
    assert (hessian.norm_bound(weights, loss) >= np.abs(values).max(axis=-1) * (1 - 1e-12)).all()
    counts = hessian.index(weights, loss)
    clear = counts.doubtful == 0
    assert clear.any()
    assert np.array_equal(counts.negative[clear], (values < -1e-7 * size).sum(axis=-1)[clear])
    assert np.array_equal(counts.negative + counts.zero + counts.positive, [net.n_parameters] * 5)


@names
def test_the_second_derivative_of_a_large_product_is_bounded_without_a_matrix(name, monkeypatch):
    _, weights, _, loss = problem((5, 9, 2, 6, 4), name)
    exact = hessian.norm_bound(weights, loss)
    monkeypatch.setattr("fastdln.theory.hessian.bound.DENSE", 1)
    found = hessian.norm_bound(weights, loss)
    assert (found >= exact).all()
    assert (found <= 1.002 * exact).all()
    beyond = Huber(np.full((4, 5), 1e3), 1e-3)
    bound = hessian.norm_bound(weights, beyond)  # from the slope alone
    assert np.isfinite(bound).all()
    assert (bound >= np.abs(hessian.spectrum(weights, beyond)).max(axis=-1) * (1 - 1e-12)).all()


@pytest.mark.parametrize("name", ["power 4", "logistic", "softmax", "targets"])
def test_ends_of_a_large_spectrum(name):
    net, weights, _, loss = problem((20, 22, 30, 8), name, (2,), 0.25)
    assert net.n_parameters > 1000
    loss = loss[:2] if loss.batch_shape else loss
    every = np.linalg.eigvalsh(hessian.matrix(weights, loss))
    expected = np.concatenate([every[:, :3], every[:, -3:]], axis=-1)
    assert_allclose(hessian.spectrum(weights, loss, k=3), expected, atol=1e-9 * np.abs(every).max())


@names
def test_an_operator_is_the_matrix(name):
    net, weights, _, loss = problem((4, 3, 5, 3), name)
    one = loss[0] if loss.batch_shape else loss
    point = tuple(W[0] for W in weights)
    H, operator = hessian.matrix(point, one), hessian.operator(point, one)
    assert_allclose(operator @ np.eye(net.n_parameters), H, atol=1e-12 * np.abs(H).max())


def test_directions_of_gauges_are_left_out_at_a_minimum():
    target = np.diag([2.0, 1.5, 1.0])
    weights = (np.eye(4, 3), target @ np.eye(3, 4))
    for loss in (PseudoHuber(target, 0.7), Huber(target, 0.7)):
        every, across = hessian.spectrum(weights, loss), hessian.spectrum(weights, loss, transverse=True)
        assert len(across) == 9
        assert_allclose(every[-9:], across, atol=1e-12)
        assert_allclose(every[:-9], 0, atol=1e-12)
    with pytest.raises(ValueError, match="weights must be a critical point"):
        hessian.spectrum(weights, PseudoHuber(target + 0.1, 0.7), transverse=True)


def one_layer(loss, W, V):
    """What the compiled products make of one layer, where H V is the curvature."""
    (found,) = hessian.apply((np.array(W),), loss, (np.array(V),))
    with np.errstate(invalid="ignore"):
        assert_allclose(found, loss.curvature(W, V), rtol=4 * EPS[np.float64])
    return found


def test_powers_below_two_have_no_second_derivative_where_the_error_is_zero():
    sigma = np.array([[1.0, 0.0, -2.0, 3.0]])
    V = [[1.0, -1.0, 0.0, 1.0]]
    W = [[1.0, 0.0, -2.0, 2.0]]
    assert np.array_equal(one_layer(Power(sigma, 1.5), W, V), [[np.inf, -np.inf, 0.0, 0.5]])
    assert np.array_equal(one_layer(Power(sigma, 2.0), W, V), V)
    assert np.array_equal(one_layer(Power(sigma, 2.5), W, V), [[0.0, 0.0, 0.0, 1.5]])
    weights = (np.array([[1.0]]), np.array([[1.0]]))
    for call in (hessian.spectrum, hessian.index):
        with pytest.raises(ValueError, match="the loss has no second derivative"):
            call(weights, Power([[1.0]], 1.5))
    assert np.isinf(hessian.norm_bound(weights, Power([[1.0]], 1.5)))
    large = tuple(np.zeros(shape) for shape in ((40, 30), (20, 40)))
    with pytest.raises(ValueError, match="the loss has no second derivative"):
        hessian.spectrum((large[0] + 1.0, large[1]), Power(np.zeros((20, 30)), 1.5), k=1)


def test_huber_at_the_threshold_is_the_square():
    sigma = np.zeros((1, 4))
    beyond = np.nextafter(0.5, 1.0)
    found = one_layer(Huber(sigma, 0.5), [[0.5, -0.5, beyond, -beyond]], np.full((1, 4), 3.0))
    assert np.array_equal(found, [[3.0, 3.0, 0.0, 0.0]])


@pytest.mark.parametrize("margin", [700.0, -700.0, 1e4, -1e4])
def test_large_margins(margin):
    loss = Logistic([[1.0]], [[1]])
    found = one_layer(loss, [[margin]], [[1.0]])
    assert_allclose(found, np.exp(-abs(margin)), rtol=1e-13)
