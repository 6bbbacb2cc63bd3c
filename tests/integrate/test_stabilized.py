"""Stabilized methods: order, stability intervals, error estimates, and what rounding leaves in them."""

from __future__ import annotations

import types

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import fastdln as dln
from fastdln.integrate.chebyshev import GAINS, rkc2, rock4
from fastdln.integrate.chebyshev.rkc2 import LEAST2, MOST2, REACH2
from fastdln.integrate.chebyshev.tables import tables
from fastdln.kernels.lockstep.chebyshev import choice, error, radius, table
from fastdln.kernels.lockstep.control import ACTIVE, STEP
from fastdln.kernels.lockstep.workspace import RKC, ROCK
from tests.support.stabilized import rkc2_step, rock4_step

STAGES2 = (LEAST2, 5, 6, 9, 17, 40, 101, 300)


def field(y):
    """Not linear, not autonomous by its last entry (time), with elementary differentials of every kind."""
    u, v, t = y
    return np.array([-u * v + np.cos(t), u * u - 0.5 * v * np.exp(-t), 1.0])


START = np.array([1.0, 0.3, 0.0])


@pytest.fixture(scope="module")
def end():
    return solve_ivp(lambda _, y: field(y), (0, 1), START, "DOP853", rtol=1e-13, atol=1e-14).y[:, -1]


def order(step, end, counts):
    errors, estimates = [], []
    for n in counts:
        y = START
        for k in range(n):
            y, estimate = step(y, 1 / n)
            if k == 0:
                estimates.append(np.abs(estimate).max())
        errors.append(np.abs(y - end).max())
    slopes = [-np.polyfit(np.log(counts), np.log(x), 1)[0] for x in (errors, estimates)]
    return slopes[0], slopes[1]


@pytest.mark.parametrize("method", rock4.degrees()[::6], ids=lambda m: m.stages)
def test_order_of_rock4_and_of_its_estimate(method, end):
    def step(y, h):
        z, _, error = rock4_step(field, y, field(y), h, method)
        return z, error

    solution, estimate = order(step, end, (6, 8, 12, 16))
    assert solution > 3.7
    assert estimate > 3.7  # order 3, in one step


@pytest.mark.parametrize("s", STAGES2)
def test_order_of_rkc2_and_of_its_estimate(s, end):
    def step(y, h):
        stages, error = rkc2_step(field, y, field(y), h, s, rkc2.coefficients(s))
        return stages[-1], error

    solution, estimate = order(step, end, (12, 16, 24, 32))
    assert solution > 1.9
    assert estimate > 2.7


@pytest.mark.parametrize("s", STAGES2)
def test_the_inner_stages_of_rkc2_are_of_order_two_where_they_say(s, end):
    method = rkc2.coefficients(s)
    errors = []
    for h in (0.1, 0.05):
        stages, _ = rkc2_step(field, START, field(START), h, s, method)
        at = solve_ivp(
            lambda _, y: field(y), (0, h), START, "DOP853", t_eval=h * np.array(method.c), rtol=1e-13, atol=1e-14
        )
        errors.append([np.abs(stages[j] - y).max() for j, y in zip(method.nodes, at.y.T, strict=True)])
    assert (np.log2(np.divide(*errors)) > 2.7).all()


@pytest.mark.parametrize("method", rock4.degrees(), ids=lambda m: m.stages)
def test_rock4_is_stable_over_its_interval(method):
    z = -np.linspace(0, method.reach, 4_001)
    R, _, error = rock4_step(lambda y: z * y, np.ones_like(z), z, 1.0, method)
    assert np.abs(R[1:]).max() < 1
    damped = z < -0.25 * method.reach
    assert np.abs(R[damped]).max() < 0.96
    assert np.abs(error[damped]).max() < 1.5
    near = z > -0.5
    assert np.abs(R - np.exp(z))[near].max() < 3e-4


@pytest.mark.parametrize("s", STAGES2)
def test_rkc2_is_stable_over_its_interval(s):
    z = -np.linspace(0, (s**2 - 1) / REACH2, 4_001)
    stages, error = rkc2_step(lambda y: z * y, np.ones_like(z), z, 1.0, s, rkc2.coefficients(s))
    assert max(np.abs(g).max() for g in stages) <= 1 + 1e-12
    damped = z < -0.1 * s**2
    assert np.abs(stages[-1][damped]).max() < 0.96
    assert np.abs(error[damped]).max() < 9
    small = z[1:40] / z[40] * -0.1
    stages, error = rkc2_step(lambda y: small * y, np.ones_like(small), small, 1.0, s, rkc2.coefficients(s))
    np.testing.assert_allclose(error, np.exp(small) - stages[-1], rtol=0.04, atol=1e-12)


