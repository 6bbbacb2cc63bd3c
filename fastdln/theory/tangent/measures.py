"""Whether the tangent operator changes, and how it is aligned with what is left to learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.checked import checked
from fastdln.field import product
from fastdln.linalg import Floats, reproducible, spectral, transpose
from fastdln.losses import Loss, quadratic_of
from fastdln.network import Weights
from fastdln.theory.tangent.kronecker import Kronecker, eigenvalues, grams, norm, partial, read

if TYPE_CHECKING:
    from fastdln.results.trajectories import Trajectories

__all__ = ["alignment", "change", "drift", "laziness"]


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
    return change(weights, read(tuple(W[..., None, :, :] for W in sol.start))[1])


@reproducible
def change(weights: Weights, start: Weights) -> Floats:
    """Compute ||K - K_0||_F / ||K_0||_F for the tangent operators of weights and of a start.

    Parameters
    ----------
    weights, start : tuple of h ndarrays, shape (..., d_i, d_{i-1})
        Weights in float64; their batches broadcast.

    Returns
    -------
    ndarray, shape (...,)
        The relative change; NaN where the weights are.
    """
    before = grams(start)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        terms = []
        for (A, B), (A_0, B_0) in zip(grams(weights), before, strict=True):
            terms += [Kronecker(A - A_0, B), Kronecker(A_0, B - B_0)]
        relative = norm(terms) / norm(before)
    return np.where(np.isnan(weights[0][..., 0, 0]), np.nan, relative)


@checked
@reproducible
def alignment(weights: Sequence[ArrayLike], loss: Loss) -> Any:
    """Measure how well the tangent operator is aligned with what is left to learn.

    The kernel alignment of K with the residual R,

        <R, K[R]> / (||K||_F ||R||_F^2),

    lies between 0 and 1 (N. Cristianini, J. Shawe-Taylor, A. Elisseeff & J. Kandola, NIPS 2001; along flows of linear
    networks A. Atanasov, B. Bordelon & C. Pehlevan, ICLR 2022). Twice its product with ||K||_F is the rate at which
    the loss falls, -d ln(L - L_floor)/dt. It is computed from R itself, as <R, K[R]> = sum_i ||W_{>i}' R W_{<i}'||_F^2:
    near the minimum neither L - L_floor nor the gradient has digits left. For unwhitened
    inputs K and R belong to W Sigma_xx^(1/2), what the network makes of whitened ones.

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
    _, arrays = read(weights)
    form = quadratic_of(loss, "alignment")
    R = form.residual(product(arrays))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # R of size one, so that no square of a small residual underflows.
        size = np.abs(R).max(axis=(-2, -1), keepdims=True)
        R = R / size
        arrays, _ = _scaled(arrays)
        pairs = zip(*partial(arrays, form.input_root), strict=True)
        forces = [transpose(above) @ R @ transpose(below) for below, above in pairs]
        return (sum(map(_square, forces)) / (norm(grams(arrays, form.input_root)) * _square(R)))[()]


@checked
@reproducible
def laziness(weights: Sequence[ArrayLike], loss: Loss) -> Any:
    """Bound how much the tangent operator will change while the loss is halved, say: the smaller, the lazier.

    The number  ||R||_F ||D^2 W||_2 / ||D W||_2^2  of L. Chizat, E. Oyallon & F. Bach (NeurIPS 2019), with derivatives
    of the product by the weights: ||D W||_2^2 = ||K||_2, and ||D^2 W||_2 is bounded by the largest eigenvalue of the
    symmetric h x h matrix with the entries ||W_{>i}|| ||W_{i-1} ... W_{j+1}|| ||W_{<j}|| for i > j and a zero
    diagonal. For unwhitened inputs all belongs to W Sigma_xx^(1/2), what the network makes of whitened ones.

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
    _, arrays = read(weights)
    form = quadratic_of(loss, "laziness")
    residual = np.sqrt(2 * form.excess(product(arrays)))
    h = len(arrays)
    arrays, exponents = _scaled(arrays)
    below, above = partial(arrays, form.input_root)
    bound = np.zeros((*arrays[0].shape[:-2], h, h))
    for j in range(h):
        chain = np.eye(arrays[j].shape[-2])
        for i in range(j + 1, h):
            norms = (spectral(X) for X in (above[i], chain, below[j]))
            bound[..., i, j] = bound[..., j, i] = np.prod(np.broadcast_arrays(*norms), axis=0)
            chain = arrays[i] @ chain
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        largest = eigenvalues(grams(arrays, form.input_root), k=1)[..., 0]
        return np.ldexp(residual * np.linalg.eigvalsh(bound)[..., -1] / largest, -h * exponents)[()]


def _scaled(weights: Weights) -> tuple[Weights, NDArray[np.intc]]:
    """Weights times a power of two for each network, so that no product of them underflows, and its exponents."""
    largest = np.max([np.abs(W).max(axis=(-2, -1)) for W in weights], axis=0)
    exponents = np.frexp(largest)[1]
    return tuple(np.ldexp(W, -exponents[..., None, None]) for W in weights), exponents


def _square(X: Floats) -> Floats:
    """||X||_F^2, summed over the last axis first, so that it does not depend on the batch."""
    return np.asarray(np.square(X).sum(axis=-1).sum(axis=-1))


def _recorded(sol: Trajectories, what: str) -> Weights:
    if not hasattr(sol, "weights"):
        raise TypeError(f"sol must be the Trajectories that fastdln.flow returns, not {type(sol).__name__}")
    if sol.weights is None:
        raise ValueError(f'{what} needs the weights at the recorded times: call flow(..., record=("weights",))')
    return read(sol.weights)[1]
