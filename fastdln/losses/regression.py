"""The quadratic loss of data whose inputs are not whitened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.linalg import Floats, reproducible
from fastdln.losses.base import sampled_of
from fastdln.losses.data import decompose_inputs, samples
from fastdln.losses.form import Mapped, Parts, QuadraticForm
from fastdln.losses.quadratic import QuadraticLoss

__all__ = ["Regression", "Samples"]


@dataclass(frozen=True, eq=False)
class Samples(Parts):
    """The data of a regression, which its value and derivatives do without."""

    X: Floats
    Y: Floats


class Regression(QuadraticLoss):
    """The mean squared error L(W) = 1/(2m) ||Y - W X||_F^2 of m samples, inputs as they are.

    With Sigma_xx = X X'/m and Sigma_yx = Y X'/m, dL/dW = W Sigma_xx - Sigma_yx and the target is
    Sigma_yx Sigma_xx^+.

    Parameters
    ----------
    X : array_like, shape (d_0, m)
        Inputs, one sample a column.
    Y : array_like, shape (d_h, m)
        Outputs, one sample a column.

    Raises
    ------
    ValueError
        If X and Y do not fit together, or an entry is not finite.

    Examples
    --------
    >>> loss = Regression([[1.0, 2.0]], [[2.0, 4.0]])
    >>> loss.target, round(float(loss.value([[1.0]])), 12)
    (array([[2.]]), 1.25)
    """

    ARRAYS = ("target", "cross", "whitened", "input_gram", "input_root")

    _samples: Samples | None = None

    @reproducible
    def __init__(self, X: ArrayLike, Y: ArrayLike) -> None:
        X, Y = samples(X, Y, center=False)
        m = X.shape[1]
        P, S, Qt = decompose_inputs(X / np.sqrt(m), rcond=None)
        Z = Y / np.sqrt(m)
        A = Z @ Qt.T  # (d_h, rank): the outputs along the principal inputs
        PS = P * S
        with np.errstate(over="ignore"):
            if not np.isfinite(np.square(S).sum() + np.square(Z).sum()):
                raise ValueError("the second moments of X or Y overflow: scale the data down")
        form = QuadraticForm(
            target=(A / S) @ P.T,
            cross=A @ PS.T,
            whitened=A @ P.T,
            input_gram=PS @ PS.T,
            input_root=PS @ P.T,
            # The part of Y that no function of X explains, from the residual itself rather than a difference.
            floor=0.5 * float(np.square(Z - A @ Qt).sum()),
            data_rank=len(S),
        )
        super().__init__(form)
        self._samples = Samples(X, Y)

    @property
    def samples(self) -> Samples | None:
        """The data; None where the loss was loaded from a file without them."""
        return self._samples

    @property
    def sampled(self) -> Mapped | None:
        """The samples, and the map of their outputs; None where the loss was loaded from a file without them."""
        if self._samples is None:
            return None
        return Mapped("square", self._samples.Y, 1.0 / self._samples.X.shape[1], self._samples.X)

    def with_samples(self, X: ArrayLike, Y: ArrayLike) -> Regression:
        """Return the same loss with its data.

        Parameters
        ----------
        X : array_like, shape (d_0, m)
            Inputs, one sample a column.
        Y : array_like, shape (d_h, m)
            Outputs, one sample a column.

        Returns
        -------
        Regression
            A loss that holds them.
        """
        loss = self.of_parts(self._parts)
        loss._samples = Samples(*samples(X, Y, center=False))
        return loss

    def _grad_of(self, W: NDArray[Any], samples: NDArray[np.integer]) -> Any:
        data = sampled_of(self, "a mean over some samples")
        assert data.inputs is not None
        X = data.inputs[:, samples]
        return (W @ X - data.target[:, samples]) @ X.T / len(samples)
