"""Approximate reduction: Krylov subspaces, the defect, and flows that are checked and enlarged on the way."""

from __future__ import annotations

import logging
import re
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp

import fastdln as dln
from fastdln import resources
from fastdln.engines.base import Options, Results
from fastdln.engines.reduced import krylov as engine
from fastdln.engines.reduced.krylov import trajectory
from fastdln.engines.reduced.krylov.levels import more
from fastdln.engines.reduced.krylov.pair import Checkpoint, Pair
from fastdln.integrate.tableaus import DOP853
from fastdln.theory.reduction import defect, reduce
from fastdln.theory.reduction.krylov import Krylov, widths_by_level
from fastdln.theory.reduction.products import images
from tests.engines.test_invariance import contents, part
from tests.engines.test_reduced_flow import assert_alike
from tests.support.observables import ALL, STEADY
from tests.support.problems import posed

TIMES = np.array([0.0, 0.1, 0.5, 3.0])
EXACT = {"method": "dop853", "rtol": 1e-12, "engine": "dense"}
NETWORKS = [(2, 40, 40, 3), (3, 30, 50, 2), (2, 30, 30, 30, 2), (1, 25, 30, 35, 30, 2)]
networks = pytest.mark.parametrize("widths", NETWORKS, ids=str)


def gaussian(widths, scale=0.7, n=None, rng=1):
    return dln.inits.gaussian(dln.Network(widths), scale, size=n, rng=rng)


def quadratic(widths, largest=3.0):
    d_0, d_h = widths[0], widths[-1]
    return dln.Quadratic.from_singular_values(np.linspace(largest, 1.0, min(d_0, d_h)), shape=(d_h, d_0), rng=0)


def grown(weights, level):
    subspaces = Krylov(weights)
    subspaces.grow(level)
    return subspaces


# ---- subspaces


@networks
def test_bases_are_those_of_the_sweeps(widths):
    """Orthonormal, of the dimensions that the widths tell, and spanning  B_i + W_i B_{i-1} + W_{i+1}' B_{i+1}."""
    W = gaussian(widths)
    h = len(W)
    spaces = [np.eye(d) if i in (0, h) else np.zeros((0, d)) for i, d in enumerate(widths)]
    for level, dimensions in zip(range(5), widths_by_level(dln.Network(widths)), strict=False):
        subspaces = grown(W, level)
        assert subspaces.widths == dimensions
        for B, expected in zip(subspaces.bases, spaces, strict=True):
            assert_allclose(B @ B.T, np.eye(len(B)), atol=1e-13)
            assert np.linalg.matrix_rank(expected) == len(B)
            assert_allclose(expected - (expected @ B.T) @ B, 0, atol=1e-9 * max(1.0, np.abs(expected).max(initial=0)))
        spaces = [
            np.concatenate([
                space, *([spaces[i - 1] @ W[i - 1].T] if i > 0 else []), *([spaces[i + 1] @ W[i]] if i < h else [])
            ])
            for i, space in enumerate(spaces)
        ]  # fmt: skip
        spaces = [np.linalg.svd(x, full_matrices=False) for x in spaces]
        spaces = [Vt[s > 1e-9 * s.max(initial=1e-30)] for _, s, Vt in spaces]


@networks
def test_layers_lead_from_a_level_to_its_neighbours(widths):
    W = gaussian(widths)
    subspaces = grown(W, 50)
    assert subspaces.closed
    for i, V in enumerate(subspaces.narrow()):
        far = abs(np.subtract.outer(subspaces.levels[i + 1], subspaces.levels[i])) > 1
        assert_allclose(V[far], 0, atol=1e-12)
        assert_allclose(V, subspaces.bases[i + 1] @ W[i] @ subspaces.bases[i].T, atol=1e-12)


def test_growing_in_steps_is_growing_at_once():
    W = gaussian((2, 40, 40, 3))
    steps = grown(W, 2)
    steps.grow(5)
    for a, b in zip((*steps.bases, *steps.narrow()), (*grown(W, 5).bases, *grown(W, 5).narrow()), strict=True):
        assert np.array_equal(a, b)


def test_closed_subspaces_are_the_exact_reduction():
    rng = np.random.default_rng(0)
    loss = quadratic((3, 60, 60, 2))
    W = list(gaussian((3, 60, 60, 2)))
    for W_2, dropped in ((np.linalg.qr(rng.standard_normal((60, 60)))[0], True), (np.zeros((60, 60)), True)):
        W[1] = W_2
        subspaces = grown(tuple(W), 20)
        assert subspaces.closed
        assert subspaces.dropped is dropped
        assert subspaces.widths == reduce(tuple(W), loss).widths
    assert grown(gaussian((2, 9, 9, 2)), 20).closed
    assert not grown(gaussian((2, 9, 9, 2)), 20).dropped


