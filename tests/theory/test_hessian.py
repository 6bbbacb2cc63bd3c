"""The Hessian against exact derivatives, closed forms and dense linear algebra."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from fastdln.field import rhs
from fastdln.losses import Quadratic
from fastdln.network import Network
from fastdln.theory import hessian
from fastdln.theory.hessian.fiber import Fiber
from fastdln.theory.hessian.krylov import extreme_eigenvalues
from fastdln.theory.hessian.products import Point
from tests.support.draws import random_losses, random_weights

networks = st.lists(st.integers(1, 4), min_size=2, max_size=6).map(lambda widths: Network(tuple(widths)))
deep = st.lists(st.integers(1, 4), min_size=3, max_size=5).map(lambda widths: Network(tuple(widths)))
WIDTHS = [(3, 2), (2, 1, 2), (3, 5, 2), (4, 2, 5, 3), (1, 3, 3, 1), (2, 3, 2, 3, 2)]


def exact_derivative(net, weights, loss, direction):
    """The derivative of the gradient along a direction: a polynomial of degree 2h - 1, through as many points."""
    degree = 2 * net.depth - 1
    x = np.cos(np.pi * np.arange(degree + 1) / degree)
    line = tuple(W + x[:, None, None] * V for W, V in zip(weights, direction, strict=True))
    return np.linalg.solve(np.vander(x, degree + 1, increasing=True), -net.pack(rhs(line, loss)))[1]


def orthonormal(rng, n, k):
    return np.linalg.qr(rng.standard_normal((n, k)))[0]


def canonical(net, loss, learned, seed=0):
    """The balanced critical point with these modes, in random frames."""
    rng = np.random.default_rng(seed)
    U, sigma, V = (A[..., list(learned)] for A in loss.modes)
    frames = [V, *(orthonormal(rng, d, len(learned)) for d in net.widths[1:-1]), U]
    return tuple((above * sigma ** (1 / net.depth)) @ below.T for below, above in pairwise(frames))


def moved(net, weights, seed=0, size=0.5):
    """Weights after a gauge P_i with singular values between e^-size and e^size."""
    rng = np.random.default_rng(seed)
    hidden = [
        (orthonormal(rng, d, d) * np.exp(size * rng.uniform(-1, 1, d))) @ orthonormal(rng, d, d)
        for d in net.widths[1:-1]
    ]
    P = [np.eye(net.widths[0]), *hidden, np.eye(net.widths[-1])]
    return tuple(above @ W @ np.linalg.inv(below) for W, (below, above) in zip(weights, pairwise(P), strict=True))


@given(networks, st.integers(0, 100))
def test_products_are_the_derivative_of_the_gradient(net, seed):
    weights, direction = random_weights(net, seed=seed), random_weights(net, seed=seed + 1)
    for loss in random_losses(net):
        expected = exact_derivative(net, weights, loss, direction)
        close = {"rtol": 1e-11, "atol": 1e-11 * (1 + np.abs(expected).max())}
        assert_allclose(net.pack(hessian.apply(weights, loss, direction)), expected, **close)
        assert_allclose(net.pack(Point(weights, loss).apply(direction)), expected, **close)


@given(networks, st.integers(0, 100))
def test_the_matrix_is_what_products_make_of_the_unit_vectors(net, seed):
    weights = random_weights(net, seed=seed)
    units = net.unpack(np.eye(net.n_parameters))
    for loss in random_losses(net):
        H = hessian.matrix(weights, loss)
        assert np.array_equal(H, H.T)
        assert_allclose(H, net.pack(hessian.apply(weights, loss, units)), rtol=1e-11, atol=1e-11)
        operator = hessian.operator(weights, loss)
        assert_allclose(operator @ np.eye(net.n_parameters), H, rtol=1e-11, atol=1e-11)
        assert_allclose(operator.T @ np.ones(net.n_parameters), H.sum(axis=0), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("widths", [(3, 4, 2), (60, 70, 60)])
def test_batches_broadcast_over_weights_directions_and_targets(widths):
    net = Network(widths)
    rng = np.random.default_rng(0)
    weights, direction = random_weights(net, (4, 1)), random_weights(net, (3,), seed=1)
    loss = Quadratic(rng.standard_normal((3, widths[-1], widths[0])))
    found = hessian.apply(weights, loss, direction)
    assert [V.shape for V in found] == [(4, 3, *shape) for shape in net.shapes]
    for i, j in [(0, 0), (3, 2), (1, 2)]:
        one = hessian.apply(tuple(W[i, 0] for W in weights), loss[j], tuple(V[j] for V in direction))
        for V, expected in zip(found, one, strict=True):
            assert_allclose(V[i, j], expected, rtol=1e-12, atol=1e-12)
    if net.n_parameters < 100:
        H = hessian.matrix(weights, loss)
        assert H.shape == (4, 3, net.n_parameters, net.n_parameters)
        assert_allclose(H[2, 1], hessian.matrix(tuple(W[2, 0] for W in weights), loss[1]), rtol=1e-13, atol=1e-13)
        one = hessian.norm_bound([W[2, 0] for W in weights], loss[1])
        assert_allclose(hessian.norm_bound(weights, loss)[2, 1], one)
        assert hessian.index(weights, loss).negative.shape == (4, 3)


def test_an_empty_batch_gives_an_empty_batch():
    net = Network((3, 4, 2))
    weights = random_weights(net, (0,))
    found = hessian.apply(weights, random_losses(net)[0], random_weights(net))
    assert [V.shape for V in found] == [(0, 4, 3), (0, 2, 4)]


@pytest.mark.parametrize("widths", [(3, 4, 2), (60, 70, 60)])
def test_single_precision_stays_single(widths):
    net = Network(widths)
    single = [tuple(W.astype(np.float32) for W in random_weights(net, seed=k, scale=0.3)) for k in (0, 1)]
    double = [tuple(W.astype(np.float64) for W in x) for x in single]
    for loss in random_losses(net):
        found, expected = hessian.apply(single[0], loss, single[1]), hessian.apply(double[0], loss, double[1])
        scale = max(np.abs(V).max() for V in expected)
        for V, W in zip(found, expected, strict=True):
            assert V.dtype == np.float32
            assert_allclose(V, W, atol=1e-5 * scale)
        assert hessian.apply(single[0], loss, double[1])[0].dtype == np.float64


@given(deep, st.integers(0, 3), st.integers(0, 100))
def test_spectrum_at_canonical_points_is_the_closed_form(net, deficit, seed):
    rng = np.random.default_rng(seed)
    modes = min(net.widths[0], net.widths[-1])
    values = np.sort(rng.uniform(0.5, 3, modes))[::-1]
    values[max(modes - deficit, 0) :] = 0
    loss = Quadratic.from_singular_values(values, (net.widths[-1], net.widths[0]), rng=seed)
    for count in range(min(net.rank, int(loss.rank)) + 1):
        for learned in combinations(range(int(loss.rank)), count):
            weights = canonical(net, loss, learned, seed)
            assert max(np.abs(G).max() for G in rhs(weights, loss)) < 1e-12
            expected = hessian.canonical_spectrum(net, loss, learned)
            assert_allclose(hessian.spectrum(weights, loss), expected, atol=1e-12 * (1 + expected[-1]))


@pytest.mark.parametrize("widths", [*WIDTHS, (5, 1, 5)])
def test_spectrum_at_balanced_minimum_is_the_closed_form(widths):
    net = Network(widths)
    h, (d_0, *_, d_h) = net.depth, widths
    for rank in range(min(d_0, d_h) + 1):
        values = np.append(np.linspace(3, 1, rank), 0.0)[: min(d_0, d_h)]
        loss = Quadratic.from_singular_values(values, (d_h, d_0), rng=rank)
        found = hessian.minimum_spectrum(net, loss)
        assert found.shape == (net.n_parameters,)
        if h > 1:
            learned = range(min(rank, net.rank))
            assert_allclose(hessian.spectrum(canonical(net, loss, learned), loss), found, atol=1e-12)
        if rank <= net.rank:
            sigma = np.zeros(max(d_0, d_h))
            sigma[:rank] = values[:rank]
            formula = [
                sum(sigma[j] ** (2 * (h - i) / h) * sigma[k] ** (2 * (i - 1) / h) for i in range(1, h + 1))
                for j in range(d_h)
                for k in range(d_0)
            ]
            assert_allclose(found[found > 0], np.sort(np.array(formula)[np.array(formula) > 0]), rtol=1e-12)
            if rank:
                assert_allclose(found[-1], h * values[0] ** (2 - 2 / h), rtol=1e-14)


@given(deep, st.integers(0, 100))
def test_inertia_is_constant_along_orbits(net, seed):
    rng = np.random.default_rng(seed)
    shape = (net.widths[-1], net.widths[0])
    loss = Quadratic.from_singular_values(np.sort(rng.uniform(0.5, 3, min(shape)))[::-1], shape, rng=seed)
    learned = rng.permutation(min(loss.shape))[: rng.integers(0, net.rank + 1)]
    for weights in (canonical(net, loss, learned, seed), random_weights(net, seed=seed)):
        before, after = hessian.index(weights, loss), hessian.index(moved(net, weights, seed), loss)
        assert (before.negative, before.positive) == (after.negative, after.positive)
        assert before.negative + before.zero + before.positive == net.n_parameters
    expected = hessian.canonical_spectrum(net, loss, learned.tolist())
    found = hessian.index(canonical(net, loss, learned, seed), loss)
    assert found.negative == (expected < -1e-9).sum()
    assert found.positive == (expected > 1e-9).sum()


def test_index_tells_what_is_doubtful():
    loss = Quadratic([[1.0]])
    clear = hessian.index((np.array([[1.0]]), np.array([[1.0]])), loss)
    assert (clear.negative, clear.zero, clear.positive, clear.doubtful) == (0, 1, 1, 0)
    assert clear.gap[0] < 1e-15
    assert clear.gap[1] == 1.0
    # near the hyperbola of minima the zero eigenvalue is about the residual
    near = hessian.index((np.array([[1.0]]), np.array([[1.0 - 1e-8]])), loss)
    assert near.doubtful == 1
    far = hessian.index((np.array([[1.0]]), np.array([[1.0 - 1e-4]])), loss)
    assert (far.negative, far.zero, far.positive, far.doubtful) == (0, 0, 2, 0)
    origin = hessian.index((np.zeros((2, 2)),) * 3, Quadratic(np.eye(2)))
    assert (origin.negative, origin.zero, origin.positive, origin.gap) == (0, 12, 0, (0.0, np.inf))


def test_terms_that_cancel_leave_zeros():
    # A chain Z through the origin of three layers adds nothing to H, but in turned bases its terms cancel.
    loss = Quadratic.from_singular_values((3.0, 2.0, 0.0), (3, 3), rng=0)
    middle = 100 * np.outer(*np.random.default_rng(0).standard_normal((2, 3)))
    weights = (np.zeros((3, 3)), moved(Network((3, 3)), (middle,))[0], np.zeros((3, 3)))
    found = hessian.index(weights, loss)
    assert found.negative == found.positive == 2
    assert found.doubtful == 0


@given(networks, st.integers(0, 100), st.floats(0.2, 4))
def test_the_bound_is_never_below_the_norm(net, seed, scale):
    weights = random_weights(net, seed=seed, scale=scale)
    for loss in random_losses(net):
        norm = np.abs(hessian.spectrum(weights, loss)).max()
        assert hessian.norm_bound(weights, loss) >= norm * (1 - 1e-12)


def test_the_bound_is_close_to_the_norm():
    ratios = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        net = Network(rng.integers(1, 6, rng.integers(3, 6)))
        weights, loss = random_weights(net, seed=seed, scale=0.7), random_losses(net, seed)[0]
        ratios.append(float(hessian.norm_bound(weights, loss)) / np.abs(hessian.spectrum(weights, loss)).max())
    assert 1.0 < np.median(ratios) < 1.25


def test_one_layer():
    net = Network((3, 2))
    for loss in random_losses(net):
        gram = np.eye(3) if loss.quadratic.input_gram is None else loss.quadratic.input_gram
        assert_allclose(hessian.matrix(random_weights(net), loss), np.kron(np.eye(2), gram), rtol=1e-14)
        assert_allclose(hessian.norm_bound(random_weights(net), loss), np.linalg.norm(gram, 2), rtol=1e-12)
    loss = random_losses(net)[0]
    assert hessian.canonical_spectrum(net, loss, (0, 1)).tolist() == [1.0] * 6
    with pytest.raises(ValueError, match="with one layer the only critical point"):
        hessian.canonical_spectrum(net, loss, (0,))


@pytest.mark.parametrize("widths", [(3, 2, 3), (8, 7, 9, 6), (2, 3, 2, 3, 2), (6, 1, 6)])
@pytest.mark.parametrize("size", [0.0, 0.8])
def test_projection_across_gauge_directions_is_the_orthogonal_one(widths, size):
    net = Network(widths)
    loss = Quadratic.from_singular_values(np.linspace(3, 1, min(widths)), (widths[-1], widths[0]), rng=0)
    V = np.random.default_rng(1).standard_normal((5, net.n_parameters))
    for learned in (range(net.rank), range(net.rank // 2)):
        fiber = Fiber(net, moved(net, canonical(net, loss, learned), size=size))
        along = fiber.along()
        assert_allclose(along @ along.T, np.eye(len(along)), atol=1e-12)
        assert_allclose(fiber.across(V), V - (V @ along.T) @ along, atol=1e-10)


@pytest.mark.parametrize("widths", [(12, 10, 12), (8, 7, 9, 6), (7, 12, 7)])
def test_lanczos_finds_the_ends_of_the_dense_spectrum_with_multiplicities(widths):
    net, k = Network(widths), 3
    loss = Quadratic.from_singular_values(np.linspace(3, 1, min(widths)), (widths[-1], widths[0]), rng=0)
    points = {
        "balanced": canonical(net, loss, range(net.rank)),
        "minimum": moved(net, canonical(net, loss, range(net.rank))),
        "saddle": moved(net, canonical(net, loss, range(1, net.rank, 2))),
        "anywhere": random_weights(net, scale=0.4),
    }
    for name, weights in points.items():
        point = Point(weights, loss)

        def multiply(rows, point=point):
            return net.pack(point.apply(net.unpack(rows)))

        dense = hessian.spectrum(weights, loss)
        close = {"atol": 1e-9 * np.abs(dense).max()}
        found = extreme_eigenvalues(multiply, lambda rows: rows, net.n_parameters, k)
        assert_allclose(found, np.concatenate([dense[:k], dense[-k:]]), **close)
        if name == "anywhere":
            with pytest.raises(ValueError, match="weights must be a critical point"):
                hessian.spectrum(weights, loss, transverse=True)
            continue
        across = hessian.spectrum(weights, loss, transverse=True)
        zeros = np.zeros(net.n_parameters - len(across))
        assert_allclose(np.sort(np.concatenate([across, zeros])), dense, atol=1e-11 * dense[-1])
        found = extreme_eigenvalues(multiply, Fiber(net, weights).across, net.n_parameters, k)
        assert_allclose(found, np.concatenate([across[:k], across[-k:]]), **close)


def test_ends_of_a_large_spectrum():
    net = Network((25, 22, 25))
    sigma = np.linspace(3, 1, 25)
    loss = Quadratic.from_singular_values(sigma, (25, 25), rng=0)
    weights = canonical(net, loss, range(22))
    expected = hessian.minimum_spectrum(net, loss)
    found = hessian.spectrum(weights, loss, k=4)
    assert_allclose(found, np.concatenate([np.zeros(4), expected[-4:]]), atol=1e-9)
    # across the gauge directions the least eigenvalues are positive: modes 21 and 22 nearly tie
    positive = expected[expected > 0]
    found = hessian.spectrum(weights, loss, k=2, transverse=True)
    assert_allclose(found, np.concatenate([positive[:2], positive[-2:]]), atol=1e-9)
    both = tuple(np.stack([W, W]) for W in weights)
    assert_allclose(hessian.spectrum(both, loss, k=1), [[0.0, expected[-1]]] * 2, atol=1e-9)


def test_the_ends_of_a_small_spectrum_come_from_all_of_it():
    net = Network((3, 4, 2))
    loss, weights = random_losses(net)[0], random_weights(net, (2,))
    every = hessian.spectrum(weights, loss)
    assert_allclose(hessian.spectrum(weights, loss, k=3), every[:, [0, 1, 2, -3, -2, -1]])
    minimum = canonical(net, loss, (0, 1))
    across = hessian.spectrum(minimum, loss, transverse=True)
    assert len(across) == net.n_parameters - 12  # X_1 moves nothing where it acts on what both layers leave out
    assert_allclose(hessian.spectrum(minimum, loss, k=2, transverse=True), across[[0, 1, -2, -1]])


def test_at_the_origin_no_gauge_moves_anything():
    origin = tuple(np.zeros((2, 2)) for _ in range(2))
    loss = Quadratic(np.diag([3.0, 1.0]))
    assert_allclose(hessian.spectrum(origin, loss, transverse=True), np.sort([3.0, 1.0, -3.0, -1.0] * 2))


REFUSED = [
    (lambda w, L: hessian.apply(w, L, w[:1]), ValueError, "directions must have the shapes of the weights"),
    (lambda w, L: hessian.apply(w, L, 3), TypeError, "directions must have the shapes of the weights"),
    (lambda w, L: hessian.apply(w, Quadratic(np.eye(3)), w), ValueError, "the product of the weights"),
    (lambda w, L: hessian.operator(tuple(W[None] for W in w), L), ValueError, "the Hessian of one network"),
    (lambda w, L: hessian.spectrum(w, L, k=0), ValueError, "k must be an integer from 1 to N/2 = 10, not 0"),
    (lambda w, L: hessian.spectrum(tuple(W[None] for W in w), L, transverse=True), ValueError, "one network"),
    (lambda w, L: hessian.spectrum((w[0] * np.nan, w[1]), L), ValueError, "weights must be finite"),
    (lambda w, L: hessian.index(w, L, tol=0), ValueError, "tol must lie between 0 and 1"),
    (lambda w, L: hessian.minimum_spectrum(Network((3, 4, 1)), L), ValueError, "product of the weights"),
    (lambda w, L: hessian.canonical_spectrum(Network((3, 4, 2)), L, (0, 0)), ValueError, "names a mode twice"),
    (lambda w, L: hessian.canonical_spectrum(Network((3, 4, 2)), L, (0.5,)), TypeError, "must hold integers"),
    (lambda w, L: hessian.canonical_spectrum(Network((3, 1, 2)), L, (0, 1)), ValueError, "rank at most r_max = 1"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_bad_arguments_are_refused_by_name(call, error, message):
    net = Network((3, 4, 2))
    weights, loss = random_weights(net), random_losses(net)[0]
    with pytest.raises(error, match=message):
        call(weights, loss)


def test_closed_forms_need_whitened_data_and_one_target():
    net = Network((3, 4, 2))
    quadratic, regression = random_losses(net)
    with pytest.raises(TypeError, match="closed form for whitened data only"):
        hessian.minimum_spectrum(net, regression)
    with pytest.raises(ValueError, match="select one"):
        hessian.minimum_spectrum(net, Quadratic(np.stack([quadratic.target] * 2)))
    flat = Quadratic.from_singular_values((1.0, 0.0), (2, 3))
    with pytest.raises(ValueError, match="mode 1, whose sigma is zero"):
        hessian.canonical_spectrum(net, flat, (1,))


def test_a_matrix_that_does_not_fit_is_refused():
    net = Network((1500, 1500, 1500))
    weights = tuple(np.broadcast_to(0.0, shape) for shape in net.shapes)
    with pytest.raises(MemoryError, match="4500000 x 4500000"):
        hessian.matrix(weights, Quadratic(np.eye(1500)))
