"""Numbers that follow from the weights at one moment, or from their product: ranks, norms, alignment, sharpness.

All take batches of records in a row.  Where something would be divided by what vanishes, the number is NaN.
Beside them stand the sizes of what is computed on the way, in numbers for each record.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.linalg import Floats, frobenius
from fastdln.losses import Loss
from fastdln.network import Network
from fastdln.theory import hessian, tangent
from fastdln.theory.hessian.leading import numbers

Array = NDArray[Any]

SHARPNESS_TOLERANCE = 1e-3  # relative


# ---- of singular values (..., r), the largest first


def effective_rank(values: Array) -> Array:
    """The exponential of the entropy of s / sum s."""
    with np.errstate(divide="ignore", invalid="ignore"):
        p = values / values.sum(axis=-1, keepdims=True)
        # the sum is not negated: what ends a trajectory is a NaN whose sign stays
        return np.asarray(np.exp(np.where(p > 0, -p * np.log(p), p).sum(axis=-1)))


def stable_rank(values: Array) -> Array:
    """||P||_F^2 / ||P||_2^2."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.square(values / values[..., :1]).sum(axis=-1))


def nuclear_norm(values: Array) -> Array:
    """Their sum."""
    return np.asarray(values.sum(axis=-1))


# ---- of products (n, d_h d_0) or weights (n, N)


def accuracy(products: Array, network: Network, loss: Loss) -> Array:
    """The share of the samples that are classified correctly."""
    return np.asarray(loss.accuracy(products.reshape(-1, *loss.shape)))


def margin(products: Array, network: Network, loss: Loss) -> Array:
    """The least margin of the samples over ||P||_F."""
    P = products.reshape(-1, *loss.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(loss.margin(P) / frobenius(P))


def length(vectors: Array) -> Array:
    """Euclidean norms of vectors (..., N), also of those whose squares overflow."""
    largest = np.abs(vectors).max(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        unit = vectors / np.where(largest > 0, largest, 1)
        return np.asarray(largest[..., 0] * np.sqrt(np.square(unit).sum(axis=-1)))


def layer_alignment(weights: Array, network: Network, loss: Loss) -> Floats:
    """|<v_{i+1}, u_i>|, shape (n, h-1): v the leading right singular vector of W_{i+1}, u the left one of W_i."""
    left, right = [], []
    for W in network.unpack(weights):
        U, s, Vt = np.linalg.svd(W, full_matrices=False)
        there = s[:, :1] > 0  # else every vector is a leading one
        left.append(np.where(there, U[:, :, 0], np.nan))
        right.append(np.where(there, Vt[:, 0], np.nan))
    found = np.empty((len(weights), network.depth - 1))
    for i, (v, u) in enumerate(zip(right[1:], left[:-1], strict=True)):
        found[:, i] = np.abs((v * u).sum(axis=1))
    return found


def sharpness(weights: Array, network: Network, loss: Loss) -> Floats:
    """The largest eigenvalue of the Hessian."""
    return np.asarray(hessian.top(network.unpack(weights), loss, tol=SHARPNESS_TOLERANCE))[:, 0]


def tangent_alignment(weights: Array, network: Network, loss: Loss) -> Floats:
    """That of the tangent operator with the residual."""
    return np.asarray(tangent.alignment(network.unpack(weights), loss))


# ---- sizes


def outputs(network: Network, loss: Loss) -> int:
    """Products, and outputs of the samples with what is made of them."""
    return 2 * math.prod(loss.shape) + 3 * network.widths[-1] * loss.form.samples


def weights(network: Network, loss: Loss) -> int:
    """Weights that are worked on."""
    return 2 * network.n_parameters


def leading_vectors(network: Network, loss: Loss) -> int:
    """Weights, and the decomposition of a layer."""
    return network.n_parameters + max((rows + columns) * min(rows, columns) for rows, columns in network.shapes)


def krylov(network: Network, loss: Loss) -> int:
    """A space of vectors, weights, and a target of their own."""
    return numbers(network.n_parameters, 1) + 3 * math.prod(loss.shape) * len(loss.batch_shape)


def tangent_change(network: Network, loss: Loss) -> int:
    """The factors of the tangent operator, those at the start, and differences."""
    return network.n_parameters + 3 * _factors(network)


def tangent_forces(network: Network, loss: Loss) -> int:
    """Weights, gradients, the products of layers that these are made with, and the factors of the tangent operator."""
    chains = sum(network.widths[1:-1]) * (network.widths[0] + network.widths[-1])
    return 2 * network.n_parameters + chains + _factors(network)


def _factors(network: Network) -> int:
    return network.depth * (network.widths[0] ** 2 + network.widths[-1] ** 2)
