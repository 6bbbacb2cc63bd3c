"""Losses of the user's own functions: what they give, what is refused, and what a file holds of them."""

from __future__ import annotations

import copy
import pickle

import numba
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp

import fastdln as dln
from fastdln.engines.lockstep import recipe
from fastdln.kernels.products import maps

rng = np.random.default_rng(7)
SIGMA = rng.standard_normal((3, 4))
TABLE, COUNTS = rng.random((2, 3, 4)), np.array([2, 3])


# sum_ij c_j cosh(W - sigma)_ij + table: data of every kind


def value(W, sigma, scale, table, counts, k):
    total = 0.0
    for i in range(W.shape[0]):
        for j in range(W.shape[1]):
            total += scale * table[k, i, j] * np.cosh(W[i, j] - sigma[i, j])
    return total / counts[k]


def grad(W, sigma, scale, table, counts, k, out):
    for i in range(W.shape[0]):
        for j in range(W.shape[1]):
            out[i, j] = scale * table[k, i, j] * np.sinh(W[i, j] - sigma[i, j]) / counts[k]


def curvature(W, D, sigma, scale, table, counts, k, out):
    for i in range(W.shape[0]):
        for j in range(W.shape[1]):
            out[i, j] = scale * table[k, i, j] * np.cosh(W[i, j] - sigma[i, j]) * D[i, j] / counts[k]


DATA = (SIGMA, 1.5, TABLE, COUNTS, 1)
COSH = dln.Custom(value, grad, (3, 4), curvature, DATA)


def squares(W):
    total = 0.0
    for x in W.flat:
        total += x * x
    return total / 2


def itself(W, out):
    for i in range(W.shape[0]):
        for j in range(W.shape[1]):
            out[i, j] = W[i, j]


def fails(W):
    if abs(W[0, 0]) > 100.0:
        raise ArithmeticError("too large")
    return squares(W)


def fails_there(W, out):
    if abs(W[0, 0]) > 100.0:
        raise ArithmeticError
    itself(W, out)


squares, itself = numba.njit(squares), numba.njit(itself)  # those of others may be compiled already


def starts(widths=(4, 5, 3), size=3, scale=0.7):
    return dln.inits.gaussian(dln.Network(widths), scale, size=size, rng=1)


def test_values_and_derivatives_are_those_of_the_functions():
    W, D = rng.standard_normal((2, 5, 3, 4))
    weights = 1.5 * TABLE[1] / 3
    assert_allclose(COSH.value(W), (weights * np.cosh(W - SIGMA)).sum(axis=(1, 2)), rtol=1e-13)
    assert_allclose(COSH.grad(W), weights * np.sinh(W - SIGMA), rtol=1e-13)
    assert_allclose(COSH.curvature(W, D), weights * np.cosh(W - SIGMA) * D, rtol=1e-13)
    assert_allclose(COSH.curvature(W[0], D), weights * np.cosh(W[0] - SIGMA) * D, rtol=1e-13)
    assert isinstance(COSH.value(W[0]), float)
    assert COSH.value(W[None]).shape == (1, 5)
    assert COSH.value(W.astype(np.float32)).dtype == COSH.grad(W.astype(np.float32)).dtype == np.float32
    assert COSH.grad(W[:0]).shape == (0, 3, 4)
    assert repr(COSH) == "Custom(shape=(3, 4))"
    assert COSH.modes is COSH.quadratic is None


