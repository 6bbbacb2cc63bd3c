"""The Hessian as a dense matrix: from its Kronecker blocks, or from its products with unit vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.checked import checked
from fastdln.linalg import transpose
from fastdln.losses import Loss
from fastdln.resources import require_memory
from fastdln.theory.hessian.products import Point, apply

__all__ = ["matrix"]

COLUMNS = 1 << 21  # entries of the columns that are computed at a time


@checked
def matrix(weights: Sequence[ArrayLike], loss: Loss) -> NDArray[Any]:
    """Assemble the Hessian of the loss as a dense matrix.

    For a quadratic loss every block is built at once from small Kronecker factors: with R = -dL/dW and G the input Gram
    matrix (the identity for whitened data), the entry of V_i[a, b] and V_j[c, d] is, for i >= j,

        (W_{>i}' W_{>j})[a, c] (W_{<i} G W_{<j}')[b, d] - [i > j] (W_{>i}' R W_{<j}')[a, d] (W_{i-1} ... W_{j+1})[b, c].

    For any other loss its columns are products with the unit vectors.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    loss : Loss
        The loss.

    Returns
    -------
    ndarray, shape (..., N, N)
        H, symmetric to the last bit; rows and columns in the order of `Network.pack`.

    Raises
    ------
    MemoryError
        If the matrix would not fit into memory.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> matrix((np.array([[1.0]]), np.array([[2.0]])), Quadratic([[3.0]]))
    array([[4., 1.],
           [1., 1.]])
    """
    point = Point(weights, loss)
    net, N = point.net, point.net.n_parameters
    n_bytes = 2 * math.prod(point.batch) * N * N * point.dtype.itemsize
    require_memory(n_bytes, f"the Hessian of {net}, {N} x {N} entries,")
    return _by_products(point) if loss.quadratic is None else _by_blocks(point)


def _by_products(point: Point) -> NDArray[Any]:
    net, N = point.net, point.net.n_parameters
    H: NDArray[Any] = np.empty((*point.batch, N, N), point.dtype)
    some = max(1, COLUMNS // (N * max(1, math.prod(point.batch))))
    for k in range(0, N, some):
        units = np.eye(min(some, N - k), N, k, dtype=point.dtype)
        directions = net.unpack(units.reshape(-1, *(1,) * len(point.batch), N))
        H[..., k : k + some] = np.moveaxis(net.pack(apply(point.weights, point.loss, directions)), 0, -1)
    return _symmetric(H)


def _by_blocks(point: Point) -> NDArray[Any]:
    net, N = point.net, point.net.n_parameters
    H: NDArray[Any] = np.empty((*point.batch, N, N), point.dtype)
    ends = list(accumulate((rows * columns for rows, columns in net.shapes), initial=0))
    prefixes, suffixes = point.below(), point.above()
    roots = [point.whitened(P) for P in prefixes]
    with np.errstate(over="ignore", invalid="ignore"):
        for i in range(net.depth):
            between = np.eye(net.widths[i], dtype=point.dtype)  # W_{i-1} ... W_{j+1}
            for j in range(i, -1, -1):
                block = H[..., ends[i] : ends[i + 1], ends[j] : ends[j + 1]]
                entries = block.reshape(*point.batch, *net.shapes[i], *net.shapes[j])  # a view
                outer, inner = transpose(suffixes[i]) @ suffixes[j], roots[i] @ transpose(roots[j])
                if i == j:
                    outer, inner = _symmetric(outer), _symmetric(inner)
                np.multiply(outer[..., :, None, :, None], inner[..., None, :, None, :], out=entries)
                if i > j:
                    pulled = point.pulled[i] @ transpose(prefixes[j])
                    entries -= pulled[..., :, None, None, :] * between[..., None, :, :, None]
                    H[..., ends[j] : ends[j + 1], ends[i] : ends[i + 1]] = transpose(block)
                    between = between @ point.weights[j]
    return H


def _symmetric(S: NDArray[Any]) -> NDArray[Any]:
    return np.asarray((S + transpose(S)) / 2)
