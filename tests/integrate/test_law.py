"""The scalar law: how trajectories begin and end, what they count, and the tests of the certified finish."""

from __future__ import annotations

import inspect
import math
from itertools import product

import numba
import numpy as np
import pytest

import fastdln as dln
from fastdln.integrate import certificate, law
from fastdln.integrate.status import ADVICE, Status

FUNCTIONS = [
    function
    for module in (law, certificate)
    for _, function in inspect.getmembers(module, inspect.isfunction)
    if function.__module__ == module.__name__
]
NUMBERS = (0.0, 1e-300, 1e-260, 1e-16, 2e-5, 0.3, 1.0, 7.7, 1e100, 2e300, math.inf, math.nan)
COUNTS = (0, 1, 7, 800)


def test_numbers_of_statuses_never_change():
    numbers = {"FINISHED": 0, "STOPPED": 1, "MAX_STEPS": 2, "NONFINITE": 3, "STEP_TOO_SMALL": 4, "DIVERGED": 5}
    assert {status.name: int(status) for status in dln.Status} == numbers


def test_every_failure_has_its_advice():
    assert list(ADVICE) == [status for status in Status if status > Status.STOPPED]


def values(function):
    """Some of all combinations of arguments, of their types."""
    kinds = {"int": COUNTS, "bool": (False, True), "float": NUMBERS}
    columns = [kinds[parameter.annotation] for parameter in inspect.signature(function).parameters.values()]
    every = list(product(*columns))
    chosen = np.random.default_rng(0).permutation(len(every))[:2000]
    return [every[k] for k in chosen]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_compiled_code_takes_the_same_operations(function):
    """Bit by bit; where Python would divide by zero, or finds no logarithm, no engine comes."""
    compiled, told = numba.njit(error_model="numpy")(function), 0
    for arguments in values(function):
        try:
            expected = function(*arguments)
        except (ZeroDivisionError, ValueError, OverflowError):
            assert function in (law.first_guess, law.first_step, certificate.allowed), arguments
            continue
        told += 1
        assert np.array_equal(compiled(*arguments), expected, equal_nan=True), arguments
    assert told > 0.5 * len(values(function))


@pytest.mark.parametrize(
    ("expected", "stopped", "reached", "next_step", "failed", "fixed"),
    [
        (Status.STOPPED, True, 2.0, 0.1, True, False),
        (Status.FINISHED, False, 2.0, 0.1, False, False),
        (Status.FINISHED, False, 2.0, 0.0, True, True),
        (Status.MAX_STEPS, False, 1.0, 0.1, False, False),
        (Status.MAX_STEPS, False, 1.0, 0.1, True, False),  # not finite once, but with a step to try
        (Status.MAX_STEPS, False, 1.0, 2.0**-50, False, False),
        (Status.STEP_TOO_SMALL, False, 1.0, 2.0**-51, False, False),
        (Status.NONFINITE, False, 1.0, 2.0**-51, True, False),
        (Status.NONFINITE, False, 0.0, 0.0, True, False),
        (Status.NONFINITE, False, 1.0, math.nan, True, False),
        (Status.NONFINITE, False, 1.0, 0.1, True, True),  # a fixed step is not tried again
    ],
)
def test_verdicts(expected, stopped, reached, next_step, failed, fixed):
    assert law.verdict(stopped, reached, 2.0, next_step, failed, fixed) == expected


def test_slopes_are_counted_once():
    assert law.slopes_taken(0, 7, False) == 1
    assert law.slopes_taken(3, 7, False) == 1 + 3 * 6 + 1  # at the start, the steps', and to choose the first of them
    assert law.slopes_taken(3, 7, True) == 1 + 3 * 6


