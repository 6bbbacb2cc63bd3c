"""The wide engine, on networks whose large layers are kept as factors: against SciPy, closed forms, other engines."""

from __future__ import annotations

import re
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import fastdln as dln
from fastdln import resources
from fastdln.engines.base import Options
from fastdln.engines.wide import Wide
from fastdln.engines.wide import field as field_module
from fastdln.engines.wide.certificate import least_value
from fastdln.engines.wide.factored import Factored
from fastdln.engines.wide.field import Field, factored, layers_of, meeting
from fastdln.engines.wide.layers import Formed
from fastdln.engines.wide.passing import Search
from fastdln.engines.wide.terms import START, Terms
from fastdln.engines.wide.workers import Workers
from fastdln.integrate.tableaus import EXPLICIT, TSIT5
from fastdln.theory import exact
from fastdln.theory.rates import remaining_path
from tests.support.observables import ALL, NUMBERS, STEADY, TIMED
from tests.support.problems import posed
from tests.test_flow import TIMES, assert_close, random_problem, reference

# narrow input and output, equal or not; three large layers; a wide output, a wide input; a bottleneck
WIDTHS = [
    (2, 19, 18, 2),
    (2, 16, 15, 3),
    (3, 16, 17, 2),
    (2, 9, 12, 11, 2),
    (2, 14, 9, 12),
    (15, 9, 13, 2),
    (2, 9, 1, 9, 2),
]
widths_ = pytest.mark.parametrize("widths", WIDTHS, ids=str)
WIDE = {"engine": "wide"}


def test_these_networks_have_large_layers():
    kinds = [factored(dln.Network(widths)) for widths in WIDTHS]
    assert all(any(kind) for kind in kinds[:-1])
    assert not any(kinds[-1])
    # both ends narrow: they meet in a large layer; one end wide: beyond the last layer, or before the first
    assert [meeting(widths) for widths in WIDTHS[:3]] == [2, 2, 2]
    assert (meeting(WIDTHS[4]), meeting(WIDTHS[5])) == (4, 0)


# ---- the flow and its options


@pytest.mark.parametrize("kind", ["quadratic", "regression", "targets"])
@widths_
def test_trajectories_are_those_of_scipy(widths, kind):
    w0, loss = random_problem(widths, kind, n=2 if kind == "targets" else 1)
    sol = dln.flow(w0, loss, (0.0, 2.0), TIMES, method="dop853", rtol=1e-12, record="weights", **WIDE)
    assert sol.success.all()
    expected = reference(w0, loss, (0.0, 2.0), TIMES)
    assert_close(sol.weights, expected, atol=1e-11)
    assert_close(sol.final, [W[:, -1] for W in expected], atol=1e-11)


@pytest.mark.parametrize("method", EXPLICIT)
def test_every_method(method):
    w0, loss = random_problem((2, 12, 11, 3), n=1)
    sol = dln.flow(w0, loss, (0.0, 2.0), TIMES, method=method, rtol=1e-8, record="weights", **WIDE)
    assert_close(sol.weights, reference(w0, loss, (0.0, 2.0), TIMES), atol=2e-6 if method == "bs3" else 1e-7)


def test_a_method_of_the_users():
    w0, loss = random_problem((2, 9, 9, 2), n=1)
    heun = dln.Tableau("heun", order=2, a=[[], [1]], b=[1 / 2, 1 / 2], errors=[[-1 / 2, 1 / 2]])
    euler = dln.Tableau("euler", order=1, a=[[]], b=[1])
    for method, options in ((heun, {"rtol": 1e-4}), (euler, {"step": 0.01})):
        here, there = (dln.flow(w0, loss, (0.0, 1.0), method=method, engine=e, **options) for e in ("wide", "dense"))
        assert_close(here.final, there.final, atol=1e-3 if method is heun else 1e-13)


@pytest.mark.parametrize("widths", [(2, 12, 11, 2), (2, 10, 9, 12), (15, 9, 13, 2)], ids=str)
def test_decay_and_rates(widths):
    w0, loss = random_problem(widths, "regression", n=2)
    options = {"weight_decay": 0.2, "layer_rates": np.linspace(0.5, 2.0, len(widths) - 1)}
    sol = dln.flow(
        w0, loss, (0.0, 2.0), TIMES, "dop853", 1e-12, record=("weights", "drift"), **options, **WIDE
    )  # fmt: skip
    assert_close(sol.weights, reference(w0, loss, (0.0, 2.0), TIMES, **options), atol=1e-11)
    assert (sol.drift < 1e-10).all()


