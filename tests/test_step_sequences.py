"""Step sequences as `flow` takes them, against the control of step sizes in plain Python.

One layer under a regression loss is a linear equation: nothing grows that an error norm could miss, so the law of the
controller alone says how long a step is; and stability limits the steps, so some of them are rejected.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastdln as dln
from fastdln.integrate import control, stabilized
from fastdln.integrate.tableaus import DP5, METHODS

T_END, STARTS = 80.0, 8


def problem():
    """Return starts and a loss whose Gram matrix has eigenvalues over two decades."""
    rng = np.random.default_rng(4)
    X = np.geomspace(1, 0.1, 4)[:, None] * rng.standard_normal((4, 30))
    return (rng.standard_normal((STARTS, 3, 4)),), dln.Regression(X, rng.standard_normal((3, 30)))


def attempt(field, y, slope, h, method):
    """Try a step: its end, the slope there, and the error estimates."""
    k = [slope]
    for row in method.rows[1 : method.stages]:
        z = y + h * sum(a * x for a, x in zip(row, k, strict=True))
        k.append(field(z))
    return z, k[-1], [h * sum(e * x for e, x in zip(row, k, strict=False)) for row in method.errors]


def norm(y, z, errors, rtol, atol):
    """Root mean square of the error over its tolerance, of two estimates that of DOP853 (HNW II.10); at least 1e-8."""
    squares = [np.mean((e / (atol + rtol * np.maximum(abs(y), abs(z)))) ** 2) for e in errors]
    square = squares[0] if len(squares) == 1 else squares[0] ** 2 / (squares[0] + 0.01 * squares[1])
    return max(math.sqrt(square), 1e-8)


def sequence(field, y, h, method, rtol, atol):
    """The ends of the accepted steps; and after rejected ones by what the law alone would have lengthened the next.

    PI control with k = order of the estimate + 1, beta = 0.2/k, alpha = 1/k - 0.75 beta (Hairer and Wanner, IV.2).
    """
    k = method.error_order + 1
    beta = 0.2 / k
    alpha = 1 / k - 0.75 * beta
    t, before, rejected, slope, ends, after_rejection = 0.0, 1.0, False, field(y), [], []
    while t < T_END:
        h = min(h, T_END - t)
        z, slope_there, errors = attempt(field, y, slope, h, method)
        error = norm(y, z, errors, rtol, atol)
        factor = 0.9 * error**-alpha
        if error <= 1:
            factor *= before**beta
            if rejected:
                after_rejection.append(factor)
                factor = min(factor, 1.0)
            t, y, slope, before = t + h, z, slope_there, error
            ends.append(t)
        rejected = error > 1
        h *= min(max(factor, 0.2), 10.0)
    return np.array(ends), after_rejection


@pytest.mark.parametrize("engine", ["lanes", "dense"])
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_steps_are_those_of_the_law(method, engine):
    w0, loss = problem()
    rtol, atol = 1e-3, 1e-6
    sol = dln.flow(w0, loss, (0.0, T_END), [], method=method.name, rtol=rtol, atol=atol, engine=engine, history=True)
    longer = []
    for k in range(STARTS):
        ends, steps = sol.history(k)
        expected, after_rejection = sequence(
            lambda W: loss.cross - W @ loss.input_gram, w0[0][k], steps[0], method, rtol, atol
        )
        assert_allclose(ends, expected, rtol=1e-6)
        assert sol.n_rejected[k] == len(after_rejection)
        longer += after_rejection
    # those of these methods tell whether a step may grow after a rejected one
    assert method.name not in ("bs3", "dop853") or max(longer) > 1.01


def test_the_constants_are_those_of_dopri5():
    """SAFE = 0.9, BETA = 0.04, EXPO1 = 0.2 - 0.75 BETA, FAC1 = 0.2, FAC2 = 10 (E. Hairer, G. Wanner, dopri5.f)."""
    safety, least, most, alpha, beta = control.gains(DP5)
    assert (2**safety, least, most) == pytest.approx((0.9, 0.2, 10.0))
    assert (alpha, beta) == pytest.approx((0.17, 0.04))


def test_the_constants_of_stabilized_methods_are_those_of_rock4():
    """fac = min(5, max(0.1, 0.8 err^(-1/4))): the elementary law (A. Abdulle, rock4.f)."""
    safety, least, most, alpha, beta = stabilized.GAINS
    assert (2**safety, least, most, alpha, beta) == pytest.approx((0.8, 0.1, 5.0, 1 / 4, 0.0))
