"""Arcs, directions and starts at saddles, against dense Hessians, sampled losses and integrated flows."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp

from fastdln import inits
from fastdln.claims.critical import critical_point, critical_points
from fastdln.claims.instances import target, weights
from fastdln.field import gradient_norm, product, rhs, value
from fastdln.gradient_flow import flow
from fastdln.losses import Quadratic, Regression
from fastdln.network import Network
from fastdln.theory import exact, hessian, quotient, saddles

ALPHA = np.linspace(0, 0.1, 21)


def zeros(*widths):
    return tuple(np.zeros(shape) for shape in Network(widths).shapes)


def distance(a, b):
    return np.sqrt(sum(np.square(V - W).sum(axis=(-2, -1)) for V, W in zip(a, b, strict=True)))


def integrate(net, start, loss, t):
    """The trajectory at the times t, by SciPy."""

    def field(_, flat):
        return net.pack(rhs(net.unpack(flat), loss))

    # As Dormand and Prince's method commutes with orthogonal gauges, invariant sets stay so up to rounding.
    solution = solve_ivp(field, (t[0], t[-1]), net.pack(start), "DOP853", t_eval=t, rtol=1e-12, atol=1e-15)
    assert solution.success
    return net.unpack(solution.y.T)


def test_every_one_of_three_thousand_saddles_has_an_arc_of_descent():
    rng = np.random.default_rng(0)
    orders = Counter()
    while sum(orders.values()) < 3000:
        for net, loss, _, point in critical_points(rng, 500):
            minimum = 0.5 * np.square(loss.modes.sigma[net.rank :]).sum()
            if value(point, loss) < minimum + 1e-9:
                with pytest.raises(ValueError, match="global minimum"):
                    saddles.escape_arc(point, loss)
                continue
            arc = saddles.escape_arc(point, loss)
            orders[arc.pivots, arc.order] += 1
            assert (np.diff(arc.change_at(ALPHA)) < 0).all()
            assert (np.diff(arc.loss_at(ALPHA)) <= 0).all()
            assert arc.loss_at(0.1) < arc.loss_at(0.05) < arc.value
            largest = np.abs(arc.coefficients).max()
            assert np.abs(arc.coefficients[: arc.order]).max() <= 1e-8 * largest
            assert arc.coefficients[arc.order] < 0
            assert arc.kind == ("strict_saddle" if arc.pivots == 2 else "nonstrict_saddle")
            assert arc.order == arc.pivots or (arc.pivots, arc.order) == (3, 4)
            for W, expected in zip(arc.weights_at(0.0), point, strict=True):
                assert np.array_equal(W, expected)
            assert_allclose(value(arc.weights_at(ALPHA), loss), arc.loss_at(ALPHA), rtol=1e-13, atol=1e-13)
    assert {pivots for pivots, _ in orders} == {2, 3, 4, 5}
    assert orders[3, 4] > 0


def test_pivots_tell_strict_saddles():
    rng = np.random.default_rng(1)
    for net, loss, _, point in critical_points(rng, 300):
        if value(point, loss) > 0.5 * np.square(loss.modes.sigma[net.rank :]).sum() + 1e-9:
            least = np.linalg.eigvalsh(hessian.matrix(point, loss))[0]
            arc = saddles.escape_arc(point, loss)
            assert (arc.pivots == 2) == (least < -1e-6)
            if arc.pivots == 2:
                assert_allclose(arc.coefficients[2], least / 2, atol=1e-10)


def test_arcs_have_unit_length():
    rng = np.random.default_rng(2)
    for net, loss, _, point in critical_points(rng, 200, degenerate=False):
        if value(point, loss) > 0.5 * np.square(loss.modes.sigma[net.rank :]).sum() + 1e-9:
            arc = saddles.escape_arc(point, loss)
            assert 0 < arc.step <= 1
            length = distance(arc.weights_at(ALPHA[1:]), point) / (arc.step * ALPHA[1:])
            if set(arc.powers) == {1}:
                assert_allclose(length, 1, rtol=1e-11)
            else:
                assert ((length >= 1) & (length <= 1.01)).all()


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1.0, 1e3])
def test_steps_are_shortened_only_where_the_descent_would_end(scale):
    loss = Quadratic(scale * np.diag([2.0, 1.0]))
    for depth in (2, 3, 4):
        arc = saddles.escape_arc(zeros(*(2,) * (depth + 1)), loss)
        assert (np.diff(arc.change_at(ALPHA)) < 0).all()
        assert_allclose(value(arc.weights_at(ALPHA), loss), arc.loss_at(ALPHA), rtol=1e-12)
        # Along the leading mode each layer moves by alpha / sqrt(h), until the mode is learned.
        end = np.sqrt(depth) * (2 * scale) ** (1 / depth)
        assert arc.step == 1 if end > 0.1 else arc.step == pytest.approx(0.9 * end / 0.1)


def test_arc_of_an_order_above_its_pivots():
    # The best descent on a sphere of radius eps is -eps^4 / 8, by a search over directions: no arc does better.
    point = (np.array([[0.0, 1.0]]), np.zeros((1, 1)), np.array([[0.0], [1.0]]))
    arc = saddles.escape_arc(point, Quadratic(np.diag([1.0, 0.0])))
    assert (arc.pivots, arc.order, arc.kind) == (3, 4, "nonstrict_saddle")
    assert sorted(arc.powers) == [1, 1, 2]
    assert_allclose(arc.coefficients[4], -0.125, rtol=1e-12)


def test_learned_mode_is_exchanged_for_a_larger_one_where_no_chain_is_open():
    loss = Quadratic(np.diag([2.0, 1.0]))
    point = (np.array([[0.0, 1.0]]), np.array([[0.0], [1.0]]))
    arc = saddles.escape_arc(point, loss)
    assert (arc.pivots, arc.order, arc.kind) == (2, 2, "strict_saddle")
    # s^(h-2) (sigma_k - sigma_q) with k = 1, q = 0
    assert_allclose(2 * arc.coefficients[2], 1.0 - 2.0, rtol=1e-12)


@pytest.mark.parametrize("depth", [3, 4, 5, 6])
def test_arcs_of_the_origin_raise_one_mode_each(depth):
    sigma = np.array([3.0, 2.0, 1.0])
    loss = Quadratic.from_singular_values(sigma, (4, 3), rng=0)
    arcs = saddles.escape_arcs(zeros(3, *(5,) * (depth - 1), 4), loss)
    for arc, s in zip(arcs, sigma, strict=True):
        assert (arc.order, arc.pivots) == (depth, depth)
        # L = (sigma - s)^2 / 2 with the strength s = (alpha / sqrt(h))^h
        strength = (ALPHA / np.sqrt(depth)) ** depth
        assert_allclose(arc.change_at(ALPHA), strength**2 / 2 - s * strength, rtol=1e-9, atol=1e-16)


def test_arcs_of_a_regression_are_measured_in_its_own_weights():
    rng = np.random.default_rng(3)
    net = Network((3, 4, 3, 2))
    loss = Regression(rng.standard_normal((3, 20)), rng.standard_normal((2, 20)))
    for learned in ((), (0,), (1,)):
        first, *others = critical_point(rng, net, Quadratic(loss.quadratic.whitened), learned)
        point = (first @ np.linalg.inv(loss.quadratic.input_root), *others)
        arc = saddles.escape_arc(point, loss)
        assert_allclose(value(arc.weights_at(ALPHA), loss), arc.loss_at(ALPHA), rtol=1e-12)
        assert (np.diff(arc.change_at(ALPHA)) < 0).all()
        if set(arc.powers) == {1}:
            assert_allclose(distance(arc.weights_at(0.01), point), 0.01 * arc.step, rtol=1e-10)


def test_arcs_of_wide_networks_follow_the_most_negative_direction_too():
    net = Network((40, 30, 40))  # too many parameters for the whole Hessian
    rng = np.random.default_rng(4)
    loss = target(rng, net)
    point = critical_point(rng, net, loss, (0, 3), chains=False, condition=1.0)
    arc = saddles.escape_arc(point, loss)
    # s_k^(h-2) (sigma_k - sigma_q) for the exchange of mode 3 for mode 1, and -sigma_1 for learning it
    assert_allclose(2 * arc.coefficients[2], -loss.modes.sigma[1], rtol=1e-8)


def test_points_without_an_arc_are_refused_with_the_reason():
    loss = Quadratic(np.diag([2.0, 1.0]))
    with pytest.raises(ValueError, match="weights is none"):
        saddles.escape_arc(weights(np.random.default_rng(0), Network((2, 3, 2))), loss)
    with pytest.raises(ValueError, match="global minimum"):
        saddles.escape_arc((np.eye(2), np.diag([2.0, 1.0])), loss)
    with pytest.raises(ValueError, match="global minimum"):
        saddles.escape_arc((np.diag([2.0, 1.0]),), loss)
    with pytest.raises(ValueError, match="global minimum"):
        saddles.escape_arc(zeros(2, 2, 2), Quadratic(np.zeros((2, 2))))
    with pytest.raises(ValueError, match="batch axes"):
        saddles.escape_arc(tuple(np.zeros((3, 2, 2)) for _ in range(2)), loss)
    with pytest.raises(TypeError, match="cannot be whitened"):
        saddles.escape_arc(zeros(2, 1, 1), Regression(np.ones((2, 3)), np.ones((1, 3))))
    # Critical within the tolerance, but the gradient is not negligible along the arc.
    with pytest.raises(ValueError, match="only within the tolerance"):
        saddles.escape_arc(inits.gaussian(Network((2,) * 7), scale=0.01, rng=0), loss)


def test_eigenvectors_of_both_signs_and_the_tangents_of_arcs():
    rng = np.random.default_rng(5)
    for net, loss, _, point in critical_points(rng, 60, degenerate=False):
        H = hessian.matrix(point, loss)
        nonstrict = value(point, loss) > 0.5 * np.square(loss.modes.sigma[net.rank :]).sum() + 1e-9 and (
            np.linalg.eigvalsh(H)[0] > -1e-6
        )
        for sign, found in (
            (-1, saddles.unstable_directions(point, loss)),
            (1, saddles.stable_directions(point, loss)),
        ):
            V = net.pack(found.vectors)
            curved = found.orders == 2
            assert curved.sum() == (sign * np.linalg.eigvalsh(H) > 1e-6).sum()
            assert_allclose(V @ H, found.curvatures[:, None] * V, atol=1e-8)
            assert_allclose(V[curved] @ V[curved].T, np.eye(curved.sum()), atol=1e-10)
            assert_allclose(np.square(V).sum(axis=1), 1, rtol=1e-10)
            assert (sign * found.curvatures[curved] > 0).all()
            assert (np.diff(np.abs(found.curvatures)) <= 1e-12).all()
            assert (found.orders > 2).any() == nonstrict


@pytest.mark.parametrize("depth", [3, 4])
def test_the_loss_rises_along_stable_arcs_and_falls_along_unstable_ones(depth):
    loss = Quadratic(np.diag([2.0, 1.0]))
    origin = zeros(*(2,) * (depth + 1))
    for directions, sign in ((saddles.unstable_directions, -1), (saddles.stable_directions, 1)):
        found = directions(origin, loss)
        assert found.orders.tolist() == [depth, depth]
        moved = tuple(0.01 * V for V in found.vectors)
        assert (sign * (value(moved, loss) - value(origin, loss)) > 0).all()


@pytest.mark.parametrize("depth", [2, 3])
def test_starts_lie_below_the_saddle_at_their_distance_and_the_flow_takes_them_away(depth):
    net = Network((3, *(4,) * (depth - 1), 2))
    rng = np.random.default_rng(6)
    loss = target(rng, net)
    for learned in ((), (0,), (1,)):
        point = critical_point(rng, net, loss, learned)
        drawn = saddles.starts(point, loss, 1e-2, size=5, rng=0)
        assert_allclose(distance(drawn, point), 1e-2, rtol=1e-12)
        assert (value(drawn, loss) < value(point, loss)).all()
        end = flow(drawn, loss, (0.0, 1000.0)).final
        assert (value(end, loss) < 0.9 * value(point, loss)).all()
        for W, expected in zip(saddles.starts(point, loss, 1e-2, size=2, rng=0), drawn, strict=True):
            assert np.array_equal(W, expected[:2])


def test_starts_keep_their_distance_where_a_layer_moves_more_slowly():
    point = (np.array([[0.0, 1.0]]), np.zeros((1, 1)), np.array([[0.0], [1.0]]))
    drawn = saddles.starts(point, Quadratic(np.diag([1.0, 0.0])), 0.5, rng=0)
    assert_allclose(distance(drawn, point), 0.5, rtol=1e-12)


def test_starts_that_do_not_exist_are_refused():
    loss = Quadratic(np.diag([2.0, 1.0]))
    origin = zeros(2, 2, 2)
    with pytest.raises(ValueError, match="epsilon must be positive"):
        saddles.starts(origin, loss, 0.0)
    with pytest.raises(ValueError, match=r"epsilon = 50\.0 is too large"):
        saddles.starts(origin, loss, 50.0, rng=0)
    with pytest.raises(ValueError, match="size must be at least 1"):
        saddles.starts(origin, loss, 0.1, size=0)
    with pytest.raises(ValueError, match="side must be"):
        saddles.invariant_starts(origin, loss, 0.1, "upper")
    with pytest.raises(ValueError, match="global minimum"):
        saddles.invariant_starts((np.eye(2), np.diag([2.0, 1.0])), loss, 0.1, "stable")
    with pytest.raises(ValueError, match="must be balanced"):
        saddles.invariant_starts((np.diag([1.0, 0.0]), np.diag([2.0, 0.0])), loss, 0.1, "stable")
    balanced = (np.diag([0.0, 1.0]), np.zeros((2, 2)), np.zeros((2, 2)), np.diag([0.0, 1.0]))
    rank_one = Quadratic(np.diag([2.0, 0.0]))
    with pytest.raises(ValueError, match="must be balanced"):
        saddles.invariant_starts(balanced, rank_one, 0.1, "stable")
    whole = Regression(np.eye(2), np.eye(2))
    with pytest.raises(TypeError, match="whitened inputs"):
        saddles.invariant_starts(origin, whole, 0.1, "stable")


@pytest.mark.parametrize("learned", [(), (0,), (1, 2)])
@pytest.mark.parametrize("widths", [(4, 4, 4), (3, 4, 3, 5), (4, 5, 2, 3, 4)])
def test_symmetric_strengths_stay_symmetric_and_leave_the_saddle_or_reach_it(widths, learned):
    net = Network(widths)
    rng = np.random.default_rng(7)
    loss = target(rng, net)
    learned = learned[: net.rank - 1]
    modes = loss.modes
    saddle = quotient.canonical(critical_point(rng, net, loss, learned, chains=False), loss)[0]
    unlearned = [j for j in range(len(modes.sigma)) if j not in learned]
    t = np.linspace(0, 1, 5)
    for side, sign in (("unstable", 1), ("stable", -1)):
        start = saddles.invariant_starts(saddle, loss, 0.3, side, rng=1)
        assert_allclose(distance(start, saddle), 0.3, rtol=1e-12)
        path, back = integrate(net, start, loss, t), integrate(net, start, loss, -0.1 * t)
        away = [distance(path, saddle), distance(back, saddle)]
        S = np.swapaxes(modes.U, -1, -2) @ product(path) @ modes.V
        block = S[:, unlearned][:, :, unlearned]
        assert_allclose(block, np.swapaxes(block, -1, -2), atol=1e-14)
        assert (sign * np.linalg.eigvalsh(block) > -1e-14).all()
        # Between learned and unlearned modes rounding grows by the exchange of a learned mode for a larger one.
        assert_allclose(S[:, learned][:, :, unlearned], 0, atol=1e-10)
        if side == "unstable":
            assert (np.diff(away[0]) > 0).all()
            assert (np.diff(away[1]) < 0).all()
        else:
            assert (np.diff(away[0]) < 0).all()
            assert (np.diff(away[1]) > 0).all()


def asymmetry(matrices):
    return np.abs(matrices - np.swapaxes(matrices, -1, -2)).max()


def test_the_computed_flow_keeps_the_invariant_set_to_rounding():
    loss = Quadratic(np.diag([3.0, 2.0, 1.0]))
    start = saddles.invariant_starts(zeros(3, 3, 3, 3), loss, 0.1, "unstable", size=64, rng=0)
    # The fastest rate is 3 * 3^(4/3) = 13 at the minimum: a step of 0.05 lies well inside the domain of stability, so
    # that rounding is damped as the flow damps it, and what the last steps left, some eps of 3, is all there is.
    path = flow(start, loss, (0.0, 20.0), np.linspace(0, 20, 101), step=0.05, record=("weights",)).weights
    assert asymmetry(product(path)) < 1e-14
    assert np.linalg.eigvalsh(product(path)).min() > -1e-14


def test_adaptive_steps_keep_the_invariant_set_to_their_tolerance():
    # Steps that stability limits amplify, now and then, what is too small for the error control to see.
    loss = Quadratic(np.diag([3.0, 2.0, 1.0]))
    start = saddles.invariant_starts(zeros(3, 3, 3, 3), loss, 0.1, "unstable", size=8, rng=0)
    W = product(flow(start, loss, (0.0, 20.0), rtol=1e-6).final)
    assert asymmetry(W) < 1e-6
    assert np.linalg.eigvalsh(W).min() > -1e-6


def test_backwards_the_unstable_set_may_blow_up_far_from_the_saddle():
    # ds/dt = s^2 (1 - s^3) from s = 1.3 backwards comes from infinity at t = 0.12, although small s shrink.
    loss = Quadratic([[1.0]])
    blown = flow(tuple(np.full((1, 1), 1.3) for _ in range(3)), loss, (0.0, -0.2), max_steps=2000)
    assert not blown.success
    assert float(blown.t_final) == pytest.approx(-0.12, abs=0.005)
    small = flow(tuple(np.full((1, 1), 0.3) for _ in range(3)), loss, (0.0, -50.0))
    assert np.abs(small.final[0]).max() < 0.03


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_modes_escape_one_after_the_other_at_their_times(depth):
    sigma, s0 = np.array([3.0, 1.5, 0.5]), 0.02 if depth > 2 else 1e-4
    net = Network((3,) * (depth + 1))
    loss = Quadratic.from_singular_values(sigma, (3, 3), rng=0)
    start = inits.decoupled(net, loss, s0)
    half = (sigma / 2) ** (1 / depth)
    times = exact.mode_time(half, s0, sigma, depth)
    sol = flow(start, loss, (0.0, 1.2 * times[-1]), rtol=1e-9, record=("learning_times",), max_steps=10**6)
    assert_allclose(sol.learning_times, times, rtol=1e-6)
    assert (np.diff(times) > 0).all()
    leading = np.log(1 / s0) / sigma if depth == 2 else s0 ** (2 - depth) / ((depth - 2) * sigma)
    assert_allclose(times, leading, rtol=0.12)


def values_of_leading_sets(loss, rank):
    sigma = loss.modes.sigma
    return [0.5 * np.square(sigma[k:]).sum() for k in range(rank + 1)]


@pytest.mark.parametrize("widths", [(3, 3, 3), (3, 4, 2), (3, 3, 3, 3), (4, 5, 2, 3), (2, 2, 2, 2, 2)])
def test_paths_from_the_origin_learn_the_modes_in_order(widths):
    net = Network(widths)
    loss = target(np.random.default_rng(8), net)
    path = saddles.follow(zeros(*widths), loss)
    assert path.status == "minimum"
    assert path.learned == tuple(tuple(range(k)) for k in range(net.rank + 1))
    assert_allclose(path.values, values_of_leading_sets(loss, net.rank), atol=1e-10)
    assert path.kinds[-1] == "global_minimum"
    assert set(path.kinds[:-1]) == {"strict_saddle" if net.depth == 2 else "nonstrict_saddle"}
    assert len(path.times) == len(path.points) == net.rank + 1
    for point in path.points:
        assert gradient_norm(point, loss) < 1e-10


@pytest.mark.parametrize(("depth", "scale"), [(2, 1e-6), (3, 1e-2)])
def test_paths_from_the_neighbourhood_of_the_origin_learn_the_modes_in_order(depth, scale):
    net = Network((3,) * (depth + 1))
    loss = Quadratic.from_singular_values((6.0, 2.0, 0.6), (3, 3), rng=0)
    path = saddles.follow(inits.decoupled(net, loss, scale, rng=0), loss)
    assert path.status == "minimum"
    assert path.learned == ((0,), (0, 1), (0, 1, 2))
    assert_allclose(path.values, values_of_leading_sets(loss, 3)[1:], atol=1e-10)


def test_paths_from_other_saddles_reach_a_minimum():
    rng = np.random.default_rng(9)
    for net, loss, _, point in critical_points(rng, 25, depths=(2, 4), degenerate=False):
        path = saddles.follow(point, loss)
        assert path.status == "minimum", path.message
        assert (np.diff(path.values) < 0).all()
        assert_allclose(path.values[-1], 0.5 * np.square(loss.modes.sigma[net.rank :]).sum(), atol=1e-10)


def test_paths_that_end_early_say_so():
    loss = Quadratic(np.diag([2.0, 1.0]))
    cut = saddles.follow(zeros(2, 2, 2), loss, max_legs=1)
    assert (cut.status, len(cut.points)) == ("max_legs", 2)
    assert "raise max_legs" in cut.message
    slow = saddles.follow(zeros(2, 2, 2, 2), loss, t_max=0.1)
    assert slow.status == "lost"
    assert "raise t_max" in slow.message
    there = saddles.follow((np.eye(2), np.diag([2.0, 1.0])), loss)
    assert (there.status, there.kinds) == ("minimum", ("global_minimum",))


def test_options_of_a_path_that_are_out_of_range_are_refused():
    loss = Quadratic(np.diag([2.0, 1.0]))
    origin = zeros(2, 2, 2)
    for options, message in (
        ({"max_legs": 0}, "max_legs"), ({"alpha": 0.5}, "alpha"), ({"t_max": np.inf}, "t_max"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            saddles.follow(origin, loss, **options)
    with pytest.raises(ValueError, match="target is zero"):
        saddles.follow(origin, Quadratic(np.zeros((2, 2))))
    with pytest.raises(ValueError, match="batch axes"):
        saddles.follow(tuple(np.zeros((3, 2, 2)) for _ in range(2)), loss)
