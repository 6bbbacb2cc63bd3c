"""The kernels of thin products against NumPy, at every remainder of rows and columns."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from fastdln.engines.wide.thin import thin
from fastdln.kernels.machine.lanes import cpu_features
from fastdln.kernels.products import skinny

dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def filled(rng, columns, length, dtype):
    out = thin(columns, length, dtype)
    out[...] = rng.standard_normal((columns, length))
    return out


def close(a, b, terms):
    scale = np.finfo(a.dtype).eps * terms**0.5
    assert_allclose(a, b, rtol=0, atol=20 * scale)


def multiply(W, F, G, Z):
    """Y = W F, and Z += W' G."""
    Y = thin(len(F), len(W), W.dtype)
    sums = np.full(len(W) * len(F) * skinny.VECTOR_BYTES // W.itemsize, np.nan, W.dtype)
    skinny.multiply(
        np.array(skinny.library(W.dtype), np.int64), W.itemsize, W.ctypes.data, W.strides[0], *W.shape,
        F.ctypes.data, F.strides[0], len(F), sums.ctypes.data, Y.ctypes.data, Y.strides[0],
        G.ctypes.data, G.strides[0], len(G), Z.ctypes.data, Z.strides[0],
    )  # fmt: skip
    return Y


def update(out, W, scale, P, Q, rtol, atol):
    """Write scale W + P Q' to ``out``; sums of squares and of squares of 1/(atol + rtol |out|)."""
    sums = np.zeros((2, skinny.VECTOR_BYTES // W.itemsize), W.dtype)
    scale, tolerance = np.array([scale], W.dtype), np.array([rtol, atol], W.dtype)
    skinny.update(
        np.array(skinny.library(W.dtype), np.int64), W.itemsize, out.ctypes.data, out.strides[0], W.ctypes.data,
        W.strides[0], scale.ctypes.data, *W.shape, P.ctypes.data, P.strides[0], Q.ctypes.data, Q.strides[0], len(P),
        tolerance.ctypes.data, sums.ctypes.data,
    )  # fmt: skip
    return sums.sum(axis=1)


@dtypes
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 300)),
    counts=st.tuples(st.integers(0, 13), st.integers(0, 13)),
    seed=st.integers(0, 99),
)
def test_both_products_in_one_pass(dtype, shape, counts, seed):
    rng = np.random.default_rng(seed)
    W = rng.standard_normal(shape).astype(dtype)
    F, G = filled(rng, counts[0], shape[1], dtype), filled(rng, counts[1], shape[0], dtype)
    Z = filled(rng, counts[1], shape[1], dtype)
    before = Z.copy()
    close(multiply(W, F, G, Z), F @ W.T, shape[1])
    close(Z, before + G @ W, shape[0])


@dtypes
@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 90)),
    terms=st.integers(0, 7),
    place=st.booleans(),
    seed=st.integers(0, 99),
)
def test_what_is_added_and_its_norms(dtype, shape, terms, place, seed):
    rng = np.random.default_rng(seed)
    W = rng.standard_normal(shape).astype(dtype)
    P, Q = filled(rng, terms, shape[0], dtype), filled(rng, terms, shape[1], dtype)
    expected = 0.5 * W.astype(float) + P.T.astype(float) @ Q
    out = W if place else np.full(shape, np.nan, dtype)
    squares, inverse_squares = update(out, W, 0.5, P, Q, 0.5, 0.1)
    close(out, expected.astype(dtype), 4 * terms + 1)
    close_enough = {"rtol": 1e-4 if dtype == np.float32 else 1e-12}
    assert_allclose(squares, np.square(expected).sum(), **close_enough)
    assert_allclose(inverse_squares, (1 / (0.1 + 0.5 * np.abs(expected)) ** 2).sum(), **close_enough)


@dtypes
def test_what_lies_behind_a_row_is_not_touched(dtype):
    rng = np.random.default_rng(0)
    whole = np.full((9, 40), np.nan, dtype)
    W = whole[:8, :37]
    W[...] = rng.standard_normal(W.shape)
    F, G, Z = (filled(rng, 3, n, dtype) for n in (37, 8, 37))
    Z[...] = 0
    close(multiply(W, F, G, Z), F @ W.T, 37)
    close(Z, G @ W, 8)
    update(W, W, 1.0, filled(rng, 2, 8, dtype), filled(rng, 2, 37, dtype), 0.5, 0.1)
    assert np.isfinite(W).all()
    assert np.isnan(whole[:, 37:]).all()
    assert np.isnan(whole[8]).all()


def test_bits_do_not_depend_on_how_many_columns_are_taken_at_once():
    rng = np.random.default_rng(0)
    W = rng.standard_normal((50, 203))
    F, G = filled(rng, 12, 203, np.float64), filled(rng, 12, 50, np.float64)
    Z = np.zeros((12, 203))
    Y = multiply(W, F, G, Z)
    for c in range(12):
        z = np.zeros((1, 203))
        y = multiply(W, F[c : c + 1], G[c : c + 1], z)
        assert np.array_equal(y[0], Y[c])
        assert np.array_equal(z[0], Z[c])


def digest():
    """Tell all bits of both products and of an update."""
    rng = np.random.default_rng(0)
    W = rng.standard_normal((61, 203))
    F, G, Z = filled(rng, 11, 203, np.float64), filled(rng, 7, 61, np.float64), filled(rng, 7, 203, np.float64)
    Y = multiply(W, F, G, Z)
    update(W, W, 0.5, filled(rng, 9, 61, np.float64), filled(rng, 9, 203, np.float64), 0.5, 0.1)
    return hashlib.sha256(b"".join(np.ascontiguousarray(x).tobytes() for x in (Y, Z, W))).hexdigest()


@pytest.mark.skipif("avx512f" not in cpu_features(), reason="vectors are short already")
def test_bits_do_not_depend_on_the_vectors_of_the_processor(tmp_path):
    features = ",".join(f"+{name}" for name in cpu_features() if "avx512" not in name and "avx10" not in name)
    settings = {"NUMBA_CPU_FEATURES": features, "NUMBA_CPU_NAME": "x86-64", "FASTDLN_CACHE_DIR": str(tmp_path)}
    found = subprocess.run(
        [sys.executable, "-c", "from tests.kernels.test_skinny import *; print(skinny.AVX512, digest())"],
        env=os.environ | settings, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.split() == ["False", digest()]