def test_backwards():
    w0, loss = random_problem((2, 12, 11, 2), n=2)
    times = [1.0, 0.9, 0.75, 0.7]
    sol = dln.flow(w0, loss, (1.0, 0.7), times, "dop853", 1e-12, record=("weights", "drift"), **WIDE)
    assert sol.success.all()
    assert_close(sol.weights, reference(w0, loss, (1.0, 0.7), times), atol=1e-10)
    assert (sol.drift < 1e-10).all()


@pytest.mark.parametrize("widths", [(2, 12, 11, 2), (2, 10, 9, 12)], ids=str)
def test_float32(widths):
    w0, loss = random_problem(widths)
    small = tuple(W.astype(np.float32) for W in w0)
    sol = dln.flow(small, loss, (0.0, 2.0), TIMES, rtol=1e-5, record=TIMED, **WIDE)
    assert sol.success.all()
    assert all(getattr(sol, name).dtype == np.float32 for name in NUMBERS)
    assert all(W.dtype == np.float32 for W in (*sol.weights, *sol.final))
    assert_close(sol.weights, [W.astype(np.float32) for W in reference(w0, loss, (0.0, 2.0), TIMES)], atol=3e-4)


@pytest.mark.parametrize("kind", ["quadratic", "regression", "targets"])
@pytest.mark.parametrize("widths", [(2, 12, 11, 3), (2, 10, 9, 12), (15, 9, 13, 2)], ids=str)
def test_observables_are_those_of_the_recorded_weights(widths, kind):
    w0, loss = random_problem(widths, kind)
    sol = dln.flow(w0, loss, (0.0, 2.0), TIMES, record=TIMED, **WIDE)
    close = {"rtol": 1e-10, "atol": 1e-12}
    for k in range(len(sol)):
        own, weights = loss[k] if loss.batch_shape else loss, tuple(W[k] for W in sol.weights)
        W, (U, _, V) = dln.product(weights), own.modes
        assert all(np.array_equal(path[0], start[k]) for path, start in zip(weights, w0, strict=True))
        assert_allclose(sol.loss[k], dln.value(weights, own), **close)
        assert_allclose(sol.grad_norm[k], dln.gradient_norm(weights, own), **close)
        assert_allclose(sol.strengths[k], np.einsum("ij,tik,kj->tj", U, W, V), **close)
        assert_allclose(sol.singular_values[k], np.linalg.svd(W, compute_uv=False), **close)


def test_recorded_times_change_no_step():
    w0, loss = random_problem((2, 12, 11, 3), n=1)
    options = {"method": "dop853", "record": ("loss", "grad_norm", "weights"), "history": True, **WIDE}
    few = dln.flow(w0, loss, (0.5, 4.0), **options)
    many = dln.flow(w0, loss, (0.5, 4.0), np.linspace(0.5, 4.0, 200), **options)
    assert np.array_equal(few.history(0), many.history(0))
    for a, b, path in zip(few.final, many.final, many.weights, strict=True):
        assert np.array_equal(a, b)
        assert_allclose(path[:, -1], b, rtol=0, atol=1e-13)


# ---- the slopes


@pytest.mark.parametrize("widths", [(2, 12, 11, 9, 3), (3, 12, 11, 9, 2), (2, 9), (9, 2), (2, 5, 2)], ids=str)
def test_slopes_do_not_depend_on_where_products_meet(widths, monkeypatch):
    w0, loss = random_problem(widths, "regression", n=1)
    net = dln.Network(widths)
    found = dln.rhs(w0, loss)
    for m in range(1, net.depth + 2) if widths[0] <= widths[-1] else range(net.depth + 1):
        monkeypatch.setattr(field_module, "meeting", lambda _, m=m: m)
        state = net.pack(w0)[0]
        asked = problem(net, loss, state)
        field = Field(asked, 0, layers_of(asked, state, 1e-9, 2, Workers(1)))
        field.slope(START, 0)
        assert_allclose(field.product, dln.product(w0)[0], atol=1e-13)
        assert_allclose(field.gradient_norm(0), dln.gradient_norm(w0, loss), rtol=1e-12)
        terms = Terms(2, 0.0)
        terms.note(0, START)
        out = np.empty_like(state)
        field.form(terms.sum(np.ones(1)), out, net)
        assert_close(net.unpack(out), [W[0] for W in found], atol=1e-12)


