"""The quadratic loss of whitened data, and what all losses that are a quadratic form have in common."""

from __future__ import annotations

from math import prod
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.checks import boolean, integer, not_negative, seed, shown
from fastdln.linalg import Floats, haar, reproducible, transpose
from fastdln.losses.base import Loss
from fastdln.losses.data import decompose_inputs, finite, samples, targets
from fastdln.losses.form import Form, Modes, QuadraticForm
from fastdln.resources import require_memory

__all__ = ["Quadratic", "QuadraticLoss"]


class QuadraticLoss(Loss):
    """A loss that is a quadratic form.

    Parameters
    ----------
    form : QuadraticForm
        The form.
    """

    PARTS = QuadraticForm

    _parts: QuadraticForm

    def __init__(self, form: QuadraticForm) -> None:
        super().__init__(form)

    @classmethod
    def of_values(cls, **values: Any) -> Self:
        """Make a loss of its form.

        Parameters
        ----------
        **values : object
            The parameters of `QuadraticForm`.

        Returns
        -------
        QuadraticLoss
            The loss.
        """
        d_0, data_rank = values["target"].shape[-1], values["data_rank"]
        if data_rank is not None and not (type(data_rank) is int and 0 <= data_rank <= d_0):
            raise ValueError(f"data_rank must be None or from 0 to {d_0}, not {data_rank!r}")
        not_negative("floor", values["floor"])
        return cls.of_parts(QuadraticForm(**values))

    @property
    def form(self) -> Form:
        """What the products of a right-hand side depend on."""
        return Form(gram=self._parts.input_gram is not None)

    @property
    def quadratic(self) -> QuadraticForm:
        """The quadratic form that the loss is."""
        return self._parts

    @property
    def modes(self) -> Modes:
        """The modes of the target, by singular value, the largest first."""
        return self._parts.modes

    @property
    def n_modes(self) -> int:
        """The number of modes."""
        return self._parts.n_modes

    @property
    def target(self) -> Floats:
        """The minimiser of least norm, shape (..., d_h, d_0)."""
        return self._parts.target

    @property
    def floor(self) -> float:
        """The least value over all products."""
        return self._parts.floor

    @property
    def rank(self) -> int | NDArray[np.intp]:
        """The numerical rank: of X X' for a loss made from data, otherwise of the target (of each one)."""
        return self._parts.rank

    @property
    def target_rank(self) -> int | NDArray[np.intp]:
        """The numerical rank of the target (of each one): how many modes there are to learn."""
        return self._parts.target_rank

    def _value(self, W: NDArray[Any]) -> Any:
        return self._parts.floor + self._parts.excess(W)

    def _grad(self, W: NDArray[Any]) -> Any:
        return self._parts.gradient(W)

    def _curvature(self, W: NDArray[Any], D: NDArray[Any]) -> Any:
        return self._parts.curvature(D)


class Quadratic(QuadraticLoss):
    """The quadratic loss L(W) = 1/2 ||sigma - W||_F^2 of whitened data.

    Parameters
    ----------
    sigma : array_like, shape (d_h, d_0) or (n, d_h, d_0)
        The target, or one target for each of n trajectories.

    Raises
    ------
    ValueError
        If `sigma` has another number of axes, an empty axis, or an entry that is not finite.

    Examples
    --------
    >>> loss = Quadratic([[3.0, 0.0], [0.0, 1.0]])
    >>> float(loss.value([[3.0, 0.0], [0.0, 0.0]]))
    0.5
    >>> loss.modes.sigma
    array([3., 1.])
    """

    ARRAYS = ("target", "cross", "whitened")

    def __init__(self, sigma: ArrayLike) -> None:
        target = targets("sigma", sigma)
        super().__init__(QuadraticForm(target, target, target))

    @classmethod
    @reproducible
    def from_singular_values(
        cls,
        values: ArrayLike,
        shape: tuple[int, int],
        rng: np.random.Generator | np.random.SeedSequence | int | None = None,
    ) -> Self:
        """Make a target with given singular values.

        Parameters
        ----------
        values : array_like, shape (k,) or (n, k)
            Singular values, at most min(d_h, d_0) of them (the others are zero), for one target or for n.
        shape : tuple of int
            The shape (d_h, d_0) of the target.
        rng : Generator, SeedSequence or int, optional
            Draws random orthogonal bases (Haar measure), independent ones for each target; by default the
            modes are the coordinates.

        Returns
        -------
        Quadratic
            The loss with that target.

        Examples
        --------
        >>> Quadratic.from_singular_values((2, 1), shape=(2, 3)).target
        array([[2., 0., 0.],
               [0., 1., 0.]])
        """
        sigma = finite("values", values)
        if np.shape(shape) != (2,):
            raise ValueError(f"shape must be (d_h, d_0) with positive entries, not {shown(shape)}")
        if min(integer("shape[0]", shape[0]), integer("shape[1]", shape[1])) < 1:
            raise ValueError(f"shape must be (d_h, d_0) with positive entries, not {shown(shape)}")
        if sigma.ndim not in (1, 2) or not 0 < sigma.shape[-1] <= min(shape):
            raise ValueError(
                f"values has shape {sigma.shape}; expected (k,) or (n, k) with k from 1 to {min(shape)}, "
                f"the least of shape={tuple(shape)}"
            )
        if (sigma < 0).any():
            raise ValueError(f"values must be singular values, hence at least 0, not {sigma.tolist()}")
        batch, k = sigma.shape[:-1], sigma.shape[-1]
        # The target and the copy that the loss keeps.
        require_memory(16 * prod(batch) * shape[0] * shape[1], f"a target of shape {(*batch, *shape)}", "take less")
        if rng is None:
            U, V = np.eye(shape[0], k), np.eye(shape[1], k)
        else:
            source = np.random.default_rng(seed("rng", rng))
            U, V = (haar(source.standard_normal((*batch, d, k))) for d in shape)
        return cls((U * sigma[..., None, :]) @ transpose(V))

    @classmethod
    @reproducible
    def from_data(
        cls,
        X: ArrayLike,
        Y: ArrayLike,
        whiten: bool = True,
        center: bool = False,
        rcond: float | None = None,
    ) -> Self:
        """Make the target of a data set.

        Parameters
        ----------
        X : array_like, shape (d_0, m)
            Inputs, one sample a column.
        Y : array_like, shape (d_h, m)
            Outputs, one sample a column.
        whiten : bool
            True: sigma = Y X' (X X')^(-1/2), so that 1/2 ||Y - W (X X')^(-1/2) X||_F^2 is the loss up to a
            constant; the root is a pseudo-inverse where inputs are dependent or constant. False: the
            correlation sigma = Y X' / m.
        center : bool
            Subtract from each row of X and of Y its mean over the samples first.
        rcond : float, optional
            Singular values of X up to `rcond` times the largest count as zero; by default the machine epsilon
            times max(d_0, m).

        Returns
        -------
        Quadratic
            The loss with that target; its `rank` is the numerical rank of X X'.

        Examples
        --------
        >>> X = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]])
        >>> Quadratic.from_data(X, X[:1]).rank
        1
        """
        X, Y = samples(X, Y, boolean("center", center))
        P, S, Qt = decompose_inputs(X, rcond)
        target = (Y @ Qt.T) @ P.T if boolean("whiten", whiten) else Y @ X.T / X.shape[1]
        return cls.of_parts(QuadraticForm(target, target, target, data_rank=len(S)))
