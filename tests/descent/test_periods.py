"""Periods of what was recorded of a descent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastdln as dln
from fastdln.results.periods import least_periods
from fastdln.theory import descent

LOSS = dln.Quadratic([[1.0]])
RATES = [0.9, 1.1, 1.25, 1.29, 1.31, 3.0]


def descended(rates: Any = RATES, steps: int = 4000, **options: Any) -> dln.Trajectories:
    return dln.descend(([[0.7]], [[0.7]]), LOSS, rates, steps, **({"record_from": 3000, "record": "weights"} | options))


def test_periods_double_as_those_of_the_scalar_map() -> None:
    found = descended().period()
    assert found.tolist() == [1, 2, 4, 8, 0, 0]  # chaos, and what has diverged, have none
    for eta, period in zip(RATES[1:3], found[1:3], strict=True):
        assert any(cycle.stable for cycle in descent.cycles(eta, 1.0, 2, int(period)))


@pytest.mark.parametrize("record", ["strengths", "singular_values"])
def test_what_follows_from_the_product_tells_it_too(record: str) -> None:
    assert descended(record=record).period().tolist() == [1, 2, 4, 8, 0, 0]


def test_a_single_network_has_a_single_one() -> None:
    assert descended(1.1).period() == 2


def test_longer_ones_are_not_looked_for() -> None:
    assert descended().period(longest=4).tolist() == [1, 2, 4, 0, 0, 0]


def test_the_tolerance_is_relative_to_the_largest_and_holds_for_all_records() -> None:
    k = np.arange(40)
    exact = np.where(k % 3 == 0, 1e6, 2.0)[None, :, None]
    noisy, late = exact + 1e-3 * (k % 5 == 0)[:, None], exact.copy()
    late[0, -1] += 1.0
    series = np.concatenate([exact, noisy, late, exact + (k < 5)[:, None]])
    assert least_periods(series, 1e-8, 8).tolist() == [3, 3, 0, 3]  # the last one has settled before
    assert least_periods(series, 1e-10, 8).tolist() == [3, 0, 0, 3]


def test_what_does_not_tell_a_period_is_refused() -> None:
    with pytest.raises(ValueError, match=r"period\(\) needs one of weights, strengths, singular_values"):
        descended(record="loss").period()
    with pytest.raises(ValueError, match="needs a record of each of the last 256 updates"):
        descended(record_every=2).period()
    with pytest.raises(ValueError, match="needs a record of each of the last 256 updates"):
        descended(record_from=3900).period()
    assert descended(record_from=3900).period(longest=16).tolist() == [1, 2, 4, 8, 0, 0]
    flow = dln.flow(([[0.7]], [[0.7]]), LOSS, (0.0, 1.0), record="weights")
    with pytest.raises(ValueError, match="a flow has no period"):
        flow.period()
    with pytest.raises(ValueError, match="tol must be"):
        descended().period(tol=0.0)
