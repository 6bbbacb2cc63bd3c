"""An update of a large layer in a descent: a thin product is added to it in place, with momentum by way of a velocity.

Thin matrices are held as in `skinny`, whose tiles these are.  Each entry is read and written once.
"""

from __future__ import annotations

import functools

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import DTypeLike

from fastdln.kernels.machine.compile import emitted, kernel
from fastdln.kernels.machine.emit import Emit, const
from fastdln.kernels.machine.library import addresses, emit_all, invoke
from fastdln.kernels.machine.masked import Tail, Whole
from fastdln.kernels.products.skinny import HEIGHTS, ROWS, VECTOR_BYTES, VECTORS, prefetch

OWN, MOVED = range(2)  # what W and the velocity are multiplied by
WIDTHS = (VECTORS, 1, 1)  # vectors of a tile; the last kind is a vector that is not whole


def add_update(e: Emit, w: ir.Value, w_row: ir.Value, v: ir.Value, v_row: ir.Value, factors: ir.Value, m: ir.Value,
               p: ir.Value, p_row: ir.Value, q: ir.Value, q_row: ir.Value, terms: ir.Value, vectors: ir.Value,
               rest: ir.Value) -> None:  # fmt: skip
    """W = a W + P Q', or with a velocity v = b v + a W + P Q' and W = W + v; v is 0 where there is none.

    On m = ROWS or 1 rows and ``vectors`` = VECTORS or 1 vectors; with rest > 0 a single vector of which ``rest``
    numbers count.  ``factors`` points at a and b.
    """
    b, size = e.b, e.stream * e.element_bytes
    kind = b.select(b.icmp_signed("==", vectors, const(VECTORS)), const(0), const(1))
    kind = b.select(b.icmp_signed(">", rest, const(0)), const(2), kind)
    shape = b.add(e.times(kind, 2), b.select(b.icmp_signed("==", m, const(1)), const(1), const(0)))
    shape = b.add(e.times(shape, 2), b.select(b.icmp_signed("==", v, const(0)), const(0), const(1)))
    w, v, factors, p, q = map(e.pointer, (w, v, factors, p, q))
    own, moved = (e.scalar(factors, i * e.element_bytes, e.stream_type) for i in (OWN, MOVED))
    for case in e.cases(shape, range(4 * len(WIDTHS))):
        moves, height, width = case % 2 == 1, HEIGHTS[case // 2 % 2], WIDTHS[case // 4]
        part: Whole | Tail = Tail(e, rest) if case // 4 == 2 else Whole(e)
        spots = [const(i * size) for i in range(width)]
        w_at, v_at = ([e.at(x, e.times(row, i)) for i in range(height)] for x, row in ((w, w_row), (v, v_row)))
        for at, row in ((w_at, w_row), (v_at, v_row))[: 1 + moves]:  # of the next tile
            for one in at:
                for o in spots:
                    prefetch(e, e.at(one, e.times(row, height)), o)
        total = [[cgutils.alloca_once_value(b, b.fmul(own, part.load(at, o))) for o in spots] for at in w_at]
        if moves:
            for row, at in zip(total, v_at, strict=True):
                for slot, o in zip(row, spots, strict=True):
                    b.store(e.fma(moved, part.load(at, o), b.load(slot)), slot)
        p_slot, q_slot = cgutils.alloca_once_value(b, p), cgutils.alloca_once_value(b, q)
        with e.each(terms):
            p_now, q_now = b.load(p_slot), b.load(q_slot)
            x = [part.load(q_now, o) for o in spots]
            for i, row in enumerate(total):
                g = e.scalar(p_now, i * e.element_bytes, e.stream_type)
                for slot, one in zip(row, x, strict=True):
                    b.store(e.fma(g, one, b.load(slot)), slot)
            b.store(e.at(p_now, p_row), p_slot)
            b.store(e.at(q_now, q_row), q_slot)
        for row, at, other in zip(total, w_at, v_at, strict=True):
            for slot, o in zip(row, spots, strict=True):
                value = b.load(slot)
                if moves:
                    part.store(value, other, o)
                    value = b.fadd(part.load(at, o), value)
                part.store(value, at, o)


KERNELS = (add_update,)


@intrinsic
def _emit_library(context, like, lanes, out):
    def codegen(context, builder, signature, args):
        return emit_all(context, builder, signature, args, KERNELS)

    return types.void(like, lanes, out), codegen


@emitted
def _library(like, lanes, out):
    _emit_library(like, lanes, out)


@functools.cache
def tile(dtype: DTypeLike) -> int:
    """Address of `add_update`."""
    return addresses(_library, KERNELS, dtype, 1)["add_update"]


@kernel
def update(tile, item, w, w_row, v, v_row, factors, rows, columns, p, p_row, q, q_row, terms):
    """Update some rows of W, and of v where it is not 0; see `add_update`.  2 rows columns terms flops.

    All are addresses and bytes but the counts and ``item``, the bytes of a number.
    """
    vector = VECTOR_BYTES // item
    k = 0
    while k < columns:
        width = columns - k
        width = VECTORS * vector if width >= VECTORS * vector else vector if width >= vector else width
        i = 0
        while i < rows:
            m = ROWS if rows - i >= ROWS else 1
            ahead = 0 if v == 0 else v + i * v_row + k * item
            invoke(tile, w + i * w_row + k * item, w_row, ahead, v_row, factors, m, p + i * item, p_row,
                   q + k * item, q_row, terms, width // vector, width % vector)  # fmt: skip
            i += m
        k += width
