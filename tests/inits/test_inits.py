"""Initial conditions: the property that defines each, and trajectories that are the same in every batch."""

from __future__ import annotations

from functools import partial
from itertools import accumulate, combinations_with_replacement, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from fastdln import inits
from fastdln.field import balance, product, rhs
from fastdln.losses import Quadratic, Regression
from fastdln.network import Network

WIDTHS = [(3, 2), (1, 1, 1), (4, 4, 4, 4), (5, 3, 4, 2), (2, 5, 1, 3), (2, 6, 6, 6, 3)]
networks = pytest.mark.parametrize("net", [Network(w) for w in WIDTHS], ids=str)


def transpose(matrices):
    return np.swapaxes(matrices, -1, -2)


def target(net, batch=(), seed=3):
    shape = (*batch, net.widths[-1], net.widths[0])
    return Quadratic(np.random.default_rng(seed).standard_normal(shape))


def samplers(net):
    """Every sampler that draws at random, with the arguments of this network bound."""
    point = inits.gaussian(net, rng=9)
    found = {
        "gaussian": partial(inits.gaussian, net, 0.1),
        "uniform": partial(inits.uniform, net, 0.1),
        "orthogonal": partial(inits.orthogonal, net, 0.7),
        "near": partial(inits.near, point, 0.2),
        "balanced": partial(inits.balanced, net, 0.1),
        "lambda_balanced": partial(inits.lambda_balanced, net, [0.0] * (net.depth - 1), 0.1),
        "aligned": partial(inits.aligned, net, 0.3),
    }
    if net.depth > 1:
        found["delta_balanced"] = partial(inits.delta_balanced, net, 0.04)
    if net.depth > 1:
        found["decoupled"] = partial(inits.decoupled, net, target(net), 0.3)
    return found


@networks
def test_trajectories_depend_on_their_index_alone(net):
    for name, sample in samplers(net).items():
        batch = sample(size=7, rng=5)
        assert [W.shape for W in batch] == [(7, *shape) for shape in net.shapes], name
        assert len({row.tobytes() for row in net.pack(batch)}) == 7 or net.widths == (1, 1, 1), name
        for first, size in [(0, 3), (2, 5), (6, 1)]:
            part = sample(size=size, rng=5, first=first)
            for W, whole in zip(part, batch, strict=True):
                assert np.array_equal(W, whole[first : first + size]), name
        for W, whole in zip(sample(rng=5, first=4), batch, strict=True):
            assert np.array_equal(W, whole[4]), name


@pytest.mark.parametrize("widths", [(8, 8, 8), (33, 17, 40, 29), (1, 64, 1)])
def test_the_size_of_the_batch_changes_no_bit_of_larger_networks(widths):
    for name, sample in samplers(Network(widths)).items():
        batch = sample(size=40, rng=5)
        for W, whole in zip(sample(rng=5, first=23), batch, strict=True):
            assert np.array_equal(W, whole[23]), name


@networks
def test_every_source_of_randomness_is_reproducible(net):
    for name, sample in samplers(net).items():
        sequence = np.random.SeedSequence(5, spawn_key=(2,))
        draws = [sample(rng=rng)[-1] for rng in (5, np.int64(5), np.random.SeedSequence(5))]
        assert np.array_equal(draws[0], draws[1]), name
        assert np.array_equal(draws[0], draws[2]), name
        assert np.array_equal(sample(rng=sequence)[-1], sample(rng=sequence)[-1]), name
        generators = [np.random.default_rng(1) for _ in range(2)]
        assert np.array_equal(*(sample(rng=g)[-1] for g in generators)), name
        if net.widths[-1] > 1:
            assert not np.array_equal(draws[0], sample(rng=sequence)[-1]), name
            assert not np.array_equal(*(sample(rng=generators[0])[-1] for _ in range(2))), name


def test_fresh_entropy_differs():
    net = Network((3, 3))
    assert not np.array_equal(inits.gaussian(net)[0], inits.gaussian(net)[0])


def test_the_stream_is_philox_with_the_trajectory_in_the_high_word():
    (W,) = inits.gaussian(Network((2, 3)), size=4, rng=np.random.SeedSequence(1, spawn_key=(7,)))
    key = np.random.SeedSequence(1, spawn_key=(7,)).generate_state(2, np.uint64)
    for k in range(4):
        generator = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, k]))
        assert np.array_equal(W[k].ravel(), generator.standard_normal(6) * (1 / np.sqrt(2)))


