"""Hessian-vector products, one network or a batch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import scipy.sparse.linalg
from numpy.typing import ArrayLike, NDArray

from fastdln.checked import checked
from fastdln.evaluation import run
from fastdln.kernels.products.tangent import hessian
from fastdln.linalg import transpose
from fastdln.losses import Loss, quadratic_of
from fastdln.network import Network, Weights, check_weights
from fastdln.resources import cores
from fastdln.theory import compiled

__all__ = ["Point", "apply", "each", "operator"]


@checked
def apply(weights: Sequence[ArrayLike], loss: Loss, directions: Sequence[ArrayLike]) -> Weights:
    """Multiply the Hessian of the loss by directions in the space of weights.

    With D = sum_i W_{>i} V_i W_{<i} the change of the product along V = (V_1, ..., V_h), R = -dL/dW, G the input
    Gram matrix (the identity for whitened data), and dW_{<i}, dW_{>i} the changes of prefix and suffix,

        (H V)_i = W_{>i}' D G W_{<i}' - (dW_{>i})' R W_{<i}' - W_{>i}' R (dW_{<i})'

    (survey, arXiv 2511.10362, section on the Hessian).

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights, W_1 first.
    loss : Loss
        The loss.
    directions : tuple of h arrays, shape (..., d_i, d_{i-1})
        The directions V_1, ..., V_h; their batch broadcasts with that of the weights and the targets.

    Returns
    -------
    tuple of h ndarrays, shape (..., d_i, d_{i-1})
        H V, float32 where weights and directions are.

    Raises
    ------
    ValueError
        If weights, directions and loss do not fit together.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> weights = np.array([[0.0]]), np.array([[0.0]])
    >>> apply(weights, Quadratic([[3.0]]), (np.array([[1.0]]), np.array([[2.0]])))
    (array([[-6.]]), array([[-3.]]))
    """
    net, arrays = check_weights(weights)
    changes = _check_directions(directions, net)
    batch = _check_batch(net, arrays, changes, loss)
    plan = hessian(net.widths, **loss.form._asdict())
    if not compiled.suits(plan):
        return Point(arrays, loss).apply(changes)
    dtype = np.result_type(arrays[0], changes[0])
    inputs = compiled.rows((*arrays, *changes, *compiled.constants(plan, loss)), batch, dtype)
    results = tuple(np.empty((math.prod(batch), *shape), dtype) for shape in net.shapes)
    run(plan, inputs, results, cores())
    return tuple(V.reshape(*batch, *V.shape[1:]) for V in results)


@checked
def operator(weights: Sequence[ArrayLike], loss: Loss) -> scipy.sparse.linalg.LinearOperator:
    """Wrap the Hessian of one network as a linear operator on packed weights.

    Parameters
    ----------
    weights : tuple of h arrays, shape (d_i, d_{i-1})
        The weights, W_1 first, without batch axes.
    loss : Loss
        The loss, with one target.

    Returns
    -------
    scipy.sparse.linalg.LinearOperator, shape (N, N)
        V -> H V on vectors laid out as by `Network.pack`; symmetric.

    Raises
    ------
    ValueError
        If weights or loss have a batch axis.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> H = operator((np.array([[0.0]]), np.array([[0.0]])), Quadratic([[3.0]]))
    >>> H.matvec([1.0, 2.0])
    array([-6., -3.])
    """
    point = Point(weights, loss)
    if point.batch:
        raise ValueError(f"an operator is the Hessian of one network; weights and loss have the batch {point.batch}")

    def multiply(columns: NDArray[Any]) -> NDArray[Any]:
        rows = np.asarray(columns, point.dtype).reshape(point.net.n_parameters, -1).T
        return point.net.pack(point.apply(point.net.unpack(rows))).T.reshape(columns.shape)

    N = point.net.n_parameters
    return scipy.sparse.linalg.LinearOperator(
        (N, N), matvec=multiply, rmatvec=multiply, matmat=multiply, rmatmat=multiply, dtype=point.dtype
    )


class Point:
    """Networks and a loss, with what all products with their Hessians share.

    The plain NumPy form of the formula, one after the other from the input to the output and back:
    dP_i = V_i P_{i-1} + W_i dP_{i-1} for the prefixes P_i = W_i ... W_1, then B_{i-1} = W_i' B_i and
    dB_{i-1} = V_i' B_i + W_i' dB_i for B_i = W_{>i}' R, from dB_h = -l''[D] down (D G for a quadratic loss), and
    -(H V)_i = dB_i P_{i-1}' + B_i dP_{i-1}'.
    """

    def __init__(self, weights: Sequence[ArrayLike], loss: Loss) -> None:
        self.net, self.weights = check_weights(weights)
        self.loss = loss
        self.dtype = self.weights[0].dtype
        with np.errstate(over="ignore", invalid="ignore"):
            self.prefixes = list(accumulate(self.weights, lambda below, W: W @ below))
            pulled = [-loss.grad(self.prefixes[-1])]
            for W in reversed(self.weights[1:]):
                pulled.append(transpose(W) @ pulled[-1])
        self.pulled = pulled[::-1]  # W_{>i}' R, i = 1..h
        self.batch = self.pulled[-1].shape[:-2]

    def below(self) -> list[NDArray[Any]]:
        """The prefixes W_{<i}, i = 1..h."""
        return [np.eye(self.net.widths[0], dtype=self.dtype), *self.prefixes[:-1]]

    def above(self) -> list[NDArray[Any]]:
        """The suffixes W_{>i}, i = 1..h."""
        suffixes = [np.eye(self.net.widths[-1], dtype=self.dtype)]
        with np.errstate(over="ignore", invalid="ignore"):
            for W in reversed(self.weights[1:]):
                suffixes.append(suffixes[-1] @ W)
        return suffixes[::-1]

    def whitened(self, prefix: NDArray[Any]) -> NDArray[Any]:
        """A prefix in whitened inputs, W_{<i} G^(1/2)."""
        root = quadratic_of(self.loss, "a Hessian as a matrix").input_root
        return prefix if root is None else (prefix @ root).astype(self.dtype)

    def apply(self, directions: Weights) -> Weights:
        """Multiply the Hessians by directions."""
        with np.errstate(over="ignore", invalid="ignore"):
            changes = [directions[0]]  # dP_i
            for W, V, below in zip(self.weights[1:], directions[1:], self.prefixes, strict=False):
                changes.append(V @ below + W @ changes[-1])
            change = self.loss.curvature(self.prefixes[-1], changes[-1])  # -dB_h
            images = []
            for i in range(self.net.depth - 1, 0, -1):
                W, V, pulled = self.weights[i], directions[i], self.pulled[i]
                images.append(change @ transpose(self.prefixes[i - 1]) - pulled @ transpose(changes[i - 1]))
                change = transpose(W) @ change - transpose(V) @ pulled
            return (change, *reversed(images))


def _check_directions(directions: Sequence[ArrayLike], net: Network) -> Weights:
    try:
        return check_weights(directions, net)[1]
    except (TypeError, ValueError) as error:
        raise type(error)(f"directions must have the shapes of the weights: {error}") from None


def _check_batch(net: Network, weights: Weights, directions: Weights, loss: Loss) -> tuple[int, ...]:
    """The common batch of weights, directions and targets."""
    loss.check_product((*weights[0].shape[:-2], net.widths[-1], net.widths[0]))
    batches = weights[0].shape[:-2], directions[0].shape[:-2], loss.batch_shape
    try:
        return np.broadcast_shapes(*batches)
    except ValueError:
        raise ValueError(f"the batches of weights, directions and targets do not broadcast: {batches}") from None


def each(weights: Weights, loss: Loss, batch: tuple[int, ...]) -> Iterator[tuple[Weights, Loss]]:
    """The networks of a batch one by one, each with its target."""
    arrays = [np.broadcast_to(W, (*batch, *W.shape[-2:])) for W in weights]
    for place in np.ndindex(batch):
        one = loss[place[-1] if loss.batch_shape[0] > 1 else 0] if loss.batch_shape else loss
        yield tuple(W[place] for W in arrays), one
