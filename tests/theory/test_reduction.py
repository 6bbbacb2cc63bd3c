"""Exact reduction: its widths, its flow against that of the wide network, its decisions and its limits."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp

import fastdln as dln
from fastdln.theory import adjacency
from fastdln.theory.reduction import Reduction, reduce, widths

EPS = np.finfo(float).eps


def orthogonal(rng, n):
    return np.linalg.qr(rng.standard_normal((n, n)))[0]


def two_layers(rng):
    return tuple(rng.standard_normal(shape) / 3 for shape in ((20, 3), (4, 20))), rng.standard_normal((4, 3))


def orthogonal_hidden(rng):
    ends = rng.standard_normal((12, 3)) / 3, rng.standard_normal((2, 12)) / 3
    return (ends[0], orthogonal(rng, 12), orthogonal(rng, 12), ends[1]), rng.standard_normal((2, 3))


def balanced(rng):
    return dln.inits.balanced(dln.Network((3, 12, 9, 10, 2)), 1.0, rng=rng), rng.standard_normal((2, 3))


def identity_hidden(rng):
    return (rng.standard_normal((30, 2)) / 5, np.eye(30), rng.standard_normal((2, 30)) / 5), np.diag([2.0, 1.0])


def low_rank_target(rng):
    weights = tuple(rng.standard_normal(shape) / 3 for shape in ((3, 12), (3, 3), (10, 3)))
    return weights, np.outer(rng.standard_normal(10), rng.standard_normal(12)) / 4


def generic(rng):
    return tuple(rng.standard_normal((3, 4, 4)) / 2), rng.standard_normal((4, 4))


def bottlenecks(rng):
    shapes = [(above, below) for below, above in pairwise((2, 9, 2, 8, 3))]
    return tuple(rng.standard_normal(shape) / 2 for shape in shapes), rng.standard_normal((3, 2))


def at_rest(rng):
    return (np.zeros((5, 3)), rng.standard_normal((4, 5)), np.zeros((2, 4))), rng.standard_normal((2, 3))


def one_layer(rng):
    return (rng.standard_normal((2, 9)) / 3,), rng.standard_normal((2, 9))


CASES = [
    (two_layers, (3, 7, 4)),
    (orthogonal_hidden, (3, 5, 5, 5, 2)),
    (balanced, (3, 2, 2, 2, 2)),
    (identity_hidden, (2, 4, 4, 2)),
    (low_rank_target, (4, 3, 3, 4)),
    (generic, (4, 4, 4, 4)),
    (bottlenecks, (2, 4, 2, 5, 3)),
    (at_rest, (2, 1, 1, 2)),
    (one_layer, (4, 2)),
]
cases = pytest.mark.parametrize(("make", "expected"), CASES, ids=[make.__name__ for make, _ in CASES])


def few_samples(rng):
    """Return data whose inputs span 3 of 8 dimensions, and a start that sees them and one more."""
    X = rng.standard_normal((8, 3))
    first = np.linalg.qr(np.column_stack([X, rng.standard_normal(8)]))[0]
    weights = rng.standard_normal((6, 4)) @ first.T / 2, rng.standard_normal((2, 6)) / 2
    return weights, dln.Regression(X, rng.standard_normal((2, 3)))


def problem(make, seed=0):
    weights, target = make(np.random.default_rng(seed))
    return weights, dln.Quadratic(target)


def along(small, span, **options):
    """Return the lifted trajectory of the narrow network, and the narrow one."""
    times = np.linspace(*span, 5)
    sol = dln.flow(
        small.weights, small.loss, span, times, "dop853", 1e-12, record=("weights", "loss", "strengths"),
        engine="lanes", **options,
    )  # fmt: skip
    assert sol.success
    return small.lift(sol.weights, times - span[0], options.get("weight_decay", 0.0)), sol


def direct(weights, loss, span, **options):
    """Return the weights of the wide network at five times, by SciPy."""
    net = dln.network.check_weights(weights)[0]
    found = solve_ivp(
        lambda _, y: net.pack(dln.rhs(net.unpack(y), loss, **options)), span, net.pack(weights), "DOP853",
        t_eval=np.linspace(*span, 5), rtol=1e-12, atol=1e-13,
    )  # fmt: skip
    assert found.success
    return net.unpack(found.y.T)


def assert_close(weights, expected, atol):
    for W, V in zip(weights, expected, strict=True):
        assert_allclose(W, V, rtol=0, atol=atol)


# ---- widths


@cases
@pytest.mark.parametrize("seed", range(4))
def test_widths(make, expected, seed):
    weights, loss = problem(make, seed)
    small = reduce(weights, loss)
    assert small.widths == expected
    assert not small.doubtful
    assert small.defect < 100 * EPS
    shapes = [(above, below) for below, above in pairwise(expected)]
    assert [W.shape for W in small.weights] == shapes
    assert small.loss.shape == (expected[-1], expected[0])
    for B in small.bases:
        assert_allclose(B.T @ B, np.eye(B.shape[1]) if B.any() else 0, atol=1e-14)


@cases
def test_subspaces_are_the_least_that_are_closed(make, expected):
    """They are the Krylov space of A and A' from the rows of Sigma at the input and the columns at the output."""
    weights, loss = problem(make, 7)
    net = dln.network.check_weights(weights)[0]
    A = adjacency.matrix(weights)
    ends = np.cumsum((0, *net.widths))
    seeds = np.zeros((len(A), sum(loss.shape) + net.widths[0]))
    W = dln.product(weights)
    seeds[: ends[1], : loss.shape[0]] = loss.target.T
    seeds[ends[-2] :, loss.shape[0] :] = np.hstack([loss.target, W])
    space = np.linalg.svd(seeds)[0][:, : np.linalg.matrix_rank(seeds)]
    while True:
        U, values, _ = np.linalg.svd(np.hstack([space, A @ space / 4, A.T @ space / 4]), full_matrices=False)
        larger = U[:, values > 1e-10]
        if larger.shape == space.shape:
            break
        space = larger
    blocks = [space[first:last] for first, last in pairwise(ends)]
    assert tuple(max(1, int(np.linalg.matrix_rank(block, 1e-8))) for block in blocks) == expected
    small = reduce(weights, loss)
    for B, block in zip(small.bases, blocks, strict=True):
        assert_allclose(block - B @ (B.T @ block), 0, atol=1e-10)


