"""The action of gauges on weights, and motion along it."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import expm
from scipy.special import ndtr

from fastdln.checked import checked
from fastdln.checks import reals
from fastdln.linalg import Floats, haar, reproducible, transpose
from fastdln.network import Network, Weights, check_weights

__all__ = ["along_fiber", "fiber_directions", "gauge_motion", "random_gauges", "transform"]


def transform(weights: Sequence[ArrayLike], gauges: Sequence[ArrayLike]) -> Weights:
    """Apply a gauge to weights: W_i -> P_i W_i P_{i-1}^{-1}, with P_0 = P_h = I.

    The product is unchanged, and the gradient G_i becomes P_i^{-T} G_i P_{i-1}^T.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    gauges : tuple of h-1 arrays, shape (..., d_i, d_i)
        The invertible matrices P_1, ..., P_{h-1}; batch axes broadcast with those of the weights.

    Returns
    -------
    tuple of h ndarrays, shape (..., d_i, d_{i-1})
        The transformed weights, in the dtype of `weights`.

    Raises
    ------
    TypeError
        If a gauge does not hold real numbers.
    ValueError
        If there is not one gauge for each hidden layer, or one has the wrong shape, is not finite, or is singular to
        rounding.

    Examples
    --------
    >>> transform((np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]])), (np.array([[2.0]]),))
    (array([[2., 4.]]), array([[1.5],
           [2. ]]))
    """
    net, arrays = check_weights(weights)
    gauges = _check_gauges("gauges", gauges, net)
    for i, P in enumerate(gauges, start=1):
        s = np.linalg.svd(P, compute_uv=False)
        if not (s[..., -1] > P.shape[-1] * np.finfo(float).eps * s[..., 0]).all():
            raise ValueError(
                f"the gauge P_{i} is singular to rounding: its singular values reach from "
                f"{s[..., 0].max():.3g} down to {s[..., -1].min():.3g}"
            )
    dtype = arrays[0].dtype
    moved = [W.astype(np.float64, copy=False) for W in arrays]
    for i, P in enumerate(gauges):
        moved[i] = P @ moved[i]
        moved[i + 1] = transpose(np.linalg.solve(transpose(P), transpose(moved[i + 1])))
    return check_weights([W.astype(dtype, copy=False) for W in moved])[1]


@checked
@reproducible
def random_gauges(
    net: Network,
    rng: np.random.Generator | np.random.SeedSequence | int | None = None,
    condition: float = 10.0,
    size: int | None = None,
) -> tuple[Floats, ...]:
    """Draw random gauges of bounded condition number.

    P_i = O diag(s) Q' with O and Q uniformly distributed (Haar) and the logarithms of the singular values s uniform
    between -ln(condition)/2 and ln(condition)/2. With condition = 1 they are orthogonal.

    Parameters
    ----------
    net : Network
        The network.
    rng : Generator, SeedSequence or int, optional
        The source of randomness; gauge k of a batch does not depend on its size.
    condition : float
        The largest condition number, at least 1.
    size : int, optional
        The size of the batch; None gives one gauge without a batch axis.

    Returns
    -------
    tuple of h-1 ndarrays, shape (size, d_i, d_i)
        The matrices P_1, ..., P_{h-1}.

    Raises
    ------
    ValueError
        If the condition number or the size is out of range.

    Examples
    --------
    >>> (P,) = random_gauges(Network((2, 3, 2)), rng=0, condition=4.0)
    >>> bool(np.linalg.cond(P) <= 4.0)
    True
    """
    if not 1 <= condition < np.inf:
        raise ValueError(f"condition must be at least 1 and finite, not {condition!r}")
    count = 1 if size is None else operator.index(size)
    if count < 1:
        raise ValueError(f"size must be at least 1, or None for one gauge, not {size}")
    hidden = net.widths[1:-1]
    ends = np.cumsum([0, *(2 * d * d + d for d in hidden)])
    draws = np.random.default_rng(rng).standard_normal((count, ends[-1]))
    gauges = []
    for d, (start, stop) in zip(hidden, pairwise(ends), strict=True):
        part = np.ascontiguousarray(draws[:, start:stop])
        O, Q = (haar(G) for G in part[:, d:].reshape(count, 2, d, d).swapaxes(0, 1))
        s = condition ** (ndtr(part[:, :d]) - 0.5)
        P = (O * s[:, None, :]) @ transpose(Q)
        gauges.append(P[0] if size is None else P)
    return tuple(gauges)


def gauge_motion(weights: Sequence[ArrayLike], directions: Sequence[ArrayLike]) -> Weights:
    """Compute the velocity of weights under a one-parameter gauge, dW_i = X_i W_i - W_i X_{i-1}, X_0 = X_h = 0.

    For symmetric X_i this is -1/2 times the gradient of sum_i <X_i, C_i>, with C_i the balance matrices that the flow
    conserves: fibers and the surfaces of constant balance are transverse.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    directions : tuple of h-1 arrays, shape (..., d_i, d_i)
        The generators X_1, ..., X_{h-1}; batch axes broadcast with those of the weights.

    Returns
    -------
    tuple of h ndarrays, shape (..., d_i, d_{i-1})
        The velocities, along which the product is constant.

    Examples
    --------
    >>> gauge_motion((np.array([[1.0, 2.0]]), np.array([[3.0]])), (np.array([[1.0]]),))
    (array([[1., 2.]]), array([[-3.]]))
    """
    net, arrays = check_weights(weights)
    X = _check_gauges("directions", directions, net)
    moved = [np.zeros(W.shape) for W in arrays]
    for i, generator in enumerate(X):
        moved[i] = moved[i] + generator @ arrays[i]
        moved[i + 1] = moved[i + 1] - arrays[i + 1] @ generator
    return check_weights([M.astype(arrays[0].dtype, copy=False) for M in moved])[1]


def along_fiber(weights: Sequence[ArrayLike], directions: Sequence[ArrayLike], t: ArrayLike) -> Weights:
    """Move along a fiber by a one-parameter gauge: W_i(t) = exp(t X_i) W_i exp(-t X_{i-1}), X_0 = X_h = 0.

    The product is constant; the balance matrices are not.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights at t = 0.
    directions : tuple of h-1 arrays, shape (..., d_i, d_i)
        The generators X_1, ..., X_{h-1}; batch axes broadcast with those of the weights.
    t : array_like
        Parameters, of either sign.

    Returns
    -------
    tuple of h ndarrays, shape (..., *t.shape, d_i, d_{i-1})
        The weights, with the axes of `t` after the batch.

    Examples
    --------
    >>> W1, W2 = along_fiber((np.array([[1.0]]), np.array([[3.0]])), (np.array([[1.0]]),), [0.0, np.log(3.0)])
    >>> W1.ravel().round(12), W2.ravel().round(12)
    (array([1., 3.]), array([3., 1.]))
    """
    net, arrays = check_weights(weights)
    X = _check_gauges("directions", directions, net)
    times = reals("t", t).astype(np.float64)
    if not np.isfinite(times).all():
        raise ValueError("t must be finite")
    batch = np.broadcast_shapes(arrays[0].shape[:-2], *(generator.shape[:-2] for generator in X))

    def spread(matrices: NDArray[Any]) -> NDArray[Any]:
        whole = np.broadcast_to(matrices, batch + matrices.shape[-2:])
        return whole.reshape(batch + (1,) * times.ndim + matrices.shape[-2:])

    moved = [np.broadcast_to(spread(W), batch + times.shape + W.shape[-2:]).astype(np.float64) for W in arrays]
    for i, generator in enumerate(X):
        steps = times[..., None, None] * spread(generator)
        moved[i] = expm(steps) @ moved[i]
        moved[i + 1] = moved[i + 1] @ expm(-steps)
    return tuple(M.astype(arrays[0].dtype, copy=False) for M in moved)


@checked
def fiber_directions(weights: Sequence[ArrayLike], tol: float = 1e-10) -> Weights:
    """Find an orthonormal basis of the directions in which gauges move the weights.

    They span the tangent space of the orbit, of dimension sum_i d_i^2 over the hidden layers less that of the
    stabilizer {X : X_i W_i = W_i X_{i-1}}. Where all layers are square and invertible the orbit is the fiber; in
    general a fiber is made of many orbits, of smaller dimension.

    Parameters
    ----------
    weights : tuple of h arrays, shape (d_i, d_{i-1})
        One network.
    tol : float
        Singular values of the motion up to `tol` times the largest count as zero.

    Returns
    -------
    tuple of h ndarrays, shape (k, d_i, d_{i-1})
        k directions, orthonormal for the inner product sum_i <V_i, V'_i>.

    Examples
    --------
    >>> V1, V2 = fiber_directions((np.array([[1.0]]), np.array([[1.0]])))
    >>> (V1 * np.sign(V1)).round(4), (V2 * np.sign(V1)).round(4)
    (array([[[0.7071]]]), array([[[-0.7071]]]))
    """
    net, arrays = check_weights(weights)
    if arrays[0].ndim > 2:
        raise ValueError(f"fiber_directions takes one network; weights has the batch axes {arrays[0].shape[:-2]}")
    arrays = tuple(W.astype(np.float64, copy=False) for W in arrays)
    hidden = net.widths[1:-1]
    ends = np.cumsum([0, *(d * d for d in hidden)])
    generators = np.eye(ends[-1])
    units = [
        generators[:, start:stop].reshape(-1, d, d) for d, (start, stop) in zip(hidden, pairwise(ends), strict=True)
    ]
    motions = net.pack(gauge_motion(arrays, units)) if units else np.zeros((0, net.n_parameters))
    _, s, Vt = np.linalg.svd(motions, full_matrices=False)
    return net.unpack(Vt[s > tol * s[:1].sum()])


def _check_gauges(name: str, gauges: Sequence[ArrayLike], net: Network) -> tuple[Floats, ...]:
    """One finite square matrix for each hidden layer, in float64."""
    letter = "P" if name == "gauges" else "X"
    if not isinstance(gauges, tuple | list):
        raise TypeError(
            f"{name} must be a tuple of one matrix {letter}_i per hidden layer, not {type(gauges).__name__}"
        )
    if len(gauges) != net.depth - 1:
        raise ValueError(f"{name} has {len(gauges)} matrices; {net} expects {net.depth - 1}, one for each hidden layer")
    checked = []
    for i, (matrix, d) in enumerate(zip(gauges, net.widths[1:], strict=False), start=1):
        array = np.asarray(matrix)
        if array.dtype.kind not in "fiu":
            raise TypeError(f"{letter}_{i} has dtype {array.dtype}; expected real numbers")
        if array.shape[-2:] != (d, d):
            raise ValueError(f"{letter}_{i} has shape {array.shape}; {net} expects (..., {d}, {d})")
        if not np.isfinite(array).all():
            raise ValueError(f"{letter}_{i} must be finite")
        checked.append(array.astype(np.float64, copy=False))
    return tuple(checked)