@pytest.mark.parametrize("order", [2, 4, 7])
@pytest.mark.parametrize("rate", [1e-3, 1.0, 250.0])
def test_the_first_step_of_a_linear_equation(rate, order):
    """Of y' = rate y at tolerance 1e-6 y: the norms are 1e6, 1e6 rate and 1e6 rate^2."""
    size, speed = 1e6, 1e6 * rate
    guess = law.first_guess(size, speed, 1e9)
    assert guess == pytest.approx(0.01 / rate)
    step = law.first_step(guess, speed, 1e6 * rate**2, order, 1e9)
    wanted = min(100 * guess, (0.01 / max(speed, 1e6 * rate**2)) ** (1 / (order + 1)))
    assert step <= wanted < 2 * step
    assert math.frexp(step)[0] == 0.5
    assert law.first_step(guess, speed, 1e6 * rate**2, order, 1e-9) == 1e-9
    assert law.first_guess(size, speed, 1e-9) == 1e-9


def test_where_nothing_moves_the_first_steps_are_short():
    assert law.first_guess(0.0, 1.0, 1.0) == law.first_guess(1.0, 0.0, 1.0) == 1e-6
    assert law.first_step(1e-6, 0.0, 0.0, 4, 1.0) == 2.0**-20


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e301])
def test_a_norm_that_overflows_does_not_begin(bad):
    assert law.begins(1.0, 1.0)
    assert not law.begins(bad, 1.0)
    assert not law.begins(1.0, bad)
    assert law.first_step(1e-3, 2.0, bad, 4, 1.0) == law.first_step(1e-3, 2.0, 1.0, 4, 1.0)


def test_a_certificate_bounds_the_path_by_the_tolerance():
    """(2 max eta E / mu)^(1/2) <= delta, with 2 E = distance^2."""
    delta, mu, fastest = 1e-3, 4.0, 2.0
    most2 = certificate.allowed(delta**2, mu, fastest)
    for factor, expected in ((0.999, True), (1.001, False)):
        distance = factor * delta * math.sqrt(mu / fastest)
        assert certificate.settled(distance, most2) is expected
        assert certificate.excess(distance, most2) == pytest.approx(factor**2)
    for broken in (0.0, 1e-251, math.inf, math.nan):
        assert not certificate.settled(0.0, broken)
    assert not certificate.settled(math.nan, most2)


def test_a_check_waits_for_its_step_or_for_the_loss_to_fall():
    retry = certificate.retry_step(80)
    assert retry == 90.0
    least = certificate.retry_fall(1e-8, 5.0)
    assert least == pytest.approx(1.25e-8 / 5.0)
    assert certificate.waits(88, 2 * least, retry, least)
    assert not certificate.waits(90, 2 * least, retry, least)
    assert not certificate.waits(88, least, retry, least)


def test_near_the_end_is_told_by_rate_and_loss():
    """With one layer of rate 1 the loss falls at the rate 2 E, and the path that is left is (2 E)^(1/2)."""
    delta, reach2 = 1e-4, 100.0
    for twice in (1e-10, 1e-7, 1e-5, 1e-3):
        assert certificate.moves_fast(1.0, twice, reach2, delta**2, 1.0) is (twice > reach2 * delta**2)
        assert certificate.shortfall(1.0, twice, delta**2, twice, 1.0, 0.0) == pytest.approx(twice / delta**2)
    for broken in (math.nan, math.inf):
        assert certificate.moves_fast(1.0, broken, reach2, delta**2, 1.0)
        assert not certificate.shortfall(1.0, broken, delta**2, 1.0, 1.0, 0.0) <= 1.0


def test_singular_values_are_lowered_by_what_moving_all_layers_takes():
    norms, delta = (2.0, 3.0, 0.5), 0.1
    size, shift = 1.0, 0.0
    for norm in norms:
        shift = certificate.shifted(size, shift, norm, delta)
        size *= norm
    assert shift == pytest.approx(math.prod(n + delta for n in norms) - math.prod(norms))
    assert certificate.lowered(3.0, shift, 0.01) == pytest.approx(3.0 - shift - 0.01)
    assert certificate.lowered(0.1, shift, 0.01) == 0.0
    assert certificate.residual_bound(4.0, 100, 1e-3) == pytest.approx(2.001)
    assert certificate.residual_bound(4.0, 100, 0.0) >= 2.0 * (1 + 100 * certificate.UNIT)
