"""Step sequences as `flow` takes them, against the control of step sizes in plain Python.

One layer under a regression loss is a linear equation: nothing grows that an error norm could miss, so the law of the
controller alone says how long a step is; and stability limits those of explicit methods, so some are rejected.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastdln as dln
from fastdln.integrate import chebyshev, control
from fastdln.integrate.chebyshev import rkc2, rock4
from fastdln.integrate.chebyshev.rkc2 import LEAST2, REACH2
from fastdln.integrate.tableaus import DP5, EXPLICIT
from tests.support.stabilized import rkc2_step, rock4_step

STARTS = 8


def problem(least):
    """Return starts, a loss, its field, and the largest eigenvalue; standard deviations of inputs go down to least."""
    rng = np.random.default_rng(4)
    X = np.geomspace(1, least, 4)[:, None] * rng.standard_normal((4, 30))
    loss = dln.Regression(X, rng.standard_normal((3, 30)))
    starts = rng.standard_normal((STARTS, 3, 4))
    form = loss.quadratic
    return starts, loss, lambda W: form.cross - W @ form.input_gram, np.linalg.eigvalsh(form.input_gram)[-1]


def norm(y, z, errors, rtol, atol):
    """Root mean square of the error over its tolerance, of two estimates that of DOP853 (HNW II.10); at least 1e-8."""
    squares = [np.mean((e / (atol + rtol * np.maximum(abs(y), abs(z)))) ** 2) for e in errors]
    square = squares[0] if len(squares) == 1 else squares[0] ** 2 / (squares[0] + 0.01 * squares[1])
    return max(math.sqrt(square), 1e-8)


def explicit(method, field):
    """A step of an explicit method: its end, the slope there, and the error estimates."""

    def step(y, slope, h):
        k = [slope]
        for row in method.rows[1 : method.stages]:
            z = y + h * sum(a * x for a, x in zip(row, k, strict=True))
            k.append(field(z))
        return z, k[-1], [h * sum(e * x for e, x in zip(row, k, strict=False)) for row in method.errors]

    return step


def sequence(step, judge, field, y, h, t_end, law):
    """The ends of accepted steps, the number of others, and after these by what the law alone would lengthen a step.

    ``law``: safety, least and most factor, and the powers alpha and beta of the errors of this step and of the accepted
    one before.
    """
    safety, least, most, alpha, beta = law
    t, before, rejected, rejections, slope, ends, after_rejection = 0.0, 1.0, False, 0, field(y), [], []
    while t < t_end:
        h = min(h, t_end - t)
        z, slope_there, errors = step(y, slope, h)
        error = judge(y, z, errors)
        factor = safety * error**-alpha
        if error <= 1:
            factor *= before**beta
            if rejected:
                after_rejection.append(factor)
                factor = min(factor, 1.0)
            t, y, slope, before = t + h, z, slope_there, error
            ends.append(t)
        rejected = error > 1
        rejections += rejected
        h *= min(max(factor, least), most)
    return np.array(ends), rejections, after_rejection


@pytest.mark.parametrize("engine", ["lanes", "dense"])
@pytest.mark.parametrize("method", EXPLICIT.values(), ids=EXPLICIT)
def test_steps_are_those_of_the_law(method, engine):
    """PI control with k = order of the estimate + 1, beta = 0.2/k, alpha = 1/k - 0.75 beta (HW IV.2)."""
    w0, loss, field, _ = problem(0.1)
    rtol, atol, t_end = 1e-3, 1e-6, 80.0
    sol = dln.flow((w0,), loss, (0.0, t_end), [], method.name, rtol, atol, engine=engine, history=True)
    k = method.error_order + 1
    law = 0.9, 0.2, 10.0, 1 / k - 0.75 * 0.2 / k, 0.2 / k
    longer = []
    for i, start in enumerate(w0):
        ends, steps = sol.history(i)
        expected, rejections, after_rejection = sequence(
            explicit(method, field), lambda *x: norm(*x, rtol, atol), field, start, steps[0], t_end, law
        )
        assert_allclose(ends, expected, rtol=1e-6)
        assert sol.n_rejected[i] == rejections
        longer += after_rejection
    # those of these methods tell whether a step may grow after a rejected one
    assert method.name not in ("bs3", "dop853") or max(longer) > 1.01


@pytest.mark.parametrize("engine", ["lanes", "dense"])
@pytest.mark.parametrize("method", ["rock", "rkc2"])
def test_steps_of_stabilized_methods_are_those_of_the_elementary_law(method, engine):
    """With the least number of stages. RKC2 takes a fifth of the tolerance for a step, and its error falls as h^3."""
    w0, loss, field, largest = problem(0.5)
    rtol, atol, t_end = 1e-5, 1e-8, 8.0
    sol = dln.flow((w0,), loss, (0.0, t_end), [], method, rtol, atol, engine=engine, history=True)
    if method == "rock":
        table = rock4.degrees()[0]
        reach, share, alpha = table.reach, 1.0, 1 / 4
        step = lambda y, slope, h: rock4_step(field, y, slope, h, table)  # noqa: E731
    else:
        reach, share, alpha = (LEAST2**2 - 1) / REACH2, 0.2, 1 / 3

        def step(y, slope, h):
            stages, error = rkc2_step(field, y, slope, h, LEAST2, rkc2.coefficients(LEAST2))
            return stages[-1], field(stages[-1]), error

    for i, start in enumerate(w0):
        ends, steps = sol.history(i)
        assert 1.1 * largest * steps.max() < reach
        expected, rejections, _ = sequence(
            step, lambda y, z, error: norm(y, z, [error], rtol, atol) / share, field, start, steps[0], t_end,
            (0.8, 0.1, 5.0, alpha, 0.0),
        )  # fmt: skip
        assert len(ends) > 20
        assert_allclose(ends, expected, rtol=1e-6)
        assert sol.n_rejected[i] == rejections


def test_the_constants_are_those_of_dopri5():
    """SAFE = 0.9, BETA = 0.04, EXPO1 = 0.2 - 0.75 BETA, FAC1 = 0.2, FAC2 = 10 (E. Hairer, G. Wanner, dopri5.f)."""
    safety, least, most, alpha, beta = control.gains(DP5)
    assert (2**safety, least, most) == pytest.approx((0.9, 0.2, 10.0))
    assert (alpha, beta) == pytest.approx((0.17, 0.04))


def test_the_constants_of_stabilized_methods_are_those_of_rock4():
    """fac = min(5, max(0.1, 0.8 err^(-1/4))): the elementary law (A. Abdulle, rock4.f)."""
    safety, least, most, alpha, beta = chebyshev.GAINS
    assert (2**safety, least, most, alpha, beta) == pytest.approx((0.8, 0.1, 5.0, 1 / 4, 0.0))
