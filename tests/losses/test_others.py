"""Losses that are not quadratic: derivatives against differences, closed forms, large margins, and what is refused."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastdln as dln
from fastdln import theory as th
from fastdln.losses import modes_of, quadratic_of

rng = np.random.default_rng(3)
X, Y, LABELS = rng.standard_normal((4, 9)), rng.choice((-1.0, 1.0), (3, 9)), rng.integers(3, size=9)
SIGMA = rng.standard_normal((3, 4))

LOSSES = {
    "power 4": dln.Power(SIGMA, 4.0),
    "power 2.5": dln.Power(SIGMA, 2.5),
    "power 1.5": dln.Power(SIGMA, 1.5),
    "huber": dln.Huber(SIGMA, 0.7),
    "pseudo-huber": dln.PseudoHuber(SIGMA, 0.7),
    "targets": dln.PseudoHuber(rng.standard_normal((5, 3, 4)), 0.7),
    "logistic": dln.Logistic(X, Y),
    "exponential": dln.Exponential(X, Y),
    "softmax": dln.SoftmaxCrossEntropy(X, LABELS),
    "masked": dln.Masked(SIGMA, rng.uniform(-1.0, 1.0, (3, 4)).clip(0.0)),
    "masks": dln.Masked(rng.standard_normal((5, 3, 4)), rng.random((5, 3, 4)) < 0.6),
    "sensing": dln.Sensing(rng.standard_normal((7, 3, 4)), rng.standard_normal(7)),
    "softmax, a class without samples": dln.SoftmaxCrossEntropy(X, LABELS % 2, n_classes=3),
}


@pytest.fixture(params=LOSSES)
def loss(request):
    return LOSSES[request.param]


def away_from_kinks(loss):
    """Products (5, 3, 4) at which no entry of the error is where a derivative jumps."""
    while True:
        W = rng.standard_normal((5, 3, 4))
        if "sigma" not in loss.arrays():
            return W
        size = np.abs(loss.arrays()["sigma"] - W)
        if min(size.min(), np.abs(size - 0.7).min()) > 0.05:
            return W


def derivative(function, W, V, step=1e-3):
    """Along V, from differences of the order eight."""
    weights = (4 / 5, -1 / 5, 4 / 105, -1 / 280)
    differences = (function(W + k * step * V) - function(W - k * step * V) for k in range(1, 5))
    return sum(c * d for c, d in zip(weights, differences, strict=True)) / step


def test_grad_is_the_derivative_of_value(loss):
    W, V = away_from_kinks(loss), rng.standard_normal((5, 3, 4)) / 4
    expected = (loss.grad(W) * V).sum(axis=(1, 2))
    assert_allclose(derivative(loss.value, W, V), expected, rtol=1e-10, atol=1e-11)


def test_curvature_is_the_derivative_of_grad(loss):
    W, V = away_from_kinks(loss), rng.standard_normal((5, 3, 4)) / 4
    assert_allclose(loss.curvature(W, V), derivative(loss.grad, W, V), rtol=1e-9, atol=1e-10)


def test_hessian_is_the_derivative_of_the_gradient(loss):
    net = dln.Network((4, 3, 5, 3))
    weights, direction = ([rng.standard_normal((5, *shape)) / 2 for shape in net.shapes] for _ in range(2))
    moved = lambda s: tuple(W + s * V for W, V in zip(weights, direction, strict=True))  # noqa: E731
    gradient = lambda s: -net.pack(dln.rhs(moved(s), loss))  # noqa: E731
    expected = derivative(gradient, 0.0, 1.0, 1e-4)
    found = net.pack(th.hessian.apply(tuple(weights), loss, tuple(direction)))
    good = np.ones(5, bool)
    if "sigma" in loss.arrays():
        size = np.abs(loss.arrays()["sigma"] - dln.product(tuple(weights)))
        good = np.minimum(size, np.abs(size - 0.7)).min(axis=(1, 2)) > 1e-2
    assert good.any()
    assert_allclose(found[good], expected[good], rtol=1e-6, atol=1e-7)


def test_values_by_their_definitions():
    W = rng.standard_normal((3, 4))
    Z, E = W @ X, SIGMA - W
    assert_allclose(dln.Power(SIGMA, 3.0).value(W), (np.abs(E) ** 3).sum() / 3)
    assert_allclose(dln.Power(SIGMA, 2.0).value(W), dln.Quadratic(SIGMA).value(W))
    assert_allclose(dln.Huber(SIGMA, 100.0).value(W), dln.Quadratic(SIGMA).value(W))
    assert_allclose(dln.Huber(SIGMA, 1e-6).value(W), 1e-6 * np.abs(E).sum(), rtol=1e-5)
    assert_allclose(dln.PseudoHuber(SIGMA, 0.5).value(W), (0.25 * (np.sqrt(1 + 4 * E**2) - 1)).sum())
    assert_allclose(dln.Logistic(X, Y).value(W), np.log(1 + np.exp(-Y * Z)).sum() / 9)
    assert_allclose(dln.Exponential(X, Y).value(W), np.exp(-Y * Z).sum() / 9)
    shares = np.exp(Z) / np.exp(Z).sum(axis=0)
    assert_allclose(dln.SoftmaxCrossEntropy(X, LABELS).value(W), -np.log(shares[LABELS, range(9)]).mean())


@pytest.mark.parametrize("make", [dln.Logistic, dln.SoftmaxCrossEntropy])
def test_large_margins_are_neither_infinite_nor_nan(make):
    inputs = np.array([[1e4, -1e4, 1e-3]])
    loss = make(inputs, [[1, 1, -1]]) if make is dln.Logistic else make(inputs, [0, 0, 1])
    W = np.array([[1.0]]) if make is dln.Logistic else np.array([[1.0], [0.0]])
    assert_allclose(loss.value(W), (1e4 + np.log(1 + np.exp(1e-3))) / 3)
    assert_allclose(loss.grad(W)[0], (1e4 + 1e-3 / (1 + np.exp(-1e-3))) / 3)
    assert np.isfinite(loss.curvature(W, W)).all()


def test_targets_are_many_losses():
    loss = LOSSES["targets"]
    W, D = rng.standard_normal((2, 5, 3, 4))
    assert loss.batch_shape == (5,)
    for k in range(5):
        assert loss.value(W)[k] == loss[k].value(W[k])
        assert np.array_equal(loss.grad(W)[k], loss[k].grad(W[k]))
        assert np.array_equal(loss.curvature(W, D)[k], loss[k].curvature(W[k], D[k]))
    assert repr(loss[1:]) == "PseudoHuber(shape=(3, 4), targets=4)"
    with pytest.raises(TypeError, match="one target only"):
        LOSSES["logistic"][0]


def test_the_dtype_follows_the_product(loss):
    for dtype, expected in [(np.float32, np.float32), (np.float64, np.float64), (np.int64, np.float64)]:
        W = np.ones((3, 4), dtype)
        assert loss.value(W).dtype == loss.grad(W).dtype == loss.curvature(W, W).dtype == expected


def unpickled(loss):
    return pickle.loads(pickle.dumps(loss))  # noqa: S301  (what was written a moment ago)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, unpickled])
def test_copies_are_as_read_only(loss, again):
    copied = again(loss)
    for name in loss.ARRAYS:
        assert np.array_equal(copied.arrays()[name], loss.arrays()[name])
        with pytest.raises(ValueError, match="read-only"):
            copied.arrays()[name][...] = 0
    W = np.ones((3, 4))
    assert np.array_equal(copied.value(W), loss.value(W))


def test_what_needs_more_says_which_loss_it_was_given():
    net, loss = dln.Network((4, 3, 3)), LOSSES["logistic"]
    weights = dln.inits.gaussian(net, rng=0)
    calls = [
        lambda: quadratic_of(loss, "this"),
        lambda: modes_of(loss, "this"),
        lambda: dln.inits.decoupled(net, loss, 1.0),
        lambda: th.landscape.classify(weights, loss),
        lambda: th.rates.bound(weights, loss),
        lambda: th.rates.certificate(weights, loss),
        lambda: th.tangent.alignment(weights, loss),
        lambda: th.reduction.reduce(weights, loss),
        lambda: th.exact.two_layer([1.0], weights, loss),
        lambda: next(iter(th.landscape.critical_values(net, loss))),
        lambda: th.quotient.canonical(weights, loss),
        lambda: th.tangent.laziness(weights, loss),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"needs a loss .*, not Logistic\(shape=\(3, 4\)\)"):
            call()


REFUSALS = [
    (lambda: dln.Power(SIGMA, 1.0), "p must be larger than 1, not 1.0: .* PseudoHuber"),
    (lambda: dln.Power(SIGMA, np.inf), "p must be finite"),
    (lambda: dln.Power(np.ones(3), 2.0), "sigma has shape"),
    (lambda: dln.Huber(SIGMA, 0.0), "delta must be positive"),
    (lambda: dln.PseudoHuber(SIGMA, -1.0), "delta must be positive"),
    (lambda: dln.Huber([[np.nan]], 1.0), r"sigma\[0, 0\] = nan"),
    (lambda: dln.Logistic(X, 2 * np.abs(Y)), r"Y must be -1 or \+1, not 2"),
    (lambda: dln.Exponential(X, Y[:, :3]), "one sample a column"),
    (lambda: dln.Logistic(X[:, :0], Y[:, :0]), r"X has shape \(4, 0\)"),
    (lambda: dln.Logistic(np.full((4, 9), np.nan), Y), r"X\[0, 0\] = nan"),
    (lambda: dln.SoftmaxCrossEntropy(X, LABELS - 1), "labels must be integers from 0"),
    (lambda: dln.SoftmaxCrossEntropy(X, LABELS + 0.5), "labels must be integers from 0"),
    (lambda: dln.SoftmaxCrossEntropy(X, LABELS * np.nan), "labels must be integers from 0"),
    (lambda: dln.SoftmaxCrossEntropy(X, LABELS, n_classes=2), "labels must be below n_classes = 2, but one is 2"),
    (lambda: dln.SoftmaxCrossEntropy(X, LABELS[:3]), r"labels has shape \(3,\); X has 9 samples"),
    (lambda: dln.SoftmaxCrossEntropy(X[:, :0], []), r"X has shape \(4, 0\)"),
]


@pytest.mark.parametrize(("make", "message"), REFUSALS)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_regression_holds_nothing_that_grows_with_samples():
    few, many = (dln.Regression(rng.standard_normal((4, m)), rng.standard_normal((3, m))) for m in (7, 7000))
    assert many.form == few.form == dln.Regression(X, Y).form
    for name, array in many.arrays().items():
        assert np.shape(array) == np.shape(few.arrays()[name])
