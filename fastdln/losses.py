"""Losses of the product W = W_h ... W_1.

Every loss here is quadratic in W, and whatever integrates a flow relies on the attributes of `Loss` alone.
With S the input Gram matrix (the identity for whitened data),

    -dL/dW = cross - W S,        L = floor + 1/2 ||whitened - W S^(1/2)||_F^2,

and `target` is the minimiser of least norm. The second form has no cancellation: near the minimum the value
is as accurate as the residual. All arrays are float64 and read-only.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from math import prod
from types import EllipsisType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.checks import boolean, integer, real, reals, seed, shown
from fastdln.linalg import Floats, haar, reproducible, transpose
from fastdln.resources import require_memory

__all__ = ["Loss", "Modes", "Quadratic", "Regression", "check_loss"]


class Modes(NamedTuple):
    """Thin singular value decomposition U diag(sigma) V' of a target, r = min(d_h, d_0)."""

    U: Floats
    """Output directions, shape (..., d_h, r)."""
    sigma: Floats
    """Singular values, the largest first, shape (..., r)."""
    V: Floats
    """Input directions, shape (..., d_0, r); the largest entry of each column is positive."""


@dataclass(frozen=True, eq=False, repr=False)
class Loss:
    """What every loss offers: a quadratic function of the product, with its minimiser and its modes.

    Parameters
    ----------
    target : ndarray, shape (..., d_h, d_0)
        The minimiser of least norm.
    cross : ndarray, shape (..., d_h, d_0)
        The linear term, so that -dL/dW = cross - W input_gram.
    whitened : ndarray, shape (..., d_h, d_0)
        The linear term in whitened inputs, so that L = floor + 1/2 ||whitened - W input_root||_F^2.
    input_gram : ndarray, shape (d_0, d_0), or None
        The second moment of the inputs; None stands for the identity.
    input_root : ndarray, shape (d_0, d_0), or None
        The symmetric root of `input_gram`; None stands for the identity.
    floor : float
        The least value of L over all matrices W.
    data_rank : int or None
        Numerical rank of the inputs, for a loss made from data.
    """

    target: Floats
    cross: Floats
    whitened: Floats
    input_gram: Floats | None = None
    input_root: Floats | None = None
    floor: float = 0.0
    data_rank: int | None = None

    def __post_init__(self) -> None:
        for array in (self.target, self.cross, self.whitened, self.input_gram, self.input_root):
            if array is not None:
                array.setflags(write=False)

    @property
    def shape(self) -> tuple[int, int]:
        """The shape (d_h, d_0) of the product."""
        return self.target.shape[-2], self.target.shape[-1]

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """() for one target, (n,) for n of them."""
        return self.target.shape[:-2]

    @property
    def n_modes(self) -> int:
        """The number of modes."""
        return min(self.shape)

    @cached_property
    @reproducible
    def input_norm(self) -> float:
        """The spectral norm of the root of the input Gram matrix; 1 for whitened data."""
        return 1.0 if self.input_root is None else float(np.linalg.norm(self.input_root, 2))

    @cached_property
    @reproducible
    def modes(self) -> Modes:
        """The modes of the target, by singular value, the largest first."""
        U, sigma, Vt = np.linalg.svd(self.target, full_matrices=False)
        V = transpose(Vt)
        # A pair (u, v) is determined up to its common sign: fix it, so that modes are the same everywhere.
        largest = np.take_along_axis(V, np.abs(V).argmax(axis=-2, keepdims=True), axis=-2)
        sign = np.where(largest < 0, -1.0, 1.0)
        modes = Modes(U * sign, sigma, V * sign)
        for array in modes:
            array.setflags(write=False)
        return modes

    @cached_property
    def rank(self) -> int | NDArray[np.intp]:
        """The numerical rank: of X X' for a loss made from data, otherwise of the target (of each one).

        Directions of the inputs beyond this rank are left out of the (pseudo-inverse) root of X X'.
        """
        return self.target_rank if self.data_rank is None else self.data_rank

    @cached_property
    def target_rank(self) -> int | NDArray[np.intp]:
        """The numerical rank of the target (of each one): how many modes there are to learn."""
        sigma = self.modes.sigma
        rank = (sigma > max(self.shape) * np.finfo(float).eps * sigma[..., :1]).sum(axis=-1)
        return rank if self.batch_shape else int(rank)

    def __getitem__(self, index: int | slice | EllipsisType | NDArray[Any]) -> Self:
        """Select targets, by their index along the batch."""
        if not self.batch_shape:
            raise TypeError(f"{self!r} has one target only and cannot be indexed")
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values |= {name: values[name][index] for name in ("target", "cross", "whitened")}
        return self.of_parts(**values)

    @classmethod
    def of_parts(cls, **parts: Any) -> Self:
        """Make a loss of its kind from what `Loss` takes, without the data it was made from.

        Parameters
        ----------
        **parts : object
            The parameters of `Loss`.

        Returns
        -------
        Loss
            The loss.
        """
        loss = object.__new__(cls)
        Loss.__init__(loss, **parts)
        return loss

    def __setstate__(self, state: dict[str, Any]) -> None:
        # What is unpickled or copied is made of new arrays, which NumPy makes writable.
        self.__dict__.update(state)
        for value in state.values():
            for array in value if isinstance(value, tuple) else (value,):
                if isinstance(array, np.ndarray):
                    array.setflags(write=False)

    def check_product(self, shape: tuple[int, ...]) -> None:
        """Refuse products of the wrong shape.

        Parameters
        ----------
        shape : tuple of int
            That of the product; leading axes must broadcast with the targets.
        """
        if shape[-2:] != self.shape:
            raise ValueError(
                f"the product of the weights has shape {shape}; "
                f"the loss expects (..., d_h, d_0) = (..., {self.shape[0]}, {self.shape[1]})"
            )
        try:
            np.broadcast_shapes(shape[:-2], self.batch_shape)
        except ValueError:
            raise ValueError(
                f"the batch {shape[:-2]} of the weights does not broadcast with the {self.batch_shape} "
                f"targets of the loss: expected one network, one target, or as many of both"
            ) from None

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
        W = self._read(product)
        with np.errstate(over="ignore"):
            return (self.floor + self.excess(W)).astype(W.dtype)

    def residual(self, product: ArrayLike) -> NDArray[Any]:
        """Evaluate what is left to learn, in whitened inputs.

        Parameters
        ----------
        product : array_like, shape (..., d_h, d_0)
            Products W of the weights.

        Returns
        -------
        ndarray, shape (..., d_h, d_0)
            whitened - W input_root: -dL/dW is its product with the root.
        """
        W = self._read(product)
        with np.errstate(over="ignore", invalid="ignore"):
            return self.whitened - (W if self.input_root is None else W @ self.input_root)

    def excess(self, product: ArrayLike) -> Any:
        """Evaluate L - floor as the square that it is: near the minimum the difference would have no digits left.

        Parameters
        ----------
        product : array_like, shape (..., d_h, d_0)
            Products W of the weights.

        Returns
        -------
        ndarray, shape (...,), or float
            L(W) - floor in float64; infinite where it overflows.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            return 0.5 * np.square(self.residual(product)).sum(axis=(-2, -1))

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
        W = self._read(product)
        with np.errstate(over="ignore", invalid="ignore"):
            return ((W if self.input_gram is None else W @ self.input_gram) - self.cross).astype(W.dtype)

    def _read(self, product: ArrayLike) -> NDArray[Any]:
        W = reals("product", product)
        self.check_product(W.shape)
        return W if W.dtype == np.float32 else W.astype(np.float64, copy=False)

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


class Quadratic(Loss):
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

    def __init__(self, sigma: ArrayLike) -> None:
        target = _finite("sigma", sigma)
        if target.ndim not in (2, 3) or 0 in target.shape:
            raise ValueError(f"sigma has shape {target.shape}; expected (d_h, d_0) or (n, d_h, d_0)")
        super().__init__(target=target, cross=target, whitened=target)

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
        sigma = _finite("values", values)
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
        X, Y = _samples(X, Y, boolean("center", center))
        P, S, Qt = _decompose_inputs(X, rcond)
        loss = cls((Y @ Qt.T) @ P.T if boolean("whiten", whiten) else Y @ X.T / X.shape[1])
        object.__setattr__(loss, "data_rank", len(S))
        return loss


class Regression(Loss):
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

    @reproducible
    def __init__(self, X: ArrayLike, Y: ArrayLike) -> None:
        X, Y = _samples(X, Y, center=False)
        m = X.shape[1]
        P, S, Qt = _decompose_inputs(X / np.sqrt(m), rcond=None)
        Z = Y / np.sqrt(m)
        A = Z @ Qt.T  # (d_h, rank): the outputs along the principal inputs
        PS = P * S
        with np.errstate(over="ignore"):
            if not np.isfinite(np.square(S).sum() + np.square(Z).sum()):
                raise ValueError("the second moments of X or Y overflow: scale the data down")
        super().__init__(
            target=(A / S) @ P.T,
            cross=A @ PS.T,
            whitened=A @ P.T,
            input_gram=PS @ PS.T,
            input_root=PS @ P.T,
            # The part of Y that no function of X explains, from the residual itself rather than a difference.
            floor=0.5 * float(np.square(Z - A @ Qt).sum()),
            data_rank=len(S),
        )


def _decompose_inputs(X: Floats, rcond: float | None) -> tuple[Floats, Floats, Floats]:
    """Thin SVD X = P diag(S) Q', cut at the numerical rank."""
    P, s, Qt = np.linalg.svd(X, full_matrices=False)
    cut = max(X.shape) * np.finfo(float).eps if rcond is None else rcond
    if not 0 <= real("rcond", cut) < np.inf:
        raise ValueError(f"rcond must be at least 0 and finite, not {rcond!r}")
    rank = int((s > cut * s[0]).sum())
    return P[:, :rank], s[:rank], Qt[:rank]


def _samples(X: ArrayLike, Y: ArrayLike, center: bool) -> tuple[Floats, Floats]:
    inputs, outputs = _finite("X", X), _finite("Y", Y)
    for name, array, width in (("X", inputs, "d_0"), ("Y", outputs, "d_h")):
        if array.ndim != 2 or 0 in array.shape:
            raise ValueError(f"{name} has shape {array.shape}; expected ({width}, m), one sample a column")
    if inputs.shape[1] != outputs.shape[1]:
        raise ValueError(
            f"X has shape {inputs.shape} and Y has shape {outputs.shape}; expected (d_0, m) and (d_h, m) "
            f"with one sample a column (transpose arrays that hold one sample a row)"
        )
    if center:
        inputs = inputs - inputs.mean(axis=1, keepdims=True)
        outputs = outputs - outputs.mean(axis=1, keepdims=True)
    return inputs, outputs


def _finite(name: str, values: ArrayLike) -> Floats:
    array = reals(name, values)
    bad = ~np.isfinite(array)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"{name} must be finite, but {name}[{', '.join(map(str, first))}] = {array[first]}")
    return np.array(array, dtype=np.float64, order="C")
