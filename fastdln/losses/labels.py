"""Losses of classification: means over samples of a function of the outputs Z = W X and their labels (T16)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.checks import integer, reals, shown
from fastdln.linalg import Floats
from fastdln.losses.base import Loss
from fastdln.losses.data import finite, samples
from fastdln.losses.form import Mapped, Parts

__all__ = ["Exponential", "Logistic", "SoftmaxCrossEntropy"]


@dataclass(frozen=True, eq=False)
class _Signed(Parts):
    LAYOUT: ClassVar[dict[str, tuple[str, ...]]] = {"X": ("d_0", "sample"), "Y": ("d_h", "sample")}

    X: Floats
    Y: Floats

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.Y), len(self.X)

    def restricted(self, samples: NDArray[np.integer]) -> _Signed:
        """Some of the samples."""
        return _Signed(self.X[:, samples], self.Y[:, samples])


@dataclass(frozen=True, eq=False)
class _Classes(Parts):
    LAYOUT: ClassVar[dict[str, tuple[str, ...]]] = {"X": ("d_0", "sample"), "labels": ("sample",)}

    X: Floats
    labels: NDArray[np.int64]
    n_classes: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.n_classes, len(self.X)

    def restricted(self, samples: NDArray[np.integer]) -> _Classes:
        """Some of the samples."""
        return _Classes(self.X[:, samples], self.labels[samples], self.n_classes)


class _Sampled(Loss):
    """The mean over samples of a function of the outputs."""

    MAP: ClassVar[str]

    _parts: _Signed | _Classes

    @property
    def n_samples(self) -> int:
        """The number of samples."""
        return int(self._parts.X.shape[1])

    @property
    def mapped(self) -> Mapped:
        """The map from the outputs to what -dL/dW is the product of with X'."""
        return Mapped(self.MAP, self._marks(), 1.0 / self.n_samples, self._parts.X)

    @property
    def sampled(self) -> Mapped:
        """The samples, and the map of their outputs."""
        return self.mapped

    def _value(self, W: NDArray[Any]) -> Any:
        return self._sum(W @ self._parts.X) / self.n_samples

    def _grad(self, W: NDArray[Any]) -> Any:
        return self._slope(W @ self._parts.X) @ self._parts.X.T / self.n_samples

    def _grad_of(self, W: NDArray[Any], samples: NDArray[np.integer]) -> Any:
        return self.of_parts(self._parts.restricted(samples))._grad(W)

    def _curvature(self, W: NDArray[Any], D: NDArray[Any]) -> Any:
        return self._bend(W @ self._parts.X, D @ self._parts.X) @ self._parts.X.T / self.n_samples

    @abstractmethod
    def _marks(self) -> Floats:
        """The labels as a matrix (d_h, m)."""

    @abstractmethod
    def _sum(self, Z: NDArray[Any]) -> Any:
        """The sum over the samples."""

    @abstractmethod
    def _slope(self, Z: NDArray[Any]) -> Any:
        """Its derivative by the outputs."""

    @abstractmethod
    def _bend(self, Z: NDArray[Any], change: NDArray[Any]) -> Any:
        """The derivative of that along a change of the outputs."""


class _OfSigns(_Sampled):
    """One whose labels are -1 or +1 for every output."""

    PARTS = _Signed
    ARRAYS = ("X", "Y")

    _parts: _Signed

    def __init__(self, X: ArrayLike, Y: ArrayLike) -> None:
        inputs, signs = samples(X, Y, center=False)
        if (wrong := signs[np.abs(signs) != 1]).size:
            raise ValueError(f"Y must be -1 or +1, not {wrong[0]:g}")
        super().__init__(_Signed(inputs, signs))

    @property
    def labels(self) -> Floats:
        """-1 or +1, shape (d_h, m)."""
        return self._parts.Y

    def _marks(self) -> Floats:
        return self._parts.Y

    def _margins(self, W: NDArray[Any], what: str) -> Any:
        return (self._parts.Y * (W @ self._parts.X)).reshape(*W.shape[:-2], -1)


class Logistic(_OfSigns):
    """The logistic loss: the mean over m samples of the sum over outputs of log(1 + exp(-Y o W X)).

    Parameters
    ----------
    X : array_like, shape (d_0, m)
        Inputs, one sample a column.
    Y : array_like, shape (d_h, m)
        Labels -1 or +1, one sample a column.

    Raises
    ------
    ValueError
        If X and Y do not fit together, an entry is not finite, or a label is another number.

    Examples
    --------
    >>> round(float(Logistic([[1.0, 2.0]], [[1, -1]]).value([[0.0]])), 6)
    0.693147
    """

    MAP = "logistic"

    def _sum(self, Z: NDArray[Any]) -> Any:
        margin = self._parts.Y * Z
        return (np.maximum(-margin, 0) + np.log1p(np.exp(-np.abs(margin)))).sum(axis=(-2, -1))

    def _slope(self, Z: NDArray[Any]) -> Any:
        return -self._parts.Y * _sigmoid(-self._parts.Y * Z)

    def _bend(self, Z: NDArray[Any], change: NDArray[Any]) -> Any:
        return _sigmoid(Z) * _sigmoid(-Z) * change