@given(
    st.lists(st.integers(1, 9), min_size=2, max_size=6).map(tuple), st.booleans(), st.integers(0, 3), st.integers(0, 99)
)
def test_no_start_needs_more_than_the_widths_promise(d, data, rank, seed):
    rng = np.random.default_rng(seed)
    net = dln.Network(d)
    weights = tuple(rng.standard_normal(shape) for shape in net.shapes)
    if data:
        loss = dln.Regression(rng.standard_normal((d[0], 9)), rng.standard_normal((d[-1], 9)))
    else:
        loss = dln.Quadratic(rng.standard_normal((d[-1], rank)) @ rng.standard_normal((rank, d[0])))
    bound = widths(net, loss)
    assert all(k <= b <= width for k, b, width in zip(reduce(weights, loss).widths, bound, d, strict=True))
    exhausted = reduce(weights, loss, rtol=0)
    assert exhausted.widths == bound
    assert exhausted.decisions == ()
    assert exhausted.defect < 100 * EPS


@pytest.mark.parametrize(
    ("d", "expected"),
    [
        ((3, 20, 4), (3, 7, 4)),
        ((4, 64, 4, 64, 4), (4, 8, 4, 8, 4)),
        ((3, 30, 30, 2), (3, 30, 30, 2)),
        ((50, 2), (4, 2)),
        ((2, 9, 1, 9, 9, 2), (2, 3, 1, 9, 9, 2)),
        ((1, 1), (1, 1)),
    ],
)
def test_promised_widths(d, expected):
    loss = dln.Quadratic(np.ones((d[-1], d[0])))
    assert widths(dln.Network(d), loss) == expected
    weights = tuple(np.random.default_rng(0).standard_normal(shape) for shape in dln.Network(d).shapes)
    assert reduce(weights, loss, rtol=0).widths == expected


# ---- the flow


@cases
@pytest.mark.parametrize("seed", range(2))
def test_lifted_trajectories_are_those_of_the_wide_network(make, expected, seed):
    weights, loss = problem(make, seed)
    lifted, sol = along(reduce(weights, loss), (0.0, 3.0))
    assert_close(lifted, direct(weights, loss, (0.0, 3.0)), atol=1e-10)
    assert_allclose(sol.loss, dln.value(lifted, loss), rtol=1e-10, atol=1e-14)
    U, _, V = loss.modes
    assert_allclose(sol.strengths, np.einsum("ij,tik,kj->tj", U, dln.product(lifted), V), rtol=0, atol=1e-13)