def problem(net, loss, state, **options):
    return posed(net, loss, state[None], Options(TSIT5, 1e-6, 10, (), **options), times=np.ones(1))


# ---- the error norm


def layers(shape=(30, 25), rank=2, slopes=4, narrow_input=True, spread=1.0, seed=0):
    """The same slopes in a layer of either kind, and as matrices; those after the first differ from it little."""
    rng = np.random.default_rng(seed)
    W = rng.standard_normal(shape) * np.exp(spread * rng.standard_normal(shape))
    tolerance = (1e-6, 1e-9 * np.sqrt(np.square(W).mean()))
    thick = Factored(W.copy(), slopes, rank, 1.5, *tolerance, narrow_input, Workers(1))
    formed = Formed(W.copy(), slopes, 1.5, *tolerance)
    P, Q = rng.standard_normal((rank, shape[0])), rng.standard_normal((rank, shape[1]))
    terms = []
    for l in range(slopes):
        left, right = (x + 1e-7 * l * rng.standard_normal(x.shape) for x in (P, Q))
        for layer in (thick, formed):
            layer.at(START)
            layer.product(right, left)
            layer.keep(l, left, right)
        terms.append(1.5 * left.T @ right)
    return W, terms, thick, formed


@pytest.mark.parametrize("narrow_input", [True, False])
@pytest.mark.parametrize("decay", [0.0, 3e-9])
def test_the_error_norm_is_exact_where_slopes_nearly_cancel(decay, narrow_input):
    W, terms, thick, _ = layers(narrow_input=narrow_input)
    weights = 1e-3 * np.array([1.0, -3.0, 3.0, -1.0])  # a third difference: 1e-10 of the slopes
    mix = np.array([decay, *weights])
    error = decay * W + sum(w * T for w, T in zip(weights, terms, strict=True))
    after = np.array([1.0, 0.5, 0.0, 0.0, 0.1])
    new = W + 0.5 * terms[0] + 0.1 * terms[3]
    rtol, atol, n = 1e-6, 1e-9 * np.sqrt(np.square(W).mean()), W.size
    inverse = np.square(1 / (atol + rtol * np.abs(W))).mean() ** 0.5
    spread = inverse * (atol + rtol * np.sqrt(np.square(W).mean()))
    scale = n**0.5 * atol + rtol * max(np.linalg.norm(W), np.linalg.norm(new))
    expected = (spread * np.linalg.norm(error) / scale) ** 2
    assert 1 < spread < 1000
    assert thick.errors(after, [mix]) == pytest.approx([expected], rel=1e-4)  # slopes are known to 1e-16 of themselves


def test_the_error_norm_is_that_of_the_other_engines_where_errors_are_independent_of_weights():
    found = []
    for seed in range(5):
        _, _, thick, formed = layers((60, 70), seed=seed)
        mixes = np.array([0.0, 1e-6, -1e-6, 0.0, 0.0]), np.array([0.0, 0.0, 1e-6, 0.0, -1e-6])
        found.append(np.sqrt(np.divide(thick.errors(START, mixes), formed.errors(START, mixes))))
    assert_allclose(found, 1.0, atol=0.4)
    assert np.mean(found) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("rtol", [1e-4, 1e-8])
def test_steps_and_errors_are_those_of_the_dense_engine(rtol):
    w0, loss = random_problem((3, 60, 50, 3), n=2)
    fine = dln.flow(w0, loss, (0.0, 2.0), method="dop853", rtol=1e-12, engine="dense")
    here, there = (dln.flow(w0, loss, (0.0, 2.0), rtol=rtol, engine=engine) for engine in ("wide", "dense"))
    assert_allclose(here.n_accepted, there.n_accepted, rtol=0.1)
    error, usual = (max(np.abs(a - b).max() for a, b in zip(s.final, fine.final, strict=True)) for s in (here, there))
    assert error < 3 * usual


