"""Methods: consistency, order of convergence of solution and continuous output, and what a bad one is told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import integrate as scipy_integrate

import fastdln as dln
from fastdln.integrate.interpolate import hermite
from fastdln.integrate.tableaus import BS3, DOP853, DP5, EXPLICIT, TSIT5

HEUN = {"name": "heun", "order": 2, "a": [[], [1]], "b": [0.5, 0.5], "errors": [[-0.5, 0.5]]}
RK4 = dln.Tableau("rk4", order=4, a=[[], [1 / 2], [0, 1 / 2], [0, 0, 1]], b=[1 / 6, 1 / 3, 1 / 3, 1 / 6])
ALL = [*EXPLICIT.values(), RK4, dln.Tableau(**HEUN)]
methods = pytest.mark.parametrize("method", ALL, ids=lambda m: m.name)
OUTPUT_ORDER = {"bs3": 3, "dp5": 4, "tsit5": 4, "dop853": 7, "rk4": 3, "heun": 2}


def matrix(rows, columns):
    out = np.zeros((len(rows), columns))
    for row, values in zip(out, rows, strict=True):
        row[: len(values)] = values
    return out


def trees(n):
    """Rooted trees of n nodes, each as the sorted tuple of its subtrees (Butcher's order conditions)."""
    if n == 1:
        return {()}
    grown = set()
    for tree in trees(n - 1):
        grown |= set(_attach(tree))
    return grown


def _attach(tree):
    yield tuple(sorted((*tree, ())))
    for i, branch in enumerate(tree):
        for other in _attach(branch):
            yield tuple(sorted((*tree[:i], other, *tree[i + 1 :])))


def nodes(tree):
    return 1 + sum(map(nodes, tree))


def density(tree):
    return nodes(tree) * int(np.prod([density(branch) for branch in tree]))


def weight(tree, A):
    """Elementary weights of the stages, so that b . weight = 1/density for all trees of at most p nodes."""
    value = np.ones(len(A))
    for branch in tree:
        value = value * (A @ weight(branch, A))
    return value


@methods
def test_order_conditions(method):
    s = len(method.rows)
    A, b = matrix(method.rows, s), np.append(method.b, [0] * (s - len(method.b)))
    for n in range(1, method.order + 1):
        for tree in trees(n):
            assert b @ weight(tree, A) == pytest.approx(1 / density(tree), abs=1e-12)
    assert any(
        abs(b @ weight(tree, A) - 1 / density(tree)) > 1e-7 for tree in trees(method.order + 1)
    )  # and no higher order than it says
    for row in method.errors[:1] if method is not DOP853 else ():
        embedded = b - np.append(row, [0] * (s - len(row)))
        for n in range(1, method.embedded_order + 1):
            for tree in trees(n):
                assert embedded @ weight(tree, A) == pytest.approx(1 / density(tree), abs=1e-9)


@methods
@given(theta=st.floats(0.01, 1))
def test_continuous_output_has_its_order_conditions(method, theta):
    s = len(method.rows)
    A = matrix(method.rows, s)
    dense = matrix(method.dense, max(map(len, method.dense)))
    b = dense @ theta ** np.arange(1, dense.shape[1] + 1)
    for n in range(1, OUTPUT_ORDER[method.name] + 1):
        for tree in trees(n):
            assert b @ weight(tree, A) == pytest.approx(theta ** nodes(tree) / density(tree), abs=1e-7)


def test_coefficients_are_those_of_scipy():
    """SciPy's pairs were typed in by others."""
    assert_allclose(matrix(DP5.rows[:6], 5), scipy_integrate.RK45.A, atol=1e-16)
    assert_allclose(DP5.b, scipy_integrate.RK45.B, atol=1e-16)
    assert_allclose(np.abs(DP5.errors[0]), np.abs(scipy_integrate.RK45.E), atol=1e-16)
    assert_allclose(DP5.dense, scipy_integrate.RK45.P, atol=1e-12)
    assert_allclose(matrix(DOP853.rows[:12], 12), scipy_integrate.DOP853.A, atol=1e-15)
    assert_allclose(matrix(DOP853.rows[13:], 16), scipy_integrate.DOP853.A_EXTRA, atol=1e-15)
    assert_allclose(DOP853.b, scipy_integrate.DOP853.B, atol=1e-15)
    assert_allclose(matrix(DOP853.errors, 13), [scipy_integrate.DOP853.E5, scipy_integrate.DOP853.E3], atol=1e-15)


LOSS = dln.Quadratic([[2.0, 0.5], [-0.3, 1.0]])
START = tuple(np.random.default_rng(3).standard_normal((2, *shape)) * 0.5 for shape in ((3, 2), (2, 3)))
SPAN = (0.0, 1.0)
INSIDE = np.linspace(0.08, 0.98, 23)


@pytest.fixture(scope="module")
def reference():
    return dln.flow(START, LOSS, SPAN, INSIDE, method="dop853", rtol=3e-14, atol=1e-15, record="weights")


def fixed(method, n_steps, engine="lanes"):
    return dln.flow(
        START, LOSS, SPAN, INSIDE, method=method, step=(SPAN[1] - SPAN[0]) / n_steps, record="weights", engine=engine
    )  # fmt: skip


def slope(errors, steps):
    return -np.polyfit(np.log(steps), np.log(errors), 1)[0]


@pytest.mark.parametrize("engine", ["lanes", "dense"])
@methods
def test_order_of_convergence(method, engine, reference):
    steps = {8: (3, 4, 6, 8), 5: (12, 17, 24, 34)}.get(method.order, (24, 34, 48, 68))
    ends, inside = [], []
    for n in steps:
        sol = fixed(method, n, engine)
        assert (sol.n_accepted == n).all()
        assert (sol.n_rejected == 0).all()
        ends.append(max(np.abs(a - b).max() for a, b in zip(sol.final, reference.final, strict=True)))
        inside.append(max(np.abs(a - b).max() for a, b in zip(sol.weights, reference.weights, strict=True)))
    assert slope(ends, steps) > method.order - 0.3
    # an interpolant of order q is wrong by h^(q+1) in a step
    assert slope(inside, steps) > min(OUTPUT_ORDER[method.name] + 1, method.order) - 0.3


@methods
def test_right_hand_sides_are_counted(method):
    if not method.errors:
        return
    sol = dln.flow(START, LOSS, SPAN, [], method=method, rtol=1e-5)
    attempts = sol.n_accepted + sol.n_rejected
    assert np.array_equal(sol.n_rhs, 2 + attempts * (method.stages - 1))
    with_output = dln.flow(START, LOSS, SPAN, [0.3, 1.0], method=method, rtol=1e-5)
    assert np.array_equal(with_output.n_rhs, sol.n_rhs)  # what only records need is not counted


@methods
def test_the_tolerance_governs_the_error(method, reference):
    if not method.errors:
        return
    errors = []
    for rtol in (1e-4, 1e-6, 1e-8):
        sol = dln.flow(START, LOSS, SPAN, method=method, rtol=rtol)
        errors.append(max(np.abs(a - b).max() for a, b in zip(sol.final, reference.final, strict=True)))
        assert errors[-1] < 30 * rtol
    assert errors[2] < 1e-2 * errors[0]


def test_users_methods_run_adaptively_or_with_fixed_steps(reference):
    heun = dln.flow(START, LOSS, SPAN, method=dln.Tableau(**HEUN), rtol=1e-7)
    assert heun.success.all()
    for a, b in zip(heun.final, reference.final, strict=True):
        assert_allclose(a, b, atol=1e-4)
    for a, b in zip(fixed(RK4, 100).final, reference.final, strict=True):
        assert_allclose(a, b, atol=1e-7)
    with pytest.raises(ValueError, match=r"'rk4' has no error estimate: give step="):
        dln.flow(START, LOSS, SPAN, method=RK4)


def test_explicit_euler_is_gradient_descent():
    euler = dln.Tableau("euler", order=1, a=[[]], b=[1])
    sol = dln.flow(START, LOSS, (0.0, 1.0), method=euler, step=0.25)
    weights = START
    for _ in range(4):
        weights = tuple(W + 0.25 * V for W, V in zip(weights, dln.rhs(weights, LOSS), strict=True))
    for a, b in zip(sol.final, weights, strict=True):
        assert_allclose(a, b, rtol=1e-13)


def test_a_last_stage_at_the_end_is_recognised():
    a = [[], [1 / 2], [0, 3 / 4], [2 / 9, 1 / 3, 4 / 9]]
    errors = [[2 / 9 - 7 / 24, 1 / 3 - 1 / 4, 4 / 9 - 1 / 3, -1 / 8]]
    spelled_out = dln.Tableau("bs3", 3, a=a, b=[2 / 9, 1 / 3, 4 / 9, 0], errors=errors)
    assert spelled_out.stages == BS3.stages
    assert spelled_out.rows == BS3.rows
    assert spelled_out.b == BS3.b


def test_methods_are_values():
    assert dln.Tableau(**HEUN) == dln.Tableau(**HEUN)
    assert hash(dln.Tableau(**HEUN)) == hash(dln.Tableau(**HEUN))
    assert dln.Tableau(**HEUN) != TSIT5


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"a": [[], [1, 0]]}, ValueError, r"a\[1\] must have 1 weights \(an explicit method\), not 2"),
        ({"a": [[], ["x"]]}, TypeError, r"a\[1\] must be a sequence of numbers"),
        ({"a": [[], [np.inf]]}, ValueError, r"a\[1\] must be finite"),
        ({"a": []}, ValueError, r"b must have one weight for each of the 0 rows"),
        ({"b": [0.5, 0.25, 0.25]}, ValueError, r"b must have one weight for each of the 2 rows of a, not 3"),
        ({"b": [0.5, 0.4]}, ValueError, r"b must sum to 1, not 0\.9"),
        ({"b": 3}, TypeError, r"b must be a sequence of numbers, not 3"),
        ({"order": 0}, ValueError, r"order must be a positive integer, not 0"),
        ({"order": 2.5}, ValueError, r"order must be a positive integer, not 2\.5"),
        ({"errors": [[1.0]]}, ValueError, r"errors\[0\] must have 2 or 3 weights, not 1"),
        ({"errors": [[0.5, 0.5]]}, ValueError, r"errors\[0\] must sum to 0, not 1\.0"),
        ({"errors": [[-0.5, 0.5]] * 3}, ValueError, r"errors must have at most 2 rows, not 3"),
        ({"extra": [[1.0]]}, ValueError, r"extra\[0\] must have 3 weights, not 1"),
        ({"dense": [[1.0]]}, ValueError, r"dense must have 3 rows of one length"),
        ({"dense": [[0.5], [0.5, 0.0], [0.0]]}, ValueError, r"dense must have 3 rows of one length"),
        ({"dense": [[1.0], [0.0], [0.0]]}, ValueError, r"dense\[0\] must sum to the weight 0\.5"),
    ],
)  # fmt: skip
def test_a_method_that_does_not_fit_is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        dln.Tableau(**(HEUN | changes))


