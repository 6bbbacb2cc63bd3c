"""Descent beside the flow and the modified flow: orders, times, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastdln as dln

RATES = [0.04, 0.02, 0.01, 0.005]
LOSS = dln.Quadratic(np.diag([2.0, 1.5, 1.0]))
START = dln.inits.gaussian(dln.Network((3, 4, 4, 3)), 0.7, size=5, rng=0)


@pytest.mark.parametrize("given", [{}, {"layer_rates": (0.5, 1.0, 2.0), "weight_decay": 0.3}], ids=["plain", "given"])
def test_the_orders_are_one_and_two(given: dict[str, Any]) -> None:
    found = dln.compare(START, LOSS, RATES, t_end=2.0, n_times=10, **given)
    assert found.to_flow.shape == found.to_modified.shape == (4, 5, 10)
    np.testing.assert_allclose(found.order_flow, 1.0, atol=0.03)
    np.testing.assert_allclose(found.order_modified, 2.0, atol=0.06)
    assert (found.to_modified < 0.2 * found.to_flow).all()


def test_orders_hold_for_other_losses() -> None:
    rng = np.random.default_rng(0)
    loss = dln.Logistic(rng.standard_normal((3, 12)), np.sign(rng.standard_normal((3, 12))))
    found = dln.compare(START, loss, [0.2, 0.1, 0.05], t_end=2.0, n_times=5)
    np.testing.assert_allclose(found.order_flow, 1.0, atol=0.05)
    np.testing.assert_allclose(found.order_modified, 2.0, atol=0.1)


def test_distances_are_those_of_single_runs_at_multiples_of_the_rate() -> None:
    found = dln.compare(START, LOSS, [0.07, 0.03], t_end=1.0, n_times=3)
    np.testing.assert_allclose(found.t, [[0.35, 0.7, 0.98], [0.33, 0.66, 0.99]], rtol=1e-12)
    sol = dln.descend(START, LOSS, 0.07, 10)
    for to, run in (
        (found.to_flow, dln.flow(START, LOSS, (0.0, 0.7), rtol=1e-10)),
        (found.to_modified, dln.modified_flow(START, LOSS, 0.07, (0.0, 0.7), rtol=1e-10)),
    ):
        squares = sum(np.square(a - b).sum(axis=(1, 2)) for a, b in zip(sol.final, run.final, strict=True))
        np.testing.assert_allclose(to[0, :, 1], np.sqrt(squares), atol=1e-8)


def test_a_single_network_has_no_axis() -> None:
    one = tuple(W[1] for W in START)
    found, batch = (dln.compare(w, LOSS, [0.02, 0.01], t_end=1.0, n_times=4) for w in (one, START))
    assert found.to_flow.shape == (2, 4)
    assert np.array_equal(found.to_flow, batch.to_flow[:, 1])
    assert found.order_flow.shape == ()
    assert found.order_flow == batch.order_flow[1]


def test_what_has_diverged_is_at_no_distance() -> None:
    start = tuple(np.array([[[w]], [[v]]]) for w, v in ((1.0, 3.0), (1.0, 3.0)))
    found = dln.compare(start, dln.Quadratic([[1.0]]), [0.4, 0.1], t_end=20.0, n_times=5)
    assert np.isnan(found.to_flow[0, 1]).all()
    assert np.isfinite(found.to_flow[:, 0]).all()
    assert np.isfinite(found.to_flow[1]).all()
    assert np.isnan(found.order_flow[1])
    alone = dln.compare(tuple(W[1] for W in start), dln.Quadratic([[1.0]]), [0.4], t_end=20.0, n_times=5)
    assert np.isnan(alone.to_flow).all()


@pytest.mark.parametrize("rates", [[], 0.1, [0.1, -0.1], [0.1, np.nan], [0.3], [[0.1]]])
def test_rates_that_do_not_fit_are_refused(rates: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="learning_rates must be"):
        dln.compare(START, LOSS, rates, t_end=1.0, n_times=5)