@pytest.mark.parametrize("method", rock4.degrees()[::4], ids=lambda m: m.stages)
def test_rounding_of_the_slopes_comes_to_the_noise_that_is_told(method):
    """Slopes with a relative error of eps of their parts, at the rest point of a diagonal problem."""
    rng = np.random.default_rng(0)
    stiffness = method.reach * np.linspace(0, 1, 200)
    eps, found = 1e-12, []
    for _ in range(5):
        noisy = lambda y: -stiffness * y + eps * method.reach * rng.uniform(-1, 1, len(y))  # noqa: E731
        z, _, _ = rock4_step(noisy, np.zeros(200), np.zeros(200), 1.0, method)
        found.append(np.abs(z).max())
    assert 0.2 < max(found) / (eps * method.noise) < 5


def test_rows_of_the_table_are_those_of_single_methods():
    table = tables(1e-6, np.dtype(np.float64)).rkc
    assert len(table) == MOST2 + 1
    for s in (LEAST2, 31, MOST2):
        method = rkc2.coefficients(s)
        row = (method.w0, method.w1, *method.nodes, *method.c, *method.weights)
        np.testing.assert_array_equal(table[s], row)
        np.testing.assert_allclose(method.c, (1 / 3, 2 / 3), atol=0.01 + 1 / s)


def test_tolerance_and_precision_say_how_long_steps_of_rock4_may_be():
    stages = {rtol: tables(rtol, np.float64) for rtol in (1e-2, 1e-4, 1e-6, 1e-8, 1e-12)}
    longest = [t.rock[t.longest, 0] for t in stages.values()]
    assert longest == sorted(longest, reverse=True)
    assert longest[0] > 50
    assert 15 < longest[2] < 40
    assert tables(1e-5, np.float32).longest == 0


# ---- the spectral radius


def test_stages_are_enough_for_a_tenth_more_than_the_largest_eigenvalue():
    """A power iteration sees it from below.  Of one layer it is that of the inputs, and the count of right-hand sides
    tells how many stages there were."""
    rng = np.random.default_rng(0)
    stiffness = np.array([0.3, 0.5, 0.8, 1.0, 1e4])
    basis = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    loss = dln.Regression(np.sqrt(5) * basis * np.sqrt(stiffness), rng.standard_normal((3, 5)))
    assert np.linalg.eigvalsh(loss.quadratic.input_gram) == pytest.approx(stiffness)
    sol = dln.flow((rng.standard_normal((3, 5)),), loss, (0.0, 20.0), [], method="rkc2", rtol=1e-4, history=True)
    z = sol.history()[1] * stiffness[-1]
    # the least s with h rho <= (s^2 - 1)/REACH2
    needed = [np.maximum(np.floor(1 + np.sqrt(1 + REACH2 * margin * z)), LEAST2).sum() for margin in (1.0, 1.09)]
    assert needed[1] - needed[0] > 200
    assert needed[1] <= sol.n_rhs <= needed[1] + 200  # estimates of the radius and rejected steps come to some 100


def test_stages_are_as_few_as_are_stable(monkeypatch):
    """By the formulas of the intervals; ROCK4 up to the highest degree that may be used, RKC2 up to the most stages."""
    monkeypatch.setattr(choice, "peek_real", lambda table, i: table.flat[i])
    rock, lanes = tables(1e-6, np.float64), 200
    z = np.geomspace(0.01, 1e7, lanes)
    w = types.SimpleNamespace(lanes=lanes, chebyshev=types.SimpleNamespace(longest=rock.longest, rock=rock.rock))
    ctl = np.zeros((table.ROWS, lanes))
    ctl[ACTIVE], ctl[STEP], ctl[table.RADIUS] = 1.0, 0.1, 10 * z
    for kind in (ROCK, RKC):
        ctl[table.KIND] = kind
        choice.count_stages.py_func(w, ctl)
        stages = ctl[table.STAGES]
        if kind == ROCK:
            degrees = rock4.degrees()[: rock.longest + 1]
            most = degrees[-1].reach
            least = [next((m.stages for m in degrees if m.reach >= x), degrees[-1].stages) for x in z]
            assert np.array_equal(stages, least)
        else:
            most = (MOST2**2 - 1) / REACH2
            reach = lambda s: (s**2 - 1) / REACH2  # noqa: E731
            within = z < most
            assert (reach(stages)[within] >= z[within]).all()
            assert ((reach(stages - 1) <= z * (1 + 1e-12)) | (stages == LEAST2))[within].all()
            assert (stages[~within] == MOST2).all()
        assert (z > most).any()