@networks
def test_lifting_is_what_it_says(widths):
    W = gaussian(widths)
    subspaces = grown(W, 3)
    rng = np.random.default_rng(2)
    start = subspaces.narrow()
    weights = tuple(V + rng.standard_normal(V.shape) for V in start)
    for shrink in (1.0, 0.3):
        out = tuple(np.full_like(x, np.nan) for x in W)
        subspaces.lift(weights, start, shrink, out)
        for i, found in enumerate(out):
            moved = subspaces.bases[i + 1].T @ (weights[i] - shrink * start[i]) @ subspaces.bases[i]
            assert_allclose(found, shrink * W[i] + moved, atol=1e-12)


def test_norms_are_seldom_exceeded():
    """Of gaussian layers, and of such that the subspaces hardly reach."""
    for W in (gaussian((2, 60, 70, 60, 3)), hidden(1e-10, 0.01)[0]):
        subspaces = grown(W, 5)
        for i in range(1, len(W) - 1):
            largest = np.linalg.norm(W[i], 2)
            assert largest < subspaces.norms[i] < 1.3 * largest


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_products_with_a_layer(dtype):
    rng = np.random.default_rng(0)
    for m, n, a, b in ((37, 21, 3, 2), (700, 35, 0, 6), (1, 9, 1, 0)):
        W, F, G = (rng.standard_normal(shape).astype(dtype) for shape in ((m, n), (a, n), (b, m)))
        backwards = lambda tasks: [task() for task in list(tasks)[::-1]]  # noqa: E731
        for found in (images(W, F, G), images(W, F, G, backwards)):
            assert_allclose(found[0], F @ W.T, atol=1e-3 if dtype == np.float32 else 1e-11)
            assert_allclose(found[1], G @ W, atol=1e-3 if dtype == np.float32 else 1e-11)
            assert [x.tobytes() for x in found] == [x.tobytes() for x in images(W, F, G)]


# ---- the defect


@networks
@pytest.mark.parametrize("rates", [None, "some"])
def test_the_defect_is_that_of_the_wide_network(widths, rates):
    """Measured in narrow networks it is what the lifted weights lack in the flow of the wide one."""
    W, loss = gaussian(widths), quadratic(widths)
    h = len(W)
    rates = None if rates is None else tuple(np.linspace(0.5, 2.0, h))
    level = max(2, h - 1)
    subspaces = grown(W, level + defect.needed(h))
    start, inside = subspaces.narrow(), defect.within(subspaces.levels, level)
    rng = np.random.default_rng(3)
    state = tuple(V + 0.3 * mask * rng.standard_normal(V.shape) for V, mask in zip(start, inside, strict=True))
    wide = tuple(np.empty_like(x) for x in W)
    subspaces.lift(state, start, 1.0, wide)
    velocity = dln.rhs(wide, loss, layer_rates=rates)
    own = dln.rhs(tuple(V * mask for V, mask in zip(state, inside, strict=True)), loss, layer_rates=rates)
    lacking = [
        dW - above.T @ (dV * mask) @ below
        for dW, dV, mask, below, above in zip(velocity, own, inside, subspaces.bases, subspaces.bases[1:], strict=False)
    ]
    expected = np.sqrt(sum(np.square(x).sum() for x in lacking))
    assert expected > 1e-3
    assert_allclose(defect.defect(state, inside, loss, rates), expected, rtol=1e-10)


@pytest.mark.parametrize("widths", [(2, 12, 12, 2), (1, 9, 9, 9, 1)], ids=str)
def test_growth_bounds_the_curvature_where_nothing_moves(widths):
    """No direction outside of the subspaces has a second derivative below minus the bound, but for the coupling."""
    loss, rng = quadratic(widths), np.random.default_rng(0)
    for scale in (0.1, 0.7, 2.0):
        W = list(gaussian(widths, scale))
        k = 4  # nodes that move; the others are not coupled to them
        for i in range(1, len(W) - 1):
            W[i][k:, :k] = W[i][:k, k:] = 0.0
        W[0][k:] = W[-1][:, k:] = 0.0
        W[0][:k] += rng.standard_normal(W[0][:k].shape)
        norms = [np.linalg.norm(V[k:, k:], 2) if 0 < i < len(W) - 1 else 0.0 for i, V in enumerate(W)]
        small = tuple(V[: k if i < len(W) - 1 else None, : k if i > 0 else None] for i, V in enumerate(W))
        outside = []
        for i, V in enumerate(W):
            mask = np.ones(V.shape, bool)
            mask[: k if i < len(W) - 1 else None, : k if i > 0 else None] = False
            outside.append(mask.ravel())
        H = dln.theory.hessian.matrix(tuple(W), loss)
        among = np.flatnonzero(np.concatenate(outside))
        steepest = -np.linalg.eigvalsh(H[np.ix_(among, among)])[0]
        bound = defect.growth(small, norms, loss, None)
        assert steepest > 0.05 * bound
        assert steepest <= bound * (1 + 1e-10)


