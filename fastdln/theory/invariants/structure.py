"""The nilpotent structure of A, which the flow may change: ranks, Jordan chains and blocks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.checked import checked
from fastdln.linalg import spectral
from fastdln.network import check_weights

__all__ = ["chains", "jordan_blocks", "nilpotency", "ranks"]


@checked
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
    norms = [spectral(W) for W in arrays]
    rho = np.zeros((*arrays[0].shape[:-2], h + 1, h + 1), dtype=np.intp)
    for a in range(h + 1):
        rho[..., a, a] = net.widths[a]
        chain, scale = np.eye(net.widths[a]), np.ones(())
        for b in range(a + 1, h + 1):
            chain, scale = arrays[b - 1] @ chain, norms[b - 1] * scale
            values = np.linalg.svd(chain, compute_uv=False)
            rho[..., a, b] = (values > rtol * scale[..., None]).sum(axis=-1)
    return rho


@checked
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


@checked
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


@checked
def nilpotency(weights: Sequence[ArrayLike], rtol: float | None = None) -> NDArray[np.intp]:
    """Find the index of nilpotency of A: the least k with A^k = 0, the size of its largest Jordan block.

    It is one more than the length of the longest path of layers whose product is not zero, at most h + 1.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    rtol : float, optional
        The tolerance of `ranks`.

    Returns
    -------
    ndarray of int, shape (...)
        The index, from 1, where all layers are zero, to h + 1, where the product is not.

    Examples
    --------
    >>> int(nilpotency((np.eye(2), np.zeros((1, 2)))))
    2
    """
    rho = ranks(weights, rtol)
    a, b = np.indices(rho.shape[-2:])
    return np.asarray(1 + np.where(rho > 0, b - a, 0).max(axis=(-2, -1)))
