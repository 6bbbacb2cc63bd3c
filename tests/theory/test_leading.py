"""The largest eigenvalues of Hessians, side by side, against dense spectra."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fastdln import inits
from fastdln.losses import Logistic, Quadratic
from fastdln.network import Network
from fastdln.theory import compiled, hessian
from fastdln.theory.hessian.leading import leading

NETS = [Network(widths) for widths in ((1, 1, 1), (2, 2), (3, 7, 2, 5), (4, 4, 4, 4))]


def batch(net, n, scale, seed):
    rng = np.random.default_rng(seed)
    weights = inits.gaussian(net, scale, size=n, rng=seed)
    sizes = rng.choice([0.1, 1.0, 10.0], size=(n, 1, 1))
    return weights, Quadratic(sizes * rng.standard_normal((n, net.widths[-1], net.widths[0])))


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("scale", [0.01, 1.0])
@pytest.mark.parametrize("net", NETS, ids=str)
def test_against_dense_spectra(net, scale, k):
    weights, loss = batch(net, 40, scale, 1)
    k = min(k, net.n_parameters)
    dense = hessian.spectrum(weights, loss)[:, ::-1][:, :k]
    assert_allclose(hessian.top(weights, loss, k), dense, rtol=1e-3)
    assert_allclose(hessian.top(weights, loss, k, tol=1e-10), dense, rtol=1e-9)


def test_none_of_many_is_missed():
    """One vector misses the largest eigenvalue of some networks of these, where the two largest nearly meet."""
    net = Network((4, 4, 4, 4))
    rng = np.random.default_rng(6)
    weights = inits.gaussian(net, 1.0, size=3000, rng=3)
    sizes = rng.choice([0.1, 1.0, 10.0], size=(3000, 1, 1))
    loss = Quadratic(rng.standard_normal((3000, 4, 4)) * sizes)
    assert_allclose(hessian.top(weights, loss)[:, 0], hessian.spectrum(weights, loss)[:, -1], rtol=1e-3)


def test_at_a_crossing_of_the_two_largest():
    """Diagonal two-layer networks: the top eigenvalues belong to two modes, and change places at s = 1."""
    loss = Quadratic(np.diag([1.0, 1.0]))
    for s in (0.999, 1.0, 1.001):
        W = np.diag([1.0, s])
        found, dense = hessian.top((W, W), loss, k=2, tol=1e-8), hessian.spectrum((W, W), loss)
        assert_allclose(found, dense[::-1][:2], rtol=1e-7)


def test_multiple_eigenvalues_are_found_as_often_as_they_occur():
    weights = (np.zeros((3, 3)), np.zeros((3, 3)))
    loss = Quadratic(np.diag([3.0, 3.0, 1.0]))  # at the origin: +- sigma_j, each three times
    assert_allclose(hessian.top(weights, loss, k=8), [3] * 6 + [1] * 2, rtol=1e-3)


def test_at_the_origin_of_three_layers_all_vanish():
    assert (hessian.top((np.zeros((2, 2)),) * 3, Quadratic(np.eye(2)), k=3) == 0).all()


def test_all_eigenvalues_of_a_small_network():
    weights, loss = batch(Network((2, 3, 2)), 6, 0.05, 4)
    dense = hessian.spectrum(weights, loss)
    assert_allclose(hessian.top(weights, loss, k=12)[:, ::-1], dense, rtol=1e-3, atol=1e-9 * np.abs(dense).max())


def test_vectors_are_eigenvectors():
    weights, loss = batch(NETS[2], 5, 1.0, 2)
    values, vectors = hessian.top(weights, loss, k=2, tol=1e-9, vectors=True)
    assert [V.shape for V in vectors] == [(5, 2, *shape) for shape in NETS[2].shapes]
    packed = NETS[2].pack(vectors)
    assert_allclose(packed @ packed.swapaxes(1, 2), np.broadcast_to(np.eye(2), (5, 2, 2)), atol=1e-8)
    loss_of_each = Quadratic(loss.target[:, None].reshape(5, *loss.shape))
    for j in range(2):
        image = hessian.apply(weights, loss_of_each, tuple(V[:, j] for V in vectors))
        assert_allclose(
            NETS[2].pack(image), values[:, j, None] * packed[:, j], atol=1e-7 * np.abs(values).max()
        )  # fmt: skip


def test_numbers_are_the_same_in_any_batch():
    weights, loss = batch(NETS[3], 30, 1.0, 5)
    whole = hessian.top(weights, loss, k=2)
    for rows in (slice(3, 4), slice(2, 9), slice(29, None, -1)):
        assert (hessian.top(tuple(W[rows] for W in weights), loss[np.arange(30)[rows]], k=2) == whole[rows]).all()


def test_batches_broadcast():
    net = NETS[2]
    weights = inits.gaussian(net, 1.0, rng=0)
    _, loss = batch(net, 4, 1.0, 6)
    found = hessian.top(weights, loss)
    assert found.shape == (4, 1)
    assert_allclose(found[2], hessian.top(weights, loss[2]), rtol=1e-12)


def test_other_losses():
    rng = np.random.default_rng(0)
    net = NETS[2]
    loss = Logistic(rng.standard_normal((3, 9)), rng.choice([-1, 1], (5, 9)))
    weights = inits.gaussian(net, 1.0, size=8, rng=0)
    assert_allclose(hessian.top(weights, loss)[:, 0], hessian.spectrum(weights, loss)[:, -1], rtol=1e-3)


def test_networks_that_are_too_large_for_lanes():
    net = Network((20, 90, 90, 10))
    loss = Quadratic.from_singular_values((3.0, 1.0), (10, 20), rng=0)
    weights = inits.gaussian(net, 1.0, size=2, rng=0)
    assert not compiled.suits(hessian.products.hessian(net.widths, **loss.form._asdict()))
    found = hessian.top(weights, loss, tol=1e-8)
    for i in range(2):
        one = tuple(W[i] for W in weights)
        assert_allclose(found[i], hessian.spectrum(one, loss, k=1)[1:], rtol=1e-7)


def test_what_is_not_finite_is_nan_and_touches_no_other():
    weights, loss = batch(NETS[3], 6, 1.0, 7)
    whole = hessian.top(weights, loss)
    weights[1][2, 0, 0] = np.nan
    weights[0][4] = 1e200
    found = hessian.top(weights, loss)
    assert np.isnan(found[[2, 4]]).all()
    assert (found[[0, 1, 3, 5]] == whole[[0, 1, 3, 5]]).all()


def test_restarts():
    """A spectrum so even that some hundred vectors are needed, in spaces of eighty."""
    rng = np.random.default_rng(1)
    Q = np.linalg.qr(rng.standard_normal((1500, 1500)))[0]
    H = (Q * np.linspace(-1, 1, 1500)) @ Q.T
    values, vectors = leading(lambda rows: rows @ H, 1, 1500, 1, 1e-6)
    assert_allclose(values, [[1.0]], rtol=1e-6)
    assert abs(vectors[0, 0] @ Q[:, -1]) > 0.99


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"k": 0}, ValueError, "k must be from 1 to N = 8, not 0"),
        ({"k": 9}, ValueError, "k must be from 1 to N = 8, not 9"),
        ({"tol": 0}, ValueError, "tol must be above 0"),
        ({"tol": 2}, ValueError, "tol must be"),
        ({"vectors": 1}, TypeError, "vectors must be True or False"),
    ],
)
def test_refusals(change, error, message):
    with pytest.raises(error, match=message):
        hessian.top((np.eye(2), np.eye(2)), Quadratic(np.eye(2)), **change)