def test_bound_follows_its_equation():
    times = np.linspace(0.0, 2.0, 400)
    rates, defects = 1 + np.sin(times), np.exp(-times)
    found = defect.accumulate(0.1, times, defects, rates)
    expected = solve_ivp(lambda t, e: (1 + np.sin(t)) * e + np.exp(-t), (0, 2), [0.1], rtol=1e-10, atol=1e-12).y[0, -1]
    assert found == pytest.approx(expected, rel=1e-4)
    assert defect.accumulate(0.1, times[:2], np.zeros(2), np.zeros(2)) == 0.1
    assert defect.accumulate(1.0, np.array([0.0, 1e6]), np.ones(2), np.ones(2)) == np.inf


def test_levels_are_foreseen():
    assert more(5, 100.0, 0.1) == 8
    assert more(5, 1.1, 1e-9) == 6
    assert more(5, np.inf, 0.1) == more(5, np.nan, 0.1) == 7
    W = gaussian((2, 300, 300, 2))
    subspaces = grown(W, 6)
    changes = tuple(
        0.1 ** np.maximum.outer(above, below)
        for below, above in zip(subspaces.levels, subspaces.levels[1:], strict=False)
    )
    assert defect.decay(changes, subspaces.levels) == pytest.approx(0.1, rel=0.3)


# ---- the estimate


@pytest.mark.parametrize("scale", [0.1, 0.7])
@pytest.mark.parametrize("widths", [(2, 90, 90, 3), (1, 80, 80, 80, 1)], ids=str)
def test_the_estimate_is_not_too_small(widths, scale):
    """At every level the error of what is kept is below it, and that of the rough network is hardly above."""
    W, loss = gaussian(widths, scale), quadratic(widths)
    net, end, rtol, atol = dln.Network(widths), 4.0 if scale == 0.1 else 0.5, 1e-10, 1e-12
    exact = dln.flow(W, loss, (0.0, end), **EXACT)
    problem = posed(
        net, loss, net.pack(W)[None], Options(DOP853, rtol, 10**4, ("loss",)), atol=np.full(1, atol), duration=end,
        times=np.linspace(0, end, 5), raw=("square_distance",),
    )  # fmt: skip
    none = Results(problem, slice(0, 1))
    first, errors = engine.first_level(net.depth), []
    for level in range(first, first + 3):
        subspaces = grown(W, level)
        pair = Pair(problem, subspaces)
        begin = Checkpoint(0.0, pair.start, pair.start, 0.0, 0.0, 0, none.learned[0], none.counts[0])
        at = pair.leg(begin, 10**4).end
        assert at.elapsed == end

        def error(narrow, at=at, subspaces=subspaces, pair=pair):
            out = tuple(np.empty_like(x) for x in W)
            subspaces.lift(narrow, pair.start, 1.0, out)
            allowed = [V.size**0.5 * atol + rtol * np.linalg.norm(V) for V in at.fine]
            return max(np.linalg.norm(a - b) / x for a, b, x in zip(out, exact.final, allowed, strict=True))

        assert error(at.fine) <= at.error
        assert error(at.rough) <= 1.1 * at.error
        errors.append(at.error)
    assert errors[0] > errors[1] > errors[2]
    assert errors[0] > 10 * errors[2]


# ---- flows


CASES = {
    "lazy": ((2, 90, 90, 3), 0.7, 2.0, {}),
    "rich": ((2, 90, 90, 2), 0.1, 25.0, {}),
    "unequal": ((3, 120, 80, 2), 0.5, 3.0, {}),
    "deep": ((1, 120, 120, 120, 1), 0.7, 2.0, {"rtol": 1e-4}),
    "decay": ((2, 90, 90, 2), 0.7, 2.0, {"weight_decay": 0.2, "layer_rates": (0.5, 1.0, 2.0)}),
    "backwards": ((2, 90, 90, 2), 0.3, -0.1, {"weight_decay": 0.2}),
    "regression": ((3, 90, 90, 2), 0.7, 2.0, {}),
    "targets": ((2, 90, 90, 2), 0.7, 2.0, {}),
}


def case(name):
    widths, scale, end, options = CASES[name]
    W, rng = gaussian(widths, scale, n=2), np.random.default_rng(0)
    if name == "regression":
        loss = dln.Regression(rng.standard_normal((3, 20)), rng.standard_normal((2, 20)))
    elif name == "targets":
        loss = dln.Quadratic(rng.standard_normal((2, 2, 2)))
    else:
        loss = quadratic(widths)
    return W, loss, end, options


