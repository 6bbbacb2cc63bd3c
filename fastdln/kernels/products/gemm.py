"""Products of one network: panels of columns and register tiles, and the interpreter of a program of them.

The counterpart of `tiles` for states of one lane: vectors run along the rows of C.  A panel of op(B), as wide as a
tile, is copied into a buffer, where it lies in one piece in the first-level cache; the rows of op(A) pass it in tiles
of a few rows.  As in `tiles` each entry of C has one accumulator, the sum over k ascends, every step is one fused
multiply-add: so the bits depend on neither the shape of the tiles nor the machine.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numpy.typing import NDArray

from fastdln.kernels.machine.emit import I64, Emit, const
from fastdln.kernels.machine.lanes import cpu_features
from fastdln.kernels.machine.masked import Tail, Whole
from fastdln.kernels.products.packing import transpose
from fastdln.kernels.products.rows import NT, TN, Product

# rows and vectors of a tile: what 32 registers of 64 bytes hold, or 16 of 32
ROWS, VECTORS = (8, 3) if "avx512f" in cpu_features() else (6, 1)
VECTOR_BYTES = 64

# columns of a row: a panel of C, and as many of its rows as equal tiles cover; strides and offsets in bytes
(KIND, COUNT, K, REST, SA, OA, DOWN_A, ALONG_A, SB, OB, LB, COPY, WIDTH, SC, OC, LC, SUB, SD, OD) = range(19)
COLUMNS = 19
SUBTRACTED, ADDED = 1, 2  # SUB: whether the product is taken from D, or added to it
IN_PLACE, KEPT, COPIED, TURNED = range(4)  # the panel: where B lies, in the buffer, to be copied there, or transposed
BUFFER = 3  # the base of the buffer, after state, derivative and scratch

FEW = 2  # tiles for which a panel is not worth its copy


def split(extent: int, most: int) -> list[int]:
    """``extent`` in as few parts as possible of at most ``most``, which differ by at most one, larger ones first."""
    count = -(-extent // most)
    return [(extent + count - 1 - i) // count for i in range(count)]


def encode(products: tuple[Product, ...], entry_bytes: int, sums: bool = False) -> NDArray[np.int64]:
    """The rows that `interpret` executes; an entry is one number.  With ``sums`` products are added to D."""
    lanes = VECTOR_BYTES // entry_bytes
    rows = []
    for p in products:
        d = p.d or p.c
        heights, panels = split(p.m, ROWS), split(-(-p.n // lanes), VECTORS)
        along, down = (p.a.row, 1) if p.form == TN else (1, p.a.row)
        column = 0
        for vectors in panels:
            width = min(vectors * lanes, p.n - column)
            if p.form == NT:
                copy, at = TURNED, column * p.b.row
            else:
                copy, at = IN_PLACE if len(heights) <= FEW else COPIED, column
            i = 0
            for height in sorted(set(heights), reverse=True):
                row = [0] * COLUMNS
                row[KIND], row[COUNT] = (height - 1) * VECTORS + vectors - 1, heights.count(height)
                row[K], row[REST] = p.k, width - (vectors - 1) * lanes
                row[SA], row[OA] = p.a.base, (p.a.offset + i * down) * entry_bytes
                row[DOWN_A], row[ALONG_A] = down * entry_bytes, along * entry_bytes
                row[SB], row[OB], row[LB] = p.b.base, (p.b.offset + at) * entry_bytes, p.b.row * entry_bytes
                row[COPY], row[WIDTH] = copy, width
                row[SC], row[OC] = p.c.base, (p.c.offset + i * p.c.row + column) * entry_bytes
                row[LC] = p.c.row * entry_bytes
                row[SUB] = 0 if p.d is None else ADDED if sums else SUBTRACTED
                row[SD], row[OD] = d.base, (d.offset + i * d.row + column) * entry_bytes
                rows.append(row)
                copy = IN_PLACE if copy == IN_PLACE else KEPT
                i += height * heights.count(height)
            column += width
    return np.array(rows, np.int64).reshape(-1, COLUMNS)


def buffer(products: tuple[Product, ...], entry_bytes: int) -> int:
    """Entries of the buffer."""
    lanes = VECTOR_BYTES // entry_bytes
    return max((-(-p.k // lanes) * lanes for p in products), default=0) * VECTORS * lanes


def _copy(e: Emit, field: list[ir.Value], source: ir.Value, buffer: ir.Value, vectors: int) -> None:
    """Copy K rows of a panel; what lies beyond its columns is copied too and counts for nothing."""
    at, out = cgutils.alloca_once_value(e.b, source), cgutils.alloca_once_value(e.b, buffer)
    with e.each(field[K]):
        p, q = e.b.load(at), e.b.load(out)
        for v in range(vectors):
            e.store(e.load(p, v * VECTOR_BYTES, e.stream_type), q, v * VECTOR_BYTES)
        e.b.store(e.at(p, field[LB]), at)
        e.b.store(e.at(q, vectors * VECTOR_BYTES), out)


def _turn(e: Emit, field: list[ir.Value], source: ir.Value, buffer: ir.Value, vectors: int) -> None:
    """Copy the transpose of WIDTH rows of a panel, by squares; K is rounded up to whole squares."""
    last = e.b.sub(field[WIDTH], const(1))
    for v in range(vectors):
        starts = []
        for i in range(v * e.stream, (v + 1) * e.stream):
            inside = e.b.icmp_signed("<", const(i), last)
            starts.append(e.at(source, e.b.mul(e.b.select(inside, const(i), last), field[LB])))
        out = cgutils.alloca_once_value(e.b, e.at(buffer, v * VECTOR_BYTES))
        with e.over(const(0), e.times(field[K], e.element_bytes)) as (o,):
            q = e.b.load(out)
            for i, row in enumerate(transpose(e, [e.load(p, o, e.stream_type) for p in starts])):
                e.store(row, q, i * vectors * VECTOR_BYTES)
            e.b.store(e.at(q, e.stream * vectors * VECTOR_BYTES), out)


def _tile(
    e: Emit, height: int, vectors: int, field: list[ir.Value], a: ir.Value, b: ir.Value, along_b: ir.Value,
    c: ir.Value, d: ir.Value,
) -> None:  # fmt: skip
    """C = op(A) op(B), or with D: D - op(A) op(B), D + op(A) op(B), for one tile; a, b, c, d: its first entries."""
    zero = e.zero(e.stream_type)
    total = [[cgutils.alloca_once_value(e.b, zero) for _ in range(vectors)] for _ in range(height)]
    downs = [e.times(field[DOWN_A], i) for i in range(height)]
    at_a, at_b = cgutils.alloca_once_value(e.b, a), cgutils.alloca_once_value(e.b, b)
    with e.each(field[K]):
        xa, xb = e.b.load(at_a), e.b.load(at_b)
        held = [e.load(xb, v * VECTOR_BYTES, e.stream_type) for v in range(vectors)]
        for row, o in zip(total, downs, strict=True):
            x = e.scalar(xa, o, e.stream_type)
            for place, y in zip(row, held, strict=True):
                e.b.store(e.fma(x, y, e.b.load(place)), place)
        e.b.store(e.at(xa, field[ALONG_A]), at_a)
        e.b.store(e.at(xb, along_b), at_b)

    def spots(last: Whole | Tail) -> Iterator[tuple[ir.Value, ir.Value, Whole | Tail]]:
        for i, row in enumerate(total):
            for v, place in enumerate(row):
                o = e.b.add(e.times(field[LC], i), const(v * VECTOR_BYTES))
                yield o, place, last if v == vectors - 1 else Whole(e)

    with e.b.if_then(e.b.icmp_signed("!=", field[SUB], const(0))):
        added = e.b.icmp_signed("==", field[SUB], const(ADDED))
        for o, place, part in spots(Whole(e)):
            given, x = part.load(d, o), e.b.load(place)
            e.b.store(e.b.select(added, e.b.fadd(given, x), e.b.fsub(given, x)), place)
    with e.b.if_else(e.b.icmp_signed("==", field[REST], const(e.stream))) as branches:
        for branch, kind in zip(branches, (Whole(e), None), strict=True):  # stores of a part of a vector may be slow
            with branch:
                for o, place, part in spots(kind or Tail(e, field[REST])):
                    part.store(e.b.load(place), c, o)


def interpret(e: Emit, bases: ir.Value, rows: ir.Value, count: ir.Value) -> None:
    """Execute ``count`` rows; ``bases`` holds the addresses of state, derivative, scratch, buffer.  D has rows as long
    as C's, and may be C itself."""
    table = e.pointer(bases)
    buffer = e.pointer(e.load_int(table, BUFFER))
    with e.each(count) as index:
        row = e.pointer(e.b.add(rows, e.b.mul(index, const(8 * COLUMNS))))
        field = [e.load_int(row, i) for i in range(COLUMNS)]

        def start(base: int, offset: int) -> ir.Value:
            at = e.b.load(e.at(table, e.b.shl(field[base], const(3))), align=8, typ=I64)
            return e.pointer(e.b.add(at, field[offset]))

        a, b, c, d = start(SA, OA), start(SB, OB), start(SC, OC), start(SD, OD)
        in_place = e.b.icmp_signed("==", field[COPY], const(IN_PLACE))
        panel = e.b.select(in_place, b, buffer)
        for vectors in e.cases(e.b.srem(field[KIND], const(VECTORS)), range(VECTORS)):
            for copy in e.cases(field[COPY], range(COPIED, TURNED + 1)):
                (_copy if copy == COPIED else _turn)(e, field, b, buffer, vectors + 1)
        for kind in e.cases(field[KIND], range(ROWS * VECTORS)):
            height, vectors = kind // VECTORS + 1, kind % VECTORS + 1
            along_b = e.b.select(in_place, field[LB], const(vectors * VECTOR_BYTES))
            down = {x: cgutils.alloca_once_value(e.b, p) for x, p in (("a", a), ("c", c), ("d", d))}
            with e.each(field[COUNT]):
                xa, xc, xd = (e.b.load(down[x]) for x in "acd")
                _tile(e, height, vectors, field, xa, panel, along_b, xc, xd)
                for x, p, step in (("a", xa, DOWN_A), ("c", xc, LC), ("d", xd, LC)):
                    e.b.store(e.at(p, e.times(field[step], height)), down[x])
