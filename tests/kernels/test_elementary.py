"""Exponential and logarithms of vectors against extended precision, and the same bits for every number of lanes."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from fastdln.kernels.machine import elementary
from fastdln.kernels.machine.assemble import assemble, function, new_module
from fastdln.kernels.machine.compile import kernel
from fastdln.kernels.machine.emit import Vec
from fastdln.kernels.machine.library import invoke

EXACT = {"exp": np.exp, "log": np.log, "log1p": np.log1p}
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


def arguments(name):
    """Over the whole range, and near what is special."""
    rng = np.random.default_rng(0)
    n = 1 << 18
    near = np.concatenate([rng.uniform(-1, 1, n), rng.uniform(-1, 1, n) * 10.0 ** rng.uniform(-20, 0, n)])
    if name == "exp":
        return np.concatenate([near, rng.uniform(-746, 710, 2 * n)])
    whole = np.abs(rng.integers(1, 0x7FEFFFFFFFFFFFFF, 2 * n).view(np.float64))
    return np.concatenate([np.abs(near) if name == "log" else near, 1 + near, whole])


def units(found, exact):
    """The error in units of the last place of the result, or of the least subnormal number."""
    with np.errstate(over="ignore", under="ignore"):
        size = np.spacing(np.abs(exact).astype(np.float64)).astype(np.longdouble)
    return np.abs(found.astype(np.longdouble) - exact) / size


@extended
@pytest.mark.parametrize("name", EXACT)
def test_errors_are_below_one_unit_in_the_last_place(name):
    x = arguments(name)
    found, exact = evaluate(name, x), EXACT[name](x.astype(np.longdouble))
    with np.errstate(over="ignore", under="ignore"):
        fits = np.isfinite(exact.astype(np.float64))
    assert np.array_equal(np.isfinite(found), fits)
    normal = fits & (np.abs(exact) >= np.finfo(float).tiny)
    assert normal.sum() > 900_000
    assert units(found[normal], exact[normal]).max() < 1
    assert units(found[fits], exact[fits]).max() < 2


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
