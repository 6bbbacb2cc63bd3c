"""Losses of what is known of a matrix: some of its entries, or inner products with it (T16)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.checks import reals, unmasked
from fastdln.linalg import Floats
from fastdln.losses.base import Loss
from fastdln.losses.data import finite
from fastdln.losses.form import Mapped, Parts

__all__ = ["Masked", "Sensing"]


@dataclass(frozen=True, eq=False)
class _Seen(Parts):
    LAYOUT: ClassVar[dict[str, tuple[str, ...]]] = dict.fromkeys(("sigma", "mask"), ("target", "d_h", "d_0"))

    sigma: Floats
    mask: Floats

    @property
    def shape(self) -> tuple[int, int]:
        return self.sigma.shape[-2], self.sigma.shape[-1]

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return self.sigma.shape[:-2]


@dataclass(frozen=True, eq=False)
class _Measurements(Parts):
    LAYOUT: ClassVar[dict[str, tuple[str, ...]]] = {"A": ("sample", "d_h", "d_0"), "y": ("sample",)}

    A: Floats
    y: Floats

    @property
    def shape(self) -> tuple[int, int]:
        return self.A.shape[1], self.A.shape[2]


class Masked(Loss):
    """The quadratic loss L(W) = 1/2 sum_ij mask_ij (sigma - W)_ij^2 of the entries of a target that are seen.

    Parameters
    ----------
    sigma : array_like, shape (d_h, d_0) or (n, d_h, d_0)
        The target, or one target for each of n trajectories.  What it holds where an entry is not seen counts for
        nothing, and may be NaN.
    mask : array_like of bool or float, shape (d_h, d_0) or (n, d_h, d_0), optional
        Which entries are seen, or their weights, at least 0; one for all targets, or one for each.  By default those
        of sigma that are not NaN.

    Raises
    ------
    ValueError
        If the shapes do not fit together, a weight is negative or not finite, an entry that is seen is not finite, or
        no entry of a target is seen.

    Examples
    --------
    >>> loss = Masked([[3.0, np.nan], [1.0, 2.0]])
    >>> float(loss.value([[2.0, 5.0], [1.0, 0.0]]))
    2.5
    >>> loss.grad([[2.0, 5.0], [1.0, 0.0]])
    array([[-1.,  0.],
           [ 0., -2.]])
    """

    PARTS = _Seen
    ARRAYS = ("sigma", "mask")

    _parts: _Seen

    def __init__(self, sigma: ArrayLike, mask: ArrayLike | None = None) -> None:
        target = np.array(reals("sigma", sigma), np.float64)
        if target.ndim not in (2, 3) or 0 in target.shape:
            raise ValueError(f"sigma has shape {target.shape}; expected (d_h, d_0) or (n, d_h, d_0)")
        weights = np.where(np.isnan(target), 0.0, 1.0) if mask is None else _weights(mask, target.shape)
        target, weights = (np.array(x, np.float64, order="C") for x in np.broadcast_arrays(target, weights))
        seen = weights > 0
        target[~seen] = 0.0  # so that nothing is multiplied with what it was
        if (blind := ~seen.any(axis=(-2, -1))).any():
            which = f" of target {int(np.argmax(blind))}" if target.ndim == 3 else ""
            raise ValueError(f"no entry{which} is seen: sigma is NaN or the mask is 0 everywhere")
        super().__init__(_Seen(finite("sigma", target), weights))

    @property
    def mapped(self) -> Mapped:
        """The map from the product to -dL/dW."""
        return Mapped("masked", self._parts.sigma, self._parts.mask)

    def _value(self, W: NDArray[Any]) -> Any:
        return 0.5 * (self._parts.mask * np.square(self._parts.sigma - W)).sum(axis=(-2, -1))

    def _grad(self, W: NDArray[Any]) -> Any:
        return self._parts.mask * (W - self._parts.sigma)

    def _curvature(self, W: NDArray[Any], D: NDArray[Any]) -> Any:
        return self._parts.mask * D


def _weights(mask: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The weights of the entries, for targets of a shape."""
    values = np.asarray(unmasked("mask", mask))
    weights = values.astype(np.float64) if values.dtype == np.bool_ else finite("mask", values)
    if weights.ndim not in (2, 3) or weights.shape[-2:] != shape[-2:]:
        raise ValueError(f"mask has shape {weights.shape}; sigma has {shape}: expected one mask, or one a target")
    if weights.ndim == len(shape) == 3 and len(weights) != shape[0]:
        raise ValueError(f"mask has shape {weights.shape}; sigma has {shape}: expected one mask, or {shape[0]}")
    if (weights < 0).any():
        raise ValueError(f"mask must be True or False, or weights of at least 0, not {weights.min():g}")
    return weights


class Sensing(Loss):
    """The loss L(W) = 1/(2m) sum_k (<A_k, W> - y_k)^2 of m inner products with a matrix that were measured.

    Parameters
    ----------
    A : array_like, shape (m, d_h, d_0)
        The matrices that it was measured with.
    y : array_like, shape (m,)
        What was measured.

    Raises
    ------
    ValueError
        If A and y do not fit together, or an entry is not finite.

    Examples
    --------
    >>> loss = Sensing([[[1.0, 0.0]], [[1.0, 1.0]]], [1.0, 4.0])
    >>> float(loss.value([[1.0, 1.0]])), loss.grad([[1.0, 1.0]])
    (1.0, array([[-1., -1.]]))
    """

    PARTS = _Measurements
    ARRAYS = ("A", "y")

    _parts: _Measurements

    def __init__(self, A: ArrayLike, y: ArrayLike) -> None:
        matrices, measured = finite("A", A), finite("y", y)
        if matrices.ndim != 3 or 0 in matrices.shape:
            raise ValueError(f"A has shape {matrices.shape}; expected (m, d_h, d_0), one matrix for each measurement")
        if measured.shape != matrices.shape[:1]:
            raise ValueError(f"y has shape {measured.shape}; expected ({len(matrices)},), one number a matrix")
        super().__init__(_Measurements(matrices, measured))

    @property
    def n_measurements(self) -> int:
        """The number of measurements."""
        return len(self._parts.y)

    @property
    def mapped(self) -> Mapped:
        """The map from the inner products to what -dL/dW is the sum of with the A_k."""
        return Mapped("measured", self._parts.y[None], 1.0 / self.n_measurements, self._rows)

    @property
    def _rows(self) -> Floats:
        """Each A_k as a row."""
        return self._parts.A.reshape(self.n_measurements, -1)

    def _value(self, W: NDArray[Any]) -> Any:
        return np.square(self._images(W) - self._parts.y).sum(axis=-1) / (2 * self.n_measurements)

    def _grad(self, W: NDArray[Any]) -> Any:
        return self._back(self._images(W) - self._parts.y, W.shape)

    def _curvature(self, W: NDArray[Any], D: NDArray[Any]) -> Any:
        return self._back(self._images(D), D.shape)

    def _images(self, W: NDArray[Any]) -> NDArray[Any]:
        """<A_k, W>, shape (..., m)."""
        return W.reshape(*W.shape[:-2], -1) @ self._rows.T

    def _back(self, errors: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """The mean of errors_k A_k."""
        return (errors @ self._rows / self.n_measurements).reshape(shape)
