"""Lyapunov exponents of descents: against eigenvalues at minima, the scalar map, and closed values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastdln as dln
from fastdln.theory import descent, hessian

UNIT = dln.Quadratic([[1.0]])
LOSS = dln.Quadratic.from_singular_values((2.0, 1.0), shape=(3, 3), rng=1)
START = dln.inits.gaussian(dln.Network((3, 4, 4, 3)), 0.7, size=5, rng=0)


def square(W, sigma):
    return 0.5 * ((W - sigma) ** 2).sum()


def residual(W, sigma, out):
    out[:] = W - sigma


def change(W, D, sigma, out):
    out[:] = D


def scalar(rates: Any, steps: int = 6000, **options: Any) -> dln.Trajectories:
    return dln.descend(([[0.7]], [[0.7]]), UNIT, rates, steps, record=("lyapunov",), record_from=1000, **options)


# ---- one mode


def test_the_last_chaos_of_two_layers_has_the_exponent_log_three() -> None:
    assert scalar(2.0).lyapunov == pytest.approx(math.log(3), abs=1e-3)


def test_exponents_are_zero_at_doublings_and_not_between() -> None:
    first, second, third = descent.cascade(1.0, 2, 3)
    found = scalar([second, third, (first + second) / 2, (second + third) / 2, 1.31, 1.9]).lyapunov
    assert np.abs(found[:2]).max() < 1e-3
    assert (found[2:4] < -0.05).all()
    assert (found[4:] > 0.05).all()


def test_the_exponent_of_a_cycle_follows_from_its_multipliers() -> None:
    for eta, period in ((1.1, 2), (1.2, 2), (1.27, 4)):
        (cycle,) = [c for c in descent.cycles(eta, 1.0, 2, period) if c.stable and c.points.min() > 0]
        across = np.prod(1 - eta * (1 - cycle.points**2))  # of a change that makes the layers unequal
        expected = max(math.log(abs(cycle.multiplier)), math.log(abs(across))) / period
        # over whole periods
        assert scalar(eta, 5000).lyapunov == pytest.approx(expected, abs=1e-6)


# ---- networks


def largest_root(eta: float, values: Any, beta: float, nesterov: bool) -> float:
    """The largest modulus of what a change along an eigenvector is multiplied by."""
    left = 1 - eta * values
    middle = (1 + beta) * left if nesterov else beta + left
    last = beta * left if nesterov else beta + 0 * left
    return max(abs(np.roots([1, -b, c])).max() for b, c in zip(middle, last, strict=True))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"momentum": 0.3},
        {"momentum": 0.3, "nesterov": True},
        {"layer_rates": (0.5, 1.0, 2.0)},
        {"momentum": 0.2, "nesterov": True, "layer_rates": (2.0, 1.0, 0.5)},
    ],
)
def test_at_a_minimum_the_exponent_is_that_of_the_slowest_change_across_the_gauges(options: dict[str, Any]) -> None:
    eta, mu = 0.05, 0.2
    rank = dln.Quadratic.from_singular_values((3.0, 2.0, 1.5), shape=(3, 3), rng=1)
    start = dln.inits.gaussian(dln.Network((3, 3, 3, 3)), 0.7, size=3, rng=0)
    sol = dln.descend(
        start, rank, eta, 9000, weight_decay=mu, record=("lyapunov",), record_from=6000, **options
    )  # fmt: skip
    rates = np.repeat(options.get("layer_rates", (1.0, 1.0, 1.0)), 9)
    for k in range(3):
        H = hessian.matrix(tuple(W[k] for W in sol.final), rank)
        values = np.linalg.eigvalsh(np.sqrt(rates)[:, None] * H * np.sqrt(rates)) + mu
        neutral = np.abs(values) < 1e-6
        assert neutral.sum() == 6  # the orthogonal gauges of two layers
        expected = largest_root(eta, values[~neutral], options.get("momentum", 0.0), options.get("nesterov", False))
        assert sol.lyapunov[k] == pytest.approx(math.log(expected), abs=2e-5)
        assert sol.lyapunov[k] < -1e-3


@pytest.mark.parametrize("beta", [0.0, 0.2])
def test_on_a_cycle_of_a_network_it_is_that_of_the_multipliers_across_the_gauges(beta: float) -> None:
    network, eta, mu = dln.Network((2, 2, 2, 2)), (1 + beta) / 6, 0.1
    loss = dln.Quadratic.from_singular_values((3.0, 1.0), shape=(2, 2), rng=1)
    start, names = dln.inits.gaussian(network, 0.8, rng=0), ("weights", "lyapunov")
    sol = dln.descend(
        start, loss, eta, 9000, momentum=beta, weight_decay=mu, record=names, record_from=6000
    )  # fmt: skip
    assert sol.period() == 2
    one, around = np.eye(12), np.eye(24)
    for k in (-3, -2):  # the derivative of weights and velocity by those of two updates before
        pull = -eta * (hessian.matrix(tuple(W[k] for W in sol.weights), loss) + mu * one)
        around = np.block([[one + pull, beta * one], [pull, beta * one]]) @ around
    sizes = np.abs(np.linalg.eigvals(around))
    neutral = np.abs(sizes - 1) < 1e-6
    assert neutral.sum() == 2  # one gauge of each hidden layer
    assert sol.lyapunov == pytest.approx(math.log(sizes[~neutral].max()) / 2, abs=1e-6)


def test_without_decay_a_minimum_has_the_exponent_zero_of_the_others_around_it() -> None:
    sol = dln.descend(START, LOSS, 0.05, 3000, record=("lyapunov",), record_from=2000)
    assert np.abs(sol.lyapunov).max() < 1e-5


def test_a_schedule_is_followed() -> None:
    cycle = dln.schedules.cycle([0.9, 1.3])
    sol = dln.descend(([[0.7]], [[0.7]]), UNIT, cycle, 4000, record=("lyapunov", "weights"), record_from=2000)
    x = sol.weights[0][:, 0, 0]
    eta = np.where(np.arange(2000) % 2 == 0, 0.9, 1.3)
    y = x[:-1]
    along, across = np.log(abs(1 - eta * (3 * y**2 - 1))).mean(), np.log(abs(1 - eta * (1 - y**2))).mean()
    assert sol.lyapunov == pytest.approx(max(along, across), abs=1e-3)


def test_chaos_of_a_network_is_that_of_its_mode() -> None:
    network = dln.Network((2, 2, 2))
    loss = dln.Quadratic.from_singular_values((1.0, 0.5), shape=(2, 2))
    start = dln.inits.decoupled(network, loss, 0.7)
    one, several = scalar(1.31), dln.descend(start, loss, 1.31, 6000, record=("lyapunov",), record_from=1000)
    assert several.lyapunov == pytest.approx(one.lyapunov, abs=5e-3)


# ---- the same whatever is asked for beside it


def test_an_exponent_is_its_own_whatever_the_batch() -> None:
    how: dict[str, Any] = {"momentum": 0.5, "record": ("lyapunov",), "record_from": 100}
    whole = dln.descend(START, LOSS, 0.1, 400, **how)
    for k in range(5):
        one = dln.descend(tuple(W[k] for W in START), LOSS, 0.1, 400, threads=1, **how)
        assert one.lyapunov == whole.lyapunov[k]


def test_every_target_has_its_own() -> None:
    targets = dln.Quadratic(np.array([[[1.0]], [[1.5]], [[0.8]]]))
    many = dln.descend(([[0.7]], [[0.7]]), targets, 1.1, 600, record=("lyapunov",), record_from=200)
    for k in range(3):
        one = dln.descend(([[0.7]], [[0.7]]), targets[k], 1.1, 600, record=("lyapunov",), record_from=200)
        assert one.lyapunov == many.lyapunov[k]


def test_going_on_gives_the_exponent_of_one_run(tmp_path: Path) -> None:
    how: dict[str, Any] = {"momentum": 0.5, "record": ("lyapunov", "loss"), "record_from": 100}
    whole = dln.descend(START, LOSS, 0.1, 400, **how)
    part = dln.descend(START, LOSS, 0.1, 250, **how)
    part.save(tmp_path / "part.npz")
    again = dln.load(tmp_path / "part.npz")
    assert np.array_equal(again.lyapunov, part.lyapunov)
    assert np.array_equal(again.extend(150).lyapunov, whole.lyapunov)


def test_what_has_diverged_has_none_and_spoils_no_other() -> None:
    found = scalar([1.1, 3.0])
    assert np.isnan(found.lyapunov[1])
    assert found.lyapunov[0] == scalar(1.1).lyapunov


def test_single_precision_has_about_the_same() -> None:
    start = tuple(np.array(W, np.float32) for W in ([[0.7]], [[0.7]]))
    sol = dln.descend(start, UNIT, 1.1, 3000, record=("lyapunov",), record_from=1000)
    assert sol.lyapunov.dtype == np.float64
    assert sol.lyapunov == pytest.approx(scalar(1.1).lyapunov, abs=1e-4)


def test_functions_of_a_user_have_the_exponent_of_the_loss_they_are() -> None:
    own = dln.Custom(square, residual, (3, 3), change, (np.ascontiguousarray(LOSS.quadratic.cross),))
    how: dict[str, Any] = {"record": ("lyapunov",), "record_from": 100}
    found = dln.descend(START, own, 0.1, 200, **how)
    assert np.allclose(found.lyapunov, dln.descend(START, LOSS, 0.1, 200, **how).lyapunov, rtol=0, atol=1e-9)


def test_what_has_no_exponent_is_refused() -> None:
    X, Y = np.eye(3), np.ones((3, 3))
    with pytest.raises(ValueError, match="'lyapunov' cannot be recorded with batch_size"):
        dln.descend(START, dln.Regression(X, Y), 0.1, 100, batch_size=2, rng=0, record=("lyapunov",))
    with pytest.raises(ValueError, match="'lyapunov' cannot be recorded along a flow"):
        dln.flow(START, LOSS, (0.0, 1.0), record=("lyapunov",))
    with pytest.raises(ValueError, match="needs at least 64 updates from record_from = 50 on, not 50"):
        dln.descend(START, LOSS, 0.1, 100, record=("lyapunov",), record_from=50)
