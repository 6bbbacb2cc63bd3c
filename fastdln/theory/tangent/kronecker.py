"""Sums of Kronecker products: the tangent operator as the products of the layers make it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import LinearOperator, eigsh

from fastdln.linalg import Floats, transpose
from fastdln.network import Network, Weights, check_weights

__all__ = ["Kronecker", "dense", "eigenvalues", "grams", "linear_operator", "norm", "partial", "read"]

_DENSE = 600  # rows of a matrix up to which a few eigenvalues come from all of them


def read(weights: Sequence[ArrayLike]) -> tuple[Network, Weights]:
    """The weights in float64."""
    net, arrays = check_weights(weights)
    return net, tuple(W.astype(np.float64, copy=False) for W in arrays)


class Kronecker(NamedTuple):
    """The Kronecker product of an inner matrix, on inputs, and an outer one, on outputs."""

    inner: Floats
    outer: Floats


def partial(weights: Weights, root: Floats | None = None) -> tuple[list[Floats], list[Floats]]:
    """W_{<i} and W_{>i} for each layer; the empty product is the identity, or ``root`` at the inputs."""
    batch, d_0, d_h = weights[0].shape[:-2], weights[0].shape[-1], weights[-1].shape[-2]
    first = np.broadcast_to(np.eye(d_0) if root is None else root, (*batch, d_0, d_0))
    last = np.broadcast_to(np.eye(d_h), (*batch, d_h, d_h))
    below = list(accumulate(weights[:-1], lambda chain, W: W @ chain, initial=first))
    above = list(accumulate(reversed(weights[1:]), lambda chain, W: chain @ W, initial=last))
    return below, above[::-1]


def grams(weights: Weights, root: Floats | None = None) -> list[Kronecker]:
    """The summands (W_{<i}' W_{<i}) (x) (W_{>i} W_{>i}') of K."""
    with np.errstate(over="ignore", invalid="ignore"):
        pairs = zip(*partial(weights, root), strict=True)
        return [Kronecker(transpose(W) @ W, V @ transpose(V)) for W, V in pairs]


def dense(terms: list[Kronecker]) -> Floats:
    """The sum of Kronecker products."""
    K = np.asarray(sum(np.einsum("...ab,...cd->...acbd", inner, outer) for inner, outer in terms))
    size = K.shape[-1] * K.shape[-2]
    return K.reshape(*K.shape[:-4], size, size)


def linear_operator(terms: list[Kronecker]) -> LinearOperator:
    """The sum of Kronecker products, without its matrix."""
    d_0, d_h = len(terms[0].inner), len(terms[0].outer)

    def columns(X: NDArray[Any]) -> NDArray[Any]:
        R = X.T.reshape(-1, d_0, d_h)  # transposed, so that columns of R are rows here
        images = sum(inner @ R @ outer for inner, outer in terms)
        return np.asarray(images).reshape(X.shape[1], -1).T

    def one(x: NDArray[Any]) -> NDArray[Any]:
        return columns(x.reshape(-1, 1)).ravel()

    shape = (d_0 * d_h, d_0 * d_h)
    return LinearOperator(shape, matvec=one, rmatvec=one, matmat=columns, rmatmat=columns, dtype=np.float64)


def eigenvalues(terms: list[Kronecker], k: int | None) -> Floats:
    """The k largest eigenvalues of a sum of Kronecker products, or all: the largest first."""
    inner, outer = terms[0]
    size = inner.shape[-1] * outer.shape[-1]
    if k is not None and size > _DENSE and k < size and inner.ndim == 2:
        start = np.random.default_rng(0).standard_normal(size)  # fixed, as the default one is random
        return np.asarray(eigsh(linear_operator(terms), k=k, v0=start, return_eigenvectors=False)[::-1])
    return np.asarray(np.linalg.eigvalsh(dense(terms))[..., ::-1][..., :k])


def norm(terms: list[Kronecker]) -> Floats:
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
