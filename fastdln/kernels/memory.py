"""Reading tables by address, and the atomic counter of the queue."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastdln.kernels.compile import part
from fastdln.kernels.emit import I64


@intrinsic
def peek(context, address, i):
    """The int64 number i behind an address."""

    def codegen(context, builder, signature, args):
        table = builder.inttoptr(args[0], I64.as_pointer())
        return builder.load(builder.gep(table, [args[1]], source_etype=I64), typ=I64)

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def poke(context, address, i, value):
    """Write the int64 number i behind an address."""

    def codegen(context, builder, signature, args):
        table = builder.inttoptr(args[0], I64.as_pointer())
        builder.store(args[2], builder.gep(table, [args[1]], source_etype=I64))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


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
