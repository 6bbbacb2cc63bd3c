"""Long times: losses of separable data to t = 1e8, and what ends or shortens flows that come to rest before."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import solve_ivp

import fastdln as dln

WIDTHS = (2, 4, 3, 1)
NET = dln.Network(WIDTHS)
W0 = dln.inits.gaussian(NET, 0.5, size=3, rng=1)
TIMES = np.append(0.0, np.logspace(-1, 8, 46))
engines = pytest.mark.parametrize("engine", ["lanes", "dense"])


def data(separable):
    """Forty samples of two inputs; without noise in the signs a line through 0 parts them with a margin."""
    rng = np.random.default_rng(0)
    X, normal = rng.standard_normal((2, 40)), np.array([2.0, 1.0]) / 5**0.5
    Y = np.sign(normal @ X)
    X += 0.3 * np.outer(normal, Y)
    if not separable:
        Y[:8] *= -1
    return X, Y[None]


LOSSES = {kind.__name__: kind(*data(separable=True)) for kind in (dln.Logistic, dln.Exponential)}
NOT_SEPARABLE = dln.Logistic(*data(separable=False))
losses = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def in_logarithmic_time(loss, start, times):
    """The weights at times from 1 on, by SciPy: with u = log(1 + t) the flow is du/dt = e^(-u)."""

    def field(u, y):
        return np.exp(u) * NET.pack(dln.rhs(NET.unpack(y), loss))

    u = np.log1p(times)
    return solve_ivp(field, (0.0, u[-1]), NET.pack(start), "DOP853", t_eval=u, rtol=1e-11, atol=1e-12).y.T


@engines
@losses
@pytest.mark.parametrize(
    ("method", "most"), [("tsit5", 700), ("dp5", 700), ("dop853", 1000), ("bs3", 2500), ("rock", 1700), ("auto", 900)]
)
def test_separable_data_take_some_hundred_right_hand_sides(method, most, loss, engine):
    """The curvature falls like c/t, so that steps grow with t: no method is limited by stability for long."""
    record = ("loss", "drift", "grad_norm")
    sol = dln.flow(W0, loss, (0.0, 1e8), TIMES, method, engine=engine, record=record)
    assert sol.success.all()
    assert (sol.n_rhs < most).all()
    assert (np.diff(sol.loss, axis=1) < 0).all()
    assert (np.diff(sol.grad_norm[:, 20:], axis=1) < 0).all()
    size = np.max([np.square(W).sum(axis=(-2, -1)) for W in sol.final], axis=0)
    assert (sol.drift.max(axis=1) < 5e-7 * size).all()
    assert (sol.loss[:, -1] < 1e-9).all()


@losses
def test_separable_data_against_an_integrator_in_logarithmic_time(loss):
    times = np.logspace(0, 8, 9)
    for rtol in (1e-6, 1e-9):
        sol = dln.flow(W0, loss, (0.0, 1e8), times, "dop853", rtol, record=("weights", "loss"))
        for k in range(len(W0[0])):
            expected = in_logarithmic_time(loss, tuple(W[k] for W in W0), times)
            found = NET.pack(tuple(W[k] for W in sol.weights))
            size = np.abs(expected).max()
            assert_allclose(found, expected, rtol=0, atol=10 * rtol * size)
            # an error of the margin is one of the logarithm of the loss
            there = [loss.value(dln.product(NET.unpack(y))) for y in expected]
            assert_allclose(np.log(sol.loss[k]), np.log(there), rtol=0, atol=100 * rtol)


@losses
def test_norms_grow_like_the_logarithm_and_layers_come_closer_to_rank_one(loss):
    sol = dln.flow(W0, loss, (0.0, 1e8), np.logspace(2, 8, 7), record=("weights", "singular_values"))
    strength = sol.singular_values[..., 0]
    grown = np.diff(strength, axis=1)
    assert (grown > 0.5 * np.log(10)).all()
    assert_allclose(grown[:, -1], grown[:, -2], rtol=0.05)  # a margin of 1 times log 10 per decade, and less
    values = np.linalg.svd(sol.weights[0], compute_uv=False)
    assert (np.diff(values[..., 1] / values[..., 0], axis=-1) < 0).all()


@engines
@losses
def test_a_loss_that_is_small_enough_stops_it(loss, engine):
    stopped = dln.flow(W0, loss, (0.0, 1e8), stop=dln.Stop(loss=1e-7), engine=engine, history=True)
    assert (stopped.status == dln.Status.STOPPED).all()
    for k in range(len(W0[0])):
        before = stopped.history(k)[0][-2]
        one = tuple(W[k] for W in W0)
        whole = dln.flow(one, loss, (0.0, 1e8), [before, stopped.t_final[k]], engine=engine)
        assert whole.loss[1] <= 1e-7 < whole.loss[0]


@engines
def test_data_that_are_not_separable_come_to_rest_where_stability_limits_explicit_steps(engine):
    """An explicit method stays near rest at a distance of its tolerance: the gradient need not come below 1e-8."""
    options = {"stop": dln.Stop(grad_norm=1e-9), "engine": engine}
    span, rest = (0.0, 1e6), {}
    for method in ("rock", "auto"):
        rest[method] = dln.flow(W0, NOT_SEPARABLE, span, [], method, **options)
        assert (rest[method].status == dln.Status.STOPPED).all()
        assert (rest[method].n_rhs < 1500).all()
    explicit = dln.flow(W0, NOT_SEPARABLE, span, [], "tsit5", max_steps=5000, **options)
    assert (explicit.n_rhs > 10 * rest["auto"].n_rhs).any()
    losses = [NOT_SEPARABLE.value(dln.product(sol.final)) for sol in rest.values()]
    assert_allclose(*losses, rtol=1e-12)


@engines
def test_auto_goes_on_with_rock_for_every_loss(engine):
    """It compares states: not what the map of a loss has left."""
    X, Y = data(separable=False)
    for loss in (NOT_SEPARABLE, dln.PseudoHuber([[3.0, 1.0]], 0.7), dln.Regression(X, Y)):
        counts = [dln.flow(W0, loss, (0.0, 2e4), [], m, engine=engine).n_rhs for m in ("tsit5", "auto")]
        assert (counts[0] > 2 * counts[1]).all()
    # where nothing is stiff nothing changes
    early = [dln.flow(W0, NOT_SEPARABLE, (0.0, 5.0), [], m, engine=engine) for m in ("tsit5", "auto")]
    assert_array_equal(early[0].n_rhs, early[1].n_rhs)
    for a, b in zip(early[0].final, early[1].final, strict=True):
        assert_array_equal(a, b)


def test_decay_balances_the_loss_after_some_of_its_times():
    """Separable data with decay: rest is reached after some 20/mu, and what comes after costs steps of a fixed size."""
    loss, mu = LOSSES["Logistic"], 1e-3
    sol = dln.flow(W0, loss, (0.0, 30 / mu), [20 / mu, 30 / mu], "auto", weight_decay=mu, record=("loss", "weights"))
    assert sol.success.all()
    assert (sol.n_rhs < 2500).all()
    for slope, W in zip(dln.rhs(sol.final, loss, weight_decay=mu), sol.final, strict=True):
        assert np.abs(slope).max() < 1e-4 * mu * np.abs(W).max()
    assert_allclose(sol.loss[:, 0], sol.loss[:, 1], rtol=1e-4)