@pytest.mark.parametrize("name", CASES)
def test_flows_are_those_of_the_wide_network(name):
    W, loss, end, options = case(name)
    times = np.array([0.0, 0.1, 1.0]) * end
    options = {"record": ALL, "method": "dop853", "rtol": 1e-9} | options
    sol = dln.flow(W, loss, (0.0, end), times, engine="reduced", **options)
    narrow = np.array(sol.integrated_widths)
    assert (narrow[:, 1:-1] < np.array(sol.network.widths[1:-1]) / 2).all()
    assert (narrow[:, [0, -1]] == np.array(sol.network.widths)[[0, -1]]).all()
    direct = dln.flow(W, loss, (0.0, end), times, **(options | EXACT))
    assert_alike(sol, direct, atol=300 * options["rtol"])
    assert np.isfinite(sol.learning_times).any() or end < 0
    assert all(np.array_equal(a[:, 0], b) for a, b in zip(sol.weights, W, strict=True))


def test_learning_times_of_small_starts():
    """Small first and last layers leave a saddle whose growth rates are those of the hidden layer."""
    W = list(gaussian((2, 200, 200, 2), 0.5))
    W[0], W[2] = 1e-3 * W[0], 1e-3 * W[2]
    loss = quadratic((2, 200, 200, 2))
    sol = dln.flow(W, loss, (0.0, 10.0), record="learning_times", rtol=1e-6, engine="reduced")
    exact = dln.flow(W, loss, (0.0, 10.0), record="learning_times", **(EXACT | {"rtol": 1e-10}))
    assert np.isfinite(exact.learning_times).all()
    assert sol.integrated_widths[1] < 100
    assert_allclose(sol.learning_times, exact.learning_times, rtol=1e-6)


@pytest.mark.parametrize("method", ["auto", "bs3"])
def test_other_methods(method):
    W, loss = gaussian((2, 90, 90, 2)), quadratic((2, 90, 90, 2))
    sol = dln.flow(W, loss, (0.0, 2.0), method=method, rtol=1e-5, engine="reduced")
    assert sol.integrated_widths[1] < 45
    direct = dln.flow(W, loss, (0.0, 2.0), **EXACT)
    for a, b in zip(sol.final, direct.final, strict=True):
        assert_allclose(a, b, atol=2e-4)


def test_fixed_steps():
    """Those of the narrow network are those of the wide one, up to the tolerance for what is neglected."""
    W, loss = gaussian((2, 90, 90, 2)), quadratic((2, 90, 90, 2))
    options = {"step": 0.01, "rtol": 1e-10, "history": True}
    sol, direct = (dln.flow(W, loss, (0.0, 1.0), TIMES[:3], engine=e, **options) for e in ("reduced", "dense"))
    assert sol.integrated_widths[1] < 45
    assert_allclose(sol.history()[0], direct.history()[0], rtol=1e-14)
    for a, b in zip(sol.final, direct.final, strict=True):
        assert_allclose(a, b, atol=1e-10)


# ---- enlarging, and giving up


@pytest.fixture
def told(caplog):
    """What is logged about enlargements."""
    caplog.set_level(logging.INFO, "fastdln")
    return lambda: [record.getMessage() for record in caplog.records if "not accurate" in record.getMessage()]


def test_it_enlarges_until_it_is_accurate(told):
    """A long time in the rich regime fills level after level: the network that was begun with is far off."""
    W, loss = gaussian((2, 90, 90, 2), 0.1), quadratic((2, 90, 90, 2))
    exact = dln.flow(W, loss, (0.0, 25.0), record="learning_times", **EXACT)
    sol = dln.flow(W, loss, (0.0, 25.0), record="learning_times", rtol=1e-8, method="dop853", engine="reduced")
    assert sol.enlargements >= 1
    assert len(told()) == sol.enlargements
    first = grown(W, engine.first_level(3))
    assert sol.integrated_widths[1] > first.widths[1]
    begun_with = dln.flow(first.narrow(), loss, (0.0, 25.0), rtol=1e-10)
    lifted = tuple(np.empty_like(x) for x in W)
    first.lift(begun_with.final, first.narrow(), 1.0, lifted)
    off = max(np.abs(a - b).max() for a, b in zip(lifted, exact.final, strict=True))
    found = max(np.abs(a - b).max() for a, b in zip(sol.final, exact.final, strict=True))
    assert off > 1e-6
    assert found < 1e-8
    assert_allclose(sol.learning_times, exact.learning_times, rtol=1e-7)


