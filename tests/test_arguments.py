"""Arguments of the wrong kind are refused by name, by every public function, and nothing is taken for a number."""

from __future__ import annotations

import inspect
from fractions import Fraction

import numpy as np
import pytest

import fastdln as dln
from fastdln.checked import KINDS

NET = dln.Network((2, 3, 2))
LOSS = dln.Quadratic(np.diag([2.0, 1.0]))
WEIGHTS = dln.inits.gaussian(NET, 0.5, rng=0)
RIGHT = {
    "net": NET, "loss": LOSS, "weights": WEIGHTS, "a": WEIGHTS, "b": WEIGHTS, "A": dln.theory.adjacency.matrix(WEIGHTS),
    "scale": 0.1, "gain": 0.1, "delta": 0.1, "radius": 0.1, "lambdas": [0.0], "layer_values": 0.5, "size": 2, "rng": 0,
    "first": 0, "i": 2, "k": 1, "product": np.eye(2), "directions": WEIGHTS, "direction": np.eye(2), "t": 1.0,
    "sigma": 2.0, "s0": 0.1, "s": 0.2, "depth": 2,
    "product0": np.eye(2), "learned": (0,), "tol": 1e-7, "rtol": 1e-9, "condition": 2.0,
    "epsilon": 1e-3, "side": "stable", "grids": [[0.0]], "balance": dln.theory.invariants.balance(WEIGHTS),
    "max_iterations": 5, "max_legs": 2, "alpha": 0.1, "t_max": 9.0, "chains": (), "transverse": False, "sparse": False,
    "layer_rates": None, "weight_decay": 0.0, "sol": None, "eta": 0.1, "period": 1, "doublings": 2, "momentum": 0.0,
    "nesterov": False, "vectors": False, "direction_1": WEIGHTS, "direction_2": WEIGHTS, "grid_1": [0.0],
    "grid_2": [0.0], "start": 0.5, "updates": 3, "burn_in": 1,
}  # fmt: skip
WRONG = object(), "1", 1j, np.array([object()])
NUMBERS = True, 10**400, np.nan


def public():
    modules = [dln.inits, *(getattr(dln.theory, name) for name in dln.theory.__all__ if name != "claims")]
    functions = [getattr(module, name) for module in modules for name in module.__all__]
    yield from (dln.value, dln.rhs, dln.gradient_norm)
    yield from (function for function in functions if inspect.isfunction(function))


CASES = [(f, name) for f in public() for name in inspect.signature(f).parameters if name in KINDS]


def call(function, **changes):
    parameters = inspect.signature(function).parameters
    return function(**{name: RIGHT[name] for name in parameters} | changes)


@pytest.mark.parametrize(("function", "name"), CASES, ids=lambda x: x if isinstance(x, str) else x.__qualname__)
def test_what_is_of_the_wrong_kind_is_named(function, name):
    changes = {}
    if function is dln.theory.itinerary.itinerary:
        changes["sol"] = dln.flow(WEIGHTS, LOSS, (0.0, 1.0), record=dln.theory.itinerary.records(LOSS))
    for wrong in WRONG:
        with pytest.raises((TypeError, ValueError), match=rf"\b{name}\b"):
            call(function, **changes | {name: wrong})


SCALARS = [
    (function, name)
    for function, name in CASES
    if isinstance(RIGHT[name], float) and name not in ("layer_values", "weight_decay")
    if function is not dln.theory.itinerary.itinerary
]


@pytest.mark.parametrize(("function", "name"), SCALARS, ids=lambda x: x if isinstance(x, str) else x.__qualname__)
@pytest.mark.parametrize("wrong", NUMBERS)
def test_numbers_that_are_none_or_too_large_are_named(function, name, wrong):
    with pytest.raises((TypeError, ValueError), match=rf"\b{name}\b"):
        call(function, **{name: wrong})


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("span", ("0", "1")),
        ("span", (0.0, 10**400)),
        ("rtol", "1e-6"),
        ("rtol", True),
        ("atol", "0"),
        ("atol", np.ma.masked_all(())),
        ("t_eval", ["0.5"]),
        ("t_eval", [0.5 + 1j]),
        ("t_eval", np.ma.array([0.5], mask=[True])),
        ("max_steps", True),
        ("max_steps", 10**400),
        ("weight_decay", "0"),
        ("weight_decay", 1j),
        ("layer_rates", ("1", "1")),
        ("layer_rates", (1.0, 10**400)),
        ("certify", "no"),
        ("certify", 1),
        ("history", "no"),
        ("history", None),
        ("step", "0.1"),
        ("threads", "1"),
        ("loss", None),
    ],
)
def test_flow_takes_nothing_for_what_it_is_not(name, wrong):
    with pytest.raises((TypeError, ValueError), match=name):
        dln.flow(**{"w0": WEIGHTS, "loss": LOSS, "span": (0.0, 1.0)} | {name: wrong})


