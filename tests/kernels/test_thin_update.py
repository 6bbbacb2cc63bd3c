"""The kernel of updates by thin products against NumPy, at every remainder of rows and columns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from fastdln.engines.wide.thin import thin
from fastdln.kernels.products import thin_update


def update(W, v, own, moved, P, Q):
    factors = np.array([own, moved], W.dtype)
    at, row = (0, 0) if v is None else (v.ctypes.data, v.strides[0])
    thin_update.update(
        thin_update.tile(W.dtype), W.itemsize, W.ctypes.data, W.strides[0], at, row, factors.ctypes.data, *W.shape,
        P.ctypes.data, P.strides[0], Q.ctypes.data, Q.strides[0], len(P),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 90)),
    terms=st.integers(0, 7),
    factors=st.tuples(st.sampled_from((0.0, 1.0, -0.3)), st.floats(0, 1)),
    seed=st.integers(0, 99),
)
def test_updates(dtype, shape, terms, factors, seed):
    rng, (own, moved) = np.random.default_rng(seed), factors
    memory = rng.standard_normal((2, shape[0], shape[1] + 5)).astype(dtype)  # what lies beside is not touched
    before = memory.copy()
    W, v = memory[:, :, : shape[1]]
    P, Q = (thin(terms, n, dtype) for n in shape)
    P[...], Q[...] = rng.standard_normal(P.shape), rng.standard_normal(Q.shape)
    change = P.T.astype(float) @ Q
    tight = 20 * np.finfo(dtype).eps * (terms + 2) ** 0.5
    first, fast = W.astype(float), v.astype(float)
    update(W, None, own, moved, P, Q)
    assert_allclose(W, own * first + change, rtol=0, atol=tight)
    assert_array_equal(v, before[1, :, : shape[1]])
    first = W.astype(float)
    update(W, v, own, moved, P, Q)
    fast = moved * fast + own * first + change
    assert_allclose(v, fast, rtol=0, atol=2 * tight)
    assert_allclose(W, first + fast, rtol=0, atol=3 * tight)
    assert_array_equal(memory[:, :, shape[1] :], before[:, :, shape[1] :])
