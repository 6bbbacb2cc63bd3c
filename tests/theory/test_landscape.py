"""Critical values, hypotheses, the dimension of the minima, and critical points, against enumeration and ranks."""

from __future__ import annotations

import itertools
import math
from itertools import combinations, islice, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from fastdln.field import gradient_norm, product, value
from fastdln.losses import Quadratic, Regression
from fastdln.network import Network
from fastdln.theory import invariants, landscape, quotient
from tests.support.critical import dense_hessian, random_chains, random_critical_point, random_problem

LISTED = [
    ((4, 4, 4, 4), 32), ((5, 4, 3, 2), 28), ((5, 3, 4, 2), 25), ((4, 6, 6, 3), 66), ((4, 1, 3, 5), 14),
]  # fmt: skip


def regression(net, seed=0):
    rng = np.random.default_rng(seed)
    d_0, d_h = net.widths[0], net.widths[-1]
    return Regression(rng.standard_normal((d_0, 3 * d_0)), rng.standard_normal((d_h, 3 * d_0)))


def relative_gradient(weights, loss):
    """The norm of the gradient over that of its factors, without the cancellations between them."""
    sizes = [max(1.0, float(np.linalg.norm(W, 2))) for W in weights]
    return float(gradient_norm(weights, loss)) / (max(1.0, float(np.linalg.norm(loss.target, 2))) * math.prod(sizes))


# --- critical values


@given(st.lists(st.integers(0, 6), min_size=1, max_size=10), st.integers(1, 10), st.integers(2, 4))
def test_critical_values_are_those_of_all_sets_of_modes(halves, bottleneck, depth):
    sigma = np.sort(halves)[::-1] / 2
    net = Network((len(sigma), *[bottleneck] * (depth - 1), len(sigma)))
    found = list(landscape.critical_values(net, Quadratic(np.diag(sigma))))
    positive = [j for j, s in enumerate(sigma) if s > 0]
    expected = {}
    for size in range(min(net.rank, len(positive)) + 1):
        for S in combinations(positive, size):
            multiset = tuple(sigma[list(S)])
            expected.setdefault(multiset, []).append(S)
    multiplicities = {tuple(sigma[list(critical.learned)]): critical.multiplicity for critical in found}
    assert multiplicities == {multiset: len(sets) for multiset, sets in expected.items()}
    assert len(found) == len(expected)
    for critical in found:
        # The leading modes stand for all sets with the same values.
        assert critical.learned == min(expected[tuple(sigma[list(critical.learned)])])
        missing = [s for j, s in enumerate(sigma) if j not in critical.learned]
        assert critical.value == pytest.approx(0.5 * sum(s * s for s in missing), abs=1e-14)
    values = [critical.value for critical in found]
    assert values == sorted(values)


def test_the_first_of_exponentially_many_critical_values_come_at_once():
    rng = np.random.default_rng(0)
    sigma = np.sort(rng.uniform(1, 2, 60))[::-1]
    net = Network((60, 60, 60))
    first = list(islice(landscape.critical_values(net, Quadratic(np.diag(sigma))), 500))
    assert first[0].learned == tuple(range(60))
    assert first[0].value == 0
    values = np.array([critical.value for critical in first])
    assert (np.diff(values) >= 0).all()
    assert len({critical.learned for critical in first}) == 500
    # Near the minimum few modes are missing, and those are small: all sets of the 14 smallest are few enough.
    small = sigma[-14:] ** 2
    brute = np.sort([0.5 * sum(S) for k in range(15) for S in combinations(small, k)])
    # No set with a mode beyond the 14 smallest is below the value of that mode.
    complete = brute < 0.5 * sigma[-15] ** 2
    count = min(500, int(complete.sum()))
    assert count > 10
    assert_allclose(values[:count], brute[:count], rtol=1e-13)


def test_repeated_values_are_one_family_however_many_sets_it_has():
    net = Network((60, 60, 60))
    found = list(landscape.critical_values(net, Quadratic(np.eye(60))))
    assert [critical.multiplicity for critical in found] == [math.comb(60, k) for k in range(61)]
    assert [critical.learned for critical in found] == [tuple(range(60 - k)) for k in range(61)]
    assert_allclose([critical.value for critical in found], np.arange(61) / 2)