@pytest.mark.parametrize("engine", ["lanes", "dense", "wide"])
@pytest.mark.parametrize("widths", [(4, 5, 3), (4, 3), (4, 9, 6, 3)], ids=str)
def test_flows_are_those_of_an_independent_integrator(engine, widths):
    net, w0 = dln.Network(widths), starts(widths)
    weights = 1.5 * TABLE[1] / 3

    def field(_, y):
        layers = net.unpack(y)
        force = -weights * np.sinh(dln.product(layers) - SIGMA)
        below, above = [np.eye(4)], [np.eye(3)]
        for W, V in zip(layers[:-1], layers[:0:-1], strict=True):
            below.append(W @ below[-1])
            above.append(above[-1] @ V)
        return net.pack(tuple(A.T @ force @ B.T for A, B in zip(above[::-1], below, strict=True)))

    sol = dln.flow(
        w0, COSH, (0.0, 2.0), [0.0, 2.0], "dop853", 1e-12, 1e-13, engine=engine, record=("loss", "grad_norm")
    )
    for k in range(3):
        start = net.pack(tuple(W[k] for W in w0))
        expected = solve_ivp(field, (0.0, 2.0), start, "DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
        assert_allclose(net.pack(sol[k].final), expected, rtol=1e-9, atol=1e-9)
    for t, layers in ((0, w0), (1, sol.final)):
        product = dln.product(layers)
        assert_allclose(sol.loss[:, t], (weights * np.cosh(product - SIGMA)).sum(axis=(1, 2)), rtol=1e-12)
        assert_allclose(sol.grad_norm[:, t], dln.gradient_norm(layers, COSH), rtol=1e-11)
    single = dln.flow(tuple(W.astype(np.float32) for W in w0), COSH, (0.0, 2.0), rtol=1e-5, engine=engine)
    assert single.final[0].dtype == np.float32
    assert_allclose(net.pack(single.final), net.pack(sol.final), atol=1e-4)


@pytest.mark.parametrize("engine", ["lanes", "dense"])
def test_bits_depend_on_a_trajectory_alone(engine, monkeypatch):
    w0, options = starts(size=11), {"engine": engine, "t_eval": [0.5, 1.0], "record": ("loss", "grad_norm")}
    whole = dln.flow(w0, COSH, (0.0, 1.0), threads=1, **options)
    monkeypatch.setattr(recipe, "STRAIGHT_FROM", 1)
    for rows, threads in ((slice(None, None, -1), 2), (slice(3, 4), 1), (slice(2, 9), 3)):
        part = dln.flow(tuple(W[rows] for W in w0), COSH, (0.0, 1.0), threads=threads, **options)
        for W, expected in zip(part.final, whole.final, strict=True):
            assert np.array_equal(W, expected[rows])
        assert np.array_equal(part.loss, whole.loss[rows])
        assert np.array_equal(part.n_rhs, whole.n_rhs[rows])


def quartic(W):
    return squares(W) ** 2


def quartic_grad(W, out):
    for i in range(W.shape[0]):
        for j in range(W.shape[1]):
            out[i, j] = 2.0 * squares(W) * W[i, j]


@pytest.mark.parametrize("engine", ["lanes", "dense", "wide"])
def test_a_gradient_may_read_all_of_a_product_at_any_time(engine):
    loss, w0 = dln.Custom(quartic, quartic_grad, (3, 4)), starts()
    sol = dln.flow(w0, loss, (0.0, 1.0), [0.0, 1.0], record=("loss", "grad_norm"), engine=engine)
    for t, layers in ((0, w0), (1, sol.final)):
        W, size = dln.product(layers), (dln.product(layers) ** 2).sum(axis=(1, 2))
        assert_allclose(sol.loss[:, t], size**2 / 4, rtol=1e-12)
        first, second = (size[:, None, None] * x for x in (layers[1].mT @ W, W @ layers[0].mT))
        assert_allclose(sol.grad_norm[:, t] ** 2, (first**2).sum(axis=(1, 2)) + (second**2).sum(axis=(1, 2)))


def test_nothing_of_ours_is_compiled_for_another_one():
    dln.flow(starts(), COSH, (0.0, 0.1), engine="lanes")
    before = maps.compiled.cache_info().misses
    other = dln.Custom(squares, itself, (3, 4))
    sol = dln.flow(starts(), other, (0.0, 0.1), engine="lanes")
    assert maps.compiled.cache_info().misses == before
    expected = dln.flow(starts(), dln.Quadratic(np.zeros((3, 4))), (0.0, 0.1), engine="lanes")
    for W, V in zip(sol.final, expected.final, strict=True):
        assert_allclose(W, V, rtol=1e-7)


def test_data_are_copies_that_nobody_can_write_to():
    sigma = SIGMA.copy()
    loss = dln.Custom(value, grad, (3, 4), data=(sigma, *DATA[1:]))
    W = rng.standard_normal((3, 4))
    before = loss.value(W)
    sigma[:] = 0.0
    assert loss.value(W) == before
    for again in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):  # noqa: S301  (written a moment ago)
        assert again.value(W) == before
        with pytest.raises(ValueError, match="read-only"):
            again.arrays()["data"][0][:] = 0.0


