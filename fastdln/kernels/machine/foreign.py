"""Functions of others: compiled as ``void f(source, out, table)``, which is called by its address.

So what calls them is compiled once for all.  The matrices that a function reads lie one after the other at ``source``
in f64, what it writes at ``out``; the table holds its further arguments, numbers and addresses of arrays.

An exception ends there, as there is no one to hear it: what should have been written is NaN then.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import sigutils
from numba.core.ccallback import CFunc
from numba.extending import intrinsic
from numpy.typing import NDArray

from fastdln.kernels.machine.emit import I64, VOID
from fastdln.kernels.machine.interrupts import nothing_lost
from fastdln.kernels.machine.memory import peek, peek_real, poke_real

Further = tuple[NDArray[Any] | int | float, ...]  # arguments after the matrices: arrays of f64 or int64, and numbers


class Foreign(NamedTuple):
    """A value and its gradient, as kernels call them."""

    value: int
    """The address of what tells the value."""
    grad: int
    """The address of what fills the gradient."""
    table: NDArray[np.int64]
    """Their further arguments."""
    kept: Any
    """What these live as long as."""


class Compiled(NamedTuple):
    """Machine code of a function, to be called by its address or from Python."""

    address: int
    call: Callable[[int, int, int], None]
    kept: Any


class _Kind(NamedTuple):
    """What code depends on of a further argument."""

    integer: bool
    shape: tuple[int, ...] | None  # None for a number


def _kind(value: NDArray[Any] | int | float) -> _Kind:
    if isinstance(value, np.ndarray):
        return _Kind(value.dtype == np.int64, value.shape)
    return _Kind(isinstance(value, int), None)


def table(further: Further) -> NDArray[np.int64]:
    """The further arguments as compiled functions read them; the arrays must live as long as this."""
    made = np.zeros(max(1, len(further)), np.int64)
    for i, value in enumerate(further):
        if isinstance(value, np.ndarray):
            made[i] = value.ctypes.data
        else:
            made[i : i + 1].view(np.int64 if isinstance(value, int) else np.float64)[0] = value
    return made


def compiled(
    function: Callable[..., Any], matrices: int, shape: tuple[int, int], further: Further, fills: bool
) -> Compiled:
    """Compile a function of matrices of one shape, for good: its code is kept as long as the process runs.

    Parameters
    ----------
    function : in Python
    matrices : how many it reads, one or two
    shape : theirs, and that of what it fills
    further : its further arguments, of which kinds and shapes matter
    fills : whether it fills a matrix, its last argument, or returns a number
    """
    kinds = tuple(_kind(value) for value in further)
    return _compiled(function, matrices, shape, kinds, fills)


@functools.cache
def _compiled(
    function: Callable[..., Any], matrices: int, shape: tuple[int, int], kinds: tuple[_Kind, ...], fills: bool
) -> Compiled:
    inner = numba.njit(function, error_model="numpy")
    sources, rest = _sources(matrices, shape), _rest(kinds)

    def fill(source, out, table):
        filled = numba.carray(_reals(out), shape)
        try:
            inner(*(sources(source) + rest(table) + (filled,)))
        except Exception:
            filled[:] = np.nan

    def tell(source, out, table):
        value = np.nan
        try:
            value = float(inner(*(sources(source) + rest(table))))
        except Exception:
            value = np.nan
        poke_real(out, 0, value)

    signature = sigutils.normalize_signature(types.void(*[types.int64] * 3))
    made: Any = CFunc(fill if fills else tell, signature, locals={}, options={"error_model": "numpy"})
    with nothing_lost():
        made.compile()
    return Compiled(made.address, ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 3)(made.address), made)


def _sources(matrices: int, shape: tuple[int, int]) -> Any:
    """What finds the matrices that are read."""
    after_first = 8 * shape[0] * shape[1]

    def one(source):
        return (numba.carray(_reals(source), shape),)

    def two(source):
        return (numba.carray(_reals(source), shape), numba.carray(_reals(source + after_first), shape))

    return numba.njit({1: one, 2: two}[matrices])


def _rest(kinds: tuple[_Kind, ...], at: int = 0) -> Any:
    """What reads the further arguments from number ``at`` on."""

    def none(table):
        return ()

    if not kinds:
        return numba.njit(none)
    (integer, shape), others = kinds[0], _rest(kinds[1:], at + 1)
    read, pointer = (peek, _integers) if integer else (peek_real, _reals)

    def number(table):
        return (read(table, at),) + others(table)  # noqa: RUF005

    def array(table):
        return (numba.carray(pointer(peek(table, at)), shape),) + others(table)  # noqa: RUF005

    return numba.njit(number if shape is None else array)


def _pointer(kind: types.Type) -> Any:
    @intrinsic
    def pointer(context, address):
        def codegen(context, builder, signature, args):
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(types.int64), codegen

    return pointer


_reals, _integers = _pointer(types.float64), _pointer(types.int64)


def call_foreign(builder: ir.IRBuilder, address: ir.Value, source: ir.Value, out: ir.Value, table: ir.Value) -> None:
    """Emit the call of a compiled function."""
    kind = ir.FunctionType(VOID, [I64] * 3).as_pointer()
    builder.call(builder.inttoptr(address, kind), [source, out, table], name="")
