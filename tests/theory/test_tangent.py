"""The tangent operator against Jacobians, closed spectra, the Hessian, and flows in the lazy limit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fastdln as dln
from fastdln.theory import hessian, tangent
from tests.support.draws import random_weights

networks = st.lists(st.integers(1, 4), min_size=2, max_size=5).map(lambda widths: dln.Network(tuple(widths)))
WIDTHS = [(3, 2), (2, 1, 2), (3, 5, 2), (4, 2, 5, 3), (2, 3, 2, 3, 2)]


def losses(net, seed=1):
    rng = np.random.default_rng(seed)
    d_0, d_h = net.widths[0], net.widths[-1]
    X = rng.standard_normal((d_0, 9)) * np.arange(d_0)[:, None]  # the first input vanishes
    return [dln.Quadratic(rng.standard_normal((d_h, d_0))), dln.Regression(X, rng.standard_normal((d_h, 9)))]


def vec(matrices):
    return np.swapaxes(matrices, -1, -2).reshape(*matrices.shape[:-2], -1)


def jacobian(weights):
    """Columns: the change of vec(W) with each weight; exact, as W is linear in it."""
    net, W = dln.Network((weights[0].shape[-1], *(M.shape[-2] for M in weights))), dln.product(weights)
    columns = []
    for unit in np.eye(net.n_parameters):
        moved = [vec(dln.product(tuple(M if i != k else M + V for i, M in enumerate(weights))) - W)
                 for k, V in enumerate(net.unpack(unit))]  # fmt: skip
        columns.append(sum(moved))
    return np.array(columns).T


@given(networks, st.integers(0, 99))
def test_matrix_is_that_of_the_jacobian(net, seed):
    weights = random_weights(net, seed=seed)
    J = jacobian(weights)
    K = tangent.matrix(weights)
    assert_allclose(K, J @ J.T, atol=1e-12 * max(1, np.abs(K).max()))
    assert_allclose(tangent.spectrum(weights), np.linalg.svd(K)[1], atol=1e-12 * np.abs(K).max())


@given(networks, st.integers(0, 99))
def test_operator_matrix_and_apply_agree(net, seed):
    weights = random_weights(net, batch=(3,), seed=seed)
    R = np.random.default_rng(seed).standard_normal((3, net.widths[-1], net.widths[0]))
    images, K = tangent.apply(weights, R), tangent.matrix(weights)
    assert_allclose(vec(images), (K @ vec(R)[..., None])[..., 0], atol=1e-11)
    for k in range(3):
        one = tangent.operator(tuple(W[k] for W in weights))
        assert_allclose(one @ R[k].ravel(order="F"), images[k].ravel(order="F"), atol=1e-11)
        assert_allclose(one @ np.eye(one.shape[0]), K[k], atol=1e-11)
        assert_allclose(one.H @ np.eye(one.shape[0]), K[k], atol=1e-11)


@pytest.mark.parametrize("widths", WIDTHS)
def test_product_moves_by_the_operator(widths):
    net = dln.Network(widths)
    weights, step = random_weights(net), 1e-5
    for loss in losses(net):
        velocity = dln.rhs(weights, loss)
        ahead, behind = (
            dln.product(tuple(W + s * V for W, V in zip(weights, velocity, strict=True))) for s in (step, -step)
        )
        expected = tangent.apply(weights, -loss.grad(dln.product(weights)))
        assert_allclose((ahead - behind) / (2 * step), expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("widths", [(2, 2, 2), (3, 4, 3, 2), (2, 3, 3, 3, 4), (4, 2, 3)])
def test_spectrum_of_balanced_weights_is_the_closed_form(widths):
    net = dln.Network(widths)
    h, d_h, d_0 = net.depth, widths[-1], widths[0]
    weights = dln.inits.balanced(net, 1.3, rng=0)
    s = np.linalg.svd(dln.product(weights), compute_uv=False)
    left, right = (np.pad(s, (0, d - len(s))) for d in (d_h, d_0))
    expected = sum(np.outer(left ** (2 * (h - i) / h), right ** (2 * (i - 1) / h)) for i in range(1, h + 1)).ravel()
    K = tangent.spectrum(weights)
    # s = 0 is rounding of the product, whose roots s^(2/h) are not
    assert_allclose(K, np.sort(expected)[::-1], atol=1e-6 * K[0], rtol=1e-6)
    loss = dln.Quadratic(dln.product(weights))
    of_hessian = hessian.spectrum(weights, loss)
    positive = np.sort(of_hessian)[::-1][: (1e-5 * K[0] < K).sum()]
    assert_allclose(K[: len(positive)], positive, rtol=1e-9)


def test_large_products_by_lanczos():
    net = dln.Network((30, 4, 5, 25))
    weights = random_weights(net, scale=0.3)
    largest = tangent.spectrum(weights, k=4)
    assert_allclose(largest, tangent.spectrum(weights)[:4], rtol=1e-10)
    assert_array_equal(largest, tangent.spectrum(weights, k=4))


@given(networks, st.integers(0, 99))
def test_least_eigenvalue_is_above_the_constant_of_polyak_and_lojasiewicz(net, seed):
    weights = random_weights(net, seed=seed)
    d_0, d_h, mu = net.widths[0], net.widths[-1], 0.0
    for i in range(net.depth):
        below, above = np.eye(d_0), np.eye(d_h)
        for W in weights[:i]:
            below = W @ below
        for W in reversed(weights[i + 1 :]):
            above = above @ W
        inner = np.linalg.svd(below, compute_uv=False)[d_0 - 1] if len(below) >= d_0 else 0.0
        outer = np.linalg.svd(above, compute_uv=False)[d_h - 1] if above.shape[1] >= d_h else 0.0
        mu += (inner * outer) ** 2
    K = tangent.spectrum(weights)
    assert K[-1] >= mu - 1e-12 * K[0]
    if net.depth <= 2:
        assert_allclose(K[-1], mu, atol=1e-12 * K[0])


# ---- along flows


def lazy_start(net, scale, seed=0):
    """Gaussian weights whose product is zero: the last layer does not see what comes from below."""
    *lower, last = random_weights(net, seed=seed, scale=scale)
    seen = np.linalg.qr(dln.product(lower))[0]
    return (*lower, last - last @ seen @ seen.T)


@pytest.mark.parametrize("widths", WIDTHS)
def test_drift_is_that_of_the_matrices(widths):
    net = dln.Network(widths)
    loss = losses(net)[0]
    w0 = random_weights(net, batch=(4,), scale=0.7)
    sol = dln.flow(w0, loss, (0.0, 2.0), t_eval=[0.0, 0.5, 2.0], record=("weights",))
    K, K_0 = tangent.matrix(sol.weights), tangent.matrix(w0)[:, None]
    expected = np.linalg.norm(K - K_0, axis=(-2, -1)) / np.linalg.norm(K_0, axis=(-2, -1))
    drift = tangent.drift(sol)
    assert_allclose(drift, expected, atol=1e-13)
    assert_array_equal(drift[:, 0], 0)
    assert_array_equal(tangent.drift(sol[2]), drift[2])
    assert_array_equal(tangent.drift(sol[1:2]), drift[1:2])


def test_small_drifts_keep_their_digits():
    """Two scalar layers, b = W_1, a = W_2 from 0: K = sqrt(b_0^4 + 4 w^2), w = a b."""
    b, loss = 100.0, dln.Quadratic([[1.0]])
    sol = dln.flow((np.array([[b]]), np.array([[0.0]])), loss, (0.0, 2e-3), rtol=1e-12, record=("weights",))
    assert_allclose(tangent.drift(sol), 2 / b**4, rtol=1e-4)


@pytest.mark.parametrize("widths", [(2, 6, 2), (3, 4, 6, 2), (2, 4, 4, 6, 2)])
def test_drift_vanishes_in_the_lazy_limit_and_not_in_the_rich_one(widths):
    """From a product of zero the change of K falls like scale^-h, or faster; laziness says so before."""
    net = dln.Network(widths)
    loss = dln.Quadratic.from_singular_values((2.0, 1.0), shape=(widths[-1], widths[0]), rng=3)

    def end(scale):
        w0 = lazy_start(net, scale)
        rate = tangent.spectrum(w0)[-1]
        sol = dln.flow(w0, loss, (0.0, 12 / rate), rtol=1e-9, record=("loss", "weights"))
        assert sol.loss < 1e-3
        return tangent.drift(sol)[0], tangent.laziness(w0, loss)

    (drift, lazy), (further, lazier) = end(8.0), end(16.0)
    # for two layers W_1' W_1 changes by W' R + R' W only, which is smaller
    assert_allclose(further / drift, 2.0 ** -(4 if net.depth == 2 else net.depth), rtol=0.05)
    assert_allclose(lazier / lazy, 2.0**-net.depth, rtol=1e-9)
    assert drift < 3 * lazy
    w0 = dln.inits.gaussian(net, 0.1, rng=0)
    rich = dln.flow(w0, loss, (0.0, 500.0), record=("weights",))
    assert tangent.drift(rich) > 10
    assert tangent.laziness(w0, loss) > 10


@pytest.mark.parametrize("widths", WIDTHS)
def test_alignment_is_its_definition_and_the_rate_of_the_loss(widths):
    net = dln.Network(widths)
    weights = random_weights(net, batch=(5,))
    for loss in losses(net):
        root = np.eye(net.widths[0]) if loss.quadratic.input_root is None else loss.quadratic.input_root
        whitened = np.kron(root, np.eye(net.widths[-1]))  # of W S^(1/2)
        K = whitened @ tangent.matrix(weights) @ whitened
        R = vec(loss.quadratic.whitened - dln.product(weights) @ root)
        expected = np.einsum("ki,kij,kj->k", R, K, R) / np.linalg.norm(K, axis=(-2, -1)) / np.square(R).sum(axis=-1)
        aligned = tangent.alignment(weights, loss)
        assert_allclose(aligned, expected, rtol=1e-10)
        assert ((aligned >= 0) & (aligned <= 1)).all()
        step = 1e-6
        sol = dln.flow(weights, loss, (0.0, step), record=("loss",), rtol=1e-10)
        rate = np.log((dln.value(weights, loss) - loss.floor) / (sol.loss[:, -1] - loss.floor)) / step
        assert_allclose(rate, 2 * aligned * np.linalg.norm(K, axis=(-2, -1)), rtol=1e-3)


def test_alignment_rises_while_the_first_mode_is_learned():
    """The silent alignment of small starts: K turns to the target before the loss falls."""
    loss = dln.Quadratic.from_singular_values((4.0,), shape=(4, 4), rng=0)
    w0 = dln.inits.gaussian(dln.Network((4, 4, 4)), 1e-5, size=8, rng=0)
    sol = dln.flow(w0, loss, (0.0, 2.0), t_eval=[0.0, 2.0], record=("loss", "weights"))
    assert (sol.loss[:, 1] > 0.99 * sol.loss[:, 0]).all()
    start, later = (tangent.alignment(tuple(W[:, i] for W in sol.weights), loss) for i in (0, 1))
    assert (later > 1.2 * start).all()


def test_alignment_takes_a_target_for_each_network():
    weights = random_weights(dln.Network((2, 3, 2)), batch=(3,))
    targets = np.random.default_rng(1).standard_normal((3, 2, 2))
    together = tangent.alignment(weights, dln.Quadratic(targets))
    for k in range(3):
        alone = tangent.alignment(tuple(W[k] for W in weights), dln.Quadratic(targets[k]))
        assert_array_equal(together[k], alone)


def test_nothing_left_to_learn_has_no_alignment():
    assert np.isnan(tangent.alignment((np.eye(2), np.eye(2)), dln.Quadratic(np.eye(2))))
    assert np.isnan(tangent.alignment((np.zeros((2, 2)), np.zeros((2, 2))), dln.Quadratic(np.eye(2))))


@given(networks, st.integers(0, 99))
def test_laziness_bounds_the_second_derivative(net, seed):
    rng = np.random.default_rng(seed)
    weights, loss = random_weights(net, seed=seed), losses(net)[0]
    R = np.linalg.norm(loss.target - dln.product(weights))
    lazy = tangent.laziness(weights, loss)
    if net.depth == 1:
        assert lazy == 0
    K = np.linalg.eigvalsh(tangent.matrix(weights))[-1]
    for _ in range(5):
        V = net.unpack(rng.standard_normal(net.n_parameters))
        size, step = np.sqrt(sum(np.square(M).sum() for M in V)), 1e-4
        W = [dln.product(tuple(A + s * step / size * B for A, B in zip(weights, V, strict=True))) for s in (1, 0, -1)]
        second = np.linalg.norm((W[0] - 2 * W[1] + W[2]) / step**2)
        assert R * second / K <= lazy * (1 + 1e-5) + 1e-5 * R / K


def test_what_has_ended_has_no_drift():
    loss = dln.Quadratic(np.diag([2.0, 1.0]))
    for widths in ((2, 3, 2), (2, 2)):
        w0 = random_weights(dln.Network(widths), batch=(2,))
        sol = dln.flow(w0, loss, (0.0, 50.0), t_eval=[0.0, 50.0], max_steps=3, record=("weights",))
        assert_array_equal(np.isnan(tangent.drift(sol)), [[False, True]] * 2)


def test_start_of_the_span_is_the_reference_also_when_it_was_not_recorded():
    loss, w0 = dln.Quadratic(np.diag([2.0, 1.0])), random_weights(dln.Network((2, 3, 2)))
    whole = dln.flow(w0, loss, (0.0, 1.0), t_eval=[0.0, 0.5, 1.0], record=("weights",))
    late = dln.flow(w0, loss, (0.0, 0.5), t_eval=[0.5], record=("weights",)).extend(1.0)
    assert_allclose(tangent.drift(late), tangent.drift(whole)[1:], rtol=1e-5)
    for W, V in zip(late.start, w0, strict=True):
        assert_array_equal(W, V)


def test_refusals():
    net = dln.Network((3, 4, 2))
    weights = random_weights(net, batch=(2,))
    with pytest.raises(ValueError, match=r"direction has shape \(3, 2\).*\(\.\.\., 2, 3\)"):
        tangent.apply(weights, np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"batch \(2,\)"):
        tangent.operator(weights)
    for k in (0, 7):
        with pytest.raises(ValueError, match="k must lie between 1 and d_h d_0 = 6"):
            tangent.spectrum(weights, k=k)
    sol = dln.flow(weights, dln.Quadratic(np.ones((2, 3))), (0.0, 1.0))
    with pytest.raises(ValueError, match=r'record=\("weights",\)'):
        tangent.drift(sol)
    with pytest.raises(TypeError, match="sol must be the Trajectories"):
        tangent.drift(weights)
    with pytest.raises(ValueError, match="product of the weights"):
        tangent.alignment(weights, dln.Quadratic(np.eye(2)))
    low = dataclasses.replace(sol, _recorded={"weights": net.pack(weights, np.float32)[:, None]})
    assert tangent.drift(low).dtype == np.float64


@pytest.mark.parametrize("distance", [1e-2, 1e-5, 1e-9, 1e-11])
def test_measures_keep_their_digits_near_the_minimum(distance):
    """With unexplained outputs L - floor is a difference of equal numbers there, the gradient one of large terms."""
    rng = np.random.default_rng(0)
    X = np.diag([30.0, 1.0, 0.1]) @ rng.standard_normal((3, 200))
    loss = dln.Regression(X, rng.standard_normal((2, 3)) @ X + rng.standard_normal((2, 200)))
    assert loss.floor > 0.5
    A, D = np.eye(3) + 0.3 * rng.standard_normal((3, 3)), rng.standard_normal((2, 3))
    root = np.asarray(loss.quadratic.input_root)
    weights = (A, (loss.target + distance * D) @ np.linalg.inv(A))
    R, below, above = (-D @ root).T.ravel(), A @ root, weights[1]
    K = np.kron(root @ root, above @ above.T) + np.kron(below.T @ below, np.eye(2))
    expected = R @ K @ R / (np.linalg.norm(K) * (R @ R))
    assert tangent.alignment(weights, loss) == pytest.approx(expected, rel=1e-13 / distance)
    further = (A, (loss.target + 2 * distance * D) @ np.linalg.inv(A))
    ratio = tangent.laziness(further, loss) / tangent.laziness(weights, loss)
    assert ratio == pytest.approx(2, rel=max(10 * distance, 1e-13 / distance))


def test_alignment_of_very_small_residuals():
    weights = (np.eye(2), np.eye(2))
    for size in (1e-300, 1.0, 1e150):
        loss = dln.Quadratic(np.eye(2) + size * np.array([[0.0, 1.0], [0.0, 0.0]]))
        assert tangent.alignment(weights, loss) == pytest.approx(0.5)
    assert np.isnan(tangent.alignment(weights, dln.Quadratic(np.eye(2))))


@pytest.mark.parametrize("depth", [2, 5])
def test_measures_of_very_small_weights(depth):
    """Where K underflows: the alignment does not depend on the common scale, laziness is of degree -h in it."""
    shape = dln.inits.gaussian(dln.Network((2, *(3,) * (depth - 1), 2)), 1.0, size=2, rng=0)
    loss, power = dln.Quadratic([[2.0, 0.3], [0.1, 1.0]]), 2 if depth > 2 else 6
    small, tiny = (tuple(2.0**-k * W for W in shape) for k in (100 // power, 200))
    scale = (200 - 100 // power) * depth
    assert_allclose(tangent.alignment(tiny, loss), tangent.alignment(small, loss), rtol=1e-9)
    assert_allclose(tangent.laziness(tiny, loss), tangent.laziness(small, loss) * 2.0**scale, rtol=1e-9)