def test_ties_between_different_values_come_in_the_same_order():
    net = Network((3, 3, 3))
    # The order of the search, not that of the bases.
    losses = [Quadratic.from_singular_values((5, 4, 3), (3, 3), rng=rng) for rng in (None, None, 0)]
    runs = [list(landscape.critical_values(net, loss)) for loss in losses]
    assert runs[0] == runs[1]
    assert [critical.learned for critical in runs[0] if critical.value == 12.5] == [(0,), (1, 2)]
    assert_allclose([critical.value for critical in runs[2]], [critical.value for critical in runs[0]], atol=1e-13)


def test_critical_values_of_one_layer_and_of_the_zero_target():
    sigma = (3.0, 1.0)
    (only,) = landscape.critical_values(Network((3, 2)), Quadratic.from_singular_values(sigma, (2, 3), rng=0))
    assert only.learned == (0, 1)
    assert only.value < 1e-28
    (only,) = landscape.critical_values(Network((2, 3, 2)), Quadratic(np.zeros((2, 2))))
    assert (only.learned, only.value, only.multiplicity) == ((), 0.0, 1)


def test_critical_values_of_unwhitened_data_are_the_values_of_critical_points():
    net = Network((3, 4, 2))
    loss = regression(net)
    for critical in landscape.critical_values(net, loss):
        weights = landscape.critical_point(net, loss, critical.learned, rng=0)
        assert relative_gradient(weights, loss) < 1e-13
        assert value(weights, loss) == pytest.approx(critical.value, rel=1e-12)


# --- hypotheses


def test_assumptions_name_what_holds():
    def found(widths, sigma):
        loss = Quadratic.from_singular_values(sigma, (widths[-1], widths[0]), rng=0)
        return landscape.assumptions(Network(widths), loss)

    good = found((4, 3, 3), (4.0, 2.0, 1.0))
    assert good == landscape.Assumptions(True, True, True, True, True, True)
    assert not found((3, 4, 3), (3, 2, 1)).size
    deficient = found((3, 3, 3), (3, 2))
    assert (deficient.full_rank, deficient.reached_rank, deficient.unique_product) == (False, False, True)
    tied = found((3, 2, 3), (3, 2, 2))
    assert (tied.distinct_values, tied.distinct_sums, tied.unique_product) == (False, False, False)
    assert found((3, 1, 3), (3, 2, 2)).unique_product
    assert not found((3, 3, 3), (5, 4, 3)).distinct_sums
    assert found((3, 1, 3), (5, 4, 3)).distinct_sums
    zero = landscape.assumptions(Network((2, 2, 2)), Quadratic(np.zeros((2, 2))))
    assert (zero.distinct_sums, zero.unique_product) == (True, True)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8, unique=True), st.integers(1, 8))
def test_distinct_sums_against_all_pairs_of_sets(roots, bottleneck):
    sigma = np.sort(np.array(roots, dtype=float))[::-1]
    net = Network((len(sigma), bottleneck, len(sigma)))
    most = min(bottleneck, len(sigma))
    sums = [sum(int(s) ** 2 for s in S) for k in range(most + 1) for S in combinations(sigma, k)]
    distinct = len(set(sums)) == len(sums)
    for scale in (1e-6, 1.0, 1e8):
        assert landscape.assumptions(net, Quadratic(scale * np.diag(sigma))).distinct_sums is distinct


def test_distinct_sums_of_many_modes_are_decided_by_counting_or_not_at_all():
    def distinct(n, bottleneck, sigma):
        return landscape.assumptions(Network((n, bottleneck, n)), Quadratic(np.diag(sigma))).distinct_sums

    sigma = np.sort(np.random.default_rng(0).uniform(1, 2, 60))[::-1]
    assert distinct(60, 60, sigma) is False  # 2^60 sums within rounding of each other
    assert distinct(60, 2, sigma) is True
    assert distinct(28, 28, sigma[:28]) is None
    assert distinct(28, 28, np.ones(28)) is False


# --- the size of the set of minima


def product_jacobian(net, weights):
    """The derivative of the product by the weights, one column for each weight."""
    columns = []
    for i, shape in enumerate(net.shapes):
        below = product(weights[:i]) if i else np.eye(net.widths[0])
        above = product(weights[i + 1 :]) if i + 1 < net.depth else np.eye(net.widths[-1])
        columns.append(np.einsum("oa,bi->oiab", above, below).reshape(-1, shape[0] * shape[1]))
    return np.hstack(columns)


