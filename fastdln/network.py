"""The network: its widths, the shapes of its weights, and the weights as one flat vector.

*Weights* are everywhere a tuple of h arrays, W_1 first; W_i has shape ``(..., d_i, d_{i-1})`` and the
leading axes are the batch.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastdln.checks import reals, sequence, shown

__all__ = ["Network", "Weights", "check_layer_rates", "check_weights"]

Weights = tuple[NDArray[Any], ...]


@dataclass(frozen=True, init=False, repr=False)
class Network:
    """A deep linear network: a layered graph with d_0 inputs, d_h outputs and h layers of weights.

    Parameters
    ----------
    widths : iterable of int
        The widths d_0, ..., d_h, each at least 1.

    Raises
    ------
    TypeError
        If a width is not an integer.
    ValueError
        If there are fewer than two widths, or one is not positive.

    Examples
    --------
    >>> net = Network((64, 32, 10))
    >>> net.depth, net.n_parameters, net.rank
    (2, 2368, 10)
    >>> net.shapes
    ((32, 64), (10, 32))
    """

    widths: tuple[int, ...]

    def __init__(self, widths: Iterable[SupportsIndex]) -> None:
        if isinstance(widths, str | bytes) or not isinstance(widths, Iterable):
            raise TypeError(f"widths must be a sequence of integers d_0, ..., d_h, not {shown(widths)}")
        checked = tuple(_width(i, width) for i, width in enumerate(widths))
        if len(checked) < 2:
            raise ValueError(f"widths must hold at least the input and the output width, not {checked!r}")
        object.__setattr__(self, "widths", checked)

    @property
    def depth(self) -> int:
        """The number of layers h."""
        return len(self.widths) - 1

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """The shapes (d_i, d_{i-1}) of W_1, ..., W_h."""
        return tuple((rows, columns) for columns, rows in pairwise(self.widths))

    @property
    def n_parameters(self) -> int:
        """The number of weights, the sum of d_i d_{i-1}."""
        return sum(rows * columns for rows, columns in self.shapes)

    @property
    def n_nodes(self) -> int:
        """The number of nodes of the graph, the sum of the widths."""
        return sum(self.widths)

    @property
    def rank(self) -> int:
        """The largest rank r_max that the product can have, the least width."""
        return min(self.widths)

    def __repr__(self) -> str:
        return f"Network({self.widths})"

    def pack(self, weights: Sequence[ArrayLike], dtype: DTypeLike | None = None) -> NDArray[Any]:
        """Write the weights into one contiguous array, W_1 first, each matrix row by row.

        Parameters
        ----------
        weights : sequence of h arrays, shape (..., d_i, d_{i-1})
            The weights; leading axes broadcast.
        dtype : dtype, optional
            That of the result; by default that of the weights.

        Returns
        -------
        ndarray, shape (..., n_parameters)
            A new array.
        """
        _, arrays = check_weights(weights, self)
        batch = arrays[0].shape[:-2]
        flat = np.empty((*batch, self.n_parameters), dtype=arrays[0].dtype if dtype is None else dtype)
        for view, W in zip(self.unpack(flat), arrays, strict=True):
            view[...] = W
        return flat

    def unpack(self, flat: NDArray[Any]) -> Weights:
        """View a flat array as weights: the inverse of `pack`, without a copy.

        Parameters
        ----------
        flat : ndarray, shape (..., n_parameters)
            Weights as `pack` lays them out.

        Returns
        -------
        tuple of h ndarrays, shape (..., d_i, d_{i-1})
            Views of `flat`.
        """
        if flat.ndim == 0 or flat.shape[-1] != self.n_parameters:
            raise ValueError(f"flat has shape {flat.shape}; {self} expects (..., {self.n_parameters})")
        weights = []
        start = 0
        for rows, columns in self.shapes:
            stop = start + rows * columns
            weights.append(flat[..., start:stop].reshape((*flat.shape[:-1], rows, columns)))
            start = stop
        return tuple(weights)


def check_weights(weights: Sequence[ArrayLike], network: Network | None = None) -> tuple[Network, Weights]:
    """Validate weights, and bring them to one dtype and one batch.

    Parameters
    ----------
    weights : tuple or list of h arrays, shape (..., d_i, d_{i-1})
        The weights; leading axes must broadcast. They may hold NaN or infinities.
    network : Network, optional
        The network they must fit; by default whatever network their shapes make.

    Returns
    -------
    network : Network
        The network the weights belong to.
    weights : tuple of h ndarrays
        float32 where every array is, float64 otherwise; one common batch shape. Arrays that are right already
        are not copied.

    Raises
    ------
    TypeError
        If `weights` is no tuple or list, or an array does not hold real numbers.
    ValueError
        If the shapes do not form a network, or not the one given, or the batches do not broadcast.

    Examples
    --------
    >>> net, (W1, W2) = check_weights((np.ones((5, 3, 2)), np.ones((1, 3))))
    >>> net, W2.shape
    (Network((2, 3, 1)), (5, 1, 3))
    """
    if not isinstance(weights, tuple | list):
        raise TypeError(f"weights must be a tuple of one array per layer, W_1 first, not {type(weights).__name__}")
    if not weights:
        raise ValueError("weights is empty; expected one array per layer, W_1 first")
    arrays = [_layer(i, W) for i, W in enumerate(weights, start=1)]
    for i, (below, above) in enumerate(pairwise(arrays), start=1):
        if above.shape[-1] != below.shape[-2]:
            raise ValueError(
                f"W_{i + 1} has shape {above.shape}, but W_{i} has {below.shape[-2]} rows: "
                f"expected (..., d_{i + 1}, {below.shape[-2]})"
            )
    found = Network((arrays[0].shape[-1], *(W.shape[-2] for W in arrays)))
    if network is not None and found != network:
        _refuse_other_network(arrays, network)
    try:
        batch = np.broadcast_shapes(*(W.shape[:-2] for W in arrays))
    except ValueError:
        shapes = ", ".join(f"W_{i}: {W.shape[:-2]}" for i, W in enumerate(arrays, start=1))
        raise ValueError(f"the batch axes of the weights do not broadcast ({shapes})") from None
    dtype = np.float32 if all(W.dtype == np.float32 for W in arrays) else np.float64
    return found, tuple(
        np.broadcast_to(W, batch + W.shape[-2:]) if W.shape[:-2] != batch else W
        for W in (W.astype(dtype, copy=False) for W in arrays)
    )


def check_layer_rates(layer_rates: ArrayLike | None, depth: int) -> NDArray[np.float64]:
    """Validate the learning rates of the layers.

    Parameters
    ----------
    layer_rates : array_like, shape (h,), optional
        One positive rate for each layer, W_1 first; by default all are 1.
    depth : int
        The number of layers h.

    Returns
    -------
    ndarray, shape (h,)
        The rates.

    Examples
    --------
    >>> check_layer_rates(None, 3)
    array([1., 1., 1.])
    """
    if layer_rates is None:
        return np.ones(depth)
    rates = sequence("layer_rates", layer_rates)
    if rates.shape != (depth,):
        raise ValueError(f"layer_rates has shape {rates.shape}; expected one rate per layer, ({depth},)")
    if not (np.isfinite(rates).all() and (rates > 0).all()):
        raise ValueError(f"layer_rates must be positive and finite, not {rates.tolist()}")
    return rates


def _width(i: int, width: SupportsIndex) -> int:
    # bool is an index too, but True is never meant as a width.
    if isinstance(width, bool | np.bool_):
        raise TypeError(f"width d_{i} must be an integer, not {width!r}")
    try:
        value = operator.index(width)
    except TypeError:
        raise TypeError(f"width d_{i} must be an integer, not {shown(width)}") from None
    if value < 1:
        raise ValueError(f"width d_{i} must be at least 1, not {shown(value)}")
    return value


def _layer(i: int, W: ArrayLike) -> NDArray[Any]:
    array = reals(f"W_{i}", W)
    if array.ndim < 2:
        raise ValueError(f"W_{i} has shape {array.shape}; expected (..., d_{i}, d_{i - 1})")
    return array


def _refuse_other_network(arrays: Sequence[NDArray[Any]], network: Network) -> None:
    if len(arrays) != network.depth:
        raise ValueError(f"weights has {len(arrays)} layers; {network} has {network.depth}")
    for i, (W, shape) in enumerate(zip(arrays, network.shapes, strict=True), start=1):
        if W.shape[-2:] != shape:
            raise ValueError(f"W_{i} has shape {W.shape}; {network} expects (..., {shape[0]}, {shape[1]})")
