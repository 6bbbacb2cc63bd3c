"""Reading and writing tables by address, views of arrays that compile fast, and the atomic counter of the queue.

An element of a Numba array is some sixty instructions to lower and optimise before six are left.  A `view` of a
contiguous array is an address and a row length: its elements are read and written by as few instructions, without
negative indices.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import from_dtype, types
from numba.core import cgutils
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, models, register_model

from fastdln.kernels.machine.compile import part
from fastdln.kernels.machine.emit import F64, I64


def _reader(kind: types.Type, element: ir.Type) -> Any:
    @intrinsic
    def read(context, address, i):
        def codegen(context, builder, signature, args):
            table = builder.inttoptr(args[0], element.as_pointer())
            return builder.load(builder.gep(table, [args[1]], source_etype=element), typ=element)

        return kind(types.int64, types.int64), codegen

    return read


def _writer(kind: types.Type, element: ir.Type) -> Any:
    @intrinsic
    def write(context, address, i, value):
        def codegen(context, builder, signature, args):
            table = builder.inttoptr(args[0], element.as_pointer())
            builder.store(args[2], builder.gep(table, [args[1]], source_etype=element))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, kind), codegen

    return write


# number i behind an address: peek(address, i), poke(address, i, value)
peek, poke = _reader(types.int64, I64), _writer(types.int64, I64)
peek_real, poke_real = _reader(types.float64, F64), _writer(types.float64, F64)
peek_single, poke_single = _reader(types.float32, ir.FloatType()), _writer(types.float32, ir.FloatType())


def record(dtype: np.dtype[Any]) -> Any:
    """Make the function that takes an address for the record of this type that lies there."""
    kind = from_dtype(dtype)

    @intrinsic
    def at(context, address):
        def codegen(context, builder, signature, args):
            return builder.inttoptr(args[0], context.get_value_type(kind))

        return kind(address), codegen

    return at


class View(types.Type):
    """A contiguous array of one or two dimensions."""

    def __init__(self, dtype: types.Type, ndim: int) -> None:
        self.dtype, self.ndim = dtype, ndim
        self.index = types.intp if ndim == 1 else types.UniTuple(types.intp, 2)
        super().__init__(f"View({dtype}, {ndim})")


@register_model(View)
class _ViewModel(models.StructModel):
    def __init__(self, manager: Any, view: View) -> None:
        super().__init__(manager, view, [("data", types.CPointer(view.dtype)), ("columns", types.intp)])


@intrinsic
def view(context, array):
    """A view of a contiguous array, which must outlive it."""
    of = View(array.dtype, array.ndim)

    def codegen(context, builder, signature, args):
        source = context.make_array(array)(context, builder, args[0])
        made = cgutils.create_struct_proxy(of)(context, builder)
        made.data = source.data
        made.columns = builder.extract_value(source.shape, array.ndim - 1)
        return made._getvalue()

    return of(array), codegen


def _element(context, builder, view, value, index):
    """Pointer to an element of a view."""
    at = cgutils.create_struct_proxy(view)(context, builder, value=value)
    if view.ndim == 2:
        row, column = cgutils.unpack_tuple(builder, index, 2)
        index = builder.add(builder.mul(row, at.columns), column)
    return cgutils.gep(builder, at.data, index)


@infer_global(operator.getitem)
class _GetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if isinstance(args[0], View):
            return signature(args[0].dtype, args[0], args[0].index)
        return None


@infer_global(operator.setitem)
class _SetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if isinstance(args[0], View):
            return signature(types.none, args[0], args[0].index, args[0].dtype)
        return None


@lower_builtin(operator.getitem, View, types.Any)
def _get_item(context, builder, sig, args):
    return builder.load(_element(context, builder, sig.args[0], *args))


@lower_builtin(operator.setitem, View, types.Any, types.Any)
def _set_item(context, builder, sig, args):
    builder.store(args[2], _element(context, builder, sig.args[0], *args[:2]))
    return context.get_dummy_value()


@intrinsic
def fetch_add(context, array, place):
    """Atomic ``array[place] += 1``; returns the old value."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        counter = cgutils.gep(builder, data, args[1])
        return builder.atomic_rmw("add", counter, ir.Constant(I64, 1), "monotonic")

    return types.int64(array, types.int64), codegen


@part
def place(w, address):
    """Index in the arena of an address."""
    return (address - w.arena_at) // w.item


@part
def fill(w, arena, address, value):
    """One number in every lane of an entry."""
    e = place(w, address)
    for l in range(w.lanes):
        arena[e + l] = value