def long_heun(stages, terms):
    """Heun's method with stages that only the error estimate weighs: ``terms`` of them."""
    errors = [-1.0, *[1 / (terms - 1)] * (terms - 1), *[0.0] * (stages - terms)]
    return {
        "name": "long", "order": 2, "a": [[1.0, *[0.0] * (i - 1)] if i else [] for i in range(stages)],
        "b": [0.5, *[0.0] * (stages - 2), 0.5], "errors": [errors],
    }  # fmt: skip


def test_an_estimate_of_too_many_terms_is_refused_whatever_the_engine():
    message = r"errors must have weights other than 0 for at most 9 slopes, the one at the end .* not for 11"
    with pytest.raises(ValueError, match=message):
        dln.Tableau(**long_heun(12, 10))
    two = [[0.5, -0.5, *[0.0] * 10], [0.0, 0.0, *[0.25] * 4, *[-0.2] * 5, 0.0]]
    with pytest.raises(ValueError, match=r"errors must have weights .* not for 12"):
        dln.Tableau(**(long_heun(12, 2) | {"errors": two}))


@pytest.mark.parametrize("engine", ["lanes", "dense", "wide", "reduced"])
def test_an_estimate_of_as_many_terms_as_there_may_be_works(engine):
    loss = dln.Quadratic.from_singular_values((2.0, 1.0), shape=(2, 2), rng=0)
    start = dln.inits.gaussian(dln.Network((2, 6, 2)), size=2, rng=0)
    plain, longer = (
        dln.flow(start, loss, (0.0, 1.0), method=dln.Tableau(**method), rtol=1e-6, engine=engine)
        for method in (HEUN, long_heun(12, 8))
    )
    assert longer.success.all()
    for a, b in zip(longer.final, plain.final, strict=True):
        assert_allclose(a, b, atol=1e-4)


def test_hermite_meets_states_and_slopes_at_both_ends():
    b = (1 / 6, 1 / 3, 1 / 2)
    dense = np.array(hermite(b))
    derivative = lambda theta: dense @ (np.arange(1, 4) * theta ** np.arange(3.0))  # noqa: E731
    assert_allclose(dense.sum(axis=1), [*b, 0], atol=1e-15)
    assert_allclose(derivative(0.0), [1, 0, 0, 0], atol=1e-15)
    assert_allclose(derivative(1.0), [0, 0, 0, 1], atol=1e-15)