def test_layers_that_are_zero_or_tolerances_that_are():
    (W1, W2, W3), loss = random_problem((2, 12, 11, 2), n=1)
    for start in ((W1, 0 * W2, W3), (0 * W1, W2, W3)):
        sol = dln.flow(start, loss, (0.0, 2.0), TIMES, "dop853", 1e-11, record="weights", **WIDE)
        assert_close(sol.weights, reference(start, loss, (0.0, 2.0), TIMES), atol=1e-9)
    strict = dln.flow((W1, W2, W3), loss, (0.0, 1.0), atol=0.0, **WIDE)
    assert strict.success.all()
    at_rest = dln.flow((0 * W1, 0 * W2, 0 * W3), loss, (0.0, 1e6), atol=0.0, **WIDE)
    assert at_rest.success.all()
    assert all((W == 0).all() for W in at_rest.final)


# ---- learning times


@pytest.mark.parametrize("method", EXPLICIT)
def test_learning_times_are_those_of_the_closed_form(method):
    net, sigma, s0, rtol = dln.Network((2, 14, 13, 2)), np.array([4.0, 1.0]), 0.05, 1e-6
    loss = dln.Quadratic.from_singular_values(sigma, shape=(2, 2), rng=0)
    w0 = dln.inits.decoupled(net, loss, s0, rng=1)
    sol = dln.flow(w0, loss, (0.0, 60.0), [], method, rtol, record="learning_times", **WIDE)
    expected = exact.mode_time((sigma / 2) ** (1 / 3), s0, sigma, 3)
    assert_allclose(sol.learning_times, expected, rtol=10 * rtol)


def test_learning_times_at_the_start_never_and_later():
    loss = dln.Quadratic.from_singular_values((4.0, 2.0, 1.0, 0.0), shape=(4, 4), rng=0)
    w0 = dln.inits.decoupled(dln.Network((4, 12, 13, 4)), loss, (1.5, 1.2, 0.1, 0.1), rng=1)
    here, there = (
        dln.flow(w0, loss, (3.0, 4.0), [], rtol=1e-9, record="learning_times", engine=engine).extend(30.0, [])
        for engine in ("wide", "dense")
    )
    assert here.learning_times[0] == 3.0
    assert_allclose(here.learning_times, there.learning_times, rtol=1e-6)
    assert np.isnan(here.learning_times[3])


@pytest.mark.parametrize(
    ("roots", "sign", "expected"),
    [((0.3,), 1, 0.3), ((0.8,), 1, 0.8), ((-0.1,), 1, 0.0), ((1.2,), 1, None), ((0.6, 0.7), -1, 0.6),
     ((0.1, 0.2), -0.3, 0.1), ((0.2, 0.9), -1, 0.2)],
)  # fmt: skip
def test_first_passing(roots, sign, expected):
    def excess(theta):
        return sign * np.prod([theta - root for root in roots])

    ends = [np.array([1.0 + excess(theta)]) for theta in (1.0, 0.0)]
    search, passes = Search(ends, [1.0], np.ones(1), 1e-13), 0
    while search.theta is not None:
        search.add(np.array([1.0 + excess(search.theta)]))
        passes += 1
    assert passes < 12
    assert search.found.get(0) is None if expected is None else search.found[0] == pytest.approx(expected, abs=1e-12)


# ---- what ends a trajectory


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (np.nan, [dln.Status.NONFINITE]),
        (np.inf, [dln.Status.NONFINITE]),
        (1e200, [dln.Status.NONFINITE]),
        (1e60, [dln.Status.MAX_STEPS, dln.Status.NONFINITE]),
    ],
)
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_bad_start_fails_alone(layer, bad, expected):
    w0, loss = random_problem((2, 12, 11, 2))
    options = {"record": TIMED, "max_steps": 200, **WIDE}
    usual = dln.flow(w0, loss, (0.0, 1.0), [0.0, 1.0], **options)
    w0[layer][1, 0, 0] = bad
    sol = dln.flow(w0, loss, (0.0, 1.0), [0.0, 1.0], **options)
    assert sol.status[1] in expected
    assert sol.success.tolist() == [True, False, True]
    assert np.isnan(sol.loss[1, 1])
    assert all(np.array_equal(W[1, 0], V[1], equal_nan=True) for W, V in zip(sol.weights, w0, strict=True))
    for k in (0, 2):
        assert all(np.array_equal(a[k], b[k]) for a, b in zip(sol.final, usual.final, strict=True))