@pytest.mark.parametrize("engine", ["lanes", "dense"])
def test_an_exception_on_the_way_ends_its_trajectory_alone(engine):
    loss = dln.Custom(fails, fails_there, (3, 4))
    grows = tuple(np.array([V, U]) for V, U in zip(starts(size=None), starts(size=None, scale=1e5), strict=True))
    with pytest.raises(ValueError, match="value raises ArithmeticError at the product of a start: too large"):
        dln.flow(grows, loss, (0.0, 1.0), engine=engine)
    back = tuple(W * 3 for W in starts(size=4))  # backwards all grow
    sol = dln.flow(back, loss, (0.0, -50.0), engine=engine)
    assert (sol.status != dln.Status.FINISHED).all()
    assert all(np.isfinite(W).all() for W in sol.final)


def test_a_start_that_is_not_finite_spoils_no_other():
    w0 = starts(size=3)
    w0[0][1] = np.nan
    sol = dln.flow(w0, COSH, (0.0, 1.0))
    assert sol.success.tolist() == [True, False, True]


def test_what_needs_the_curvature_is_refused_without():
    loss, W = dln.Custom(squares, itself, (3, 4)), np.ones((3, 4))
    with pytest.raises(ValueError, match=r"needs the curvature of the loss, but Custom\(shape=\(3, 4\)\) was made"):
        loss.curvature(W, W)
    with pytest.raises(ValueError, match="needs the curvature"):
        dln.theory.hessian.apply(starts(size=None), loss, starts(size=None))
    with pytest.raises(ValueError, match=r"'sharpness' cannot be recorded: Custom\(.*\) was made without a curvature"):
        dln.flow(starts(), loss, (0.0, 1.0), record=("sharpness",))


def test_a_descent_tries_the_functions_before_it_runs():
    wrong = dln.Custom(squares, lambda W, out: out.fill(1.0), (3, 4))
    with pytest.raises(ValueError, match="grad"):
        dln.descend(starts(), wrong, 0.1, 10)


def test_descents_with_functions_of_a_user_are_those_with_the_same_of_ours():
    own = dln.descend(starts(), dln.Quadratic(np.zeros((3, 4))), 0.05, 30)
    found = dln.descend(starts(), dln.Custom(squares, itself, (3, 4)), 0.05, 30)
    assert_allclose(found.loss, own.loss, rtol=1e-12)


def test_a_file_holds_all_but_the_loss(tmp_path):
    sol = dln.flow(starts(), COSH, (0.0, 1.0))
    sol.save(tmp_path / "x.npz")
    loaded = dln.load(tmp_path / "x.npz", loss=COSH)
    assert loaded.loss_function is COSH
    for W, expected in zip(loaded.extend(2.0).final, sol.extend(2.0).final, strict=True):
        assert np.array_equal(W, expected)
    with pytest.raises(ValueError, match=r"functions of their Custom loss are in no file: give it"):
        dln.load(tmp_path / "x.npz")
    with pytest.raises(ValueError, match="has shape"):
        dln.load(tmp_path / "x.npz", loss=dln.Custom(squares, itself, (2, 2)))
    with pytest.raises(TypeError, match="loss must be a Custom loss, not Quadratic"):
        dln.load(tmp_path / "x.npz", loss=dln.Quadratic(SIGMA))
    dln.flow(starts(), dln.Quadratic(SIGMA), (0.0, 1.0)).save(tmp_path / "y.npz")
    with pytest.raises(ValueError, match="their loss is in the file, Quadratic: leave loss out"):
        dln.load(tmp_path / "y.npz", loss=COSH)


# ---- what is refused


def outside(W, out):
    itself(W, out)
    out[3, 0] = 1.0


def reads_outside(W):
    return W[0, 4]


@numba.njit
def unchecked(out):
    at = out.ravel()
    at[13] = 1.0  # of twelve


def writes_beyond(W, out):
    itself(W, out)
    unchecked(out)


def leaves_out(W, out):
    out[:2] = 1.0


def returns_it(W, out):
    return W


def complex_value(W):
    return 1j * W[0, 0]


def matrix_value(W):
    return W


def text(W):
    return "one"


def changes(W, out):
    W[0, 0] = 1.0
    itself(W, out)


def changes_data(W, sigma):
    sigma[0, 0] = 1.0
    return 1.0


def unknown(W):
    return undefined_name(W)  # noqa: F821


def raises_index(W):
    raise IndexError("of its own")


