"""Losses against finite differences, against their definition on data, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fastdln.losses import Quadratic, Regression

rng = np.random.default_rng(1)


def data(d_0=5, d_h=3, m=20, rank=None, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((d_0, m))
    if rank is not None:
        X = rng.standard_normal((d_0, rank)) @ rng.standard_normal((rank, m))
    return X, rng.standard_normal((d_h, m))


LOSSES = {
    "quadratic": Quadratic(rng.standard_normal((3, 5))),
    "targets": Quadratic(rng.standard_normal((4, 3, 5))),
    "whitened": Quadratic.from_data(*data(), center=True),
    "regression": Regression(*data()),
    "regression, deficient inputs": Regression(*data(rank=2)),
    "regression, few samples": Regression(*data(m=2)),
}


@pytest.fixture(params=LOSSES)
def loss(request):
    return LOSSES[request.param]


def test_grad_is_the_derivative_of_value(loss):
    W, V = rng.standard_normal((2, 4, 3, 5))
    # L is quadratic, so the central difference is exact up to rounding for any step.
    difference = (loss.value(W + V) - loss.value(W - V)) / 2
    assert_allclose(difference, (loss.grad(W) * V).sum(axis=(1, 2)), rtol=1e-11, atol=1e-11)


def test_grad_and_value_have_the_promised_form(loss):
    W = rng.standard_normal((4, 3, 5))
    gram = np.eye(5) if loss.quadratic.input_gram is None else loss.quadratic.input_gram
    root = np.eye(5) if loss.quadratic.input_root is None else loss.quadratic.input_root
    assert_allclose(root @ root, gram, atol=1e-13)
    assert_allclose(loss.grad(W), W @ gram - loss.quadratic.cross, atol=1e-13)
    residual = loss.quadratic.whitened - W @ root
    assert_allclose(loss.value(W), loss.floor + 0.5 * np.sum(residual**2, axis=(1, 2)), rtol=1e-13)


def test_curvature_is_the_change_of_the_gradient(loss):
    W, D = rng.standard_normal((2, 4, 3, 5))
    assert_allclose(loss.curvature(W, D), loss.grad(W + D) - loss.grad(W), atol=1e-12)
    assert loss.curvature(W[0], D).shape == (4, 3, 5)
    assert loss.curvature(np.float32(W), np.float32(D)).dtype == np.float32
    with pytest.raises(ValueError, match=r"direction has shape \(4, 3, 4\); the loss expects"):
        loss.curvature(W, D[..., :4])


def test_target_is_the_minimiser(loss):
    target = np.broadcast_to(loss.target, (*loss.batch_shape, 3, 5))
    assert_allclose(loss.grad(target), 0, atol=1e-13)
    assert_allclose(loss.value(target), loss.floor, atol=1e-14)
    assert loss.shape == (3, 5)


def test_modes_decompose_the_target_with_fixed_signs(loss):
    U, sigma, V = loss.modes
    assert (U.shape, sigma.shape, V.shape) == tuple(loss.batch_shape + s for s in [(3, 3), (3,), (5, 3)])
    assert_allclose((U * sigma[..., None, :]) @ np.swapaxes(V, -1, -2), loss.target, atol=1e-13)
    assert (np.diff(sigma, axis=-1) <= 0).all()
    assert_allclose(V.max(axis=-2), np.abs(V).max(axis=-2))


def test_arrays_cannot_be_changed(loss):
    arrays = [*loss.arrays().values(), *loss.modes]
    assert not any(array.flags.writeable for array in arrays if isinstance(array, np.ndarray))
    with pytest.raises(AttributeError):
        loss.target = np.zeros((3, 5))


def test_the_dtype_follows_the_product(loss):
    for dtype, expected in [(np.float32, np.float32), (np.float64, np.float64), (np.int64, np.float64)]:
        W = np.ones((3, 5), dtype)
        assert loss.value(W).dtype == loss.grad(W).dtype == expected


def test_overflow_is_infinite_without_a_warning(loss):
    W = np.full((3, 5), 1e300)
    assert not np.isfinite(loss.value(W)).any()
    assert loss.grad(W).shape == (*loss.batch_shape, 3, 5)


def test_the_caller_may_change_its_target_afterwards():
    sigma = np.eye(2)
    loss = Quadratic(sigma)
    sigma[0, 0] = 7
    assert loss.target[0, 0] == 1


def test_indexing_selects_targets():
    loss = LOSSES["targets"]
    assert loss.batch_shape == (4,)
    assert loss[1].batch_shape == ()
    assert np.array_equal(loss[1].target, loss.target[1])
    assert np.array_equal(loss[2:].target, loss.target[2:])
    assert np.array_equal(loss[np.array([True, False, False, True])].target, loss.target[[0, 3]])
    assert loss.rank.tolist() == [3, 3, 3, 3]
    assert repr(loss) == "Quadratic(shape=(3, 5), targets=4)"
    with pytest.raises(TypeError, match="one target only"):
        loss[0][0]


def test_many_targets_are_many_losses():
    loss = LOSSES["targets"]
    W = rng.standard_normal((4, 3, 5))
    for k in range(4):
        assert loss.value(W)[k] == loss[k].value(W[k])
        assert np.array_equal(loss.grad(W)[k], loss[k].grad(W[k]))
        for batched, single in zip(loss.modes, loss[k].modes, strict=True):
            assert np.array_equal(batched[k], single)


@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize("shape", [(4, 4), (3, 6), (6, 3), (2, 1)])
def test_from_singular_values(shape, seed):
    values = np.array([4.0, 0.0, 2.0])[: min(shape)]
    loss = Quadratic.from_singular_values(values, shape, rng=seed)
    expected = np.zeros(min(shape))
    expected[: len(values)] = np.sort(values)[::-1]
    assert_allclose(loss.modes.sigma, expected, atol=1e-14)
    assert loss.rank == np.count_nonzero(values)
    if seed is None:
        assert np.array_equal(np.diagonal(loss.target)[: len(values)], values)
        assert np.count_nonzero(loss.target) == np.count_nonzero(values)


def test_random_targets_are_reproducible_and_independent():
    values = np.tile([3.0, 1.0], (5, 1))
    loss = Quadratic.from_singular_values(values, (2, 3), rng=0)
    assert np.array_equal(loss.target, Quadratic.from_singular_values(values, (2, 3), rng=0).target)
    assert_allclose(loss.modes.sigma, values)
    assert len({t.tobytes() for t in loss.target}) == 5


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("rank", [None, 3])
def test_whitened_target_is_that_of_whitened_data(center, rank):
    X, Y = data(rank=rank)
    loss = Quadratic.from_data(X, Y, center=center)
    if center:
        X, Y = X - X.mean(axis=1, keepdims=True), Y - Y.mean(axis=1, keepdims=True)
    eigenvalues, P = np.linalg.eigh(X @ X.T)
    kept = eigenvalues > 1e-12 * eigenvalues.max()
    root = (P[:, kept] / np.sqrt(eigenvalues[kept])) @ P[:, kept].T
    assert loss.rank == kept.sum() == (5 if rank is None else rank)
    assert_allclose(loss.target, Y @ X.T @ root, atol=1e-12)
    # On the whitened data the loss is the squared error up to a constant.
    W = rng.standard_normal((2, 3, 5))
    squared = 0.5 * np.square(Y - W @ (root @ X)).sum(axis=(1, 2))
    outside = 0.5 * np.square(W - W @ (P[:, kept] @ P[:, kept].T)).sum(axis=(1, 2))
    constant = loss.value(W) - outside - squared
    assert_allclose(constant, constant[0])


def test_constant_inputs_are_left_out_and_the_rank_says_so():
    X, Y = data(m=50)
    X[[1, 3]] = 0.25
    assert Quadratic.from_data(X, Y).rank == 4
    assert Quadratic.from_data(X, Y, center=True).rank == 3
    assert np.isfinite(Quadratic.from_data(X, Y, center=True).target).all()
    assert Quadratic.from_data(X, Y, rcond=1.0).rank == 0


def test_correlation_target():
    X, Y = data()
    loss = Quadratic.from_data(X, Y, whiten=False)
    assert_allclose(loss.target, Y @ X.T / 20, rtol=1e-13)
    assert loss.rank == 5


@pytest.mark.parametrize("options", [{}, {"rank": 2}, {"m": 2}])
def test_regression_is_the_mean_squared_error_of_the_data(options):
    X, Y = data(**options)
    m = X.shape[1]
    loss = Regression(X, Y)
    W = rng.standard_normal((4, 3, 5))
    assert_allclose(loss.value(W), np.square(Y - W @ X).sum(axis=(1, 2)) / (2 * m), rtol=1e-12)
    assert_allclose(loss.grad(W), (W @ X - Y) @ X.T / m, atol=1e-12)
    assert_allclose(loss.target, Y @ np.linalg.pinv(X), atol=1e-12)
    assert_allclose(loss.floor, np.square(Y - loss.target @ X).sum() / (2 * m), rtol=1e-10, atol=1e-25)
    assert loss.rank == np.linalg.matrix_rank(X)
    assert np.array_equal(loss.quadratic.input_gram, loss.quadratic.input_gram.T)


def test_regression_resolves_the_loss_near_a_perfect_fit():
    X, _ = data()
    target = rng.standard_normal((3, 5))
    loss = Regression(X, target @ X)
    step = 1e-9 * rng.standard_normal((3, 5))
    expected = np.square(step @ X).sum() / 40
    assert_allclose(loss.value(loss.target + step), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Quadratic(np.ones(3)), ValueError, r"sigma has shape \(3,\); expected \(d_h, d_0\) or"),
        (lambda: Quadratic(np.ones((1, 2, 3, 4))), ValueError, "sigma has shape"),
        (lambda: Quadratic(np.ones((0, 3))), ValueError, r"sigma has shape \(0, 3\)"),
        (lambda: Quadratic([[1.0, np.nan]]), ValueError, r"sigma must be finite, but sigma\[0, 1\] = nan"),
        (lambda: Quadratic(np.eye(2) * 1j), TypeError, "sigma has dtype complex128"),
        (lambda: Quadratic.from_singular_values((3, 2, 1), (2, 5)), ValueError, r"values has shape \(3,\)"),
        (lambda: Quadratic.from_singular_values((3, -2), (2, 5)), ValueError, "at least 0"),
        (lambda: Quadratic.from_singular_values((3,), (2, 0)), ValueError, r"shape must be .*\(2, 0\)"),
        (lambda: Quadratic.from_data(np.ones((4, 9)), np.ones((9, 2))), ValueError, "one sample a column"),
        (
            lambda: Regression(np.ones(4), np.ones((2, 4))),
            ValueError,
            r"X has shape \(4,\); expected \(d_0, m\)",
        ),
        (
            lambda: Regression(np.ones((3, 4)), np.ones(4)),
            ValueError,
            r"Y has shape \(4,\); expected \(d_h, m\)",
        ),
        (
            lambda: Regression(np.ones((1, 1)), [[np.inf]]),
            ValueError,
            r"Y must be finite, but Y\[0, 0\] = inf",
        ),
        (lambda: LOSSES["quadratic"].value(np.ones((5, 3))), ValueError, r"shape \(5, 3\); the loss expects"),
        (lambda: LOSSES["targets"].grad(np.ones((3, 3, 5))), ValueError, r"batch \(3,\) .* \(4,\) targets"),
    ],
)
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_rank_of_the_target_is_not_that_of_the_data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((4, 20))
    loss = Quadratic.from_data(X, np.outer([1.0, 2.0, 3.0], X[0]))
    assert loss.rank == 4
    assert loss.target_rank == 1
