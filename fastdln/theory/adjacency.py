"""The network as a graph: the block-shift matrix A, its powers, and the flow as one matrix ODE.

A is the weighted adjacency matrix of the layered graph: block (i, i-1) is W_i, all others are zero (blocks
counted from 0). Block (i, i-k) of A^k is W_i ... W_{i-k+1}, so that A^h holds the product W in its corner and
A^{h+1} = 0 (survey, arXiv 2511.10362, section on the adjacency matrix).
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import reduce
from itertools import accumulate, pairwise
from typing import Any, Literal, overload

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray

from fastdln.checked import checked
from fastdln.linalg import transpose
from fastdln.losses import Loss
from fastdln.network import Network, Weights, check_weights

__all__ = ["block", "embedding", "flow_field", "matrix", "power", "weights"]


@overload
def matrix(weights: Sequence[ArrayLike], sparse: Literal[False] = False) -> NDArray[Any]: ...
@overload
def matrix(weights: Sequence[ArrayLike], sparse: Literal[True]) -> scipy.sparse.csr_array: ...
@checked
def matrix(weights: Sequence[ArrayLike], sparse: bool = False) -> NDArray[Any] | scipy.sparse.csr_array:
    """Assemble the adjacency matrix A of a network.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    sparse : bool
        Return a sparse matrix in CSR form, for one network without batch axes only.

    Returns
    -------
    ndarray, shape (..., n, n), or scipy.sparse.csr_array, shape (n, n)
        A, with n the number of nodes.

    Examples
    --------
    >>> matrix((np.array([[2.0]]), np.array([[3.0]])))
    array([[0., 0., 0.],
           [2., 0., 0.],
           [0., 3., 0.]])
    """
    if not sparse:
        return power(weights, 1)
    net, weights = check_weights(weights)
    if weights[0].ndim > 2:
        raise ValueError(f"a sparse A holds one network; weights has the batch axes {weights[0].shape[:-2]}")
    # A is the block diagonal matrix of the layers, moved down by d_0 rows.
    D = scipy.sparse.block_diag(weights, format="csr")
    indptr = np.concatenate([np.zeros(net.widths[0], D.indptr.dtype), D.indptr])
    return scipy.sparse.csr_array((D.data, D.indices, indptr), shape=(net.n_nodes, net.n_nodes))


@checked
def weights(A: ArrayLike | scipy.sparse.sparray, net: Network) -> Weights:
    """Read the weights off an adjacency matrix: the inverse of `matrix`.

    Parameters
    ----------
    A : array_like or sparse array, shape (..., n, n)
        The adjacency matrix.
    net : Network
        The network, with n nodes.

    Returns
    -------
    tuple of h ndarrays, shape (..., d_i, d_{i-1})
        Copies of the blocks below the diagonal.

    Raises
    ------
    ValueError
        If A has another shape, or an entry outside these blocks.

    Examples
    --------
    >>> weights([[0.0, 0.0], [2.0, 0.0]], Network((1, 1)))
    (array([[2.]]),)
    """
    dense: NDArray[Any] = A.toarray() if isinstance(A, scipy.sparse.sparray | scipy.sparse.spmatrix) else np.array(A)
    n = net.n_nodes
    if dense.shape[-2:] != (n, n):
        raise ValueError(f"A has shape {dense.shape}; {net} expects (..., {n}, {n})")
    blocks = []
    for rows, columns in _blocks(net, 1):
        blocks.append(dense[..., rows, columns].copy())
        dense[..., rows, columns] = 0
    outside = np.argwhere(dense)
    if len(outside):
        *_, i, j = map(int, outside[0])
        raise ValueError(
            f"A is not the adjacency matrix of {net}: its entry ({i}, {j}) is {dense[tuple(outside[0])]}, "
            f"but only the blocks W_i just below the diagonal may be nonzero"
        )
    return check_weights(blocks, net)[1]


@checked
def power(weights: Sequence[ArrayLike], k: int) -> NDArray[Any]:
    """Assemble the power A^k, from products of layers rather than of n x n matrices.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    k : int
        The exponent, at least 0; from h + 1 on, A^k = 0.

    Returns
    -------
    ndarray, shape (..., n, n)
        A^k, whose only nonzero blocks are W_i ... W_{i-k+1} at (i, i-k).

    Examples
    --------
    >>> power((np.array([[2.0]]), np.array([[3.0]])), 2)
    array([[0., 0., 0.],
           [0., 0., 0.],
           [6., 0., 0.]])
    """
    net, layers = check_weights(weights)
    if operator.index(k) < 0:
        raise ValueError(f"k must be at least 0, not {k}")
    result = np.zeros((*layers[0].shape[:-2], net.n_nodes, net.n_nodes), dtype=layers[0].dtype)
    chains = [np.eye(d) for d in net.widths]  # the blocks of A^0, from the input on
    for first in range(min(k, net.depth + 1)):
        chains = [W @ chain for W, chain in zip(layers[first:], chains[:-1], strict=True)]
    for (rows, columns), chain in zip(_blocks(net, k), chains, strict=True):
        result[..., rows, columns] = chain
    return result


@checked
def block(weights: Sequence[ArrayLike], i: int, k: int) -> NDArray[Any]:
    """Compute one block of a power of A: the product W_i ... W_{i-k+1} of k layers.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    i : int
        The layer of nodes in which the paths end, 0 to h.
    k : int
        The exponent, that is the length of the paths, 0 to i.

    Returns
    -------
    ndarray, shape (..., d_i, d_{i-k})
        Block (i, i-k) of A^k, the only one in its rows that is not zero; the identity for k = 0.

    Raises
    ------
    ValueError
        If `i` or `k` is out of range.

    Examples
    --------
    >>> block((np.array([[2.0]]), np.array([[3.0]])), 2, 2)
    array([[6.]])
    """
    net, layers = check_weights(weights)
    i, k = operator.index(i), operator.index(k)
    if not 0 <= k <= i <= net.depth:
        raise ValueError(f"expected 0 <= k <= i <= h = {net.depth}, not i = {i} and k = {k}")
    d = net.widths[i - k]
    identity = np.broadcast_to(np.eye(d, dtype=layers[0].dtype), (*layers[0].shape[:-2], d, d))
    return reduce(lambda chain, W: W @ chain, layers[i - k : i], identity)


@overload
def embedding(product: ArrayLike, net: Network, sparse: Literal[False] = False) -> NDArray[Any]: ...
@overload
def embedding(product: ArrayLike, net: Network, sparse: Literal[True]) -> scipy.sparse.csr_array: ...
@checked
def embedding(product: ArrayLike, net: Network, sparse: bool = False) -> NDArray[Any] | scipy.sparse.csr_array:
    """Embed a product, target or residual in the corner where A^h holds the product of the layers.

    With E the embedding of the target, L = 1/2 ||E - A^h||_F^2 for whitened data.

    Parameters
    ----------
    product : array_like, shape (..., d_h, d_0)
        The matrix.
    net : Network
        The network, with n nodes.
    sparse : bool
        Return a sparse matrix in CSR form, for one product without batch axes only.

    Returns
    -------
    ndarray, shape (..., n, n), or scipy.sparse.csr_array, shape (n, n)
        E, zero outside its block (h, 0).

    Raises
    ------
    TypeError
        If the product does not hold real numbers.
    ValueError
        If the product has another shape.

    Examples
    --------
    >>> embedding([[6.0]], Network((1, 1, 1)))
    array([[0., 0., 0.],
           [0., 0., 0.],
           [6., 0., 0.]])
    """
    W = np.asarray(product)
    if W.dtype.kind not in "fiu":
        raise TypeError(f"product has dtype {W.dtype}; expected real numbers")
    W = W if W.dtype == np.float32 else W.astype(np.float64, copy=False)
    expected = (net.widths[-1], net.widths[0])
    if W.shape[-2:] != expected:
        raise ValueError(f"product has shape {W.shape}; {net} expects (..., {expected[0]}, {expected[1]})")
    ((rows, columns),) = _blocks(net, net.depth)
    if sparse:
        if W.ndim > 2:
            raise ValueError(f"a sparse E holds one product; product has the batch axes {W.shape[:-2]}")
        i, j = np.indices(W.shape).reshape(2, -1)
        return scipy.sparse.csr_array((W.ravel(), (i + rows.start, j)), shape=(net.n_nodes, net.n_nodes))
    E = np.zeros((*W.shape[:-2], net.n_nodes, net.n_nodes), dtype=W.dtype)
    E[..., rows, columns] = W
    return E


@checked
def flow_field(A: ArrayLike, net: Network, loss: Loss) -> NDArray[Any]:
    """Evaluate the gradient flow as an ODE in A.

    dA/dt = sum_{k=0}^{h-1} (A')^{h-1-k} E (A')^k, where the corner of E holds -dL/dW at the product W, the
    corner of A^h. For the quadratic loss E = E(Sigma) - A^h, and the field is a polynomial in A and A'. This
    is the formula taken literally; `fastdln.rhs` computes the same from products of layers.

    Parameters
    ----------
    A : array_like, shape (..., n, n)
        The adjacency matrix.
    net : Network
        The network, with n nodes.
    loss : Loss
        The loss.

    Returns
    -------
    ndarray, shape (..., n, n)
        dA/dt, a block-shift matrix like A.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> flow_field([[0.0, 0.0], [2.0, 0.0]], Network((1, 1)), Quadratic([[5.0]]))
    array([[0., 0.],
           [3., 0.]])
    """
    A = matrix(weights(A, net))
    ((rows, columns),) = _blocks(net, net.depth)
    corner = -loss.grad(np.linalg.matrix_power(A, net.depth)[..., rows, columns])
    E = embedding(corner, net)
    T = transpose(A)
    field, right = E, E
    for _ in range(net.depth - 1):
        right = right @ T
        field = T @ field + right
    return field


def _blocks(net: Network, k: int) -> list[tuple[slice, slice]]:
    """The rows and columns of the blocks (i, i-k), i = k..h."""
    nodes = [slice(start, stop) for start, stop in pairwise(accumulate(net.widths, initial=0))]
    return list(zip(nodes[k:], nodes, strict=False))