MADE = [
    ((squares, outside), ValueError, "grad reads or writes outside of an array"),
    ((reads_outside, itself), ValueError, "value reads or writes outside of an array"),
    ((squares, writes_beyond), ValueError, "grad writes outside of its arrays"),
    ((squares, leaves_out), ValueError, r"grad leaves out\[2, 0\] as it was"),
    ((squares, returns_it), ValueError, r"grad leaves out\[0, 0\] as it was"),
    ((complex_value, itself), TypeError, "value must return a number, not complex"),
    ((matrix_value, itself), TypeError, "value must return a number, not ndarray"),
    ((text, itself), TypeError, "value must return a number, not str"),
    ((squares, changes), TypeError, "(?s)grad cannot be compiled by Numba: .*readonly"),
    ((unknown, itself), TypeError, "(?s)value cannot be compiled by Numba: .*undefined_name"),
    ((raises_index, itself), ValueError, "value reads or writes outside of an array: of its own"),
    ((itself, itself), TypeError, r"value cannot be called with its 1 arguments: missing .* 'out'"),
    ((squares, squares), TypeError, "grad cannot be called with its 2 arguments: too many"),
    ((squares, itself, (3, 4), itself), TypeError, "curvature cannot be called with its 3 arguments"),
    ((3, itself), TypeError, "value must be a function that Numba can compile, not 3"),
    ((squares, None), TypeError, "grad must be a function that Numba can compile, not None"),
    ((np.sum, itself), TypeError, "value must be a function that Numba can compile"),
    ((squares, itself, (3,)), ValueError, "shape must be"),
    ((squares, itself, (3, 0)), ValueError, "shape must be"),
    ((squares, itself, (3, 4.0)), TypeError, r"shape\[1\] must be an integer"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), MADE)
def test_what_is_refused_when_it_is_made(arguments, error, message):
    with pytest.raises(error, match=message):
        dln.Custom(*arguments) if len(arguments) > 2 else dln.Custom(*arguments, (3, 4))


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (SIGMA, TypeError, "data must be a tuple of numbers and arrays, not ndarray"),
        (("text",), TypeError, r"data\[0\] must be a number"),
        ((1.0, True), TypeError, r"data\[1\] must be a number"),
        ((1j,), TypeError, r"data\[0\] must be a number"),
        ((2**63,), ValueError, r"data\[0\] must be an integer of 64 bits"),
        ((SIGMA.astype(np.float32),), TypeError, r"data\[0\] must be a number or an array of float64 or int64"),
        (([1.0, 2.0],), TypeError, r"data\[0\] must be a number or an array of float64 or int64"),
        ((np.ones((1, 1, 1, 1)),), ValueError, r"data\[0\] has shape \(1, 1, 1, 1\); expected at most 3 axes"),
    ],
)
def test_data_that_are_refused(data, error, message):
    with pytest.raises(error, match=message):
        dln.Custom(squares, itself, (3, 4), data=data)


def test_data_that_are_changed_are_refused():
    with pytest.raises(TypeError, match=r"(?s)value cannot be compiled by Numba: .*readonly"):
        dln.Custom(changes_data, itself, (3, 4), data=(SIGMA,))


def not_a_number(W):
    return np.log(-1.0 - squares(W))


def nan_there(W, out):
    itself(W, out)
    out[1, 2] = np.nan


def twice(W, out):
    for i in range(W.shape[0]):
        for j in range(W.shape[1]):
            out[i, j] = 2.0 * W[i, j]


def minus(W, D, out):
    for i in range(W.shape[0]):
        for j in range(W.shape[1]):
            out[i, j] = -D[i, j]


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ((not_a_number, itself, None), "value is not finite at the product of a start"),
        ((squares, nan_there, None), "grad is not finite at the product of a start"),
        ((squares, twice, None), "grad is not the derivative of value .* along a direction it is .* differences give"),
        ((squares, itself, minus), "curvature is not the derivative of grad"),
    ],
)
def test_what_is_refused_before_a_flow(functions, message):
    loss = dln.Custom(functions[0], functions[1], (3, 4), functions[2])
    with pytest.raises(ValueError, match=message):
        dln.flow(starts(), loss, (0.0, 1.0))


def test_kinks_and_small_scales_are_no_mistakes():
    def absolute(W, width):
        total = 0.0
        for x in W.flat:
            total += abs(x) - width / 2 if abs(x) > width else x * x / (2 * width)
        return total

    def clipped(W, width, out):
        for i in range(W.shape[0]):
            for j in range(W.shape[1]):
                out[i, j] = min(1.0, max(-1.0, W[i, j] / width))

    for width in (1e-6, 1e-3, 1.0):
        loss = dln.Custom(absolute, clipped, (3, 4), data=(width,))
        for scale in (1e-9, 1e-3, 1.0):
            loss.try_at(scale * rng.standard_normal((20, 3, 4)))
