"""Reading and writing by address, records and views of arrays that compile fast, and the atomic counter of the queue.

An element of a Numba array is some sixty instructions to lower and optimise before six are left.  A `view` of a
contiguous array is an address and a row length: its elements are read and written by as few instructions, without
negative indices.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, AttributeTemplate, infer_global, signature
from numba.extending import (
    infer_getattr,
    intrinsic,
    lower_builtin,
    lower_getattr_generic,
    lower_setattr_generic,
    models,
    register_model,
)

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


# number i from an address on: peek(address, i), poke(address, i, value)
peek, poke = _reader(types.int64, I64), _writer(types.int64, I64)
peek_real, poke_real = _reader(types.float64, F64), _writer(types.float64, F64)
peek_single, poke_single = _reader(types.float32, ir.FloatType()), _writer(types.float32, ir.FloatType())


class Struct(types.Type):
    """A record that is known by its address; a field may be a record itself."""

    def __init__(self, name: str, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        super().__init__(name)

    def field(self, name: str) -> tuple[types.Type, int] | None:
        """Type and offset of a field."""
        if self.dtype.fields is None or name not in self.dtype.fields:
            return None
        kind, offset = self.dtype.fields[name][:2]
        if kind.fields:
            return Struct(f"{self.name}.{name}", kind), offset
        return types.float64 if kind == np.float64 else types.int64, offset


@register_model(Struct)
class _StructModel(models.PrimitiveModel):
    def __init__(self, manager: Any, struct: Struct) -> None:
        super().__init__(manager, struct, I64)


@infer_getattr
class _Fields(AttributeTemplate):
    key = Struct

    def generic_resolve(self, struct: Struct, name: str) -> types.Type | None:
        field = struct.field(name)
        return None if field is None else field[0]


def _element_of(kind: types.Type) -> ir.Type:
    return F64 if kind == types.float64 else I64


@lower_getattr_generic(Struct)
def _get_field(context, builder, struct, address, name):
    kind, offset = struct.field(name)
    at = builder.add(address, ir.Constant(I64, offset))
    if isinstance(kind, Struct):
        return at
    element = _element_of(kind)
    return builder.load(builder.inttoptr(at, element.as_pointer()), typ=element)


@lower_setattr_generic(Struct)
def _set_field(context, builder, sig, args, name):
    kind, offset = sig.args[0].field(name)
    at = builder.add(args[0], ir.Constant(I64, offset))
    builder.store(args[1], builder.inttoptr(at, _element_of(kind).as_pointer()))


def record(name: str, dtype: np.dtype[Any]) -> Any:
    """Make the function that takes an address for the record of this type that lies there."""
    kind = Struct(name, dtype)

    @intrinsic
    def at(context, address):
        return kind(address), _unchanged

    return at


@intrinsic
def address(context, record):
    """The address of a record, or of one within another."""
    return types.int64(record), _unchanged


def _unchanged(context, builder, signature, args):
    return args[0]


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


@intrinsic
def numbers(context, pointer):
    """A view of the numbers that a pointer leads to."""
    of = View(pointer.dtype, 1)

    def codegen(context, builder, signature, args):
        made = cgutils.create_struct_proxy(of)(context, builder)
        made.data = args[0]
        made.columns = ir.Constant(I64, 0)
        return made._getvalue()

    return of(pointer), codegen


@intrinsic
def rows_of(context, address, columns):
    """A view of a table of f64 with a number of columns."""
    of = View(types.float64, 2)

    def codegen(context, builder, signature, args):
        made = cgutils.create_struct_proxy(of)(context, builder)
        made.data = builder.inttoptr(args[0], F64.as_pointer())
        made.columns = args[1]
        return made._getvalue()

    return of(address, types.int64), codegen