@pytest.mark.parametrize("make", [two_layers, orthogonal_hidden, balanced, low_rank_target, bottlenecks])
@pytest.mark.parametrize("span", [(1.0, 3.0), (1.0, 0.97)])
def test_decay_rates_and_the_flow_backwards(make, span):
    weights, loss = problem(make)
    options = {"weight_decay": 0.3, "layer_rates": np.linspace(0.5, 2.0, len(weights))}
    small = reduce(weights, loss)
    assert_close(along(small, span, **options)[0], direct(weights, loss, span, **options), atol=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_unwhitened_data_of_few_samples(seed):
    weights, loss = few_samples(np.random.default_rng(seed))
    small = reduce(weights, loss)
    assert small.widths == (4, 6, 2)
    assert small.loss.rank == 3
    assert small.defect < 100 * EPS
    lifted, sol = along(small, (0.0, 3.0))
    assert_close(lifted, direct(weights, loss, (0.0, 3.0)), atol=1e-10)
    assert_allclose(sol.loss, dln.value(lifted, loss), rtol=1e-10)


@given(st.sampled_from([make for make, _ in CASES] + [few_samples]), st.integers(0, 999))
def test_the_field_stays_within_the_subspaces(make, seed):
    """The wide field is the lifted narrow one, at the start and elsewhere within the subspaces."""
    rng = np.random.default_rng(seed)
    weights, loss = make(rng)
    loss = loss if isinstance(loss, dln.Regression) else dln.Quadratic(loss)
    small = reduce(weights, loss)
    elsewhere = tuple(V + rng.standard_normal(V.shape) * (np.abs(V).max() > 0) for V in small.weights)
    for V in (small.weights, elsewhere):
        wide = small.lift(V)
        field = dln.rhs(V, small.loss)
        scale = max(1.0, *(np.abs(F).max() for F in field))
        for F, W, (below, above) in zip(dln.rhs(wide, loss), field, pairwise(small.bases), strict=True):
            assert_allclose(F, above @ W @ below.T, rtol=0, atol=1e-12 * scale)
        assert_allclose(small.loss.value(dln.product(V)), dln.value(wide, loss), rtol=1e-10, atol=1e-14)
        assert_allclose(dln.gradient_norm(V, small.loss), dln.gradient_norm(wide, loss), rtol=1e-10, atol=1e-12)


def test_the_start_is_lifted_to_itself():
    weights, loss = problem(balanced)
    small = reduce(weights, loss)
    assert all(np.array_equal(V, W) for V, W in zip(small.lift(small.weights), weights, strict=True))
    single = tuple(W.astype(np.float32) for W in weights)
    small = reduce(single, loss)
    lifted = small.lift(small.weights)
    assert all(W.dtype == np.float32 for W in (*small.weights, *lifted))
    assert all(np.array_equal(V, W) for V, W in zip(lifted, single, strict=True))


@pytest.mark.parametrize("make", [two_layers, orthogonal_hidden, low_rank_target])
def test_gauges_change_neither_widths_nor_products(make):
    weights, loss = problem(make)
    rng = np.random.default_rng(3)
    gauges = [np.eye(weights[0].shape[1]), *(orthogonal(rng, len(W)) for W in weights[:-1]), np.eye(len(weights[-1]))]
    turned = tuple(P @ W @ Q.T for P, W, Q in zip(gauges[1:], weights, gauges, strict=False))
    here, there = reduce(weights, loss), reduce(turned, loss)
    assert here.widths == there.widths
    a, b = (dln.product(along(small, (0.0, 2.0))[0]) for small in (here, there))
    assert_allclose(a, b, atol=1e-10)


def test_equal_singular_values_do_not_mix():
    """The narrow loss has the modes of the wide one, where its own would be any basis of theirs."""
    rng = np.random.default_rng(2)
    loss = dln.Quadratic.from_singular_values((2.0, 2.0, 2.0, 1.0), shape=(6, 5), rng=rng)
    weights = rng.standard_normal((3, 5)) / 2, rng.standard_normal((6, 3)) / 2
    small = reduce(weights, loss)
    U, sigma, V = loss.modes
    assert small.loss.n_modes == 5
    assert np.array_equal(small.loss.modes.sigma, sigma)
    strengths = np.einsum("ij,ik,kj->j", small.loss.modes.U, dln.product(small.weights), small.loss.modes.V)
    assert_allclose(strengths, np.einsum("ij,ik,kj->j", U, dln.product(weights), V), atol=1e-14)


# ---- decisions


def test_directions_at_the_level_of_rounding_are_dropped_and_those_above_are_doubtful():
    loss = dln.Quadratic(np.eye(3))
    rng = np.random.default_rng(1)
    frames = [orthogonal(rng, d) for d in (3, 8, 3)]

    def start(least):
        values = np.diag([1.0, 0.5, least])
        return frames[1][:, :3] @ values @ frames[0], frames[2] @ values @ frames[1][:, :3].T

    for least, width, doubtful in ((1e-3, 3, False), (1e-12, 3, True), (1e-16, 2, False)):
        small = reduce(start(least), loss)
        assert small.widths == (3, width, 3)
        assert small.doubtful is doubtful
    hidden = [d for d in reduce(start(1e-16), loss).decisions if d.layer == 1]
    assert sum(d.kept for d in hidden) == 2
    assert max(d.largest_dropped for d in hidden) < 100 * EPS < min(d.least_kept for d in hidden)
    assert reduce(start(1e-12), loss, rtol=1e-10).widths == (3, 2, 3)
    assert reduce(start(1e-12), loss, rtol=1e-10).defect > 1e-13


@pytest.mark.parametrize("scale", [1e-200, 1e-20, 1.0, 1e20, 1e200])
def test_decisions_do_not_depend_on_the_size_of_layers(scale):
    (W1, *others), loss = problem(orthogonal_hidden)
    assert reduce((W1 * scale, *others), loss).widths == (3, 5, 5, 5, 2)


def test_a_mode_that_is_small_along_a_coordinate_is_no_rounding():
    """A start of 1e-20 in one mode beside 1 in the other will grow: weights hold it exactly."""
    loss = dln.Quadratic(np.diag([2.0, 1.0]))
    weights = dln.inits.decoupled(dln.Network((2, 2, 2)), loss, (1.0, 1e-20))
    assert np.count_nonzero(weights[0]) == 2
    assert reduce(weights, loss).widths == (2, 2, 2)


def test_low_rank_is_kept_for_ever():
    """The saddle of rank one is an equilibrium; in the wide network rounding ends that, in the narrow one nothing."""
    rng = np.random.default_rng(0)
    loss = dln.Quadratic.from_singular_values((2.0, 1.0), shape=(2, 2), rng=rng)
    U, sigma, V = loss.modes
    s, frame = np.sqrt(sigma[0]), orthogonal(rng, 6)[:, :1]
    saddle = s * frame @ V[:, :1].T, s * U[:, :1] @ frame.T
    small = reduce(saddle, loss)
    assert small.widths == (2, 1, 2)
    sol = dln.flow(small.weights, small.loss, (0.0, 200.0))
    assert dln.value(small.lift(sol.final), loss) == pytest.approx(0.5, rel=1e-9)


def test_subspaces_that_are_not_closed_have_a_defect():
    weights, loss = problem(two_layers)
    small = reduce(weights, loss)
    for i in range(3):
        bases = tuple(B[:, :-1] if j == i else B for j, B in enumerate(small.bases))
        assert Reduction(weights, loss, bases, (), 0.0).defect > 1e-3


def test_unwhitened_data_need_more_than_the_target_shows():
    """A start of zero sees the rows of the target alone, which are no invariant subspace of the inputs' moments."""
    rng = np.random.default_rng(5)
    loss = dln.Regression(rng.standard_normal((6, 9)), rng.standard_normal((1, 9)))
    weights = np.zeros((4, 6)), rng.standard_normal((1, 4))
    small = reduce(weights, loss)
    assert small.widths == (6, 1, 1)
    assert_close(along(small, (0.0, 2.0))[0], direct(weights, loss, (0.0, 2.0)), atol=1e-10)
    blind = reduce(weights, dln.Quadratic(loss.target))
    assert blind.widths == (1, 1, 1)
    wrong = Reduction(weights, loss, blind.bases, (), 0.0)
    assert wrong.defect > 0.1
    assert np.abs(along(wrong, (0.0, 2.0))[0][0] - direct(weights, loss, (0.0, 2.0))[0]).max() > 1e-3


# ---- arguments


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"loss": np.eye(3)}, TypeError, "loss must be a Loss"),
        ({"loss": dln.Quadratic(np.ones((2, 4, 3)))}, ValueError, "a reduction is about one landscape; the loss has 2"),
        ({"loss": dln.Quadratic(np.ones((3, 3)))}, ValueError, r"the loss expects .* = \(\.\.\., 3, 3\)"),
        ({"weights": (np.ones((2, 20, 3)), np.ones((2, 4, 20)))}, ValueError, r"weights has the batch axes \(2,\)"),
        ({"weights": (np.full((20, 3), np.nan), np.ones((4, 20)))}, ValueError, "weights must be finite, but W_1 is"),
        ({"weights": (np.ones((20, 3)), np.full((4, 20), np.inf))}, ValueError, "weights must be finite, but W_2 is"),
        ({"rtol": -1.0}, ValueError, r"rtol must be at least 0 and below 1, not -1\.0"),
        ({"rtol": np.nan}, ValueError, "rtol must be at least 0 and below 1, not nan"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change, error, message):
    weights, loss = problem(two_layers)
    with pytest.raises(error, match=message):
        reduce(**({"weights": weights, "loss": loss} | change))


def test_lift_and_the_narrow_loss_refuse_what_does_not_fit():
    weights, loss = problem(two_layers)
    small = reduce(weights, loss)
    with pytest.raises(ValueError, match=r"Network\(\(3, 7, 4\)\) expects"):
        small.lift(weights)
    weights, loss = problem(low_rank_target)
    with pytest.raises(TypeError, match="selected from the loss of the whole network"):
        reduce(weights, loss).loss[0]