class Exponential(_OfSigns):
    """The exponential loss: the mean over m samples of the sum over outputs of exp(-Y o W X).

    Parameters
    ----------
    X : array_like, shape (d_0, m)
        Inputs, one sample a column.
    Y : array_like, shape (d_h, m)
        Labels -1 or +1, one sample a column.

    Raises
    ------
    ValueError
        If X and Y do not fit together, an entry is not finite, or a label is another number.

    Examples
    --------
    >>> Exponential([[1.0, 2.0]], [[1, -1]]).grad([[0.0]])
    array([[0.5]])
    """

    MAP = "exponential"

    def _sum(self, Z: NDArray[Any]) -> Any:
        return np.exp(-self._parts.Y * Z).sum(axis=(-2, -1))

    def _slope(self, Z: NDArray[Any]) -> Any:
        return -self._parts.Y * np.exp(-self._parts.Y * Z)

    def _bend(self, Z: NDArray[Any], change: NDArray[Any]) -> Any:
        return np.exp(-self._parts.Y * Z) * change


class SoftmaxCrossEntropy(_Sampled):
    """The cross-entropy of the softmax of W X: the mean over m samples of log(sum_i exp(z_i)) - z_label.

    Parameters
    ----------
    X : array_like, shape (d_0, m)
        Inputs, one sample a column.
    labels : array_like of int, shape (m,)
        The class of each sample, counted from 0.
    n_classes : int, optional
        How many classes there are, which is d_h; by default as many as the largest label needs.

    Raises
    ------
    ValueError
        If X and labels do not fit together, an input is not finite, or a label is no class.

    Examples
    --------
    >>> loss = SoftmaxCrossEntropy([[1.0, 2.0]], [0, 1])
    >>> round(float(loss.value([[0.0], [0.0]])), 6)
    0.693147
    """

    PARTS = _Classes
    ARRAYS = ("X", "labels")
    MAP = "softmax"

    _parts: _Classes

    def __init__(self, X: ArrayLike, labels: ArrayLike, n_classes: int | None = None) -> None:
        inputs, classes = finite("X", X), reals("labels", labels)
        if inputs.ndim != 2 or 0 in inputs.shape:
            raise ValueError(f"X has shape {inputs.shape}; expected (d_0, m), one sample a column")
        if classes.shape != inputs.shape[1:]:
            raise ValueError(f"labels has shape {classes.shape}; X has {inputs.shape[1]} samples, one a column")
        if not (np.isfinite(classes).all() and (classes == np.floor(classes)).all() and (classes >= 0).all()):
            raise ValueError(f"labels must be integers from 0, not {shown(labels)}")
        least = int(classes.max()) + 1
        count = least if n_classes is None else integer("n_classes", n_classes)
        if count < least:
            raise ValueError(f"labels must be below n_classes = {count}, but one is {least - 1}")
        super().__init__(_Classes(inputs, classes.astype(np.int64), count))

    @property
    def labels(self) -> NDArray[np.int64]:
        """The classes, shape (m,)."""
        return self._parts.labels

    def _margins(self, W: NDArray[Any], what: str) -> Any:
        Z = W @ self._parts.X
        own = Z[..., self._parts.labels, np.arange(self.n_samples)]
        np.copyto(Z, -np.inf, where=self._marks() == 1)
        return own - Z.max(axis=-2)

    def _marks(self) -> Floats:
        return np.asarray(np.arange(self._parts.n_classes)[:, None] == self._parts.labels, np.float64)

    def _sum(self, Z: NDArray[Any]) -> Any:
        largest = Z.max(axis=-2)
        logarithm = np.log(np.exp(Z - largest[..., None, :]).sum(axis=-2)) + largest
        return (logarithm - Z[..., self._parts.labels, np.arange(self.n_samples)]).sum(axis=-1)

    def _slope(self, Z: NDArray[Any]) -> Any:
        return _softmax(Z) - self._marks()

    def _bend(self, Z: NDArray[Any], change: NDArray[Any]) -> Any:
        shares = _softmax(Z)
        return shares * (change - (shares * change).sum(axis=-2, keepdims=True))


def _sigmoid(x: NDArray[Any]) -> NDArray[Any]:
    """1 / (1 + exp(-x)), without overflow."""
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1.0, small) / (1.0 + small))


def _softmax(Z: NDArray[Any]) -> NDArray[Any]:
    shares = np.exp(Z - Z.max(axis=-2, keepdims=True))
    return np.asarray(shares / shares.sum(axis=-2, keepdims=True))
