"""A loss of the product W = W_h ... W_1: a value with its derivatives, and what it offers beside.

Every loss has `Loss.value`, `Loss.grad` and `Loss.curvature`.  Some are a quadratic form, and some have a target with
modes; what needs these asks `quadratic_of` and `modes_of`, which say which loss they were given where it has none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import fields
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.losses.form import Form, Index, Mapped, Modes, Parts, QuadraticForm

__all__ = ["Loss", "check_loss", "modes_of", "quadratic_of", "sampled_of"]


class Loss(ABC):
    """What every loss offers; a loss is made by its class, as `Quadratic` or `Regression`, and never changes."""

    PARTS: ClassVar[type[Parts]]
    """What a loss of this kind consists of."""
    ARRAYS: ClassVar[tuple[str, ...]]
    """The arrays among that; the rest are numbers."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    @classmethod
    def of_parts(cls, parts: Parts) -> Self:
        """Make a loss of this kind of what it consists of, without the data that it was made from.

        Parameters
        ----------
        parts : Parts
            What another loss of this kind holds.

        Returns
        -------
        Loss
            The loss.
        """
        loss = cls.__new__(cls)
        Loss.__init__(loss, parts)
        return loss

    @classmethod
    def of_values(cls, **values: Any) -> Self:
        """Make a loss of this kind of what `arrays` returns for it, which is checked.

        Parameters
        ----------
        **values : object
            Arrays and numbers by name.

        Returns
        -------
        Loss
            The loss.
        """
        return cls(**values)

    @classmethod
    def numbers(cls) -> tuple[str, ...]:
        """Return the names of the numbers that losses of this kind are made of.

        Returns
        -------
        tuple of str
            The names.
        """
        return tuple(field.name for field in fields(cls.PARTS) if field.name not in cls.PARTS.LAYOUT)

    @property
    def shape(self) -> tuple[int, int]:
        """The shape (d_h, d_0) of the product."""
        return self._parts.shape

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """() for one target, (n,) for n of them."""
        return self._parts.batch_shape

    @property
    def form(self) -> Form:
        """What the products of a right-hand side depend on."""
        mapped = self.mapped
        if mapped is None:
            return Form()
        return Form(map=mapped.name, samples=0 if mapped.inputs is None else mapped.target.shape[-1])

    @property
    def mapped(self) -> Mapped | None:
        """The map from the outputs to -dL/dW that the loss has; None for a quadratic one."""
        return None

    @property
    def sampled(self) -> Mapped | None:
        """The samples of which the loss is the mean, and the map of their outputs; None where it has none."""
        return None

    @property
    def n_samples(self) -> int:
        """The number of samples; 0 where the loss has none."""
        return 0 if self.sampled is None or self.sampled.inputs is None else self.sampled.inputs.shape[1]

    @property
    def quadratic(self) -> QuadraticForm | None:
        """The quadratic form that the loss is; None where it is none."""
        return None

    @property
    def floor(self) -> float:
        """The least value over all products, where it is known, else 0, below which no loss here falls."""
        return 0.0

    @property
    def modes(self) -> Modes | None:
        """The modes of the target, by singular value, the largest first; None where there are none."""
        return None

    @property
    def n_modes(self) -> int:
        """The number of modes."""
        return 0

    @property
    def labels(self) -> NDArray[Any] | None:
        """The labels of the samples; None where there are none."""
        return None

    @property
    def has_curvature(self) -> bool:
        """Whether `curvature` is known."""
        return True

    def arrays(self) -> dict[str, Any]:
        """Return what the loss is made of: read-only arrays, and numbers, by name.

        Returns
        -------
        dict
            With the name of its class, enough to make the loss again.
        """
        return self._parts.values()

    def __getitem__(self, index: Index) -> Self:
        """Select targets, by their index along the batch."""
        if not self.batch_shape:
            raise TypeError(f"{self!r} has one target only and cannot be indexed")
        return self.of_parts(self._parts[index])

    def check_product(self, shape: tuple[int, ...]) -> None:
        """Refuse products of the wrong shape.

        Parameters
        ----------
        shape : tuple of int
            That of the product; leading axes must broadcast with the targets.
        """
        self._parts.check_product(shape)

    def value(self, product: ArrayLike) -> Any:
        """Evaluate the loss.

        Parameters
        ----------
        product : array_like, shape (..., d_h, d_0)
            Products W of the weights.

        Returns
        -------
        ndarray, shape (...,), or float
            L(W), in the dtype of the product; infinite where it overflows.
        """
        W = self._parts.read(product)
        with np.errstate(over="ignore", invalid="ignore"):
            return self._value(W).astype(W.dtype)

    def grad(self, product: ArrayLike) -> NDArray[Any]:
        """Evaluate the derivative of the loss by the product.

        Parameters
        ----------
        product : array_like, shape (..., d_h, d_0)
            Products W of the weights.

        Returns
        -------
        ndarray, shape (..., d_h, d_0)
            dL/dW, in the dtype of the product.
        """
        W = self._parts.read(product)
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(self._grad(W), W.dtype)

    def grad_of(self, product: ArrayLike, samples: NDArray[np.integer]) -> NDArray[Any]:
        """Evaluate the derivative by the product of the mean over some samples.

        Parameters
        ----------
        product : array_like, shape (..., d_h, d_0)
            Products W of the weights.
        samples : ndarray of int, shape (k,)
            The numbers of the samples, counted from 0.

        Returns
        -------
        ndarray, shape (..., d_h, d_0)
            The derivative, in the dtype of the product.

        Raises
        ------
        ValueError
            If the loss does not hold its samples.
        """
        W = self._parts.read(product)
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(self._grad_of(W, samples), W.dtype)

    def curvature(self, product: ArrayLike, direction: ArrayLike) -> NDArray[Any]:
        """Evaluate the derivative of the gradient by the product along a direction.

        Parameters
        ----------
        product : array_like, shape (..., d_h, d_0)
            Products W of the weights.
        direction : array_like, shape (..., d_h, d_0)
            Directions D, which broadcast with the products.

        Returns
        -------
        ndarray, shape (..., d_h, d_0)
            The derivative of dL/dW at W + s D by s at s = 0, in the dtype of both.
        """
        W = self._parts.read(product)
        D = self._parts.read_direction(direction, W)
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(self._curvature(W, D), np.result_type(W, D))

    def margin(self, product: ArrayLike) -> Any:
        """Evaluate the least margin of the samples, where they have labels.

        Parameters
        ----------
        product : array_like, shape (..., d_h, d_0)
            Products W of the weights.

        Returns
        -------
        ndarray, shape (...,), or float
            The least Y o W X over samples and outputs; of classes the least gap between the output of the label and the
            largest other one.  Positive where all samples are classified correctly.

        Raises
        ------
        ValueError
            If the loss has no labels.
        """
        W = self._parts.read(product)
        with np.errstate(over="ignore", invalid="ignore"):
            return self._margins(W, "a margin").min(axis=-1).astype(W.dtype)

    def accuracy(self, product: ArrayLike) -> Any:
        """Evaluate the share of the samples that are classified as their labels say.

        Parameters
        ----------
        product : array_like, shape (..., d_h, d_0)
            Products W of the weights.

        Returns
        -------
        ndarray, shape (...,), or float
            The share of the samples whose class has a larger output than all others; of signs that of all outputs of
            the right sign.  NaN where an output is.

        Raises
        ------
        ValueError
            If the loss has no labels.
        """
        W = self._parts.read(product)
        with np.errstate(over="ignore", invalid="ignore"):
            margins = self._margins(W, "an accuracy")
            right = (margins > 0).mean(axis=-1)
            return np.where(np.isnan(margins).any(axis=-1), np.nan, right).astype(W.dtype)[()]

    def _margins(self, W: NDArray[Any], what: str) -> Any:
        """The margins of all samples, along the last axis, at products of the right shape."""
        raise ValueError(f"{what} needs a loss with labels, as Logistic and SoftmaxCrossEntropy, not {self!r}")

    def _grad_of(self, W: NDArray[Any], samples: NDArray[np.integer]) -> Any:
        """dL/dW of some samples at products of the right shape."""
        raise TypeError(f"{sampled_of(self, 'a mean over some samples')!r} has no derivative for some samples")

    @abstractmethod
    def _value(self, W: NDArray[Any]) -> Any:
        """L at products of the right shape."""

    @abstractmethod
    def _grad(self, W: NDArray[Any]) -> Any:
        """dL/dW at products of the right shape."""

    @abstractmethod
    def _curvature(self, W: NDArray[Any], D: NDArray[Any]) -> Any:
        """The derivative of dL/dW along D."""

    def __repr__(self) -> str:
        targets = f", targets={self.batch_shape[0]}" if self.batch_shape else ""
        return f"{type(self).__name__}(shape={self.shape}{targets})"


