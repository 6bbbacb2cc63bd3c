"""What the flow conserves, what bounds it, and the structure of A that it may change.

Sources: S. Arora, N. Cohen & E. Hazan, ICML 2018 (balance); B. Bah, H. Rauhut, U. Terstiege & M.
Westdickenberg, Information and Inference 11 (2022) 307-353 (boundedness); the survey, arXiv 2511.10362,
sections on conservation laws, on nilpotency and on convergence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.field import balance, product
from fastdln.losses import Loss
from fastdln.network import check_weights

__all__ = ["balance", "chains", "corner_rates", "imbalance", "jordan_blocks", "norm_bound", "ranks"]


def imbalance(weights: Sequence[ArrayLike], layer_rates: ArrayLike | None = None) -> NDArray[Any]:
    """Measure how far weights are from balanced: the spectral norms of the balance matrices.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    layer_rates : array_like, shape (h,), optional
        The learning rates eta_i, divided into the balance matrices; by default all are 1.

    Returns
    -------
    ndarray, shape (..., h-1)
        ||C_i||_2 for each hidden layer; NaN where C_i is not finite.

    Examples
    --------
    >>> imbalance((np.array([[1.0], [0.0]]), np.array([[0.0, 2.0]])))
    array([4.])
    """
    _, arrays = check_weights(weights)
    norms = [_spectral_norm(C) for C in balance(arrays, layer_rates)]
    batch = arrays[0].shape[:-2]
    return np.stack(norms, axis=-1) if norms else np.zeros((*batch, 0), dtype=arrays[0].dtype)


def corner_rates(weights: Sequence[ArrayLike], loss: Loss) -> tuple[NDArray[Any], NDArray[Any]]:
    """Evaluate the two blocks of A'A - AA' that the flow changes.

    The diagonal blocks of A'A - AA' are W_1' W_1 at the input, the balance matrices in the hidden layers and
    -W_h W_h' at the output. Along the flow, with R = -dL/dW at the product W,

        d/dt (A'A - AA') = (A^h)' R + R' A^h - R (A^h)' - A^h R'    (R embedded like W),

    which is zero outside the two corners of the diagonal.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    loss : Loss
        The loss.

    Returns
    -------
    input : ndarray, shape (..., d_0, d_0)
        d/dt W_1' W_1 = W' R + R' W.
    output : ndarray, shape (..., d_h, d_h)
        d/dt (-W_h W_h') = -R W' - W R'.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> corner_rates((np.array([[1.0]]), np.array([[2.0]])), Quadratic([[3.0]]))
    (array([[4.]]), array([[-4.]]))
    """
    W = product(weights)
    R = -loss.grad(W)
    inner = np.swapaxes(W, -1, -2) @ R
    outer = R @ np.swapaxes(W, -1, -2)
    return inner + np.swapaxes(inner, -1, -2), -(outer + np.swapaxes(outer, -1, -2))


def norm_bound(weights: Sequence[ArrayLike], loss: Loss) -> NDArray[Any]:
    """Bound the spectral norm of every layer for all later times.

    With nu = ||Sigma||_2 + ||Sigma - W(0)||_F and c = max(0, max_i lambda_max(C_i)),

        ||W_i(t)||_2^2 <= nu^(2/h) + (h-1) c + sum_{k=i}^{h-1} max(0, lambda_max(-C_k)),

    so that no trajectory escapes, whatever its start. For unwhitened inputs the residual is measured in
    whitened ones and nu is divided by the least singular value of the root of the input Gram matrix.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The start of the trajectories.
    loss : Loss
        The loss.

    Returns
    -------
    ndarray, shape (..., h)
        Upper bounds of ||W_i(t)||_2 for t >= 0, without weight decay and with equal learning rates; infinite
        where the inputs do not span R^{d_0}.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> norm_bound((np.array([[0.0]]), np.array([[0.0]])), Quadratic([[8.0]]))
    array([4., 4.])
    """
    net, arrays = check_weights(weights)
    nu = _product_bound(product(arrays), loss)
    eigenvalues = [np.linalg.eigvalsh(C) for C in balance(arrays)]
    zero = np.zeros(arrays[0].shape[:-2])
    growth = [np.maximum(values[..., -1], 0) for values in eigenvalues]
    decline = [np.maximum(-values[..., 0], 0) for values in eigenvalues]
    common = nu ** (2 / net.depth) + (net.depth - 1) * np.max([zero, *growth], axis=0)
    squares: NDArray[Any] = np.stack([common + sum(decline[i:], zero) for i in range(net.depth)], axis=-1)
    return np.asarray(np.sqrt(squares))


def ranks(weights: Sequence[ArrayLike], rtol: float | None = None) -> NDArray[np.intp]:
    """Compute the numerical rank of every partial product W_b ... W_{a+1}.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    rtol : float, optional
        Singular values count as zero up to `rtol` times the product of the spectral norms of the factors; by
        default h max(d_i) times the machine epsilon.

    Returns
    -------
    ndarray of int, shape (..., h+1, h+1)
        rho(a, b) at [..., a, b] for a < b; rho(a, a) = d_a; 0 below the diagonal.

    Examples
    --------
    >>> ranks((np.eye(2), np.array([[1.0, 0.0]])))
    array([[2, 2, 1],
           [0, 2, 1],
           [0, 0, 1]])
    """
    net, arrays = check_weights(weights)
    h = net.depth
    if rtol is None:
        rtol = h * max(net.widths) * float(np.finfo(arrays[0].dtype).eps)
    norms = [np.linalg.norm(W, 2, axis=(-2, -1)) for W in arrays]
    rho = np.zeros((*arrays[0].shape[:-2], h + 1, h + 1), dtype=np.intp)
    for a in range(h + 1):
        rho[..., a, a] = net.widths[a]
        chain, scale = np.eye(net.widths[a]), np.ones(())
        for b in range(a + 1, h + 1):
            chain, scale = arrays[b - 1] @ chain, norms[b - 1] * scale
            values = np.linalg.svd(chain, compute_uv=False)
            rho[..., a, b] = (values > rtol * scale[..., None]).sum(axis=-1)
    return rho


def chains(weights: Sequence[ArrayLike], rtol: float | None = None) -> NDArray[np.intp]:
    """Count the Jordan chains of A by the layers in which they begin and end.

    From the ranks rho of the partial products, with rho = 0 outside,

        m(a, b) = rho(a, b) - rho(a-1, b) - rho(a, b+1) + rho(a-1, b+1) >= 0.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    rtol : float, optional
        The tolerance of `ranks`.

    Returns
    -------
    ndarray of int, shape (..., h+1, h+1)
        The number m(a, b) of chains from layer a to layer b at [..., a, b].

    Examples
    --------
    >>> chains((np.eye(2), np.array([[1.0, 0.0]])))
    array([[0, 1, 1],
           [0, 0, 0],
           [0, 0, 0]])
    """
    rho = ranks(weights, rtol)
    padded = np.pad(rho, [(0, 0)] * (rho.ndim - 2) + [(1, 0), (0, 1)])
    return np.triu(padded[..., 1:, :-1] - padded[..., :-1, :-1] - padded[..., 1:, 1:] + padded[..., :-1, 1:])


def jordan_blocks(weights: Sequence[ArrayLike], rtol: float | None = None) -> NDArray[np.intp]:
    """Count the Jordan blocks of the nilpotent matrix A by size.

    A^{h+1} = 0 for all times, so every eigenvalue of A is and stays zero; but the Jordan structure may change
    along the flow.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    rtol : float, optional
        The tolerance of `ranks`.

    Returns
    -------
    ndarray of int, shape (..., h+1)
        The number of blocks of size 1, ..., h+1.

    Examples
    --------
    >>> jordan_blocks((np.eye(2), np.array([[1.0, 0.0]])))
    array([0, 1, 1])
    """
    m = chains(weights, rtol)
    return np.stack([np.trace(m, offset=size, axis1=-2, axis2=-1) for size in range(m.shape[-1])], axis=-1)


def _spectral_norm(matrices: NDArray[Any]) -> NDArray[Any]:
    """||C||_2 of each matrix; NaN for one that is not finite, which a singular value decomposition refuses."""
    norms = np.full(matrices.shape[:-2], np.nan, dtype=matrices.dtype)
    finite = np.isfinite(matrices).all(axis=(-2, -1))
    norms[finite] = np.linalg.norm(matrices[finite], 2, axis=(-2, -1))
    return norms


def _product_bound(W: NDArray[Any], loss: Loss) -> NDArray[np.float64]:
    """The bound nu of ||W(t)||_2 for all matrices at which the loss is at most that of W."""
    residual = np.sqrt(2 * np.maximum(loss.value(W) - loss.floor, 0))
    nu = np.asarray(np.linalg.norm(loss.whitened, 2, axis=(-2, -1)) + residual)
    if loss.input_root is None:
        return nu
    if loss.rank < loss.shape[1]:
        return np.full_like(nu, np.inf)
    return np.asarray(nu / np.linalg.svd(loss.input_root, compute_uv=False)[-1])
