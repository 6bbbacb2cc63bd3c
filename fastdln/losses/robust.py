"""Losses that are a sum over the entries of the error sigma - W of something else than its square (T16)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.checks import number, positive, shown
from fastdln.linalg import Floats
from fastdln.losses.base import Loss
from fastdln.losses.data import targets
from fastdln.losses.form import Mapped, Parts

__all__ = ["Huber", "Power", "PseudoHuber"]


@dataclass(frozen=True, eq=False)
class _Target(Parts):
    LAYOUT: ClassVar[dict[str, tuple[str, ...]]] = {"sigma": ("target", "d_h", "d_0")}

    sigma: Floats

    @property
    def shape(self) -> tuple[int, int]:
        return self.sigma.shape[-2], self.sigma.shape[-1]

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return self.sigma.shape[:-2]


@dataclass(frozen=True, eq=False)
class _WithExponent(_Target):
    p: float


@dataclass(frozen=True, eq=False)
class _WithThreshold(_Target):
    delta: float


class Power(Loss):
    """The loss L(W) = sum_ij |sigma - W|_ij^p / p.

    Below p = 2 it has no second derivative where an entry of the error is zero: `curvature` is infinite there along
    directions that move the entry.

    Parameters
    ----------
    sigma : array_like, shape (d_h, d_0) or (n, d_h, d_0)
        The target, or one target for each of n trajectories.
    p : float
        The exponent, larger than 1.

    Raises
    ------
    ValueError
        If `sigma` has another number of axes, an empty axis, or an entry that is not finite, or p is out of range.

    Examples
    --------
    >>> float(Power([[3.0, 0.0]], p=4).value([[1.0, 0.0]]))
    4.0
    """

    PARTS = _WithExponent
    ARRAYS = ("sigma",)

    _parts: _WithExponent

    def __init__(self, sigma: ArrayLike, p: float) -> None:
        exponent = number("p", p)
        if not exponent > 1:
            raise ValueError(f"p must be larger than 1, not {shown(p)}: for absolute values take PseudoHuber")
        super().__init__(_WithExponent(targets("sigma", sigma), exponent))

    @property
    def mapped(self) -> Mapped:
        """The map from the product to -dL/dW."""
        return Mapped("power", self._parts.sigma, self._parts.p)

    def _value(self, W: NDArray[Any]) -> Any:
        return (np.abs(self._parts.sigma - W) ** self._parts.p).sum(axis=(-2, -1)) / self._parts.p

    def _grad(self, W: NDArray[Any]) -> Any:
        error = W - self._parts.sigma
        return np.sign(error) * np.abs(error) ** (self._parts.p - 1)

    def _curvature(self, W: NDArray[Any], D: NDArray[Any]) -> Any:
        with np.errstate(divide="ignore"):
            bend = (self._parts.p - 1) * np.abs(W - self._parts.sigma) ** (self._parts.p - 2)
        return np.where(D == 0, 1.0, bend) * D  # what does not move has the derivative 0, also where bend is infinite


class _Thresholded(Loss):
    """One that is quadratic below a threshold, or nearly so."""

    PARTS = _WithThreshold
    ARRAYS = ("sigma",)
    MAP: ClassVar[str]

    _parts: _WithThreshold

    def __init__(self, sigma: ArrayLike, delta: float) -> None:
        super().__init__(_WithThreshold(targets("sigma", sigma), positive("delta", delta)))

    @property
    def mapped(self) -> Mapped:
        """The map from the product to -dL/dW."""
        return Mapped(self.MAP, self._parts.sigma, self._parts.delta)


class Huber(_Thresholded):
    """The loss that is the square 1/2 e^2 of an entry e of sigma - W up to delta, and delta (|e| - delta/2) beyond.

    Its second derivative jumps where an entry is at delta; there `curvature` is that of the square.

    Parameters
    ----------
    sigma : array_like, shape (d_h, d_0) or (n, d_h, d_0)
        The target, or one target for each of n trajectories.
    delta : float
        The threshold, larger than 0.

    Raises
    ------
    ValueError
        If `sigma` has another number of axes, an empty axis, or an entry that is not finite, or delta is out of range.

    Examples
    --------
    >>> Huber([[3.0, 0.5]], delta=1.0).grad([[0.0, 0.0]])
    array([[-1. , -0.5]])
    """

    MAP = "huber"

    def _value(self, W: NDArray[Any]) -> Any:
        size, delta = np.abs(self._parts.sigma - W), self._parts.delta
        return np.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta)).sum(axis=(-2, -1))

    def _grad(self, W: NDArray[Any]) -> Any:
        return np.clip(W - self._parts.sigma, -self._parts.delta, self._parts.delta)

    def _curvature(self, W: NDArray[Any], D: NDArray[Any]) -> Any:
        return np.where(np.abs(W - self._parts.sigma) <= self._parts.delta, D, 0.0)


class PseudoHuber(_Thresholded):
    """The smooth loss L(W) = sum_ij delta^2 (sqrt(1 + (e_ij / delta)^2) - 1), e = sigma - W.

    Parameters
    ----------
    sigma : array_like, shape (d_h, d_0) or (n, d_h, d_0)
        The target, or one target for each of n trajectories.
    delta : float
        The threshold, larger than 0: far below it the loss is 1/2 e^2, far above delta |e|.

    Raises
    ------
    ValueError
        If `sigma` has another number of axes, an empty axis, or an entry that is not finite, or delta is out of range.

    Examples
    --------
    >>> round(float(PseudoHuber([[3.0]], delta=1.0).value([[0.0]])), 6)
    2.162278
    """

    MAP = "pseudo_huber"

    def _value(self, W: NDArray[Any]) -> Any:
        error = self._parts.sigma - W
        return (error * (error / (1 + self._root(error)))).sum(axis=(-2, -1))

    def _grad(self, W: NDArray[Any]) -> Any:
        error = W - self._parts.sigma
        return error / self._root(error)

    def _curvature(self, W: NDArray[Any], D: NDArray[Any]) -> Any:
        return D / self._root(W - self._parts.sigma) ** 3

    def _root(self, error: NDArray[Any]) -> Any:
        return np.hypot(1.0, error / self._parts.delta)
