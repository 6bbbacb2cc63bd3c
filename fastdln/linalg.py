"""Linear algebra that gives the same bits whatever the threads of the machine."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

__all__ = ["Floats", "frobenius", "haar", "one_blas_thread", "reproducible", "spectral", "transpose"]

Floats = NDArray[np.float64]

P = ParamSpec("P")
R = TypeVar("R")


@functools.cache
def _blas() -> ThreadpoolController:
    """The BLAS libraries of NumPy and of SciPy, looked for once.

    To look for them is to walk the list of loaded libraries with the interpreter, which deadlocks with a thread that
    loads one at that moment: so it must not be done in the middle of a run, where other threads write files.
    """
    import scipy.linalg.cython_blas  # noqa: F401  a library that is not loaded is not found

    return ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit BLAS to one thread, and restore the setting afterwards."""
    with _blas().limit(limits=1, user_api="blas"):
        yield


def reproducible(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function run with one thread of BLAS, whose number decides how large products are summed.

    Parameters
    ----------
    function : callable
        What computes a target, its modes or an initial condition.

    Returns
    -------
    callable
        The same, with the setting of BLAS restored afterwards.
    """

    @functools.wraps(function)
    def single(*args: P.args, **kwargs: P.kwargs) -> R:
        with one_blas_thread():
            return function(*args, **kwargs)

    return single


def haar(gaussian: Floats) -> Floats:
    """Turn Gaussian matrices into uniformly distributed orthonormal columns.

    Parameters
    ----------
    gaussian : ndarray, shape (..., n, k), k <= n
        Independent standard normal entries.

    Returns
    -------
    ndarray, shape (..., n, k)
        Orthonormal columns, distributed by the Haar measure: the factor Q of a QR decomposition whose R has a
        positive diagonal (F. Mezzadri, Notices of the AMS 54 (2007) 592-604).

    Examples
    --------
    >>> Q = haar(np.random.default_rng(0).standard_normal((5, 3)))
    >>> np.allclose(Q.T @ Q, np.eye(3))
    True
    """
    Q, R = np.linalg.qr(gaussian)
    return np.asarray(Q * np.copysign(1.0, np.diagonal(R, axis1=-2, axis2=-1))[..., None, :])


def transpose(matrices: NDArray[Any]) -> NDArray[Any]:
    """Transpose the last two axes.

    Parameters
    ----------
    matrices : ndarray, shape (..., n, m)
        The matrices.

    Returns
    -------
    ndarray, shape (..., m, n)
        A view.
    """
    return np.swapaxes(matrices, -1, -2)


def frobenius(matrices: NDArray[Any]) -> NDArray[Any]:
    """Frobenius norms ||M||_F, also of matrices whose squares underflow or overflow.

    Parameters
    ----------
    matrices : ndarray, shape (..., n, m)
        The matrices.

    Returns
    -------
    ndarray, shape (...)
        Their norms.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.asarray(np.linalg.norm(matrices, axis=(-2, -1)))
        lost = (norms < np.finfo(norms.dtype).tiny ** 0.3) | np.isinf(norms)
        if not lost.any():
            return norms
        some = np.asarray(matrices)[lost]
        exponents = np.frexp(np.abs(some).max(axis=(-2, -1), initial=0.0))[1]  # a power of two changes no digit
        scaled = np.linalg.norm(np.ldexp(some, -exponents[:, None, None]), axis=(-2, -1))
        norms = np.array(norms)
        norms[lost] = np.ldexp(scaled, exponents)
        return norms


def spectral(matrices: NDArray[Any]) -> NDArray[Any]:
    """Spectral norms ||M||_2, the largest singular values.

    Parameters
    ----------
    matrices : ndarray, shape (..., n, m)
        The matrices.

    Returns
    -------
    ndarray, shape (...)
        Their norms.
    """
    return np.asarray(np.linalg.norm(matrices, 2, axis=(-2, -1)))