def check_loss(loss: Any) -> Loss:
    """Refuse what is no loss.

    Parameters
    ----------
    loss : object
        Anything.

    Returns
    -------
    Loss
        It, if it is one.
    """
    if not isinstance(loss, Loss):
        raise TypeError(f"loss must be a Loss such as Quadratic or Regression, not {type(loss).__name__}")
    return loss


def quadratic_of(loss: Loss, what: str) -> QuadraticForm:
    """Return the quadratic form that a loss is.

    Parameters
    ----------
    loss : Loss
        The loss.
    what : str
        What needs it, as the subject of a sentence.

    Returns
    -------
    QuadraticForm
        The form.

    Raises
    ------
    ValueError
        If the loss is not quadratic.
    """
    if loss.quadratic is None:
        raise ValueError(f"{what} needs a loss that is quadratic, as Quadratic and Regression are, not {loss!r}")
    return loss.quadratic


def modes_of(loss: Loss, what: str) -> Modes:
    """Return the modes of a loss.

    Parameters
    ----------
    loss : Loss
        The loss.
    what : str
        What needs them, as the subject of a sentence.

    Returns
    -------
    Modes
        The modes.

    Raises
    ------
    ValueError
        If the loss has none.
    """
    if loss.modes is None:
        raise ValueError(f"{what} needs a loss whose target has modes, as Quadratic and Regression do, not {loss!r}")
    return loss.modes


def sampled_of(loss: Loss, what: str) -> Mapped:
    """Return the samples of a loss.

    Parameters
    ----------
    loss : Loss
        The loss.
    what : str
        What needs them, as the subject of a sentence.

    Returns
    -------
    Mapped
        The samples, and the map of their outputs.

    Raises
    ------
    ValueError
        If the loss has none.
    """
    if loss.sampled is None:
        raise ValueError(
            f"{what} needs a loss that holds its samples, as Regression, Logistic, Exponential and "
            f"SoftmaxCrossEntropy made from data do, not {loss!r}"
        )
    return loss.sampled
