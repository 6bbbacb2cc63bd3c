"""Reading and writing tables by address, and the atomic counter of the queue."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastdln.kernels.compile import part
from fastdln.kernels.emit import F64, I64


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
peek_single = _reader(types.float32, ir.FloatType())


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