@pytest.mark.parametrize(("widths", "expected"), LISTED)
def test_dimension_of_the_minima_is_the_nullity_of_the_jacobian_and_of_the_hessian(widths, expected):
    net = Network(widths)
    rank = min(widths[0], widths[-1])
    loss = Quadratic.from_singular_values(np.arange(rank, 0, -1.0), (widths[-1], widths[0]), rng=0)
    weights = landscape.critical_point(net, loss, range(net.rank), rng=0, condition=3.0)
    # Generic points of the fiber have random residual blocks where the widths leave room for them.
    weights = generic_minimum(net, weights, np.random.default_rng(1))
    assert relative_gradient(weights, loss) < 1e-13
    s = np.linalg.svd(product_jacobian(net, weights), compute_uv=False)
    rank_of_jacobian = int((s > 1e-9 * s[0]).sum())
    H = np.abs(np.linalg.eigvalsh(dense_hessian(net, weights, loss)))
    nullity = int((1e-7 * H.max() > H).sum())
    assert landscape.dimension(net, loss) == nullity == net.n_parameters - rank_of_jacobian == expected
    assert landscape.codimension(net, loss) == rank_of_jacobian
    r = net.rank
    assert expected == net.n_parameters - r * (widths[0] + widths[-1] - r)


def generic_minimum(net, weights, rng):
    """A generic point with the same product: random layers, of which one is solved for."""
    for _ in range(50):
        # W_i -> W_i + A with A W_{<i} = 0 or W_{>i} A = 0 leaves the product.
        i = int(rng.integers(net.depth))
        below = product(weights[:i]) if i else np.eye(net.widths[0])
        above = product(weights[i + 1 :]) if i + 1 < net.depth else np.eye(net.widths[-1])
        A = 0.5 * rng.standard_normal(net.shapes[i])
        if rng.random() < 0.5:
            A = A - A @ below @ np.linalg.pinv(below, rcond=1e-10)
        else:
            A = A - np.linalg.pinv(above, rcond=1e-10) @ above @ A
        weights = (*weights[:i], weights[i] + A, *weights[i + 1 :])
    return weights


def strata_dimension(net, k):
    """The dimension of the weights whose product has rank k and is given, by all ranks of all partial products.

    The orbits of the gauges with free ends are the decompositions into chains; the dimension of one is
    sum d_i^2 - dim End, with dim Hom between chains [a, b] and [c, d] equal to 1 if c <= a <= d <= b and else 0.
    """
    h = net.depth
    chains = [(a, b) for a in range(h + 1) for b in range(a, h + 1)]

    def decompositions(room, rest):
        if not rest:
            if not any(room):
                yield {}
            return
        (a, b), *others = rest
        top = min(room[a : b + 1])
        for m in [k] if (a, b) == (0, h) else range(top + 1):
            if m > top:
                continue
            left = [d - m * (a <= i <= b) for i, d in enumerate(room)]
            for found in decompositions(left, others):
                yield {(a, b): m, **found}

    best = -1
    for found in decompositions(list(net.widths), chains[::-1]):
        end = sum(m * n for (a, b), m in found.items() for (c, d), n in found.items() if c <= a <= d <= b)
        best = max(best, sum(d * d for d in net.widths) - end)
    return best - k * (net.widths[0] + net.widths[-1] - k)


@pytest.mark.parametrize(
    ("widths", "sigma"),
    [
        ((2, 2, 2), ()), ((2, 2, 2), (1.0,)), ((3, 2, 3), (1.0,)), ((2, 3, 2), ()), ((2, 2, 2, 2), ()),
        ((3, 2, 2, 3), (2.0,)), ((1, 3, 1), ()), ((2, 1, 3, 2), ()), ((1, 1, 1, 1), ()), ((3, 3, 3), (2.0, 1.0)),
    ],
)  # fmt: skip
def test_dimension_for_targets_of_low_rank_is_that_of_the_largest_orbit(widths, sigma):
    net = Network(widths)
    padded = np.zeros(min(widths[0], widths[-1]))
    padded[: len(sigma)] = sigma
    loss = Quadratic.from_singular_values(padded, (widths[-1], widths[0]))
    assert landscape.dimension(net, loss) == strata_dimension(net, len(sigma))


