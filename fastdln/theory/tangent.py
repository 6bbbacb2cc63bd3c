"""The tangent operator: how the product moves, and whether that changes.

The product follows dW/dt = K[R], R = -dL/dW, with

    K[R] = sum_i W_{>i} W_{>i}' R W_{<i}' W_{<i},

the neural tangent kernel of the network between entries of the product. On vec(R), the *columns* of R one below
the other, it is the symmetric positive semidefinite matrix

    K = sum_i (W_{<i}' W_{<i}) (x) (W_{>i} W_{>i}') = J J'

with the Jacobian J of the product by the weights. Hence dL/dt = -<R, K[R]> = -||grad L||^2. Learning is *lazy* where K
hardly changes along the flow, and linear then; it is *rich* where K itself is learned (A. Jacot, F. Gabriel &
C. Hongler, NeurIPS 2018; L. Chizat, E. Oyallon & F. Bach, NeurIPS 2019; S. Arora, N. Cohen & E. Hazan, ICML 2018, for K
here; survey, arXiv 2511.10362, section on convergence).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import LinearOperator, eigsh

from fastdln.field import gradient_norm, product
from fastdln.linalg import Floats, reproducible
from fastdln.losses import Loss
from fastdln.network import Network, Weights, check_weights

if TYPE_CHECKING:
    from fastdln.trajectories import Trajectories

__all__ = ["alignment", "apply", "drift", "laziness", "matrix", "operator", "spectrum"]

_DENSE = 600  # entries of the product up to which eigenvalues come from the matrix


def apply(weights: Sequence[ArrayLike], direction: ArrayLike) -> Floats:
    """Apply the tangent operator to a matrix: K[R] = sum_i W_{>i} W_{>i}' R W_{<i}' W_{<i}.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    direction : array_like, shape (..., d_h, d_0)
        The matrix R; batches broadcast.

    Returns
    -------
    ndarray, shape (..., d_h, d_0)
        K[R]: for R = -dL/dW the velocity dW/dt of the product.

    Raises
    ------
    ValueError
        If `direction` is not shaped like the product.

    Examples
    --------
    >>> apply((np.array([[2.0]]), np.array([[3.0]])), [[1.0]])
    array([[13.]])
    """
    net, arrays = _read(weights)
    R = np.asarray(direction, np.float64)
    if R.ndim < 2 or R.shape[-2:] != (net.widths[-1], net.widths[0]):
        raise ValueError(
            f"direction has shape {R.shape}; expected that of the product, (..., {net.widths[-1]}, {net.widths[0]})"
        )
    grams = _grams(arrays)
    return np.asarray(sum(outer @ R @ inner for inner, outer in zip(*grams, strict=True)))


def operator(weights: Sequence[ArrayLike]) -> LinearOperator:
    """Make the tangent operator of a network, without its matrix.

    Parameters
    ----------
    weights : tuple of h arrays, shape (d_i, d_{i-1})
        The weights of one network, W_1 first.

    Returns
    -------
    scipy.sparse.linalg.LinearOperator
        K on vec(R), the columns of R one below the other (``R.ravel(order="F")``); symmetric, of shape
        (d_h d_0, d_h d_0).

    Raises
    ------
    ValueError
        If the weights have a batch axis.

    Examples
    --------
    >>> K = operator((np.array([[2.0]]), np.array([[3.0]])))
    >>> K.shape, K @ np.array([1.0])
    ((1, 1), array([13.]))
    """
    net, arrays = _read(weights)
    if arrays[0].ndim != 2:
        raise ValueError(f"weights have the batch {arrays[0].shape[:-2]}; an operator is that of one network")
    inner, outer = _grams(arrays)
    d_h, d_0 = net.widths[-1], net.widths[0]

    def columns(X: NDArray[Any]) -> NDArray[Any]:
        R = X.T.reshape(-1, d_0, d_h)  # transposed, so that columns of R are rows here
        images = sum(A @ R @ B for A, B in zip(inner, outer, strict=True))
        return np.asarray(images).reshape(X.shape[1], -1).T

    def one(x: NDArray[Any]) -> NDArray[Any]:
        return columns(x.reshape(-1, 1)).ravel()

    size = d_h * d_0
    return LinearOperator((size, size), matvec=one, rmatvec=one, matmat=columns, rmatmat=columns, dtype=np.float64)


def matrix(weights: Sequence[ArrayLike]) -> Floats:
    """Compute the matrix of the tangent operator, K = sum_i (W_{<i}' W_{<i}) (x) (W_{>i} W_{>i}').

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.

    Returns
    -------
    ndarray, shape (..., d_h d_0, d_h d_0)
        The symmetric matrix on vec(R), the columns of R one below the other.

    Examples
    --------
    >>> matrix((np.eye(2), np.array([[1.0, 2.0]])))
    array([[6., 0.],
           [0., 6.]])
    """
    _, arrays = _read(weights)
    pairs = zip(*_grams(arrays), strict=True)
    K = np.asarray(sum(np.einsum("...ab,...cd->...acbd", inner, outer) for inner, outer in pairs))
    size = K.shape[-1] * K.shape[-2]
    return K.reshape(*K.shape[:-4], size, size)


@reproducible
def spectrum(weights: Sequence[ArrayLike], k: int | None = None) -> Floats:
    """Compute the eigenvalues of the tangent operator, the largest first.

    For balanced weights, whose product has the singular values s_j, padded by 0, they are in closed form

        sum_i s_j^{2(h-i)/h} s_l^{2(i-1)/h}    (j <= d_h, l <= d_0; 0^0 = 1),

    and at a global minimum with zero residual they are the positive eigenvalues of the Hessian J'J, and zeros.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    k : int, optional
        Only the k largest eigenvalues; by default all d_h d_0 of them. For one network whose product is large this is
        the Lanczos method, which needs no matrix.

    Returns
    -------
    ndarray, shape (..., d_h d_0) or (..., k)
        The eigenvalues; none is negative but by rounding.

    Raises
    ------
    ValueError
        If ``k`` is not between 1 and d_h d_0.

    Examples
    --------
    >>> spectrum((np.diag([2.0, 1.0]), np.diag([2.0, 1.0])))
    array([8., 5., 5., 2.])
    """
    net, arrays = _read(weights)
    size = net.widths[-1] * net.widths[0]
    if k is not None and not 1 <= k <= size:
        raise ValueError(f"k must lie between 1 and d_h d_0 = {size}, not {k!r}")
    if k is not None and size > _DENSE and k < size and arrays[0].ndim == 2:
        # a fixed start, as the default one is random
        start = np.random.default_rng(0).standard_normal(size)
        return np.asarray(eigsh(operator(arrays), k=k, v0=start, return_eigenvectors=False)[::-1])
    return np.asarray(np.linalg.eigvalsh(matrix(arrays))[..., ::-1][..., :k])


@reproducible
def drift(sol: Trajectories) -> Floats:
    """Measure how much the tangent operator has changed: ||K(t) - K(0)||_F / ||K(0)||_F.

    The difference is written as a sum of 2h Kronecker products whose norm follows from inner products of their
    factors, so that no matrix of the size of K is made and small changes keep their digits.

    Parameters
    ----------
    sol : Trajectories
        Trajectories with "weights" recorded.

    Returns
    -------
    ndarray, shape (n, n_t)
        The relative change since the start of the span at every recorded time: 0 in the lazy limit, of order 1 and more
        in the rich regime. NaN after the end of a trajectory, infinite or NaN where K(0) = 0.

    Raises
    ------
    ValueError
        If the weights were not recorded.

    Examples
    --------
    >>> import fastdln as dln
    >>> loss = dln.Quadratic([[1.0]])
    >>> start = (np.array([[3.0]]), np.array([[0.0]]))  # large weights, no product
    >>> drift(dln.flow(start, loss, (0.0, 9.0), record=("weights",))).round(4)
    array([0.0244])
    """
    weights = _recorded(sol, "a drift of the tangent operator")
    _, start = _read(tuple(W[..., None, :, :] for W in sol.start))
    inner_0, outer_0 = _grams(start)
    inner, outer = _grams(weights)
    factors = []
    for A, B, A_0, B_0 in zip(inner, outer, inner_0, outer_0, strict=True):
        factors += [_Kronecker(A - A_0, B), _Kronecker(A_0, B - B_0)]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        before = _norm([_Kronecker(A_0, B_0) for A_0, B_0 in zip(inner_0, outer_0, strict=True)])
        change = _norm(factors) / before
    return np.where(np.isnan(weights[0][..., 0, 0]), np.nan, change)


@reproducible
def alignment(weights: Sequence[ArrayLike], loss: Loss) -> Any:
    """Measure how well the tangent operator is aligned with what is left to learn.

    The kernel alignment of K with the residual R,

        <R, K[R]> / (||K||_F ||R||_F^2),

    lies between 0 and 1 (N. Cristianini, J. Shawe-Taylor, A. Elisseeff & J. Kandola, NIPS 2001; along flows of linear
    networks A. Atanasov, B. Bordelon & C. Pehlevan, ICLR 2022). Twice its product with ||K||_F is the rate at which
    the loss falls, -d ln(L - L_floor)/dt. It is computed as ||grad L||^2 / (2 ||K||_F (L - L_floor)). For unwhitened
    inputs K and R are those in whitened ones, W_1 -> W_1 Sigma_xx^(1/2).

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    loss : Loss
        The loss, with one target or one for each network.

    Returns
    -------
    ndarray, shape (...,), or float
        The alignment; NaN where nothing is left to learn, or K = 0.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> alignment((np.eye(2), np.eye(2)), Quadratic(np.diag([3.0, 2.0]))).round(12)
    np.float64(0.5)
    """
    _, arrays = _read(weights)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        left = 2 * (loss.value(product(arrays)) - loss.floor)
        K = _norm([_Kronecker(*pair) for pair in zip(*_grams(_whitened(arrays, loss)), strict=True)])
        return (np.square(gradient_norm(arrays, loss)) / (K * left))[()]


@reproducible
def laziness(weights: Sequence[ArrayLike], loss: Loss) -> Any:
    """Bound how much the tangent operator will change while the loss is halved, say: the smaller, the lazier.

    The number  ||R||_F ||D^2 W||_2 / ||D W||_2^2  of L. Chizat, E. Oyallon & F. Bach (NeurIPS 2019), with derivatives
    of the product by the weights: ||D W||_2^2 = ||K||_2, and ||D^2 W||_2 is bounded by the largest eigenvalue of the
    symmetric h x h matrix with the entries ||W_{>i}|| ||W_{i-1} ... W_{j+1}|| ||W_{<j}|| for i > j and a zero
    diagonal. For unwhitened inputs all is taken in whitened ones.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    loss : Loss
        The loss, with one target or one for each network.

    Returns
    -------
    ndarray, shape (...,), or float
        An upper bound of that number: small against 1 in the lazy regime, large near the origin; 0 for depth 1; NaN or
        infinite where K = 0.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> laziness((np.array([[30.0]]), np.array([[0.0]])), Quadratic([[1.0]])).round(5)
    np.float64(0.00111)
    """
    _, arrays = _read(weights)
    residual = np.sqrt(np.maximum(2 * (loss.value(product(arrays)) - loss.floor), 0))
    arrays = _whitened(arrays, loss)
    h = len(arrays)
    below, above = _partial(arrays)
    bound = np.zeros((*arrays[0].shape[:-2], h, h))
    for j in range(h):
        chain = np.eye(arrays[j].shape[-2])
        for i in range(j + 1, h):
            norms = (np.linalg.norm(X, 2, axis=(-2, -1)) for X in (above[i], chain, below[j]))
            bound[..., i, j] = bound[..., j, i] = np.prod(np.broadcast_arrays(*norms), axis=0)
            chain = arrays[i] @ chain
    with np.errstate(divide="ignore", invalid="ignore"):
        return (residual * np.linalg.eigvalsh(bound)[..., -1] / spectrum(arrays, k=1)[..., 0])[()]


class _Kronecker(NamedTuple):
    """The Kronecker product of an inner matrix, on inputs, and an outer one, on outputs."""

    inner: Floats
    outer: Floats


def _norm(terms: list[_Kronecker]) -> Floats:
    """||sum of Kronecker products||_F, from <A (x) B, C (x) D> = <A, C> <B, D>."""
    square: Any = 0.0
    for m, a in enumerate(terms):
        for b in terms[: m + 1]:
            both = _inner(a.inner, b.inner) * _inner(a.outer, b.outer)
            square = square + (both if b is a else 2 * both)
    return np.asarray(np.sqrt(np.maximum(square, 0.0)))


def _inner(A: Floats, B: Floats) -> Floats:
    """<A, B>, summed over the last axis first, so that it does not depend on the batch."""
    return np.asarray((A * B).sum(axis=-1).sum(axis=-1))


def _partial(weights: Weights) -> tuple[list[Floats], list[Floats]]:
    """W_{<i} and W_{>i} for each layer; the empty product is the identity."""
    first, last = (
        np.broadcast_to(np.eye(d), (*weights[0].shape[:-2], d, d))
        for d in (weights[0].shape[-1], weights[-1].shape[-2])
    )
    below = list(accumulate(weights[:-1], lambda chain, W: W @ chain, initial=first))
    above = list(accumulate(reversed(weights[1:]), lambda chain, W: chain @ W, initial=last))
    return below, above[::-1]


def _grams(weights: Weights) -> tuple[list[Floats], list[Floats]]:
    """W_{<i}' W_{<i} and W_{>i} W_{>i}' for each layer."""
    below, above = _partial(weights)
    with np.errstate(over="ignore", invalid="ignore"):
        return [np.swapaxes(W, -1, -2) @ W for W in below], [W @ np.swapaxes(W, -1, -2) for W in above]


def _whitened(weights: Weights, loss: Loss) -> Weights:
    """The weights in whitened inputs; the inputs need not span R^{d_0}, as nothing is brought back."""
    return weights if loss.input_root is None else (weights[0] @ loss.input_root, *weights[1:])


def _read(weights: Sequence[ArrayLike]) -> tuple[Network, Weights]:
    """The weights in float64."""
    net, arrays = check_weights(weights)
    return net, tuple(W.astype(np.float64, copy=False) for W in arrays)


def _recorded(sol: Trajectories, what: str) -> Weights:
    if not hasattr(sol, "weights"):
        raise TypeError(f"sol must be the Trajectories that fastdln.flow returns, not {type(sol).__name__}")
    if sol.weights is None:
        raise ValueError(f'{what} needs the weights at the recorded times: call flow(..., record=("weights",))')
    return _read(sol.weights)[1]
