"""Linear algebra that gives the same bits whatever the threads of the machine."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

__all__ = ["Floats", "haar", "reproducible"]

Floats = NDArray[np.float64]

P = ParamSpec("P")
R = TypeVar("R")


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

    @wraps(function)
    def single(*args: P.args, **kwargs: P.kwargs) -> R:
        with threadpool_limits(1, user_api="blas"):
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
