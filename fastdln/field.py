"""The gradient flow as a vector field, in plain NumPy, and the matrices that it conserves.

    dW_i/dt = W_{>i}' R W_{<i}',    R = -dL/dW,    W_{<i} = W_{i-1} ... W_1,    W_{>i} = W_h ... W_{i+1}.

These functions serve single evaluations and as the reference for the compiled engines. They accept one
network or a batch, and a batch broadcasts with the targets of the loss. Numbers that overflow become infinite
or NaN without a warning.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.checked import checked
from fastdln.linalg import frobenius, transpose
from fastdln.losses import Loss
from fastdln.network import Weights, check_layer_rates, check_weights

__all__ = ["TIME_UNITS", "balance", "gradient_norm", "product", "rhs", "value"]

TIME_UNITS = "time of the gradient flow"


def product(weights: Sequence[ArrayLike]) -> NDArray[Any]:
    """Multiply the weights to the product W = W_h ... W_1.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.

    Returns
    -------
    ndarray, shape (..., d_h, d_0)
        The product.

    Examples
    --------
    >>> product((np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]])))
    array([[3., 6.],
           [4., 8.]])
    """
    _, weights = check_weights(weights)
    return _prefixes(weights)[-1]


@checked
def value(weights: Sequence[ArrayLike], loss: Loss) -> Any:
    """Evaluate the loss of a network.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    loss : Loss
        The loss.

    Returns
    -------
    ndarray, shape (...,), or float
        L(W_h ... W_1).

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> float(value((np.eye(2), np.eye(2)), Quadratic([[2.0, 0.0], [0.0, 1.0]])))
    0.5
    """
    return loss.value(product(weights))


@checked
def rhs(
    weights: Sequence[ArrayLike],
    loss: Loss,
    *,
    weight_decay: float = 0.0,
    layer_rates: ArrayLike | None = None,
) -> Weights:
    """Evaluate the velocity of the gradient flow, dW_i/dt = -eta_i dL/dW_i - mu W_i.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    loss : Loss
        The loss.
    weight_decay : float
        The rate mu at which weights decay.
    layer_rates : array_like, shape (h,), optional
        The learning rates eta_i; by default all are 1.

    Returns
    -------
    tuple of h ndarrays, shape (..., d_i, d_{i-1})
        dW_i/dt for each layer.

    Raises
    ------
    ValueError
        If the product does not have the shape of the target, or a rate is out of range.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> rhs((np.array([[1.0]]), np.array([[2.0]])), Quadratic([[3.0]]))
    (array([[2.]]), array([[1.]]))
    """
    net, weights = check_weights(weights)
    rates = check_layer_rates(layer_rates, net.depth).astype(weights[0].dtype)
    if not 0 <= weight_decay < np.inf:
        raise ValueError(f"weight_decay must be at least 0 and finite, not {weight_decay!r}")
    with np.errstate(over="ignore", invalid="ignore"):
        return tuple(
            eta * force - weight_decay * W for eta, force, W in zip(rates, _forces(weights, loss), weights, strict=True)
        )


@checked
def gradient_norm(weights: Sequence[ArrayLike], loss: Loss) -> Any:
    """Compute the Frobenius norm of the gradient of the loss over all layers.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    loss : Loss
        The loss.

    Returns
    -------
    ndarray, shape (...,), or float
        The root of the sum of ||dL/dW_i||_F^2 over the layers.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> float(gradient_norm((np.array([[0.0]]), np.array([[2.0]])), Quadratic([[3.0]])))
    6.0
    """
    _, weights = check_weights(weights)
    with np.errstate(over="ignore", invalid="ignore"):
        return functools.reduce(np.hypot, map(frobenius, _forces(weights, loss)))[()]


def balance(weights: Sequence[ArrayLike], layer_rates: ArrayLike | None = None) -> Weights:
    """Compute the balance matrices C_i = W_{i+1}' W_{i+1} - W_i W_i', which the flow conserves.

    With learning rates eta_i the conserved matrices are W_{i+1}' W_{i+1} / eta_{i+1} - W_i W_i' / eta_i;
    weight decay mu multiplies them by exp(-2 mu t). This holds for every loss of the product alone (S. Arora,
    N. Cohen & E. Hazan, ICML 2018; survey, arXiv 2511.10362, section on conservation laws).

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    layer_rates : array_like, shape (h,), optional
        The learning rates eta_i; by default all are 1.

    Returns
    -------
    tuple of h-1 ndarrays, shape (..., d_i, d_i)
        The symmetric matrices C_1, ..., C_{h-1}.

    Examples
    --------
    >>> balance((np.array([[1.0], [0.0]]), np.array([[0.0, 2.0]])))
    (array([[-1.,  0.],
           [ 0.,  4.]]),)
    """
    net, weights = check_weights(weights)
    rates = check_layer_rates(layer_rates, net.depth).astype(weights[0].dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        return tuple(
            transpose(above) @ above / eta_above - below @ transpose(below) / eta_below
            for (below, above), (eta_below, eta_above) in zip(pairwise(weights), pairwise(rates), strict=True)
        )


def _prefixes(weights: Weights) -> list[NDArray[Any]]:
    """The products W_1, W_2 W_1, ..., W_h ... W_1."""
    with np.errstate(over="ignore", invalid="ignore"):
        return list(accumulate(weights, lambda below, W: W @ below))


def _forces(weights: Weights, loss: Loss) -> Weights:
    """The negative gradient -dL/dW_i = W_{>i}' R W_{<i}' for each layer."""
    prefixes = _prefixes(weights)
    pulled = -loss.grad(prefixes[-1])  # W_{>i}' R, from the last layer down
    forces = []
    for W, below in zip(reversed(weights[1:]), reversed(prefixes[:-1]), strict=True):
        forces.append(pulled @ transpose(below))
        pulled = transpose(W) @ pulled
    return (pulled, *reversed(forces))