def test_gaussian_and_uniform_have_the_promised_moments():
    net = Network((4, 9))
    (normal,) = inits.gaussian(net, scale=0.6, size=20000, rng=0)
    (flat,) = inits.uniform(net, scale=0.6, size=20000, rng=0)
    for W, kurtosis in ((normal, 3.0), (flat, 1.8)):
        assert_allclose(W.mean(), 0, atol=1e-3)
        assert_allclose(W.std(), 0.3, rtol=5e-3)
        assert_allclose((W**4).mean() / W.var() ** 2, kurtosis, rtol=0.02)
    bound = 0.3 * np.sqrt(3)
    assert np.abs(flat).max() <= bound
    assert_allclose([flat.min(), flat.max()], [-bound, bound], rtol=1e-3)


@networks
def test_orthogonal_layers_have_one_singular_value(net):
    for W in inits.orthogonal(net, gain=0.7, size=4, rng=0):
        assert_allclose(np.linalg.svd(W, compute_uv=False), 0.7, rtol=1e-13)


@networks
def test_identity_is_the_identity_cut_to_shape(net):
    for W, shape in zip(inits.identity(net, scale=0.2, size=3), net.shapes, strict=True):
        assert np.array_equal(W, np.broadcast_to(0.2 * np.eye(*shape), (3, *shape)))
        W[0] = 7
        assert (W[1:] != 7).all()


@networks
def test_near_lies_on_the_sphere_around_the_point(net):
    centre = inits.gaussian(net, rng=0)
    for weights in (centre, tuple(np.stack([W, -W]) for W in centre)):
        moved = inits.near(weights, 0.3, size=2, rng=1)
        step = net.pack(moved) - net.pack(weights)
        assert_allclose(np.linalg.norm(step, axis=-1), 0.3, rtol=1e-12)
        assert not np.allclose(step[0], step[1])
    assert inits.near(tuple(np.stack([W] * 2) for W in centre), 0.3)[0].shape == (2, *net.shapes[0])


@networks
def test_balanced_weights_are_balanced_and_multiply_to_a_gaussian_product(net):
    weights = inits.balanced(net, scale=0.5, size=6, rng=0)
    for C in balance(weights):
        assert_allclose(C, 0, atol=1e-12)
    # The stream begins with the entries of the Gaussian weights, so the product is theirs.
    assert_allclose(product(weights), product(inits.gaussian(net, scale=0.5, size=6, rng=0)), atol=1e-13)
    values = [np.linalg.svd(W, compute_uv=False)[:, : net.rank] for W in weights]
    for one, other in pairwise(values):
        assert_allclose(one, other, atol=1e-12)


def test_balanced_weights_survive_depth_and_tiny_scales():
    weights = inits.balanced(Network((3,) * 51), scale=1e-12, rng=0)
    norms = [np.linalg.norm(W, 2) for W in weights]
    assert_allclose(norms, norms[0])
    assert 1e-13 < norms[0] < 1e-11


@networks
def test_delta_balanced_weights_have_the_largest_imbalance_asked_for(net):
    if net.depth == 1:
        with pytest.raises(ValueError, match="has one layer and no balance matrix"):
            inits.delta_balanced(net, 0.04)
        return
    weights = inits.delta_balanced(net, 0.04, size=5, rng=0)
    largest = np.max([np.abs(np.linalg.eigvalsh(C)).max(axis=-1) for C in balance(weights)], axis=0)
    assert_allclose(largest, 0.04, rtol=1e-12)


@pytest.mark.parametrize(
    ("widths", "lambdas"),
    [
        ((4, 3), ()),
        ((3, 3, 3), (0.7,)),
        ((3, 3, 3), (-0.7,)),
        ((3, 2, 3), (-2.0,)),
        ((2, 3, 3), (0.7,)),
        ((2, 3, 2), (0.0,)),
        ((3, 3, 2), (-0.7,)),
        ((3, 3, 2, 2), (-0.7, 0.4)),
        ((1, 2, 3, 3), (0.1, 0.2)),
        ((1, 1, 2, 2, 1), (0.5, 0.3, -0.3)),
        ((3, 3, 4, 3, 3), (-1.0, 0.0, 0.25)),
        ((4, 4, 3, 2, 2, 4), (-0.3, -0.1, 0.2, -0.5)),
        ((2, 3, 3, 2, 3), (0.3, -0.3, 1.0)),
        ((2, 3, 3, 3, 2, 3), (0.1, 0.2, -0.3, 1.0)),
    ],
)
def test_lambda_balanced_weights_have_the_balance_asked_for(widths, lambdas):
    net = Network(widths)
    weights = inits.lambda_balanced(net, lambdas, 0.5, size=5, rng=0)
    assert [W.shape for W in weights] == [(5, *shape) for shape in net.shapes]
    for C, value in zip(balance(weights), lambdas, strict=True):
        assert_allclose(C, np.broadcast_to(value * np.eye(C.shape[-1]), C.shape), atol=1e-12)