def test_stop_max_steps_and_going_on():
    w0, loss = random_problem((2, 12, 11, 2), n=2)
    free = dln.flow(w0, loss, (0.0, 50.0), [], history=True, **WIDE)
    for stop, measure in ((dln.Stop(grad_norm=1e-2), dln.gradient_norm), (dln.Stop(loss=1e-3), dln.value)):
        limit = stop.grad_norm or stop.loss
        sol = dln.flow(w0, loss, (0.0, 50.0), [], stop=stop, history=True, **WIDE)
        assert (sol.status == dln.Status.STOPPED).all()
        assert (measure(sol.final, loss) <= limit).all()
        for k in range(2):
            steps = sol.history(k)[0]
            assert np.array_equal(steps, free.history(k)[0][: len(steps)])
            assert len(steps) < len(free.history(k)[0])
            before = dln.flow(tuple(W[k] for W in w0), loss, (0.0, 50.0), steps[-2:-1], record="weights", **WIDE)
            assert measure(tuple(W[0] for W in before.weights), loss) > limit
    some = dln.flow(w0, loss, (0.0, 50.0), max_steps=7, **WIDE)
    assert (some.status == dln.Status.MAX_STEPS).all()
    assert (some.n_accepted + some.n_rejected == 7).all()
    assert (some.n_rhs == 2 + 7 * 6).all()
    halves = dln.flow(w0, loss, (0.0, 2.0), rtol=1e-10, **WIDE).extend(4.0)
    assert_close(halves.final, dln.flow(w0, loss, (0.0, 4.0), rtol=1e-10, **WIDE).final, atol=1e-8)


def test_a_backward_flow_that_blows_up_ends_there():
    w0, loss = random_problem((2, 12, 11, 2), n=1)
    here, there = (dln.flow(w0, loss, (0.0, -50.0), max_steps=5000, engine=engine) for engine in ("wide", "dense"))
    assert here.status[0] in (dln.Status.NONFINITE, dln.Status.STEP_TOO_SMALL)
    assert here.t_final[0] == pytest.approx(there.t_final[0], rel=1e-4)


# ---- the certified finish


def end_tolerance(sol):
    """What the path that is left may be at the end."""
    sizes = [np.sqrt(np.mean(np.square(W, dtype=float), axis=(-2, -1))) for W in sol.final]
    return sol._atol + sol.options.rtol * np.min(sizes, axis=0)


def far(a, b):
    """Frobenius norm of the difference over all layers."""
    return np.sqrt(sum(np.square(V - W).sum(axis=(-2, -1)) for V, W in zip(a, b, strict=True)))


@pytest.mark.parametrize("rates", [None, True])
@pytest.mark.parametrize("widths", [(2, 19, 18, 2), (3, 16, 17, 2), (2, 14, 9, 12), (15, 17, 16, 2)], ids=str)
def test_certified_trajectories_are_at_their_end(widths, rates):
    """Narrow ends, a wide output, a wide input."""
    rng = np.random.default_rng(0)
    loss = dln.Quadratic(rng.standard_normal((widths[-1], widths[0])))
    w0 = dln.inits.gaussian(dln.Network(widths), 0.7, size=2, rng=0)
    rates = np.linspace(0.5, 2.0, len(widths) - 1) if rates else None
    options = {"rtol": 1e-5, "layer_rates": rates}
    sol = dln.flow(w0, loss, (0.0, 1e3), certify=True, **options, **WIDE)
    assert sol.success.all()
    assert sol.certified.all()
    assert (sol.t_final == 1e3).all()
    delta = end_tolerance(sol)
    assert (remaining_path(sol.final, loss, rates) <= delta).all()
    later = dln.flow(sol.final, loss, (0.0, 20.0), method="dop853", rtol=1e-11, layer_rates=rates, engine="dense")
    assert (far(later.final, sol.final) <= delta + 1e-11).all()
    whole = dln.flow(w0, loss, (0.0, 20.0), [], engine="dense", **options)
    assert (far(sol.final, whole.final) <= 30 * delta).all()  # both have errors of their own
    assert (sol.n_rhs < 1000).all()  # some tens of thousands without a certificate