def level_by_level(monkeypatch, last):
    """Short legs, and no more levels at a time than one: so it is found out late that there are too few."""
    monkeypatch.setattr(trajectory, "LEG", 8)
    monkeypatch.setattr(trajectory, "more", lambda level, *_: level + 1)
    monkeypatch.setattr(trajectory, "last_level", lambda *_: last)
    times = np.linspace(0.0, 40.0, 20)
    return lambda **options: dln.flow(
        gaussian((1, 90, 90, 1), 0.05), quadratic((1, 90, 90, 1)), (0.0, 40.0), times, record=ALL, **options
    )


@pytest.mark.parametrize(("last", "width"), [(20, None), (8, 90)], ids=["with more levels", "as it is"])
def test_it_goes_back_to_a_checkpoint_and_keeps_what_was_good(last, width, told, monkeypatch):
    """Enlarged late: what was recorded before is kept, the history has no gap, and the end is right."""
    flow = level_by_level(monkeypatch, last)
    sol, direct = flow(engine="reduced", history=True, rtol=1e-7), flow(**EXACT)
    back = [float(re.search(r"back to ([\d.e-]+),", line).group(1)) for line in told()]
    assert max(back) > 0
    assert sol.enlargements == len(back) - (last == 8)
    assert sol.integrated_widths[1] == (width or engine.first_level(3) + len(back))
    for name in (*STEADY, "learning_times"):
        assert_allclose(getattr(sol, name), getattr(direct, name), atol=1e-5, err_msg=name)
    for a, b in zip((*sol.weights, *sol.final), (*direct.weights, *direct.final), strict=True):
        assert_allclose(a, b, atol=1e-6)
    t, step = sol.history()
    assert len(t) == sol.n_accepted
    assert t[-1] == pytest.approx(40.0, rel=1e-14)
    assert (step > 0).all()


def test_it_goes_on_with_more_levels_only_from_where_the_error_was_a_hundredth_of_the_tolerance(monkeypatch):
    """More levels cannot take back an error that is there: it must leave nearly all the tolerance to the rest."""
    flow, legs, leg_of_pair = level_by_level(monkeypatch, 20), [], Pair.leg

    def leg(pair, begin, steps):
        legs.append(leg_of_pair(pair, begin, steps))
        return legs[-1]

    monkeypatch.setattr(Pair, "leg", leg)
    flow(engine="reduced", rtol=1e-8)
    kept, passed_over = [0.0], 0
    for before, after in pairwise(legs):
        if before.end.error <= 1:
            kept.append(before.end.error)
            assert after.begin is before.end
            continue
        assert after.begin.error <= 0.01
        passed_over += sum(error > 0.01 for error in kept)
        kept = [error for error in kept if error <= after.begin.error]
    assert passed_over > 0
    assert legs[-1].end.error <= 1


def test_where_more_levels_do_not_pay_it_goes_on_as_it_is(told):
    W, loss = gaussian((2, 60, 60, 2), 0.05), quadratic((2, 60, 60, 2))
    options = {"rtol": 1e-8, "record": ("loss", "learning_times")}
    sol = dln.flow(W, loss, (0.0, 60.0), engine="reduced", **options)
    assert tuple(sol.integrated_widths) == (2, 60, 60, 2)
    assert "does not pay" in told()[-1]
    direct = dln.flow(W, loss, (0.0, 60.0), **(options | EXACT))
    assert_allclose(sol.learning_times, direct.learning_times, rtol=1e-7)
    for a, b in zip(sol.final, direct.final, strict=True):
        assert_allclose(a, b, atol=1e-7)


def hidden(coupling, size):
    """A start that lives in a few nodes, hardly coupled to others where the hidden layer is much larger."""
    rng = np.random.default_rng(0)
    n, m = 20, 60
    inner, outer = (rng.standard_normal((k, k)) * scale / np.sqrt(k) for k, scale in ((n, 0.25), (m, 1.5)))
    W_2 = coupling * rng.standard_normal((n + m, n + m))
    W_2[:n, :n], W_2[n:, n:] = inner, outer
    W_1, W_3 = np.zeros((n + m, 2)), np.zeros((2, n + m))
    W_1[:n], W_3[:, :n] = size * rng.standard_normal((n, 2)), size * rng.standard_normal((2, n))
    P, Q = (np.linalg.qr(rng.standard_normal((n + m, n + m)))[0] for _ in range(2))
    return (P @ W_1, Q @ W_2 @ P.T, W_3 @ Q.T), dln.Quadratic(np.diag([2.0, 1.0]))


