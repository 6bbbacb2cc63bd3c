"""Libraries of machine code: kernels of one element type and lane count, compiled together and called by address.

Numba links and optimises a function anew in every function that calls it; calls by address keep the kernels, which are
nearly all the code, out of that.  So they are compiled once, and what calls them once for all lane counts.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import DTypeLike

from fastdln.kernels.machine.emit import I64, VOID, Emit


def emit_all(context, builder, signature, args, kernels):
    """Emit kernels for the element type of the first argument and the length of the second; their addresses are
    written to the third."""
    like, lanes, out = signature.args
    bits = 64 if like.dtype == types.float64 else 32
    table = context.make_array(out)(context, builder, args[2]).data
    for i, body in enumerate(kernels):
        n_args = len(inspect.signature(body).parameters) - 1
        emit = Emit(builder.module, f"fastdln_{body.__name__}_f{bits}x{lanes.count}", n_args, bits, lanes.count)
        body(emit, *emit.fn.args)
        emit.b.ret_void()
        builder.store(builder.ptrtoint(emit.fn, I64), cgutils.gep(builder, table, i))
    return context.get_dummy_value()


def addresses(entry: Any, kernels: tuple[Callable[..., None], ...], dtype: DTypeLike, lanes: int) -> dict[str, int]:
    """Compile kernels for a number of lanes, through the entry point that emits them, and tell where they are."""
    out = np.zeros(len(kernels), np.int64)
    entry(np.empty(0, dtype), (0,) * lanes, out)
    return {body.__name__: int(address) for body, address in zip(kernels, out, strict=True)}


@intrinsic
def invoke(context, address, *arguments):
    """Call ``void f(int64, ...)`` at an address."""
    n = len(arguments)

    def codegen(context, builder, signature, args):
        function = ir.FunctionType(VOID, [I64] * n).as_pointer()
        builder.call(builder.inttoptr(args[0], function), cgutils.unpack_tuple(builder, args[1]))
        return context.get_dummy_value()

    return types.void(types.int64, types.UniTuple(types.int64, n)), codegen