def test_where_the_formula_of_the_dimension_does_not_hold():
    assert landscape.dimension(Network((2, 2, 2)), Quadratic(np.zeros((2, 2)))) == 5
    assert landscape.dimension(Network((1, 5, 1)), Quadratic([[1.0]])) == 9
    assert landscape.dimension(Network((3, 2)), Quadratic(np.ones((2, 3)))) == 0
    # The learned mode turns in the plane of two equal ones.
    net = Network((2, 1, 2))
    loss = Quadratic(np.eye(2))
    weights = landscape.critical_point(net, loss, (0,))
    H = np.abs(np.linalg.eigvalsh(dense_hessian(net, weights, loss)))
    assert landscape.dimension(net, loss) == int((H < 1e-8).sum())
    assert landscape.dimension(net, loss) == 2


@given(st.lists(st.integers(1, 6), min_size=3, max_size=6))
def test_level_set_bound_is_met_with_the_stated_slack_or_refused(widths):
    widths = sorted(widths, reverse=True)
    net = Network(widths)
    rank = widths[-1]
    loss = Quadratic.from_singular_values(np.arange(rank, 0, -1.0), (rank, widths[0]))
    slack = sum((d - rank) * (below - d) for below, d in pairwise(widths[:-1]))
    assert landscape.assumptions(net, loss).size
    assert landscape.dimension(net, loss) == landscape.level_set_bound(net) + slack
    if widths[0] > widths[-1]:
        with pytest.raises(ValueError, match="do not increase"):
            landscape.level_set_bound(Network(widths[::-1]))


# --- critical points


def test_built_points_are_critical_and_have_learned_what_was_asked():
    rng = np.random.default_rng(0)
    worst = 0.0
    for _ in range(600):
        _, loss, learned, _, weights = random_critical_point(rng)
        worst = max(worst, relative_gradient(weights, loss))
        U, sigma, V = (part[..., list(learned)] for part in loss.modes)
        assert_allclose(product(weights), (U * sigma) @ V.T, atol=1e-12)
    assert worst < 1e-12


def test_points_along_coordinates_have_the_chains_that_were_asked():
    rng = np.random.default_rng(1)
    for _ in range(300):
        net, loss, learned = random_problem(rng, depths=(2, 5), values=(1.0, 1.5, 2.0))
        chains = random_chains(rng, net, loss, learned)
        weights = landscape.critical_point(net, loss, learned, chains)
        counted = invariants.chains(weights)
        expected = np.zeros_like(counted)
        for a, b, *_ in chains:
            expected[a, b] += 1
        expected[0, net.depth] += len(learned)
        for i, width in enumerate(net.widths):
            expected[i, i] = width - (expected[: i + 1, i:].sum() - expected[i, i])
        assert np.array_equal(counted, expected)


def fits(net, modes, chains):
    """Whether some choice of ends for chains from input or to output makes a critical point with nothing learned."""
    h = net.depth
    inputs = [b for a, b in chains if a == 0]
    outputs = [a for a, b in chains if b == h]
    for below in itertools.permutations(range(net.widths[0]), len(inputs)):
        for above in itertools.permutations(range(net.widths[-1]), len(outputs)):
            reach = dict(zip(below, inputs, strict=True))
            origin = dict(zip(above, outputs, strict=True))
            if all(origin.get(mode, h) > reach.get(mode, 0) + 1 for mode in range(modes)):
                return True
    return False


def test_ends_are_found_wherever_there_are_some():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        d_0, d_h, modes = rng.integers(1, 4), rng.integers(1, 4), 0
        net = Network((d_0, *[12] * int(rng.integers(2, 5)), d_h))
        h = net.depth
        modes = int(rng.integers(0, min(d_0, d_h), endpoint=True))
        loss = Quadratic.from_singular_values([2.0] * modes + [0.0] * (min(d_0, d_h) - modes), (d_h, d_0))
        chains = [(0, int(rng.integers(1, h))) for _ in range(rng.integers(0, d_0, endpoint=True))]
        chains += [(int(rng.integers(1, h)), h) for _ in range(rng.integers(0, d_h, endpoint=True))]
        found.append(fits(net, modes, chains))
        if found[-1]:
            assert relative_gradient(landscape.critical_point(net, loss, (), chains), loss) < 1e-14
        else:
            with pytest.raises(ValueError, match="not fit"):
                landscape.critical_point(net, loss, (), chains)
    assert 30 < sum(found) < 270