def feasible(widths, lambdas):
    """Whether lambda-balanced weights exist, by trying every multiset of candidate squares for W_1."""
    sums = list(accumulate(lambdas, initial=0))
    generic = 1000
    candidates = [*sorted({-s for s in sums if s <= 0}), generic]

    def passes(squares):
        squares = list(squares) + [0] * (widths[1] - len(squares))
        for step, width in zip(lambdas, widths[2:], strict=True):
            squares = [s + step for s in squares]
            if min(squares) < 0 or np.count_nonzero(squares) > width:
                return False
            squares = [s for s in squares if s] + [0] * (width - np.count_nonzero(squares))
        return True

    return any(map(passes, combinations_with_replacement(candidates, min(widths[:2]))))


@given(st.data())
def test_lambda_balanced_refuses_exactly_what_does_not_exist(data):
    widths = tuple(data.draw(st.lists(st.integers(1, 4), min_size=3, max_size=6)))
    lambdas = data.draw(st.lists(st.integers(-2, 2), min_size=len(widths) - 2, max_size=len(widths) - 2))
    net = Network(widths)
    if feasible(widths, lambdas):
        for C, value in zip(balance(inits.lambda_balanced(net, lambdas, rng=0)), lambdas, strict=True):
            assert_allclose(C, value * np.eye(len(C)), atol=1e-12)
    else:
        with pytest.raises(ValueError, match=r"not feasible for Network.*: in layer \d, W_\d"):
            inits.lambda_balanced(net, lambdas, rng=0)


def test_infeasible_lambdas_name_the_layer():
    with pytest.raises(ValueError, match=r"in layer 2, W_2' W_2 = .* would have the eigenvalue -0\.5"):
        inits.lambda_balanced(Network((2, 3, 3)), [-0.5])
    with pytest.raises(ValueError, match=r"in layer 3, .* at least 3 nonzero eigenvalues, but W_3 has 2 rows"):
        inits.lambda_balanced(Network((3, 3, 3, 2)), [0.0, 0.5])


@networks
@pytest.mark.parametrize("rng", [None, 0])
def test_aligned_layers_share_their_singular_vectors(net, rng):
    values = np.random.default_rng(0).uniform(0.5, 2, (net.depth, net.rank))
    weights = inits.aligned(net, values, size=3, rng=rng)
    for W, w in zip(weights, values, strict=True):
        found = np.linalg.svd(W, compute_uv=False)[:, : net.rank]
        assert_allclose(found, np.broadcast_to(np.sort(w)[::-1], found.shape), rtol=1e-12)
    for below, above in pairwise(weights):
        # Shared singular vectors: the Gram matrices that meet in a hidden layer commute.
        meet, join = below @ transpose(below), transpose(above) @ above
        assert_allclose(meet @ join, join @ meet, atol=1e-12)
    expected = np.sort(values.prod(axis=0))[::-1]
    for s in np.linalg.svd(product(weights), compute_uv=False):
        assert_allclose(s[: net.rank], expected, rtol=1e-12)


@networks
@pytest.mark.parametrize("rng", [None, 0])
@pytest.mark.parametrize("batch", [(), (4,)])
def test_decoupled_weights_move_mode_by_mode(net, rng, batch):
    loss = target(net, batch)
    values = np.random.default_rng(1).uniform(-1, 2, (net.depth, net.rank))
    weights = inits.decoupled(net, loss, values, rng=rng)
    U, sigma, V = (a[..., : net.rank] for a in loss.modes)
    strengths = values.prod(axis=0)
    assert_allclose(
        transpose(U) @ product(weights) @ V,
        np.broadcast_to(np.diag(strengths), (*batch, net.rank, net.rank)),
        atol=1e-12,
    )
    # dw_i/dt = (prod_{k != i} w_k)(sigma - prod_k w_k), and nothing outside the frames.
    moved = tuple(W + 1e-3 * F for W, F in zip(weights, rhs(weights, loss), strict=True))
    rates = np.stack([np.delete(values, i, axis=0).prod(axis=0) for i in range(net.depth)])
    stepped = values + 1e-3 * rates * (sigma - strengths)[..., None, :]
    for k in np.ndindex(batch):
        one = loss[k[0]] if batch else loss
        expected = inits.decoupled(net, one, stepped[k], first=k[0] if batch else 0, rng=rng)
        for W, E in zip(moved, expected, strict=True):
            assert_allclose(W[k], E, atol=1e-13)