def test_what_numbers_are_elsewhere_are_numbers():
    options = {"rtol": np.float32(1e-4), "atol": Fraction(1, 10**6), "max_steps": np.int32(1000), "certify": np.True_}
    assert dln.flow(WEIGHTS, LOSS, (np.int8(0), np.array(1.0)), **options).success


MASKED = np.ma.array(np.eye(2), mask=np.eye(2))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: LOSS.value(1j * np.eye(2)), "product has dtype complex"),
        (lambda: LOSS.grad(1j * np.eye(2)), "product has dtype complex"),
        (lambda: LOSS.value(MASKED), "product has 2 masked entries"),
        (lambda: dln.product((MASKED, np.eye(2))), "W_1 has 2 masked entries"),
        (lambda: dln.Quadratic(MASKED), "sigma has 2 masked entries"),
        (lambda: dln.Regression(np.eye(2), MASKED), "Y has 2 masked entries"),
        (lambda: dln.Quadratic([[10**400]]), "sigma holds integers that no float can hold"),
        (lambda: dln.Quadratic([[1.0], [1.0, 2.0]]), "sigma must be an array"),
        (lambda: dln.Quadratic.from_singular_values((1.0,), (2, 2), rng=-1), "rng must be at least 0, not -1"),
        (lambda: dln.Quadratic.from_singular_values((1.0,), (2, 2.0)), r"shape\[1\] must be an integer"),
        (lambda: dln.Quadratic.from_data(np.eye(2), np.eye(2), whiten="no"), "whiten must be True or False"),
        (lambda: dln.Quadratic.from_data(np.eye(2), np.eye(2), center="no"), "center must be True or False"),
        (lambda: dln.Quadratic.from_data(np.eye(2), np.eye(2), rcond="0"), "rcond must be a number"),
        (lambda: dln.Regression([[1e300]], [[1.0]]), "overflow"),
        (lambda: dln.Network((3, 10**400, 0)), "d_2 must be at least 1"),
        (lambda: dln.Stop(grad_norm="1e-3"), "grad_norm must be a number"),
        (lambda: dln.inits.gaussian((3, 4, 3)), "net must be a Network, not tuple"),
        (lambda: dln.inits.gaussian(NET, rng=-1), "rng must be at least 0, not -1"),
        (lambda: dln.rhs(WEIGHTS, None), "loss must be a Loss such as Quadratic or Regression, not NoneType"),
        (lambda: dln.theory.exact.mode("1", 0.1, 1.0, 2), "t must hold finite real numbers"),
        (lambda: dln.theory.exact.mode(MASKED, 0.1, 1.0, 2), "t has 2 masked entries"),
    ],
)
def test_other_values_are_refused_by_name(function, message):
    with pytest.raises((TypeError, ValueError), match=message):
        function()


@pytest.mark.parametrize(
    "function",
    [
        lambda: dln.inits.balanced(NET, 1.7e308, rng=0, size=50),
        lambda: dln.inits.gaussian(NET, 1.7e308, rng=0, size=50),
        lambda: dln.inits.uniform(NET, 1.7e308, rng=0, size=50),
        lambda: dln.inits.near((np.full((9, 9), 1.7e308),), 1.7e308, rng=0),
        lambda: dln.inits.lambda_balanced(NET, [0.0], 1e200, rng=0),
    ],
)
def test_starts_that_would_not_be_finite_are_refused(function):
    with pytest.raises(ValueError, match=r"W_\d would overflow"):
        function()


def test_targets_that_would_not_fit_are_refused_at_once():
    with pytest.raises(MemoryError, match=r"a target of shape \(10000000, 10000000\) would take"):
        dln.Quadratic.from_singular_values(range(50), (10**7, 10**7))


def test_values_in_messages_are_short():
    for wrong in ("x" * 10_000, list(range(10_000)), 10**5000):
        with pytest.raises((TypeError, ValueError)) as caught:
            dln.flow(WEIGHTS, LOSS, (0.0, 1.0), rtol=wrong)
        assert len(str(caught.value)) < 300