@pytest.mark.parametrize("widths", [(3, 9, 10, 3), (2, 9, 10, 70), (70, 10, 9, 2)], ids=str)
def test_the_decision_at_the_start_is_that_of_singular_values(widths):
    """Starts whose path is between a third and three times the tolerance; of a wide end, one layer's term is taken."""
    n, rtol = 60, 1e-6
    rng = np.random.default_rng(7)
    net = dln.Network(widths)
    w0 = tuple(rng.standard_normal((n, *shape)) for shape in net.shapes)
    product = w0[2] @ w0[1] @ w0[0]
    off = rng.standard_normal(product.shape)
    path = remaining_path(w0, dln.Quadratic(product + 1e-9 * off)) / 1e-9
    path = np.where(np.isfinite(path), path, 1.0)
    sizes = np.min([np.sqrt(np.mean(W**2, axis=(1, 2))) for W in w0], axis=0)
    off *= (rtol * sizes * np.geomspace(1 / 3, 3, n) / path)[:, None, None]
    loss = dln.Quadratic(product + off)
    sol = dln.flow(w0, loss, (0.0, 1e-9), [], rtol=rtol, atol=0.0, certify=True, **WIDE)
    length = remaining_path(w0, loss) / (rtol * sizes)
    assert (length[sol.certified] <= 1.0).all()
    if max(widths) < 64:
        assert sol.certified[length <= 0.8].all()
        assert 10 < sol.certified.sum() < n - 10


def test_records_hold_a_certified_state_and_learning_times_are_those_of_the_plain_flow():
    loss = dln.Quadratic.from_singular_values((4.0, 2.0), shape=(2, 3), rng=0)
    w0 = dln.inits.gaussian(dln.Network((3, 14, 13, 2)), 0.5, size=2, rng=0)
    times = np.concatenate([[0.0], np.linspace(0.5, 40.0, 12)])
    options = {"record": ALL, **WIDE}
    sol = dln.flow(w0, loss, (0.0, 40.0), times, certify=True, **options)
    plain = dln.flow(w0, loss, (0.0, 40.0), times, **options)
    assert sol.certified.all()
    assert not plain.certified.any()
    assert np.array_equal(sol.learning_times, plain.learning_times)
    for name in STEADY:
        assert_allclose(getattr(sol, name), getattr(plain, name), atol=1e-4)
    for W, last in zip(sol.weights, sol.final, strict=True):
        assert np.array_equal(W[:, -1], last)
        assert np.array_equal(W[:, -4], last)
    assert_allclose(sol.loss[:, -1], dln.value(sol.final, loss), rtol=1e-6)
    again = sol.extend(1e9, [1e9])
    assert again.certified.all()
    assert all(np.array_equal(a, b) for a, b in zip(again.final, sol.final, strict=True))


def test_what_can_still_move_is_not_certified():
    loss = dln.Quadratic.from_singular_values((3.0, 1.0), shape=(2, 2), rng=0)
    starts = dln.inits.gaussian(dln.Network((2, 12, 11, 2)), 1e-3, size=2, rng=0)  # near the saddle at the origin
    starts[0][1] = 0.0
    sol = dln.flow(starts, loss, (0.0, 5.0), [], certify=True, **WIDE)
    assert not sol.certified.any()
    narrow = dln.inits.gaussian(dln.Network((2, 9, 1, 9, 2)), 0.7, size=1, rng=0)
    assert not dln.flow(narrow, loss, (0.0, 30.0), [], rtol=1e-4, certify=True, **WIDE).certified.any()
    w0, target = random_problem((2, 12, 11, 2))
    w0[1][1, 0, 0] = np.nan
    sol = dln.flow(w0, target, (0.0, 300.0), [], rtol=1e-4, certify=True, **WIDE)
    assert sol.certified.tolist() == [True, False, True]
    assert sol.status[1] == dln.Status.NONFINITE


def test_single_precision_is_certified_with_loose_tolerances():
    w0, loss = random_problem((2, 12, 11, 2), n=1)
    small = tuple(W.astype(np.float32) for W in w0)
    sol = dln.flow(small, loss, (0.0, 1e3), rtol=1e-3, certify=True, **WIDE)
    assert sol.certified.all()
    double = tuple(W.astype(float) for W in sol.final)
    assert (remaining_path(double, loss) <= end_tolerance(sol)).all()