@pytest.mark.parametrize("coupling", [1e-10, 1e-9])
def test_growth_that_no_narrow_network_sees_is_not_missed(coupling):
    """What leaks through a coupling of 1e-10 grows twice as fast as all that is within reach, and decides the end."""
    W, loss = hidden(coupling, 1e-3)
    inside = dln.flow(grown(W, 9).narrow(), loss, (0.0, 12.0), record="learning_times", rtol=1e-10)
    exact = dln.flow(W, loss, (0.0, 12.0), record="learning_times", **EXACT)
    assert np.nanmin(np.abs(inside.learning_times - exact.learning_times)) > 0.1
    sol = dln.flow(W, loss, (0.0, 12.0), record="learning_times", rtol=1e-8, engine="reduced")
    assert_allclose(sol.learning_times, exact.learning_times, rtol=1e-4)


def beginning(W, loss, level, duration, rtol, atol):
    """The two networks of a level, and the checkpoint that they begin with."""
    net = dln.Network((W[0].shape[1], *map(len, W)))
    options = Options(DOP853, rtol, 10**4, ())
    problem = posed(net, loss, net.pack(W)[None], options, atol=np.full(1, atol), duration=duration)
    none, pair = Results(problem, slice(0, 1)), Pair(problem, grown(W, level))
    return pair, Checkpoint(0.0, pair.start, pair.start, 0.0, 0.0, 0, none.learned[0], none.counts[0])


def test_the_rough_network_takes_its_error_from_leg_to_leg():
    """It ends where it would without the stop between, which is far from the other network."""
    W, loss = gaussian((2, 90, 90, 3), 0.1), quadratic((2, 90, 90, 3))
    pair, begin = beginning(W, loss, 6, 20.0, 1e-8, 1e-11)
    whole, first = (pair.leg(begin, steps).end for steps in (10**4, 30))
    second = pair.leg(first, 10**4).end
    assert 0.0 < first.elapsed < second.elapsed == whole.elapsed == 20.0
    for a, b, c in zip(second.rough, whole.rough, whole.fine, strict=True):
        assert np.linalg.norm(a - b) < 0.01 * np.linalg.norm(b - c)
    assert second.error > 0.5 * whole.error
    assert second.bound > first.bound > 0.0


def test_what_may_grow_where_neither_network_looks_counts():
    """Between the narrow network and the rough one the difference is a millionth of what may have grown beyond both."""
    W, loss = hidden(1e-12, 1e-3)
    rtol, atol = 1e-6, 1e-12
    pair, begin = beginning(W, loss, 9, 4.0, rtol, atol)
    at = pair.leg(begin, 10**4).end
    assert at.elapsed == 4.0
    allowed = min(V.size**0.5 * atol + rtol * np.linalg.norm(V) for V in at.fine)
    apart = max(np.linalg.norm(a - b) for a, b in zip(at.fine, at.rough, strict=True))
    assert at.bound > 1e5 * apart
    assert at.error >= at.bound / allowed * (1 - 1e-12)


@pytest.mark.parametrize("kind", ["power law", "low rank", "nearly orthogonal", "clusters", "outlier"])
def test_structured_layers(kind):
    """Errors are of the size that the tolerance promises, whatever the spectrum of the hidden layer."""
    for seed in range(2):
        rng, n = np.random.default_rng(seed), 70
        U, V = (np.linalg.qr(rng.standard_normal((n, n)))[0] for _ in range(2))
        noise, k = rng.standard_normal((n, n)) / np.sqrt(n), np.arange(1, n + 1)
        W_2 = {
            "power law": (U * (2.0 / k)) @ V.T,
            "low rank": U[:, :3] @ V[:, :3].T + 10 ** rng.uniform(-10, -2) * noise,
            "nearly orthogonal": U + 10 ** rng.uniform(-12, -1) * noise,
            "clusters": (U * np.where(k % 2, 1.5, 0.3)) @ V.T,
            "outlier": 0.1 * noise + 3 * U[:, :1] @ V[:, :1].T,
        }[kind]
        sizes = 10 ** rng.uniform(-2, 0, 2)
        W = (sizes[0] * rng.standard_normal((n, 2)), W_2, sizes[1] * rng.standard_normal((1, n)))
        rtol = float(10 ** rng.uniform(-9, -5))
        options = {"record": ("strengths", "learning_times")}
        sol = dln.flow(W, quadratic((2, n, n, 1)), (0.0, 4.0), TIMES, rtol=rtol, engine="reduced", **options)
        exact = dln.flow(W, quadratic((2, n, n, 1)), (0.0, 4.0), TIMES, **(options | EXACT))
        for a, b in zip(sol.final, exact.final, strict=True):
            assert np.linalg.norm(a - b) < 3 * rtol * np.linalg.norm(b)
        assert_allclose(sol.strengths, exact.strengths, atol=30 * rtol)
        assert_allclose(sol.learning_times, exact.learning_times, rtol=10 * rtol)


