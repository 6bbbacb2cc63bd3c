"""The largest eigenvalues of the Hessians of a batch: the sharpness of each network, by Lanczos steps side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.checked import checked
from fastdln.checks import boolean, integer
from fastdln.evaluation import run
from fastdln.kernels.products.tangent import hessian
from fastdln.linalg import Floats, reproducible
from fastdln.losses import Loss
from fastdln.network import Network, Weights, check_weights
from fastdln.resources import cores, require_memory
from fastdln.theory import compiled
from fastdln.theory.hessian.products import Point

__all__ = ["leading", "numbers", "top"]

Multiply = Callable[[Floats], Floats]  # vectors (n, N), one for each network, by its Hessian

PIECE_BYTES = 8 << 20  # of the vectors of networks that are iterated together
VECTORS, KEPT = 40, 4  # blocks of a space, and of what a restart keeps
MOST_RESTARTS = 100
EXTRA = 1  # vectors of a block beside k: with one vector the largest eigenvalue was missed in 5 of 12 000 networks
FIRST_LOOK = 8  # vectors
SHARE = 0.01  # of the tolerance, that the square of a residual over a gap may take
ROUNDING = 64 * np.finfo(np.float64).eps  # of the norm: residuals below it are not asked for


@checked
def top(
    weights: Sequence[ArrayLike], loss: Loss, k: int = 1, tol: float = 1e-3, vectors: bool = False
) -> NDArray[np.float64] | tuple[NDArray[np.float64], Weights]:
    """Compute the k largest eigenvalues of the Hessian of each network of a batch.

    The first is the sharpness, which gradient descent compares with 2 / eta (survey, arXiv 2511.10362, section on
    discrete updates).  Lanczos steps from a block of general vectors are taken for all networks at once, with compiled
    Hessian-vector products, until the residual r of each eigenvector is below ``tol`` times its eigenvalue, or r^2
    over the gap below them is less than a hundredth of that: then the eigenvalue is that close to one of the Hessian.
    Each network's numbers are its own, whatever the batch.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    loss : Loss
        The loss, with a curvature.
    k : int
        How many eigenvalues.
    tol : float
        Relative tolerance of each.
    vectors : bool
        Whether to return the eigenvectors too.

    Returns
    -------
    values : ndarray, shape (..., k)
        The eigenvalues, the largest first; NaN where the weights or the Hessian are not finite.
    vectors : tuple of h ndarrays, shape (..., k, d_i, d_{i-1})
        Unit eigenvectors as changes of the weights, if asked for.

    Raises
    ------
    ValueError
        If there are no k eigenvalues, or `tol` is 0.
    RuntimeError
        If the largest eigenvalues of a network are too clustered to be told apart.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> top((np.array([[2.0]]), np.array([[[1.5]], [[2.0]]])), Quadratic([[3.0]])).round(9)
    array([[6.25],
           [9.  ]])
    """
    net, arrays = check_weights(weights)
    n_values, wanted = integer("k", k), boolean("vectors", vectors)
    if not 1 <= n_values <= net.n_parameters:
        raise ValueError(f"k must be from 1 to N = {net.n_parameters}, not {k}")
    if tol == 0:
        raise ValueError("tol must be above 0, as eigenvalues are found by iterations")
    arrays = tuple(W.astype(np.float64, copy=False) for W in arrays)
    loss.check_product((*arrays[0].shape[:-2], net.widths[-1], net.widths[0]))
    batch = np.broadcast_shapes(arrays[0].shape[:-2], loss.batch_shape)
    n = math.prod(batch)
    require_memory(
        8 * n * n_values * (1 + wanted * net.n_parameters) + PIECE_BYTES, f"{n_values} eigenvalues of {n} Hessians"
    )
    values = np.empty((n, n_values))
    found = np.empty((n, n_values, net.n_parameters)) if wanted else None
    for rows, multiply in _pieces(net, arrays, loss, batch, n_values):
        values[rows], own = leading(multiply, rows.stop - rows.start, net.n_parameters, n_values, tol)
        if found is not None:
            found[rows] = own
    values = values.reshape(*batch, n_values)
    return values if found is None else (values, net.unpack(found.reshape(*batch, n_values, net.n_parameters)))


def _pieces(net: Network, weights: Weights, loss: Loss, batch: tuple[int, ...], k: int) -> Any:
    """Networks that are iterated together, and products with their Hessians."""
    n, N = math.prod(batch), net.n_parameters
    plan = hessian(net.widths, **loss.form._asdict())
    if not compiled.suits(plan):
        W = [np.broadcast_to(layer, (*batch, *layer.shape[-2:])) for layer in weights]
        for i, place in enumerate(np.ndindex(batch)):
            one = loss[place[-1] if loss.batch_shape[0] > 1 else 0] if loss.batch_shape else loss
            point = Point(tuple(layer[place] for layer in W), one)
            yield slice(i, i + 1), _by_blas(point)
        return
    inputs = compiled.rows((*weights, *compiled.constants(plan, loss)), batch, np.dtype(np.float64))
    size = max(8, PIECE_BYTES // (8 * N * min(N, VECTORS * k)))
    for first in range(0, n, size):
        rows = slice(first, min(first + size, n))
        some = [A if len(A) == 1 else A[rows] for A in inputs]

        def multiply(vectors: Floats, some: list[NDArray[Any]] = some) -> Floats:
            image = np.empty_like(vectors)
            layers = (*some[: net.depth], *net.unpack(vectors), *some[net.depth :])
            run(plan, layers, net.unpack(image), cores())
            return image

        yield rows, multiply


def _by_blas(point: Point) -> Multiply:
    return lambda vectors: point.net.pack(point.apply(point.net.unpack(vectors)))


@reproducible
def leading(multiply: Multiply, n: int, N: int, k: int, tol: float) -> tuple[Floats, Floats]:
    """The k largest eigenvalues of n symmetric operators, with unit eigenvectors, by block Lanczos steps.

    The space of each is orthogonalized fully, and restarted from its best vectors where it becomes too large.

    Parameters
    ----------
    multiply : callable
        Applies the operators to vectors (n, N), one for each.
    n, N : int
        How many operators, and their dimension.
    k : int
        How many eigenvalues.
    tol : float
        Residual, relative to the eigenvalue, at which it is found.

    Returns
    -------
    values : ndarray, shape (n, k)
        The largest first; NaN where an operator is not finite.
    vectors : ndarray, shape (n, k, N)
        The eigenvectors.
    """
    width = min(k + EXTRA, N)
    most = min(N, VECTORS * width)
    space, small = np.zeros((n, most, N)), np.zeros((n, most, most))
    general = np.linalg.qr(np.random.default_rng(0).standard_normal((N, width)))[0].T
    fresh = np.broadcast_to(general, (n, width, N))
    values, vectors = np.full((n, k), np.nan), np.full((n, k, N), np.nan)
    open_ = np.ones(n, bool)
    unit = None  # powers of two near the sizes of the operators, whose squares may overflow
    size, look = 0, FIRST_LOOK
    for _ in range(MOST_RESTARTS * VECTORS):
        block = min(width, most - size)
        space[:, size : size + block] = fresh[:, :block]
        rest = np.stack([multiply(np.ascontiguousarray(fresh[:, i])) for i in range(block)], axis=1)
        open_ &= np.isfinite(rest).all(axis=(1, 2))
        rest[~open_] = 0.0
        if unit is None:
            unit = np.ldexp(1.0, np.frexp(np.abs(rest).max(axis=(1, 2)))[1] - 1)
        rest /= unit[:, None, None]
        size += block
        known = space[:, :size]
        inner = known @ rest.swapaxes(1, 2)
        small[:, :size, size - block : size] = inner
        small[:, size - block : size, :size] = inner.swapaxes(1, 2)
        rest -= inner.swapaxes(1, 2) @ known
        _remove(rest, known)
        if size >= look or size == most:
            look = size + max(2 * width, size // 4)
            left = np.flatnonzero(open_)
            theta, y = np.linalg.eigh(small[left, :size, :size])
            best, mix = theta[:, : -k - 1 : -1], y[:, :, : -k - 1 : -1]
            missing = np.sqrt(np.square(mix[:, size - block :].swapaxes(1, 2) @ rest[left]).sum(axis=2))
            if size == N:
                done = np.ones(len(left), bool)
            elif size <= k:
                done = np.zeros(len(left), bool)
            else:
                norm, gap = np.abs(theta).max(axis=1, keepdims=True), best - theta[:, -k - 1 : -k]
                enough = np.maximum(tol * np.abs(best), np.sqrt(SHARE * tol * np.abs(best) * gap))
                done = (missing <= np.maximum(enough, ROUNDING * norm)).all(axis=1)
            values[left[done]] = best[done] * unit[left[done], None]
            for row in np.flatnonzero(done):  # one by one, as a copy of their spaces would be large
                vectors[left[row]] = mix[row].T @ known[left[row]]
            open_[left[done]] = False
            if not open_.any():
                return values, vectors
            if size == most:
                size, look = KEPT * width, 0  # in whole blocks, as the space is, unless it is everything
                for i, own in enumerate(left):
                    space[own, :size] = y[i, :, : -size - 1 : -1].T @ known[own]
                small[:] = 0.0
                small[left[:, None], range(size), range(size)] = theta[:, : -size - 1 : -1]
        scale = np.abs(small[:, :size, :size]).max(axis=(1, 2))
        fresh = _orthonormal(rest, space[:, :size], ROUNDING * scale, size)
    raise RuntimeError(f"the {k} largest eigenvalues were not found to {tol} in {MOST_RESTARTS} restarts: raise tol")


def numbers(N: int, k: int) -> int:
    """Count the numbers that the steps hold for each operator.

    Parameters
    ----------
    N, k : int
        The dimension, and how many eigenvalues.

    Returns
    -------
    int
        Of the space, of the operator on it, and of a few vectors.
    """
    width = min(k + EXTRA, N)
    most = min(N, VECTORS * width)
    return most * (N + most) + 5 * width * N


def _remove(rows: Floats, space: Floats) -> None:
    """Take from rows (n, k, N) what lies in spaces (n, size, N) of orthonormal vectors."""
    rows -= (rows @ space.swapaxes(1, 2)) @ space


def _orthonormal(rows: Floats, space: Floats, least: Floats, seed: int) -> Floats:
    """Orthonormal vectors instead of those that lie across a space; where nothing is left, general ones."""
    sizes = np.sqrt(np.square(rows).sum(axis=2, keepdims=True))
    gone = sizes[..., 0] <= least[:, None]
    rows = rows / np.where(sizes > 0, sizes, 1.0)
    if gone.any():
        general = np.random.default_rng(seed).standard_normal(rows.shape[1:])
        rows[gone] = np.broadcast_to(general, rows.shape)[gone]
    for _ in range(2):
        _remove(rows, space)
        for i in range(rows.shape[1]):
            _remove(rows[:, i : i + 1], rows[:, :i])
            sizes = np.sqrt(np.square(rows[:, i]).sum(axis=1, keepdims=True))
            rows[:, i] /= np.where(sizes > 0, sizes, 1.0)
    return rows
