"""Exponents of a balanced mode: against extended precision, multipliers of cycles, and Hessians."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

import fastdln as dln
from fastdln.theory import descent, hessian


def twin(eta: float, sigma: float, h: int, start: float, updates: int, burn_in: int) -> tuple[float, float]:
    """Both exponents with 40 digits, from the update of h unequal layers and its derivatives."""
    with mpmath.workdps(40):
        s, sums = mpmath.mpf(start), [mpmath.mpf(0)] * 2

        def update(*w: mpmath.mpf) -> mpmath.mpf:
            return w[0] + eta * mpmath.fprod(w[1:]) * (sigma - mpmath.fprod(w))

        for k in range(burn_in + updates):
            if k >= burn_in:
                own, other = (mpmath.diff(update, (s,) * h, (i == 0, i == 1, *(0,) * (h - 2))) for i in (0, 1))
                sums[0] += mpmath.log(abs(own + (h - 1) * other))
                sums[1] += mpmath.log(abs(own - other))
            s = update(*(s,) * h)
        return float(sums[0] / updates), float(sums[1] / updates)


@pytest.mark.parametrize(("eta", "sigma", "h"), [(0.8, 1.0, 2), (0.032, 10.0, 3), (0.3, 1.7, 4)])
def test_they_are_those_of_extended_precision(eta: float, sigma: float, h: int) -> None:
    found = descent.mode_exponents(eta, sigma, h, 0.9, 30, 10)
    np.testing.assert_allclose(found, twin(eta, sigma, h, 0.9, 30, 10), rtol=0, atol=1e-9)


def test_the_exponent_along_a_cycle_is_that_of_its_multiplier() -> None:
    (cycle,) = [c for c in descent.cycles(0.036, 10.0, 3, 2) if c.stable]
    found = descent.mode_exponents(0.036, 10.0, 3, 1.9, 2000, 2000)
    assert found.along == pytest.approx(math.log(abs(cycle.multiplier)) / 2, abs=1e-10)


def test_it_vanishes_at_doublings_and_is_log_three_at_the_end() -> None:
    found = descent.mode_exponents(descent.cascade(10.0, 3, 3), 10.0, 3, 1.9, 20000, 50000).along
    assert np.abs(found).max() < 1e-3
    last = descent.mode_exponents(2.0, 1.0, 2, 0.7, 20000)
    assert last.along == pytest.approx(math.log(3), abs=1e-3)
    assert last.across == pytest.approx(0.0, abs=1e-2)


def test_factors_are_those_of_the_hessian() -> None:
    s, eta, weights = 1.3, 0.1, (np.array([[1.3]]),) * 4
    values = np.sort(np.abs(1 - eta * np.linalg.eigvalsh(hessian.matrix(weights, dln.Quadratic([[2.0]])))))
    found = descent.mode_exponents(eta, 2.0, 4, s, 1)
    np.testing.assert_allclose(np.sort(np.exp([found.along, *[found.across] * 3])), values, rtol=1e-12)


def test_one_layer_has_no_change_across_and_orbits_that_escape_have_none() -> None:
    found = descent.mode_exponents([0.5, 2.5], 3.0, 1, 1.0, 10)
    assert found.along == pytest.approx(np.log([0.5, 1.5]))
    assert (found.across == -np.inf).all()
    gone = descent.mode_exponents([1.9, 2.2], 1.0, 2, 0.7, 500)
    assert np.isnan(gone).T.tolist() == [[False, False], [True, True]]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="eta, sigma and start must broadcast"):
        descent.mode_exponents([1.0, 2.0], [1.0, 2.0, 3.0], 2, 1.0, 10)
    for name, value in (("depth", 0), ("updates", 0), ("burn_in", -1)):
        given = {"depth": 2, "updates": 10, "burn_in": 0} | {name: value}
        with pytest.raises(ValueError, match=f"{name} must be at least"):
            descent.mode_exponents(1.0, 1.0, start=1.0, **given)