def test_a_large_error_of_rkc2_passes_only_where_the_step_leads_nowhere(monkeypatch):
    """After ROCK4 its difference of stages shows what rounding has left; but a step that moves is what its error says.

    Lanes: errors of 5 and steps of 0.1, 0.1 and 3 tolerances, the second one not among the first after ROCK4.
    """
    errors, moved = np.full(3, 5.0), np.array([0.1, 0.1, 3.0])
    ctl = np.zeros((table.ROWS, 3))
    ctl[table.KIND], ctl[table.TRIALS] = RKC, [1.0, 50.0, 1.0]

    def displacement(w, arena, ctl):
        ctl[table.MOVED] = moved

    monkeypatch.setattr(error, "displacement", displacement)
    monkeypatch.setattr(error, "difference_sums", lambda *_: None)
    monkeypatch.setattr(error, "norm", lambda w, arena, l: error.SHARE2 * errors[l])
    monkeypatch.setattr(error, "place", lambda w, address: address)
    monkeypatch.setattr(error, "judged_between", lambda *_: None)
    monkeypatch.setattr(error, "cube_root", error.cube_root.py_func)
    for fourth, passes in ((True, [True, False, False]), (False, [False, False, False])):
        w = types.SimpleNamespace(
            lanes=3, chebyshev=types.SimpleNamespace(fourth=fourth), at=types.SimpleNamespace(sums=0, state=0, next=0)
        )
        sums = np.zeros(3)
        error.judge.py_func(w, sums, ctl, False, True)
        assert (sums <= 1).tolist() == passes
        # with e^(4/3) as the norm the elementary law of order 3 changes the step by e^(-1/3)
        assert sums[~np.array(passes)] == pytest.approx(5.0 ** (8 / 3))
        kept = GAINS.alpha * np.log2(sums[passes]) / 2
        assert kept == pytest.approx(GAINS.safety)


def radii(monkeypatch, estimates, wait=1.0):
    """What the radius and the steps to the next estimate become when estimates come in, one after each step."""
    estimates, found = iter(estimates), []

    def iterate(w, arena, ctl, bits):
        assert bits == 1
        ctl[table.ESTIMATE, 0] = next(estimates)

    monkeypatch.setattr(radius, "iterate", iterate)
    ctl = np.zeros((table.ROWS, 1))
    first = next(estimates)
    ctl[ACTIVE], ctl[table.ESTIMATE], ctl[table.RADIUS], ctl[table.WAIT] = 1.0, first, 1.1 * first, wait
    while True:
        found.append((ctl[table.RADIUS, 0], ctl[table.WAIT, 0]))
        ctl[table.SINCE] = ctl[table.WAIT]
        try:
            radius.renew_radius.py_func(types.SimpleNamespace(lanes=1), None, ctl)
        except StopIteration:
            return np.array(found).T
        assert ctl[table.SINCE, 0] == 0.0


def test_the_radius_rises_at_once_and_falls_by_a_tenth(monkeypatch):
    """An estimate that falls may be that of a vector that does not know yet where the largest eigenvalue has gone."""
    found, wait = radii(monkeypatch, [100.0, 10.0, 10.0, 300.0, 1.0, 250.0])
    assert found == pytest.approx([110.0, 99.0, 11.0, 330.0, 297.0, 275.0])
    assert wait.tolist() == [1, 1, 2, 1, 1, 1]
    estimates = 100 * 0.8 ** np.arange(30.0)
    found, _ = radii(monkeypatch, estimates)
    assert (found >= 1.1 * estimates).all()
    assert found == pytest.approx(110 * 0.9 ** np.arange(30.0))


def test_a_steady_radius_is_estimated_more_and_more_rarely(monkeypatch):
    found, wait = radii(monkeypatch, [10.0] * 8 + [10.6, 10.6, 20.0])
    assert wait.tolist() == [1, 2, 4, 8, 16, 16, 16, 16, 1, 2, 1]
    assert found == pytest.approx([11.0] * 8 + [11.66, 11.66, 22.0])
    ctl = np.zeros((table.ROWS, 1))
    ctl[ACTIVE], ctl[table.RADIUS], ctl[table.WAIT], ctl[table.SINCE] = 1.0, 5.0, 4.0, 3.0
    radius.renew_radius.py_func(types.SimpleNamespace(lanes=1), None, ctl)
    assert ctl[table.RADIUS] == 5.0
