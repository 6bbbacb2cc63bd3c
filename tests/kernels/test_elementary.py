"""Exponential and logarithms of vectors against exact values, and the same bits for every number of lanes.

mpmath is exact but slow.  It judges some ten thousand arguments of each function, and those of a million that extended
precision, with errors of some 1/1000 of a unit itself, does not find well within the bound.
"""

from __future__ import annotations

import functools

import mpmath
import numpy as np
import pytest

from fastdln.kernels.machine import elementary
from fastdln.kernels.machine.assemble import assemble, function, new_module
from fastdln.kernels.machine.compile import kernel
from fastdln.kernels.machine.emit import Vec
from fastdln.kernels.machine.library import invoke

EXACT = {"exp": np.exp, "log": np.log, "log1p": np.log1p}
WITHIN_REACH = 0.7  # of the bound
extended = pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="no extended precision to compare with")


@functools.cache
def compiled(name, lanes):
    module = new_module("test")
    e = function(module, name, 3, 64, lanes)
    out, x, count = e.fn.args
    out, x = e.pointer(out), e.pointer(x)
    with e.each(count) as i:
        o = e.times(i, e.entry_bytes)
        e.store(getattr(elementary, name)(Vec(e, e.load(x, o))).value, out, o)
    e.b.ret_void()
    return assemble(module, [name])


@kernel
def call(address, out, x, count):
    invoke(address, out, x, count)


def evaluate(name, x, lanes=4):
    x = np.ascontiguousarray(x, np.float64)
    assert x.size % lanes == 0
    out = np.empty_like(x)
    call(compiled(name, lanes).addresses[name], out.ctypes.data, x.ctypes.data, x.size // lanes)
    return out


def arguments(name, n=1 << 18):
    """Over the whole range, and near what is special; 4 n of them, in random order."""
    rng = np.random.default_rng(0)
    few = n >> 4
    near = np.concatenate([rng.uniform(-1, 1, n), rng.uniform(-1, 1, n) * 10.0 ** rng.uniform(-20, 0, n)])
    if name == "exp":
        edges = [rng.uniform(709, 710, few), rng.uniform(-746, -708, few)]
        return rng.permutation(np.concatenate([near, rng.uniform(-746, 710, 2 * n), *edges]))[: 4 * n]
    whole = rng.integers(1, 0x7FEFFFFFFFFFFFFF, 2 * n).view(np.float64)
    subnormal = rng.integers(1, 1 << 52, few).view(np.float64)
    if name == "log":
        return rng.permutation(np.concatenate([np.abs(near), 1 + near, whole, subnormal]))[: 4 * n]
    below = 10.0 ** rng.uniform(-16, 0, few) - 1
    return rng.permutation(np.concatenate([near, 1 + near, whole, subnormal, -subnormal, below[below > -1]]))[: 4 * n]


def units(found, exact):
    """The error in units of the last place of the result, or of the least subnormal number."""
    with np.errstate(over="ignore", under="ignore"):
        size = np.spacing(np.abs(exact).astype(np.float64)).astype(np.longdouble)
    return np.abs(found.astype(np.longdouble) - exact) / size


def bound(exact):
    """Units in the last place that errors must stay below, of results that are rounded to f64."""
    tiny, largest = np.finfo(float).tiny, np.finfo(float).max
    return np.where((np.abs(exact) < tiny) | (np.abs(exact) > largest / 2), 2.0, 1.0)


def judge(name, x):
    """Require that all errors are below the bound, by mpmath."""
    function = getattr(mpmath, name)
    with mpmath.workprec(160):
        for argument, found in zip(x.tolist(), evaluate(name, x).tolist(), strict=True):
            exact = function(mpmath.mpf(argument))
            rounded = float(exact)
            if not np.isfinite(rounded):
                assert found == rounded
                continue
            error = abs(mpmath.mpf(found) - exact) / mpmath.mpf(float(np.spacing(abs(rounded))))
            assert error < float(bound(rounded)), (name, argument.hex(), found, float(error))


@pytest.mark.parametrize("name", EXACT)
def test_errors_are_below_one_unit_in_the_last_place(name):
    x = arguments(name, 1 << 12)
    assert len(x) > 10_000
    judge(name, x)


@extended
@pytest.mark.parametrize("name", EXACT)
def test_errors_of_a_million_are_below_one_unit_in_the_last_place(name):
    x = arguments(name)
    found, exact = evaluate(name, x), EXACT[name](x.astype(np.longdouble))
    with np.errstate(over="ignore", under="ignore"):
        rounded = exact.astype(np.float64)
    fits = np.isfinite(rounded)
    assert np.array_equal(np.isfinite(found), fits)
    assert fits.sum() > 1_000_000
    errors = units(found[fits], exact[fits]) / bound(rounded[fits])
    assert errors.max() < 1
    doubtful = x[fits][errors > WITHIN_REACH]
    assert len(doubtful) > 100
    judge(name, np.append(doubtful, doubtful[: -len(doubtful) % 4]))


@pytest.mark.parametrize("name", EXACT)
def test_bits_do_not_depend_on_the_number_of_lanes(name):
    x = arguments(name)[::7][: 1 << 14]
    assert len({evaluate(name, x, lanes).tobytes() for lanes in (1, 2, 4, 8)}) == 1


def test_special_values():
    inf, nan = np.inf, np.nan
    assert np.array_equal(evaluate("exp", [-inf, inf, 0.0, nan]), [0.0, inf, 1.0, nan], equal_nan=True)
    assert np.array_equal(evaluate("exp", [-1e4, 1e4, -745.2, 1e308]), [0.0, inf, 0.0, inf])
    assert np.array_equal(evaluate("log", [0.0, inf, 1.0, nan]), [-inf, inf, 0.0, nan], equal_nan=True)
    assert np.array_equal(evaluate("log", [-1.0, -inf, -0.0, 5e-324]), [nan, nan, -inf, np.log(5e-324)], equal_nan=True)
    assert np.array_equal(evaluate("log1p", [-1.0, inf, 0.0, nan]), [-inf, inf, 0.0, nan], equal_nan=True)
    assert np.array_equal(evaluate("log1p", [-2.0, -inf, 1e-300, -5e-324]), [nan, nan, 1e-300, -5e-324], equal_nan=True)