def test_decoupled_accepts_regression_and_a_size():
    net = Network((3, 4, 2))
    rng = np.random.default_rng(0)
    loss = Regression(rng.standard_normal((3, 9)), rng.standard_normal((2, 9)))
    weights = inits.decoupled(net, loss, (0.3, 0.1), size=5, rng=0)
    U, _, V = loss.modes
    assert_allclose(U.T @ product(weights) @ V, np.broadcast_to(np.diag([0.09, 0.01]), (5, 2, 2)), atol=1e-15)
    with pytest.raises(ValueError, match="size is 5, but loss holds a batch of 4"):
        inits.decoupled(net, target(net, (4,)), 0.1, size=5)


NET = Network((3, 4, 2))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: inits.gaussian(NET, scale=-1.0),
            ValueError,
            r"scale must be at least 0 and finite, not -1\.0",
        ),
        (lambda: inits.uniform(NET, scale=np.nan), ValueError, "scale .* nan"),
        (lambda: inits.orthogonal(NET, gain=np.inf), ValueError, "gain .* inf"),
        (lambda: inits.near(inits.identity(NET), -0.1), ValueError, r"radius .* -0\.1"),
        (lambda: inits.delta_balanced(NET, -1), ValueError, "delta .* -1"),
        (lambda: inits.gaussian(NET, size=0), ValueError, "size must be at least 1, or None"),
        (lambda: inits.gaussian(NET, size=2.5), TypeError, "float"),
        (lambda: inits.gaussian(NET, first=-1), ValueError, "first must be the index of a trajectory"),
        (
            lambda: inits.gaussian(NET, rng="seed"),
            TypeError,
            "rng must be a Generator, SeedSequence, int or None, not str",
        ),
        (lambda: inits.gaussian(NET, rng=True), TypeError, "not bool"),
        (
            lambda: inits.near(inits.identity(NET, size=3), 0.1, size=2),
            ValueError,
            "size is 2, but weights holds a batch of 3",
        ),
        (lambda: inits.lambda_balanced(NET, [1.0, 2.0]), ValueError, "lambdas must be 1 finite numbers"),
        (lambda: inits.lambda_balanced(NET, [np.nan]), ValueError, "lambdas must be 1 finite"),
        (
            lambda: inits.aligned(NET, (1, 2, 3)),
            ValueError,
            r"layer_values has shape \(3,\); .* \(r,\) = \(2,\) or \(h, r\) = \(2, 2\)",
        ),
        (lambda: inits.aligned(NET, np.nan), ValueError, "layer_values must be finite"),
        (
            lambda: inits.decoupled(NET, Quadratic(np.eye(3)), 0.1),
            ValueError,
            r"has shape \(3, 3\); .* expects \(2, 3\)",
        ),
    ],
)
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make()


# ---- a plane


def test_a_plane_of_starts_is_each_start_bit_for_bit():
    rng = np.random.default_rng(0)
    W, V, U = (tuple(rng.standard_normal(shape) for shape in NET.shapes) for _ in range(3))
    a, b = rng.standard_normal(3), rng.standard_normal(4)
    found = inits.plane(W, V, U, a, b)
    for i in range(3):
        for j in range(4):
            one = inits.plane(W, V, U, a[i : i + 1], b[j : j + 1])
            for layer, single, w, v, u in zip(found, one, W, V, U, strict=True):
                assert (layer[4 * i + j] == single[0]).all()
                assert_allclose(single[0], w + a[i] * v + b[j] * u, rtol=1e-13, atol=1e-14)


def test_a_plane_keeps_float32():
    W = tuple(np.ones(shape, np.float32) for shape in NET.shapes)
    assert inits.plane(W, W, W, [0.5], [1.5])[0].dtype == np.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"direction_2": "short"}, "direction_2 must have the shapes of the weights"),
        ({"direction_1": "batch"}, "direction_1 must be one direction, but has the batch"),
        ({"weights": "batch"}, "weights must be those of one network"),
        ({"grid_1": []}, "grid_1 must be a sequence of finite numbers"),
        ({"grid_2": [np.nan]}, "grid_2 must be a sequence of finite numbers"),
        ({"grid_2": [[1.0]]}, "grid_2 must be a sequence of finite numbers"),
    ],
)
def test_refusals_of_a_plane(change, message):
    one = tuple(np.ones(shape) for shape in NET.shapes)
    kinds = {"short": one[:-1], "batch": tuple(np.ones((2, *shape)) for shape in NET.shapes)}
    told = {"weights": one, "direction_1": one, "direction_2": one, "grid_1": [0.0], "grid_2": [0.0]}
    told |= {name: kinds[value] if isinstance(value, str) else value for name, value in change.items()}
    with pytest.raises(ValueError, match=message):
        inits.plane(**told)