def test_rough_networks_that_fail_count_as_inaccurate(told, monkeypatch):
    integrate = trajectory.Pair._beside
    monkeypatch.setattr(trajectory.Pair, "_beside", lambda *args: integrate(*args).with_options(max_steps=1))
    W, loss = gaussian((2, 60, 60, 2)), quadratic((2, 60, 60, 2))
    sol = dln.flow(W, loss, (0.0, 1.0), engine="reduced")
    assert tuple(sol.integrated_widths) == (2, 60, 60, 2)
    assert "inf of the tolerance" in told()[0]
    assert_allclose(sol.loss, dln.flow(W, loss, (0.0, 1.0), engine="dense").loss, rtol=1e-4)


# ---- what becomes of a trajectory


def test_stop():
    W, loss = gaussian((2, 90, 90, 2), n=2), quadratic((2, 90, 90, 2))
    options = {"stop": dln.Stop(loss=0.3), "history": True, "rtol": 1e-8}
    sol, direct = (dln.flow(W, loss, (0.0, 40.0), engine=e, **options) for e in ("reduced", "dense"))
    assert (sol.status == dln.Status.STOPPED).all()
    assert (sol.integrated_widths[:, 1] < 45).all()
    assert (dln.value(sol.final, loss) <= 0.3).all()
    for k in range(2):
        assert abs(sol.t_final[k] - direct.t_final[k]) <= max(sol.history(k)[1][-1], direct.history(k)[1][-1])


def test_max_steps():
    W, loss = gaussian((2, 90, 90, 2)), quadratic((2, 90, 90, 2))
    for most in (5, 40):
        sol = dln.flow(W, loss, (0.0, 40.0), max_steps=most, rtol=1e-8, engine="reduced", history=True)
        assert sol.status == dln.Status.MAX_STEPS
        assert sol.n_accepted + sol.n_rejected == most
        assert sol.history()[0][-1] == sol.t_final


def test_bad_starts_and_blow_ups_fail_as_with_the_direct_engine():
    W, loss = gaussian((2, 60, 60, 2), n=5), quadratic((2, 60, 60, 2))
    W[0][1, 0, 0], W[1][2, 3, 4] = np.nan, 1e200
    W[1][3] *= 1e3
    options = {"record": ALL, "rtol": 1e-5, "max_steps": 300}
    sol, direct = (dln.flow(W, loss, (0.0, 1.0), TIMES[:3], engine=e, **options) for e in ("reduced", "dense"))
    assert np.array_equal(sol.status, direct.status)
    assert sol.success.tolist() == [True, False, False, False, True]
    assert contents(sol, [0, 4]) == contents(
        dln.flow(*part(W, loss, [0, 4]), (0.0, 1.0), TIMES[:3], engine="reduced", **options)
    )
    back = [dln.flow(tuple(6 * V[:1] for V in W), loss, (0.0, -1.0), engine=e) for e in ("reduced", "dense")]
    assert not back[0].success.any()
    assert back[0].t_final == pytest.approx(back[1].t_final, rel=1e-3)


def test_zero_layers_and_low_rank_are_reduced_exactly():
    net, loss = dln.Network((2, 60, 60, 2)), quadratic((2, 60, 60, 2))
    W = list(gaussian(net.widths, n=3))
    for V, U in zip(W, dln.inits.balanced(net, 0.5, size=3, rng=0), strict=True):
        V[0] = U[0]
    W[1][1] = 0.0
    for V in W:
        V[2] = 0.0
    sol = dln.flow(W, loss, (0.0, 3.0), rtol=1e-9, record=ALL, engine="reduced")
    assert (sol.integrated_widths[:, 1:-1] <= 4).all()
    assert not sol.enlargements.any()
    assert_alike(sol, dln.flow(W, loss, (0.0, 3.0), record=ALL, **EXACT), atol=1e-6)


def test_going_on_and_files(tmp_path):
    W, loss = gaussian((2, 90, 90, 2), n=2), quadratic((2, 90, 90, 2))
    options = {"record": ALL, "rtol": 1e-9}
    half = dln.flow(W, loss, (0.0, 0.2), [0.1, 0.2], engine="reduced", **options)
    whole = dln.flow(W, loss, (0.0, 2.0), [0.1, 0.2, 1.0, 2.0], **(options | EXACT))
    longer = half.extend(2.0, [1.0, 2.0])
    assert_alike(longer, whole, atol=1e-6)
    assert (longer.integrated_widths[:, 1] < 45).all()
    longer.save(tmp_path / "sol.npz")
    again = dln.load(tmp_path / "sol.npz")
    assert contents(again) == contents(longer)
    assert np.array_equal(again.integrated_widths, longer.integrated_widths)
    assert np.array_equal(again[1].enlargements, longer[1].enlargements)
    with np.load(tmp_path / "sol.npz") as file:
        old = {name: x for name, x in file.items() if name not in ("widths", "enlargements")}
    np.savez(tmp_path / "old.npz", **old)
    assert dln.load(tmp_path / "old.npz").integrated_widths.tolist() == 2 * [[2, 90, 90, 2]]