@given(
    shape=st.tuples(st.integers(1, 6), st.integers(6, 40)), decades=st.floats(0, 12), seed=st.integers(0, 99),
)  # fmt: skip
def test_lower_bounds_of_singular_values(shape, decades, seed):
    rng = np.random.default_rng(seed)
    columns = np.geomspace(1, 10**-decades, shape[0])[:, None] * rng.standard_normal(shape)
    columns = np.linalg.qr(rng.standard_normal((shape[0], shape[0])))[0] @ columns
    least = np.linalg.svd(columns, compute_uv=False)[-1]
    bound = least_value(columns)
    assert bound <= least * (1 + 1e-9)
    assert bound >= 0.99 * least or least < 1e-5 * np.linalg.norm(columns)  # the Gram matrix knows half the digits


# ---- bits, memory, choice


def test_bits_do_not_depend_on_threads_or_batch():
    w0, loss = random_problem((2, 520, 516, 3), n=2)
    options = {"record": ("weights", "grad_norm"), "max_steps": 4, **WIDE}
    # in turn, side by side, one by one in three threads
    found = [dln.flow(w0, loss, (0.0, 1.0), [0.0, 1e-3], threads=threads, **options) for threads in (1, 2, 3)]
    found.append(dln.flow(tuple(W[1:] for W in w0), loss, (0.0, 1.0), [0.0, 1e-3], **options))
    assert len(Factored(w0[1][0], 1, 2, 1.0, 1e-6, 1e-9, True, Workers(1))._parts) > 1
    arrays = [(*sol.final, *sol.weights, sol.grad_norm) for sol in found]
    for own in arrays[1:]:
        assert all(np.array_equal(a[-1], b[-1], equal_nan=True) for a, b in zip(own, arrays[0], strict=True))


def test_memory_is_estimated_before(monkeypatch):
    d = 4096
    net = dln.Network((10, d, d, 10))
    start = np.broadcast_to(np.zeros(1), (1, net.n_parameters))
    asked = problem(net, dln.Quadratic(np.eye(10)), np.zeros(1))
    object.__setattr__(asked, "start", start)
    # the final weights, on which it works where they lie, and thin factors; starts are those of the call
    assert net.n_parameters * 8 < Wide().memory(asked) < 1.25 * net.n_parameters * 8
    monkeypatch.setattr(resources, "free_memory", lambda: 50_000)
    w0, loss = random_problem((2, 40, 40, 2), n=1)
    with pytest.raises(MemoryError, match=re.escape("50000 bytes")):
        dln.flow(w0, loss, (0.0, 1.0), **WIDE)


def test_it_is_chosen_by_widths_alone():
    for widths, engine in (
        ((2, 512, 512, 600), "wide"),
        ((2, 512, 512, 2), "reduced"),
        ((30, 512, 512, 30), "dense"),
        ((10, 200, 200, 10), "dense"),
    ):
        w0, loss = random_problem(widths, n=1)
        options = {"record": (), "max_steps": 1}
        auto, named = (dln.flow(w0, loss, (0.0, 1.0), [], engine=e, **options) for e in ("auto", engine))
        assert all(np.array_equal(a, b) for a, b in zip(auto.final, named.final, strict=True))


def test_an_error_in_a_thread_is_raised_after_the_others():
    done = []

    def fail():
        raise ZeroDivisionError

    with Workers(3) as workers:
        with pytest.raises(ZeroDivisionError):
            workers.each([fail] + [lambda: done.append(1)] * 5)
        done.clear()
        workers.each([lambda: done.append(1)] * 20)
    assert len(done) == 20


def test_trajectories_side_by_side_end_when_the_call_is_interrupted():
    w0, loss = random_problem((2, 12, 11, 2), n=4)
    w0[0][0] = np.nan  # the first one is over at once, the others would take for ever

    def interrupt(done, failed, total):
        assert (done, failed, total) == (1, 1, 4)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dln.flow(w0, loss, (0.0, 1e9), [], max_steps=10**9, threads=2, progress=interrupt, **WIDE)
    assert not [t for t in threading.enumerate() if t.name.startswith("fastdln-wide")]


def test_progress():
    w0, loss = random_problem((2, 12, 11, 2))
    seen = []
    dln.flow(w0, loss, (0.0, 1.0), progress=lambda *numbers: seen.append(numbers), **WIDE)
    assert seen == [(1, 0, 3), (2, 0, 3), (3, 0, 3)]
