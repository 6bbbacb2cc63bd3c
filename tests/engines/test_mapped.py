"""Flows of losses that are not quadratic: against an independent integrator, and what goes with them or does not."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp

import fastdln as dln
from fastdln.engines.choose import choose
from fastdln.engines.lockstep import recipe
from fastdln.engines.lockstep.batch import Batch
from fastdln.engines.wide import Wide
from fastdln.kernels.lockstep import straight

rng = np.random.default_rng(3)
X, Y, LABELS = rng.standard_normal((4, 9)), rng.choice((-1.0, 1.0), (3, 9)), rng.integers(3, size=9)
SIGMA = rng.standard_normal((3, 4))

LOSSES = {
    "power 4": dln.Power(SIGMA, 4.0),
    "power 2.5": dln.Power(SIGMA, 2.5),
    "huber": dln.Huber(SIGMA, 0.7),
    "pseudo-huber": dln.PseudoHuber(SIGMA, 0.7),
    "targets": dln.PseudoHuber(rng.standard_normal((3, 3, 4)), 0.7),
    "masked": dln.Masked(np.where(rng.random((3, 4)) < 0.3, np.nan, SIGMA)),
    "masks": dln.Masked(rng.standard_normal((3, 3, 4)), rng.uniform(-1.0, 1.0, (3, 3, 4)).clip(0.0)),
    "sensing": dln.Sensing(rng.standard_normal((11, 3, 4)), rng.standard_normal(11)),
    "logistic": dln.Logistic(X, Y),
    "exponential": dln.Exponential(X, Y),
    "softmax": dln.SoftmaxCrossEntropy(X, LABELS, n_classes=3),
}
WIDTHS = [(4, 3, 5, 3), (4, 3), (4, 1, 3), (4, 9, 9, 3)]
ENGINES = ("lanes", "dense")


def starts(widths=(4, 3, 5, 3), size=3):
    return dln.inits.gaussian(dln.Network(widths), 0.7, size=size, rng=1)


def integrated(w0, loss, t, **options):
    """The weights at the time t, by SciPy."""
    net = dln.Network((w0[0].shape[-1], *(len(W[0]) for W in w0)))
    ends = []
    for k in range(len(w0[0])):
        one = loss[k] if loss.batch_shape else loss
        field = lambda _, y, one=one: net.pack(dln.rhs(net.unpack(y), one, **options))  # noqa: E731
        start = net.pack(tuple(W[k] for W in w0))
        ends.append(solve_ivp(field, (0.0, t), start, "DOP853", rtol=1e-12, atol=1e-13).y[:, -1])
    return np.array(ends), net


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_flows_are_those_of_an_independent_integrator(name, widths):
    w0, loss = starts(widths), LOSSES[name]
    expected, net = integrated(w0, loss, 3.0)
    for engine in ENGINES:
        sol = dln.flow(
            w0, loss, (0.0, 3.0), [0.0, 1.0, 3.0], rtol=1e-12, atol=1e-13, method="dop853", engine=engine,
            record=("loss", "grad_norm", "singular_values", "drift"),
        )  # fmt: skip
        assert sol.success.all()
        assert_allclose(net.pack(sol.final), expected, rtol=1e-9, atol=1e-9)
        for k, weights in ((0, w0), (2, sol.final)):
            assert_allclose(sol.loss[:, k], dln.value(weights, loss), rtol=1e-12, atol=1e-14)
            assert_allclose(sol.grad_norm[:, k], dln.gradient_norm(weights, loss), rtol=1e-12, atol=1e-14)
            values = np.linalg.svd(dln.product(weights), compute_uv=False)
            assert_allclose(sol.singular_values[:, k], values, atol=1e-12)
        assert sol.drift.max() < 1e-11


@pytest.mark.parametrize("name", LOSSES)
def test_the_wide_engine_takes_all_losses(name):
    widths, record = (4, 30, 20, 3), ("loss", "grad_norm", "singular_values")
    w0, loss = starts(widths), LOSSES[name]
    options = {"record": record, "weight_decay": 0.3, "layer_rates": (1.0, 0.5, 2.0)}
    sol = dln.flow(w0, loss, (0.0, 2.0), [0.0, 2.0], "dop853", 1e-12, 1e-13, engine="wide", **options)
    expected = dln.flow(w0, loss, (0.0, 2.0), [0.0, 2.0], "dop853", 1e-12, 1e-13, engine="dense", **options)
    assert sol.success.all()
    for W, other in zip(sol.final, expected.final, strict=True):
        assert_allclose(W, other, rtol=1e-9, atol=1e-9)
    for observable in record:
        assert_allclose(getattr(sol, observable), getattr(expected, observable), rtol=1e-9, atol=1e-11)
    stop = dln.Stop(loss=0.8 * float(sol.loss[:, 0].min()))
    ended = dln.flow(w0, loss, (0.0, 50.0), stop=stop, engine="wide")
    assert (ended.status == dln.Status.STOPPED).all()
    assert (dln.value(ended.final, loss) <= stop.loss).all()
    single = dln.flow(tuple(W.astype(np.float32) for W in w0), loss, (0.0, 2.0), rtol=1e-5, engine="wide")
    other = dln.flow(w0, loss, (0.0, 2.0), rtol=1e-9)
    assert single.final[0].dtype == np.float32
    for W, exact in zip(single.final, other.final, strict=True):
        assert_allclose(W, exact, atol=2e-4)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["pseudo-huber", "masks", "sensing", "logistic"])
def test_decay_and_rates(name, engine):
    w0, options = starts(), {"weight_decay": 0.3, "layer_rates": (1.0, 0.5, 2.0)}
    expected, net = integrated(w0, LOSSES[name], 2.0, **options)
    sol = dln.flow(w0, LOSSES[name], (0.0, 2.0), rtol=1e-12, atol=1e-13, method="dop853", engine=engine, **options)
    assert_allclose(net.pack(sol.final), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["huber", "masks", "sensing", "softmax"])
def test_a_flow_stops_at_a_loss_and_at_a_gradient(name, engine):
    w0, loss = starts(), LOSSES[name]
    begin = dln.value(w0, loss)
    sol = dln.flow(w0, loss, (0.0, 1e3), stop=dln.Stop(loss=0.9 * begin.min()), engine=engine)
    assert (sol.status == dln.Status.STOPPED).all()
    assert (dln.value(sol.final, loss) <= 0.9 * begin.min()).all()
    sol = dln.flow(w0, loss, (0.0, 1e4), stop=dln.Stop(grad_norm=0.1), engine=engine)
    assert (sol.status == dln.Status.STOPPED).all()
    assert (dln.gradient_norm(sol.final, loss) <= 0.1).all()


@pytest.mark.parametrize("method", ["bs3", "tsit5", "rock", "rkc2", "auto"])
@pytest.mark.parametrize("name", ["pseudo-huber", "softmax"])
def test_other_methods_agree(name, method):
    w0, loss = starts(), LOSSES[name]
    expected = dln.flow(w0, loss, (0.0, 20.0), rtol=1e-11, method="dop853")
    for engine in ENGINES:
        sol = dln.flow(w0, loss, (0.0, 20.0), method=method, engine=engine)
        assert sol.success.all()
        for W, exact in zip(sol.final, expected.final, strict=True):
            assert_allclose(W, exact, atol=2e-4)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", LOSSES)
def test_single_precision(name, engine):
    w0, loss = starts(), LOSSES[name]
    single = tuple(W.astype(np.float32) for W in w0)
    sol = dln.flow(single, loss, (0.0, 1.0), [0.0, 1.0], rtol=1e-5, engine=engine, record=("loss", "grad_norm"))
    exact = dln.flow(single_as_double(single), loss, (0.0, 1.0), rtol=1e-9)
    assert sol.final[0].dtype == sol.loss.dtype == np.float32
    for W, other in zip(sol.final, exact.final, strict=True):
        assert_allclose(W, other, atol=2e-4)
    assert_allclose(sol.loss[:, 0], dln.value(single, loss), rtol=1e-5)
    assert_allclose(sol.grad_norm[:, 0], dln.gradient_norm(single, loss), rtol=1e-5)


def single_as_double(weights):
    return tuple(W.astype(np.float64) for W in weights)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["logistic", "softmax"])
def test_margins_of_ten_thousand_are_neither_infinite_nor_nan(name, engine):
    inputs = 1e4 * np.array([[1.0, -1.0, 1e-4, 0.0], [0.5, 1.0, 0.0, 1.0]])
    marks = np.array([[1.0, 1.0, -1.0, 1.0]] * 2)
    loss = dln.Logistic(inputs, marks) if name == "logistic" else dln.SoftmaxCrossEntropy(inputs, [0, 1, 0, 1])
    w0 = tuple(np.array([sign * np.eye(2), np.eye(2)]) for sign in (-1.0, 1.0))
    sol = dln.flow(w0, loss, (0.0, 1e-12), [0.0], record=("loss", "grad_norm"), engine=engine)
    assert sol.success.all()
    assert dln.value(w0, loss).max() > 1e3
    assert_allclose(sol.loss[:, 0], dln.value(w0, loss), rtol=1e-13)
    assert_allclose(sol.grad_norm[:, 0], dln.gradient_norm(w0, loss), rtol=1e-13)


@pytest.mark.parametrize("name", ["power 2.5", "targets", "masks", "sensing", "logistic", "softmax"])
def test_bits_depend_on_a_trajectory_alone(name):
    loss, w0 = LOSSES[name], starts(size=3)
    for engine in ENGINES:
        options = {"engine": engine, "t_eval": [0.5, 2.0], "record": ("loss", "grad_norm")}
        together = dln.flow(w0, loss, (0.0, 2.0), threads=2, **options)
        for k in range(3):
            one = loss[k] if loss.batch_shape else loss
            alone = dln.flow(tuple(W[k] for W in w0), one, (0.0, 2.0), **options)
            for W, other in zip(alone.final, together.final, strict=True):
                assert np.array_equal(W, other[k])
            assert np.array_equal(alone.loss, together.loss[k])
            assert alone.n_rhs == together.n_rhs[k]


@pytest.mark.parametrize("widths", [(4, 3), (4, 3, 3)], ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_straight_line_code_gives_the_same_bits(name, widths, monkeypatch):
    loss, w0 = LOSSES[name], starts(widths)
    options = {"t_eval": [0.5, 2.0], "record": ("loss", "grad_norm"), "engine": "lanes"}
    expected = dln.flow(w0, loss, (0.0, 2.0), **options)
    monkeypatch.setattr(recipe, "STRAIGHT_FROM", 1)
    made, compiled = [], straight.compiled
    monkeypatch.setattr(straight, "compiled", lambda *args: made.append(compiled(*args)) or made[0])
    found = dln.flow(w0, loss, (0.0, 2.0), **options)
    assert "execute_rhs" in made[0].addresses
    for W, other in zip(found.final, expected.final, strict=True):
        assert np.array_equal(W, other)
    assert np.array_equal(found.loss, expected.loss)
    assert np.array_equal(found.grad_norm, expected.grad_norm)


def test_a_power_of_two_is_the_quadratic_loss():
    w0 = starts()
    sol = dln.flow(w0, dln.Power(SIGMA, 2.0), (0.0, 5.0), rtol=1e-10, method="dop853")
    other = dln.flow(w0, dln.Quadratic(SIGMA), (0.0, 5.0), rtol=1e-10, method="dop853")
    for W, expected in zip(sol.final, other.final, strict=True):
        assert_allclose(W, expected, atol=1e-8)


@pytest.mark.parametrize("name", ["huber", "logistic"])
def test_growth_that_no_error_norm_sees_limits_steps(name):
    """From a small start the loss leaves its plateau at the right time, also at a loose tolerance."""
    w0, t = dln.inits.gaussian(dln.Network((4, 3, 3)), 1e-6, size=4, rng=2), np.linspace(0, 60, 200)
    loss = LOSSES[name]
    exact = dln.flow(w0, loss, (0.0, 60.0), t, rtol=1e-11, method="dop853").loss
    found = dln.flow(w0, loss, (0.0, 60.0), t, rtol=1e-4, method="bs3").loss
    assert np.ptp(exact) > 0.1
    assert_allclose(found, exact, atol=2e-2 * np.ptp(exact))


def test_all_zero_starts_have_a_tolerance():
    sol = dln.flow(tuple(np.zeros(s) for s in ((3, 4), (3, 3))), LOSSES["logistic"], (0.0, 1.0), rtol=1e-6)
    assert sol.success
    assert sol._atol == pytest.approx(1e-9)


def test_going_on_is_what_one_flow_does():
    sol = dln.flow(starts(), LOSSES["softmax"], (0.0, 1.0), rtol=1e-10).extend(2.0)
    whole = dln.flow(starts(), LOSSES["softmax"], (0.0, 2.0), rtol=1e-10)
    for W, other in zip(sol.final, whole.final, strict=True):
        assert_allclose(W, other, atol=1e-8)


REFUSALS = [
    ({"record": "strengths"}, r"'strengths' cannot be recorded: Logistic\(shape=\(3, 4\)\) has no target"),
    ({"record": "learning_times"}, r"'learning_times' cannot be recorded: Logistic\(shape=\(3, 4\)\) has no target"),
    ({"engine": "reduced"}, r"engine='reduced' is for losses that are quadratic, not Logistic"),
    ({"certify": True}, "certify=True needs loss to be Quadratic, not Logistic"),
]


@pytest.mark.parametrize(("options", "message"), REFUSALS)
def test_what_needs_a_quadratic_loss_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        dln.flow(starts(), LOSSES["logistic"], (0.0, 1.0), **options)


@pytest.mark.parametrize(
    ("widths", "engine"),
    [((4, 4), Batch), ((4, 4, 4), Batch), ((10, 2000, 10), Batch), ((10, 600, 600, 600, 10), Wide)],
    ids=str,
)
def test_auto_takes_the_engine_of_a_quadratic_loss_that_is_not_reduced(widths, engine, monkeypatch):
    loss = dln.Huber(np.zeros((widths[-1], widths[0])), 1.0)
    chosen = []
    monkeypatch.setattr("fastdln.integration.choose", lambda problem: chosen.append(choose(problem)) or chosen[0])
    monkeypatch.setattr(engine, "run", lambda *args: iter(()))
    monkeypatch.setattr("fastdln.integration.require_memory", lambda *args: None)
    dln.flow(tuple(np.zeros((b, a)) for a, b in pairwise(widths)), loss, (0.0, 1.0))
    assert isinstance(chosen[0], engine)