def test_certified_trajectories_are_integrated_as_they_are():
    W, loss = gaussian((2, 60, 60, 2)), quadratic((2, 60, 60, 2))
    sol = dln.flow(W, loss, (0.0, 50.0), certify=True, engine="reduced")
    assert sol.certified
    assert tuple(sol.integrated_widths) == (2, 60, 60, 2)


def test_single_precision():
    W = tuple(V.astype(np.float32) for V in gaussian((2, 90, 90, 2)))
    loss = quadratic((2, 90, 90, 2))
    sol = dln.flow(W, loss, (0.0, 2.0), TIMES[:3], rtol=1e-4, record=ALL, engine="reduced")
    direct = dln.flow(W, loss, (0.0, 2.0), TIMES[:3], rtol=1e-4, record=ALL, engine="dense")
    assert sol.loss.dtype == np.float32
    assert sol.integrated_widths[1] < 45
    assert_alike(sol, direct, atol=5e-3)


# ---- bits, memory, and when it is taken


def test_order_subset_threads_and_batch_of_one():
    W, loss = gaussian((2, 60, 60, 2), n=4), dln.Quadratic(np.random.default_rng(0).standard_normal((4, 2, 2)))
    options = {"record": ALL, "rtol": 1e-5, "engine": "reduced"}
    run = lambda W, loss, **more: dln.flow(W, loss, (0.0, 2.0), [0.0, 0.5], **(options | more))  # noqa: E731
    sol = run(W, loss, threads=1)
    assert (sol.integrated_widths[:, 1] < 30).all()
    assert contents(run(W, loss, threads=3)) == contents(sol)
    rows = np.array([3, 1, 1])
    assert contents(run(*part(W, loss, rows))) == contents(sol, rows)
    assert contents(run(*part(W, loss, 2))) == contents(sol, 2)


def test_progress_counts_trajectories():
    W, loss = gaussian((2, 60, 60, 2), n=3), quadratic((2, 60, 60, 2))
    W[0][1] = np.nan
    seen = []
    dln.flow(W, loss, (0.0, 0.5), engine="reduced", progress=lambda *now: seen.append(now))
    assert seen[-1] == (3, 1, 3)


def test_what_does_not_fit_is_refused_before_anything_is_computed(monkeypatch):
    W, loss = gaussian((2, 90, 90, 2)), quadratic((2, 90, 90, 2))
    monkeypatch.setattr(resources, "free_memory", lambda: 10_000)
    monkeypatch.setattr(Krylov, "grow", None)
    with pytest.raises(MemoryError, match="are free: record less"):
        dln.flow(W, loss, (0.0, 1.0), engine="reduced")


def test_auto_takes_it_where_widths_promise_much():
    """By widths and precision alone; and leaves starts alone whose directions are not generic."""
    for widths, gain in (
        ((2, 512, 512, 2), True), ((2, 100, 100, 2), False), ((10, 256, 256, 10), True), ((2, 512, 2), False),
        ((100, 512, 512, 100), False), ((2, 512, 512, 600), False), ((10, 512, 512, 512, 10), False),
        ((1, 512, 700, 1), True),
    ):  # fmt: skip
        assert engine.promises(dln.Network(widths), False) is gain
        assert engine.promises(dln.Network(widths), True) is gain
    W, loss = gaussian((2, 512, 512, 2)), quadratic((2, 512, 512, 2))
    options = {"rtol": 1e-5, "record": ("loss", "learning_times")}
    auto, named = (dln.flow(W, loss, (0.0, 0.1), engine=e, **options) for e in ("auto", "reduced"))
    assert contents_of_final(auto) == contents_of_final(named)
    assert auto.integrated_widths[1] < 40
    single = dln.flow(tuple(V.astype(np.float32) for V in W), loss, (0.0, 0.01), rtol=1e-4)
    assert tuple(single.integrated_widths) == (2, 512, 512, 2)
    special = (W[0], np.eye(512), W[2])
    sols = [dln.flow(special, loss, (0.0, 0.1), engine=e, **options) for e in ("auto", "reduced")]
    assert [int(sol.integrated_widths[1]) for sol in sols] == [512, 4]
    assert_allclose(sols[0].loss, sols[1].loss, atol=1e-4)


def contents_of_final(sol):
    return [x.tobytes() for x in (*sol.final, sol.loss, sol.learning_times)]
