"""Descents against a plain twin in extended precision, and against what is known in closed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastdln as dln
from fastdln.engines.lockstep import recipe
from fastdln.integrate.descent import Descent
from fastdln.kernels.lockstep import straight
from tests.support import descents

rng = np.random.default_rng(5)
X, Y, SIGNS = rng.standard_normal((4, 9)), rng.standard_normal((3, 9)), rng.choice((-1.0, 1.0), (3, 9))
LABELS, SIGMA = rng.integers(3, size=9), rng.standard_normal((3, 4))

LOSSES: dict[str, tuple[dln.losses.Loss, descents.Slope]] = {
    "quadratic": (dln.Quadratic(SIGMA), descents.quadratic(SIGMA)),
    "regression": (dln.Regression(X, Y), descents.regression(X, Y)),
    "power": (dln.Power(SIGMA, 2.5), descents.power(SIGMA, 2.5)),
    "huber": (dln.Huber(SIGMA, 0.7), descents.huber(SIGMA, 0.7)),
    "pseudo-huber": (dln.PseudoHuber(SIGMA, 0.7), descents.pseudo_huber(SIGMA, 0.7)),
    "logistic": (dln.Logistic(X, SIGNS), descents.logistic(X, SIGNS)),
    "exponential": (dln.Exponential(X, SIGNS), descents.exponential(X, SIGNS)),
    "softmax": (dln.SoftmaxCrossEntropy(X, LABELS, 3), descents.softmax(X, LABELS, 3)),
}
# of the data losses, restricted to some samples
PARTS: dict[str, Callable[[Any], descents.Slope]] = {
    "regression": lambda k: descents.regression(X[:, k], Y[:, k]),
    "logistic": lambda k: descents.logistic(X[:, k], SIGNS[:, k]),
    "exponential": lambda k: descents.exponential(X[:, k], SIGNS[:, k]),
    "softmax": lambda k: descents.softmax(X[:, k], LABELS[k], 3),
}
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "decay": {"weight_decay": 0.3},
    "heavy ball": {"momentum": 0.8, "weight_decay": 0.1},
    "nesterov": {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
    "nesterov alone": {"momentum": 0.8, "nesterov": True},
    "layer rates": {"layer_rates": (1.0, 0.5, 2.0), "momentum": 0.5},
}
ENGINES = ("lanes", "dense", "wide")
STEPS = 25
TIGHT = {np.float64: 1e-13, np.float32: 5e-6}


def starts(widths: tuple[int, ...] = (4, 3, 5, 3), size: int = 3) -> tuple[Any, ...]:
    return dln.inits.gaussian(dln.Network(widths), 0.7, size=size, rng=1)


def check_against(sol: Any, twins: list[list[list[Any]]], rtol: float) -> None:
    """Compare recorded weights with the states of a twin for each trajectory."""
    for k, states in enumerate(twins):
        for i, W in enumerate(sol.weights):
            expected = np.array([state[i] for state in states], float)
            assert_allclose(W[k], expected, rtol=0, atol=rtol * np.abs(expected).max())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_and_every_update_against_a_twin(name: str, way: str, engine: str, dtype: Any) -> None:
    loss, slope = LOSSES[name]
    w0 = tuple(W.astype(dtype) for W in starts())
    sol = dln.descend(w0, loss, 0.05, STEPS, record="weights", engine=engine, **WAYS[way])
    assert_array_equal(sol.steps, np.arange(STEPS + 1))
    twins = [descents.descent([W[k] for W in w0], slope, [0.05] * STEPS, **WAYS[way]) for k in range(3)]
    check_against(sol, twins, TIGHT[dtype])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("widths", [(4, 3), (4, 1, 3), (4, 9, 9, 3), (4, 2, 6, 2, 3)])
@pytest.mark.parametrize("name", ["quadratic", "regression", "huber", "softmax"])
def test_every_depth_and_order_of_products(name: str, widths: tuple[int, ...], engine: str) -> None:
    loss, slope = LOSSES[name]
    w0 = starts(widths)
    for way in ({}, {"momentum": 0.6, "nesterov": True}):
        sol = dln.descend(w0, loss, 0.05, STEPS, record="weights", engine=engine, **way)
        twins = [descents.descent([W[k] for W in w0], slope, [0.05] * STEPS, **way) for k in range(3)]
        check_against(sol, twins, 1e-13)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("size", [1, 4, 9])
@pytest.mark.parametrize("name", PARTS)
def test_batches_are_those_of_the_streams(name: str, size: int, engine: str) -> None:
    w0 = starts()
    options: dict[str, Any] = {"momentum": 0.5, "batch_size": size, "rng": 7, "record": "weights", "engine": engine}
    sol = dln.descend(w0, LOSSES[name][0], 0.05, STEPS, **options)
    method = sol.options.method
    assert isinstance(method, Descent)
    twins = []
    for k in range(3):
        parts = map(PARTS[name], descents.batches(9, size, method.key, k))
        twins.append(descents.descent([W[k] for W in w0], parts, [0.05] * STEPS, momentum=0.5))
    check_against(sol, twins, 1e-13)


SCHEDULES = {
    "cosine": (dln.schedules.cosine(0.1, STEPS, warmup=5, least=0.1), None),
    "linear": (dln.schedules.linear(0.1, STEPS), [0.1 * (1 - k / STEPS) for k in range(STEPS)]),
    "steps": (dln.schedules.steps(0.1, (3, 10), 0.5), [0.1] * 3 + [0.05] * 7 + [0.025] * 15),
    "cycle": (dln.schedules.cycle((0.1, 0.02, 0.0)), [0.1, 0.02, 0.0] * 9),
    "values": (dln.schedules.values(np.linspace(0.1, 0.0, STEPS)), np.linspace(0.1, 0.0, STEPS)),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name: str, engine: str) -> None:
    schedule, rates = SCHEDULES[name]
    if rates is None:
        fall = [0.1 * (0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * j / 20))) for j in range(20)]
        rates = [0.1 * (k + 1) / 6 for k in range(5)] + fall
    w0 = starts()
    sol = dln.descend(w0, LOSSES["quadratic"][0], schedule, STEPS, momentum=0.5, record="weights", engine=engine)
    slope = LOSSES["quadratic"][1]
    twins = [descents.descent([W[k] for W in w0], slope, rates[:STEPS], momentum=0.5) for k in range(3)]
    check_against(sol, twins, 1e-11)
    assert_allclose(sol.t, np.cumsum([0.0, *rates[:STEPS]]) / 0.5, rtol=1e-11)


@pytest.mark.parametrize("engine", ENGINES)
def test_rates_momenta_and_decays_of_each_trajectory(engine: str) -> None:
    w0 = [W[0] for W in starts()]
    eta, beta, mu = np.array([0.01, 0.05, 0.1]), np.array([0.0, 0.9, 0.5]), np.array([0.2, 0.0, 0.1])
    loss, slope = LOSSES["quadratic"]
    options: dict[str, Any] = {"momentum": beta, "weight_decay": mu, "record": "weights", "engine": engine}
    sol = dln.descend(w0, loss, dln.schedules.linear(eta, STEPS), STEPS, **options)
    factors = 1 - np.arange(STEPS) / STEPS
    twins = [
        descents.descent(w0, slope, list(eta[k] * factors), momentum=beta[k], weight_decay=mu[k]) for k in range(3)
    ]
    check_against(sol, twins, 1e-12)
    expected = eta[:, None] * np.cumsum([0.0, *factors]) / (1 - beta[:, None])
    assert_allclose(sol.t, expected, rtol=1e-13)
    assert_allclose(sol.t_final, expected[:, -1], rtol=1e-13)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_a_layer_alone_follows_the_exact_linear_iteration(momentum: float, nesterov: bool) -> None:
    """One layer on regression: with E = W - target and S = Sigma_xx, each eigenvalue s of S is a recurrence of two."""
    loss = dln.Regression(X, Y)
    (W,) = dln.inits.gaussian(dln.Network((4, 3)), 1.0, rng=2)
    sol = dln.descend((W,), loss, 0.1, 60, momentum=momentum, nesterov=nesterov, record="weights")
    values, vectors = np.linalg.eigh(X @ X.T / 9)
    for s, u in zip(values, vectors.T, strict=True):
        grow = 0.1 * s
        first = 1 + momentum - grow * (1 + momentum if nesterov else 1)
        second = -momentum * (1 - grow if nesterov else 1)
        matrix = np.array([[first, second], [1.0, 0.0]])
        start = (W - loss.target) @ u
        for k in (0, 1, 2, 10, 60):
            factor = np.linalg.matrix_power(matrix, k) @ (1.0, 1.0)
            assert_allclose((sol.weights[0][k] - loss.target) @ u, factor[0] * start, atol=1e-13)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_the_threshold_from_both_sides(depth: int) -> None:
    """At a balanced minimum descent is stable below 2/(h sigma_1^(2 - 2/h)), and not above (T15)."""
    network = dln.Network((3,) * (depth + 1))
    loss = dln.Quadratic(np.diag([2.0, 1.0, 0.5]))
    minimum = dln.inits.decoupled(network, loss, np.array([2.0, 1.0, 0.5]) ** (1 / depth))
    noise = dln.inits.gaussian(network, 1e-6, rng=0)
    w0 = tuple(W + N for W, N in zip(minimum, noise, strict=True))
    limit = 2 / (depth * 2.0 ** (2 - 2 / depth))
    sol = dln.descend(w0, loss, np.array([0.98, 1.02]) * limit, 400, record=("loss",))
    assert sol.loss[0, -1] < 1e-3 * sol.loss[0, 0]
    assert sol.loss[1, -1] > 1e3 * sol.loss[1, 0]


def test_balance_drifts_by_the_squares_of_the_updates() -> None:
    """W_{i+1}' W_{i+1} - W_i W_i' changes in an update by eta^2 (G_{i+1}' G_{i+1} - G_i G_i') alone (T15)."""
    loss, slope = LOSSES["quadratic"]
    w0 = [W[0] for W in starts()]
    sol = dln.descend(w0, loss, 0.05, STEPS, record=("weights", "drift"))
    states = [[W[k] for W in sol.weights] for k in range(STEPS + 1)]
    balance = [np.array(W[1].T @ W[1] - W[0] @ W[0].T) for W in states]
    G = [descents.gradients([descents.long(W) for W in state], slope) for state in states[:-1]]
    changes = [0.05**2 * (g[1].T @ g[1] - g[0] @ g[0].T) for g in G]
    assert_allclose(np.diff(balance, axis=0), np.array(changes, float), rtol=0, atol=1e-14)
    assert_allclose(balance[-1] - balance[0], np.sum(changes, axis=0).astype(float), rtol=0, atol=1e-11)
    assert sol.drift[0] == 0
    worst = max(
        np.linalg.norm((b[i + 1].T @ b[i + 1] - b[i] @ b[i].T) - (a[i + 1].T @ a[i + 1] - a[i] @ a[i].T))
        for a, b in [(states[0], states[-1])]
        for i in range(2)
    )
    assert_allclose(sol.drift[-1], worst, rtol=1e-10)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("way", ["plain", "heavy ball", "nesterov alone"])
@pytest.mark.parametrize("bound", [None, 50.0])
def test_divergence_is_told_at_its_first_update(bound: float | None, way: str, engine: str) -> None:
    loss, slope = LOSSES["quadratic"]
    w0 = starts()
    sol = dln.descend(
        w0, loss, [0.05, 0.7, 2.0], 200, bound=bound, record=("weights", "loss"), engine=engine, **WAYS[way]
    )  # fmt: skip
    assert sol.status.tolist() == [dln.Status.FINISHED, dln.Status.DIVERGED, dln.Status.DIVERGED]
    for k, eta in ((1, 0.7), (2, 2.0)):
        first = [W[k] for W in w0]
        most = bound or 1e12 * max(1.0, *(np.abs(W).max() for W in first), np.linalg.norm(SIGMA, 2) ** (1 / 3))
        with np.errstate(over="ignore", invalid="ignore"):
            states = descents.descent(first, slope, [eta] * 40, **WAYS[way])
        beyond = [not all((np.abs(W) <= most).all() for W in state) for state in states]
        number = beyond.index(True)
        assert sol.n_accepted[k] == number
        assert_allclose(sol.t_final[k], eta * (number - 1) / (1 - WAYS[way].get("momentum", 0.0)), rtol=1e-13)
        assert np.isfinite(sol.loss[k, :number]).all()
        assert np.isnan(sol.loss[k, number:]).all()
        for W, records in zip(sol.final, sol.weights, strict=True):
            assert_array_equal(W[k], records[k, number - 1])
    with pytest.raises(dln.FlowError, match=r"2 DIVERGED \(trajectories 1, 2\): take a smaller learning rate"):
        sol.raise_for_status()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["quadratic", "huber", "softmax"])
def test_straight_line_code_has_the_bits_of_the_interpreter(
    name: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, w0 = LOSSES[name][0], starts()
    interpreted = dln.descend(w0, loss, 0.05, STEPS, record=("weights", "loss"), engine="lanes", **WAYS[way])
    made = []
    compiled = straight.compiled
    monkeypatch.setattr(recipe, "STRAIGHT_FROM", 1)
    monkeypatch.setattr(straight, "compiled", lambda *args: made.append(args) or compiled(*args))
    sol = dln.descend(w0, loss, 0.05, STEPS, record=("weights", "loss"), engine="lanes", **WAYS[way])
    assert made
    assert_array_equal(sol.loss, interpreted.loss)
    for W, V in zip(sol.weights, interpreted.weights, strict=True):
        assert_array_equal(W, V)


def test_straight_line_code_of_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    w0, (loss, _) = starts(), LOSSES["regression"]
    options: dict[str, Any] = {"batch_size": 4, "rng": 0, "record": "weights", "engine": "lanes"}
    interpreted = dln.descend(w0, loss, 0.05, STEPS, **options)
    monkeypatch.setattr(recipe, "STRAIGHT_FROM", 1)
    sol = dln.descend(w0, loss, 0.05, STEPS, **options)
    for W, V in zip(sol.weights, interpreted.weights, strict=True):
        assert_array_equal(W, V)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("bound", [None, 5.0])
@pytest.mark.parametrize("entry", [np.nan, np.inf, -np.inf, -6.0, 4.5])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_every_entry_is_watched(entry: float, bound: float | None, engine: str, dtype: Any) -> None:
    """One network for each weight that is changed; all others are small, and so are their gradients."""
    network = dln.Network((4, 5, 3))
    n = network.n_parameters
    start = np.full((n + 1, n), 0.01, dtype)
    np.fill_diagonal(start, entry)
    sol = dln.descend(network.unpack(start), dln.Quadratic(np.zeros((3, 4))), 1e-3, 4, bound=bound, engine=engine)
    within = np.abs(entry) <= (bound or 1e12)
    assert (sol.status[:-1] == (dln.Status.FINISHED if within else dln.Status.DIVERGED)).all()
    assert (sol.n_accepted[:-1] == (4 if within else 1)).all()
    assert sol.status[-1] == dln.Status.FINISHED
    if not within:
        assert_array_equal(network.pack(sol.final)[:-1], start[:-1])
        assert np.isnan(sol.loss[:-1, 1:]).all()


@pytest.mark.parametrize("name", ["constant", *SCHEDULES])
def test_without_a_gradient_balance_decays_as_said(name: str) -> None:
    """Where the product and the target are zero, and one layer is, weight decay alone moves the other (T4, T15)."""
    rate = 0.1 if name == "constant" else SCHEDULES[name][0]
    W = rng.standard_normal((5, 4))
    mu = [0.3, 0.9, 0.0]
    loss = dln.Quadratic(np.zeros((3, 4)))
    sol = dln.descend((W, np.zeros((3, 5))), loss, rate, STEPS, weight_decay=mu, record=("drift", "weights"))
    assert np.linalg.norm(sol.final[0][0]) < 0.9 * np.linalg.norm(W)
    assert_allclose(sol.drift, 0.0, atol=1e-13)
