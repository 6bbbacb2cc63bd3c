"""A loss of the user's own: functions in Python, which are compiled and called by their addresses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.checks import integer, real, shown
from fastdln.kernels.machine import foreign
from fastdln.kernels.machine.foreign import Foreign
from fastdln.losses import trial
from fastdln.losses.base import Loss
from fastdln.losses.form import Mapped, Parts

__all__ = ["Custom"]

MOST_AXES = 3  # of an array among the data


@dataclass(frozen=True, eq=False)
class _Functions(Parts):
    functions: trial.Functions
    shape_: tuple[int, int]
    data: foreign.Further

    @property
    def shape(self) -> tuple[int, int]:
        return self.shape_


class Custom(Loss):
    """A loss L(W) of the user's own, by functions that Numba can compile.

    They are given products W as C-contiguous matrices (d_h, d_0) in float64, whatever the precision of the flow, and
    must not change them.

    Parameters
    ----------
    value : callable
        ``value(W, *data)`` returns L(W).
    grad : callable
        ``grad(W, *data, out)`` writes dL/dW to ``out``, every entry of it.
    shape : tuple of int
        The shape (d_h, d_0) of W.
    curvature : callable, optional
        ``curvature(W, D, *data, out)`` writes the derivative of dL/dW along D to ``out``.  What needs it refuses a
        loss without.
    data : tuple
        What the functions are given beside: numbers, and arrays of float64 or int64 of one to three axes, of which
        the loss keeps copies that nobody can write to.

    Raises
    ------
    TypeError
        If a function is none, or Numba cannot compile it for such arguments; if value returns no number.
    ValueError
        If the functions, tried at some matrix, read or write outside of an array, change W or the data, or leave an
        entry of ``out`` as it was.

    Notes
    -----
    Functions that `numba.njit` has made are compiled anew, from their Python, without its options.  A change of
    functions or of the shapes of the data costs their compilation, and no other; compiled code is kept in no file.

    Before a flow they are tried at products of its starts, compiled with checks of bounds, between guarded margins:
    exceptions, results that are not finite, and a gradient that is no derivative of the value are refused.  Only there,
    and only functions that are called directly have their bounds checked: later they run unchecked, in several
    threads.  An exception is not heard then: the results of the call are NaN, and the trajectory ends as NONFINITE.

    Results do not depend on batch, order and threads, if the functions return the same for the same arguments.
    More is not promised: whether they depend on the machine is up to the functions.

    `Trajectories.save` writes all but the loss, which `fastdln.load` is given again.

    Examples
    --------
    >>> def value(W, sigma):
    ...     return np.sum(np.cosh(W - sigma) - 1.0)
    >>> def grad(W, sigma, out):
    ...     out[:] = np.sinh(W - sigma)
    >>> loss = Custom(value, grad, (1, 2), data=(np.array([[1.0, 0.0]]),))
    >>> loss.grad([[1.0, 0.0]])
    array([[0., 0.]])
    """

    PARTS = _Functions
    ARRAYS = ()

    _parts: _Functions

    def __init__(
        self,
        value: Callable[..., Any],
        grad: Callable[..., Any],
        shape: tuple[int, int],
        curvature: Callable[..., Any] | None = None,
        data: Sequence[ArrayLike] = (),
    ) -> None:
        functions = trial.Functions(value, grad, curvature).in_python()
        if np.shape(shape) != (2,):
            raise ValueError(f"shape must be (d_h, d_0) with positive entries, not {shown(shape)}")
        sizes = (integer("shape[0]", shape[0]), integer("shape[1]", shape[1]))
        if min(sizes) < 1:
            raise ValueError(f"shape must be (d_h, d_0) with positive entries, not {shown(shape)}")
        if not isinstance(data, tuple | list):
            raise TypeError(f"data must be a tuple of numbers and arrays, not {type(data).__name__}")
        super().__init__(_Functions(functions, sizes, tuple(_datum(f"data[{i}]", x) for i, x in enumerate(data))))
        trial.run_once(functions, sizes, self._parts.data)

    @property
    def mapped(self) -> Mapped:
        """The map that calls the functions."""
        functions = self._parts.functions
        value, grad = self._compiled("value", functions.value), self._compiled("grad", functions.grad)
        called = Foreign(value.address, grad.address, foreign.table(self._parts.data), (value, grad, self._parts.data))
        return Mapped("custom", np.zeros(self.shape), 1.0, foreign=called)

    def try_at(self, products: NDArray[Any]) -> None:
        """Refuse functions that fail at some products, or whose derivatives are none.

        Parameters
        ----------
        products : ndarray, shape (n, d_h, d_0)
            Products W; those that are not finite are passed over.
        """
        for W in products.astype(np.float64):
            if np.isfinite(W).all():
                trial.run_at(self._parts.functions, W, self._parts.data)

    def _compiled(self, name: str, function: Callable[..., Any]) -> foreign.Compiled:
        matrices = 2 if name == "curvature" else 1
        return foreign.compiled(function, matrices, self.shape, self._parts.data, fills=name != "value")

    def _value(self, W: NDArray[Any]) -> Any:
        return self._apply("value", self._parts.functions.value, W[..., None, :, :], ())

    def _grad(self, W: NDArray[Any]) -> Any:
        return self._apply("grad", self._parts.functions.grad, W[..., None, :, :], self.shape)

    @property
    def has_curvature(self) -> bool:
        """Whether the loss was made with a curvature."""
        return self._parts.functions.curvature is not None

    def _curvature(self, W: NDArray[Any], D: NDArray[Any]) -> Any:
        function = self._parts.functions.curvature
        if function is None:
            raise ValueError(f"this needs the curvature of the loss, but {self!r} was made without")
        return self._apply("curvature", function, np.stack(np.broadcast_arrays(W, D), axis=-3), self.shape)

    def _apply(self, name: str, function: Callable[..., Any], sources: NDArray[Any], shape: tuple[int, ...]) -> Any:
        """Call a function for each of some stacks of matrices (..., k, d_h, d_0)."""
        read = np.array(sources, np.float64, order="C")
        results = np.empty((*read.shape[:-3], *shape))
        call, table = self._compiled(name, function).call, foreign.table(self._parts.data)
        n = read[..., 0, 0, 0].size
        for k in range(n):
            call(
                read.ctypes.data + k * (read.nbytes // n), results.ctypes.data + k * (results.nbytes // n),
                table.ctypes.data,
            )  # fmt: skip
        return results[()]


def _datum(name: str, value: Any) -> NDArray[Any] | int | float:
    """What the functions are given: a number of Python, or an array of which nobody else has the memory."""
    if np.ndim(value) == 0:
        return _number(name, value)
    if not isinstance(value, np.ndarray) or value.dtype not in (np.float64, np.int64):
        raise TypeError(f"{name} must be a number or an array of float64 or int64, not {shown(value)}")
    if value.ndim > MOST_AXES:
        raise ValueError(f"{name} has shape {value.shape}; expected at most {MOST_AXES} axes")
    return np.array(value, order="C")


def _number(name: str, value: Any) -> int | float:
    """A number of Python, which compiled code can hold."""
    if isinstance(value, np.ndarray):
        value = value[()]
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        return real(name, value)
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"{name} must be an integer of 64 bits, not {shown(value)}")
    return int(value)
