"""What losses consist of: read-only arrays, and the quadratic form that some losses are.

A quadratic loss has the input Gram matrix S (the identity for whitened data), and

    -dL/dW = cross - W S,        L = floor + 1/2 ||whitened - W S^(1/2)||_F^2,

and `QuadraticForm.target` is its minimiser of least norm.  The second form has no cancellation: near the minimum the
value is as accurate as the residual.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from types import EllipsisType
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.checks import reals
from fastdln.kernels.machine.foreign import Foreign
from fastdln.linalg import Floats, reproducible, transpose

__all__ = ["Form", "Index", "Mapped", "Modes", "Parts", "QuadraticForm"]

Index = int | slice | EllipsisType | NDArray[Any]


class Form(NamedTuple):
    """What the products of a right-hand side depend on."""

    gram: bool = False
    """Whether there is an input Gram matrix."""
    map: str | None = None
    """The name of the map, for a loss that is not quadratic."""
    samples: int = 0
    """Of how many samples, or by how many measurements, the map takes the outputs; 0 where it takes the product."""


class Mapped(NamedTuple):
    """-dL/dW as a map E of the outputs Z.

    Z = W and -dL/dW = E; with inputs Z = W X and -dL/dW = E X'; with measurements Z_k = <A_k, W> and
    -dL/dW = sum_k E_k A_k.
    """

    name: str
    """Which map: see `fastdln.kernels.products.maps`."""
    target: Floats
    """What outputs are compared with, shape (..., d_h, d_0), (d_h, m) with inputs, (1, m) with measurements."""
    parameter: float | Floats
    """A number that the map depends on, or one for each entry, shape (..., d_h, d_0)."""
    inputs: Floats | None = None
    """X, shape (d_0, m); of measurements the A_k, each one row, shape (m, d_h d_0)."""
    foreign: Foreign | None = None
    """The functions that the map calls, if they are not ours."""

    def constants(self) -> dict[str, Floats]:
        """Return what a program has as constants, by their names there.

        Returns
        -------
        dict
            Matrices, the parameter among them.
        """
        named = {"mapped": self.target, "parameter": np.atleast_2d(self.parameter)}
        return named if self.inputs is None else named | {"inputs": self.inputs}


class Modes(NamedTuple):
    """Thin singular value decomposition U diag(sigma) V' of a target, r = min(d_h, d_0)."""

    U: Floats
    """Output directions, shape (..., d_h, r)."""
    sigma: Floats
    """Singular values, the largest first, shape (..., r)."""
    V: Floats
    """Input directions, shape (..., d_0, r); the largest entry of each column is positive."""


@dataclass(frozen=True, eq=False)
class Parts:
    """Arrays and numbers that a loss is made of; arrays are read-only, also after they were pickled or copied."""

    LAYOUT: ClassVar[dict[str, tuple[str, ...]]] = {}
    """The axes of each array: "target" (left out where there is one target), "d_h", "d_0", "sample"."""

    def __post_init__(self) -> None:
        _protect(vars(self))

    def __setstate__(self, state: dict[str, Any]) -> None:
        # What is unpickled or copied is made of new arrays, which NumPy makes writable.
        _protect(state)
        vars(self).update(state)

    @property
    def shape(self) -> tuple[int, int]:
        """The shape (d_h, d_0) of the product."""
        raise NotImplementedError

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """() for one target, (n,) for n of them."""
        return ()

    def values(self) -> dict[str, Any]:
        """Return the arrays and numbers by name.

        Returns
        -------
        dict
            What the loss is made of.
        """
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __getitem__(self, index: Index) -> Self:
        """Select targets, by their index along the batch."""
        per_target = [name for name, axes in self.LAYOUT.items() if axes[0] == "target"]
        return replace(self, **{name: getattr(self, name)[index] for name in per_target})

    def check_product(self, shape: tuple[int, ...], name: str = "the product of the weights") -> None:
        """Refuse products of the wrong shape.

        Parameters
        ----------
        shape : tuple of int
            That of the product; leading axes must broadcast with the targets.
        name : str
            What has it.
        """
        if shape[-2:] != self.shape:
            raise ValueError(
                f"{name} has shape {shape}; the loss expects (..., d_h, d_0) = (..., {self.shape[0]}, {self.shape[1]})"
            )
        try:
            np.broadcast_shapes(shape[:-2], self.batch_shape)
        except ValueError:
            raise ValueError(
                f"the batch {shape[:-2]} of the weights does not broadcast with the {self.batch_shape} "
                f"targets of the loss: expected one network, one target, or as many of both"
            ) from None

    def read(self, product: ArrayLike) -> NDArray[Any]:
        """Check a product, and bring it to a dtype to calculate with.

        Parameters
        ----------
        product : array_like, shape (..., d_h, d_0)
            Products W of the weights.

        Returns
        -------
        ndarray, shape (..., d_h, d_0)
            It, in float32 where it was, else in float64.
        """
        W = reals("product", product)
        self.check_product(W.shape)
        return _real(W)

    def read_direction(self, direction: ArrayLike, W: NDArray[Any]) -> NDArray[Any]:
        """Check a direction at products, and bring it to a dtype to calculate with.

        Parameters
        ----------
        direction : array_like, shape (..., d_h, d_0)
            Directions D.
        W : ndarray, shape (..., d_h, d_0)
            Products that were read.

        Returns
        -------
        ndarray, shape (..., d_h, d_0)
            The directions, with all leading axes.
        """
        D = reals("direction", direction)
        self.check_product(D.shape, "direction")
        try:
            shape = np.broadcast_shapes(D.shape, W.shape, (*self.batch_shape, 1, 1))
        except ValueError:
            raise ValueError(f"direction has shape {D.shape}, which does not broadcast with {W.shape}") from None
        return np.broadcast_to(_real(D), shape)


@dataclass(frozen=True, eq=False)
class QuadraticForm(Parts):
    """A quadratic function of the product, with its minimiser and its modes.

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

    LAYOUT: ClassVar[dict[str, tuple[str, ...]]] = {
        **dict.fromkeys(("target", "cross", "whitened"), ("target", "d_h", "d_0")),
        **dict.fromkeys(("input_gram", "input_root"), ("d_0", "d_0")),
    }

    target: Floats
    cross: Floats
    whitened: Floats
    input_gram: Floats | None = None
    input_root: Floats | None = None
    floor: float = 0.0
    data_rank: int | None = None

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
        W = self.read(product)
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

    def gradient(self, W: NDArray[Any]) -> NDArray[Any]:
        """Evaluate the derivative of the form.

        Parameters
        ----------
        W : ndarray, shape (..., d_h, d_0)
            Products.

        Returns
        -------
        ndarray, shape (..., d_h, d_0)
            W input_gram - cross.
        """
        return self.curvature(W) - self.cross

    def curvature(self, D: NDArray[Any]) -> NDArray[Any]:
        """Evaluate the derivative of the gradient, which is the same at every product.

        Parameters
        ----------
        D : ndarray, shape (..., d_h, d_0)
            Directions.

        Returns
        -------
        ndarray, shape (..., d_h, d_0)
            D input_gram.
        """
        return D if self.input_gram is None else D @ self.input_gram


def _real(W: NDArray[Any]) -> NDArray[Any]:
    return W if W.dtype == np.float32 else W.astype(np.float64, copy=False)


def _protect(values: dict[str, Any]) -> None:
    for value in values.values():
        for array in value if isinstance(value, tuple) else (value,):
            if isinstance(array, np.ndarray):
                array.setflags(write=False)
