"""Orthonormal frames, and bits that do not follow the threads of BLAS."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import scipy.linalg.cython_blas  # noqa: F401  a library that is loaded within a test has no setting before
from numpy.testing import assert_allclose, assert_array_equal
from threadpoolctl import threadpool_info, threadpool_limits

from fastdln import flow, inits
from fastdln.linalg import frobenius, haar, one_blas_thread
from fastdln.losses import Quadratic, Regression
from fastdln.network import Network


def test_haar_columns_are_orthonormal_and_have_the_second_moments_of_the_haar_measure():
    Q = haar(np.random.default_rng(0).standard_normal((20000, 3, 2)))
    assert_allclose(np.swapaxes(Q, -1, -2) @ Q, np.broadcast_to(np.eye(2), (20000, 2, 2)), atol=1e-14)
    assert_allclose(Q.mean(axis=0), 0, atol=0.02)
    assert_allclose(np.square(Q).mean(axis=0), 1 / 3, atol=0.01)


def target_of_data(make):
    rng = np.random.default_rng(0)
    loss = make(rng.standard_normal((64, 1000)), rng.standard_normal((10, 1000)))
    return np.concatenate([loss.target, loss.quadratic.cross, *(m.T for m in loss.modes)], axis=None)


def strengths_at_the_end(engine):
    """Integrate in two threads of our own."""
    w0 = inits.gaussian(Network((8, 150, 150, 8)), 0.7, size=3, rng=0)
    loss = Quadratic.from_singular_values(np.arange(1, 9), (8, 8), rng=0)
    return flow(w0, loss, (0.0, 0.5), engine=engine, record=("strengths",), threads=2).strengths


@pytest.mark.parametrize(
    "compute",
    [
        lambda: target_of_data(Quadratic.from_data),
        lambda: target_of_data(Regression),
        lambda: Quadratic.from_singular_values(np.arange(1, 100), (200, 150), rng=0).target,
        lambda: inits.balanced(Network((200, 150, 100)), rng=0)[1],
        lambda: inits.delta_balanced(Network((784, 100, 10)), 0.1, rng=0)[0],
        lambda: inits.lambda_balanced(Network((200, 150, 100)), [0.0], rng=0)[1],
        lambda: inits.orthogonal(Network((400, 300)), rng=0)[0],
        lambda: inits.aligned(Network((200, 150, 100)), 0.5, rng=0)[0],
        lambda: inits.decoupled(Network((200, 100)), Quadratic(np.eye(100, 200)), 0.5)[0],
        *(partial(strengths_at_the_end, engine) for engine in ("dense", "wide")),
    ],
)
def test_threads_of_blas_change_no_bit_and_keep_their_setting(compute):
    results = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            before = threadpool_info()
            results.append(compute())
            assert threadpool_info() == before
    assert np.array_equal(*results)


def fail(error):
    with one_blas_thread():
        assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {1}
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_setting_of_blas_comes_back_after_an_error(error):
    with threadpool_limits(2, user_api="blas"):
        before = threadpool_info()
        with pytest.raises(error):
            fail(error)
        assert threadpool_info() == before


def test_libraries_are_looked_for_once(monkeypatch):
    """Looking for them deadlocks with a thread that loads a library: it must not happen within a run."""
    with one_blas_thread():
        pass

    def refuse(self):
        raise AssertionError("the loaded libraries were walked again")

    monkeypatch.setattr("threadpoolctl.ThreadpoolController.__init__", refuse)
    loss = Quadratic.from_singular_values((2.0, 1.0), shape=(2, 2), rng=0)
    w0 = inits.balanced(Network((2, 3, 2)), scale=0.5, size=2, rng=0)
    assert flow(w0, loss, (0.0, 1.0), engine="wide").success.all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_frobenius_norms_where_squares_underflow_or_overflow(dtype):
    info = np.finfo(dtype)
    matrices = np.random.default_rng(0).standard_normal((5, 3, 4)).astype(dtype)
    norms = frobenius(matrices)
    assert_array_equal(norms, np.linalg.norm(matrices, axis=(-2, -1)))
    powers = np.array([0, info.minexp + 20, info.maxexp - 20, info.minexp // 2 - 1, info.maxexp * 3 // 4])
    scaled = np.ldexp(matrices, powers[:, None, None])
    assert_array_equal(frobenius(scaled), np.ldexp(norms, powers))
    assert frobenius(scaled).dtype == dtype
    assert frobenius(scaled[1]) == np.ldexp(norms[1], powers[1])
    special = np.array([0.0, np.nan, np.inf], dtype)
    assert_array_equal(frobenius(np.broadcast_to(special[:, None, None], (3, 2, 2))), special)
    assert frobenius(np.zeros((3, 0, 4))).tolist() == [0, 0, 0]