def test_a_chain_can_be_given_its_mode():
    net = Network((3, 3, 3, 3))
    loss = Quadratic(np.diag([3.0, 2.0, 1.0]))
    W1, *_ = landscape.critical_point(net, loss, (0,), [(0, 1, 2)])
    assert_allclose(W1, [[3 ** (1 / 3), 0, 0], [0, 0, 3 ** (1 / 3)], [0, 0, 0]])
    W1, *_ = landscape.critical_point(net, loss, (0,), [(0, 1)])
    assert W1[1, 1] != 0
    *_, W3 = landscape.critical_point(net, loss, (0,), [(2, 3, 1)])
    assert W3[1, 1] != 0


NET = Network((3, 3, 3, 3))
LOSS = Quadratic(np.diag([3.0, 2.0, 0.0]))


@pytest.mark.parametrize(
    ("learned", "chains", "message"),
    [
        ((2,), (), "mode 2, whose sigma is zero"),
        ((0, 0), (), "twice"),
        ((3,), (), "modes 0 to 2"),
        ((-1,), (), "modes 0 to 2"),
        ((0,), [(0, 3)], r"chain \(0, 3\) .*add to the product"),
        ((0,), [(2, 1)], r"chain \(2, 1\) .*0 <= a < b <= 3"),
        ((0,), [(1, 4)], r"chain \(1, 4\)"),
        ((0,), [(1, 2)] * 3, r"chain \(1, 2\) does not fit: layer 1"),
        ((0,), [(0, 2, 1)], r"chain \(0, 2, 1\) makes the point not critical"),
        ((0,), [(1, 3, 1)], r"chain \(1, 3, 1\) makes the point not critical"),
        ((0,), [(0, 1, 1), (2, 3, 1)], r"chains \(0, 1, 1\) and \(2, 3, 1\) make the point not critical"),
        ((0,), [(0, 1, 1), (0, 1, 1)], r"same end in mode 1"),
        ((0,), [(0, 1, 0)], r"names mode 0"),
        ((0,), [(1, 2, 1)], r"no end at the input or output"),
        ((0,), [(0, 2), (0, 2)], r"chain \(0, 2\) does not fit"),
        ((0,), [(0,)], "pairs"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_refused_by_name(learned, chains, message):
    with pytest.raises(ValueError, match=message):
        landscape.critical_point(NET, LOSS, learned, chains)


def test_further_refusals():
    with pytest.raises(ValueError, match="rank at most r_max = 1"):
        landscape.critical_point(Network((3, 1, 3)), LOSS, (0, 1))
    with pytest.raises(ValueError, match="one layer"):
        landscape.critical_point(Network((3, 3)), LOSS, (0,))
    with pytest.raises(TypeError, match="learned must be a sequence"):
        landscape.critical_point(NET, LOSS, 1)
    with pytest.raises(ValueError, match="2 targets"):
        landscape.critical_values(NET, Quadratic(np.ones((2, 3, 3))))
    with pytest.raises(ValueError, match="shape"):
        landscape.dimension(Network((3, 2)), LOSS)
    with pytest.raises(TypeError, match="net must be a Network"):
        landscape.assumptions((3, 3), LOSS)
    with pytest.raises(ValueError, match="rtol"):
        landscape.assumptions(NET, LOSS, rtol=0.0)
    with pytest.raises(TypeError, match="cannot be whitened"):
        landscape.critical_values(Network((2, 2)), Regression(np.ones((2, 4)), np.ones((2, 4))))


def test_random_gauges_of_a_built_point_stay_in_its_orbit():
    net = Network((3, 4, 4, 3))
    loss = Quadratic(np.diag([3.0, 2.0, 1.0]))
    plain = landscape.critical_point(net, loss, (1,), [(1, 2), (0, 1, 0)])
    turned = landscape.critical_point(net, loss, (1,), [(1, 2), (0, 1, 0)], rng=3)
    assert quotient.same_orbit(plain, turned)
    again = landscape.critical_point(net, loss, (1,), [(1, 2), (0, 1, 0)], rng=3)
    assert all(np.array_equal(a, b) for a, b in zip(turned, again, strict=True))
