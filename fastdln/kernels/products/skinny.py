"""A large matrix times thin ones: it is read once, whatever is asked of it.

Thin matrices are held transposed, each of their columns contiguous ("row" below is the distance in bytes from one to
the next).  The large matrix W is row-major and passes through the registers in tiles of a few rows; of a block of
tiles both products, W F and W' G, are taken while it lies in a cache near by, and meanwhile the next block is fetched.

Vectors run along the rows of W.  A sum over k has as many partial sums as a vector has numbers, each ascending in k; a
sum over i ascends within the rows that one call is given.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import DTypeLike

from fastdln.kernels.machine.compile import emitted, kernel, part
from fastdln.kernels.machine.emit import I32, PTR, VOID, Emit, const
from fastdln.kernels.machine.lanes import cpu_features
from fastdln.kernels.machine.library import addresses, emit_all, invoke
from fastdln.kernels.machine.masked import Tail, Whole

# What the registers hold: 32 of 64 bytes each, or 16 of 32.  No sum depends on it.
AVX512 = "avx512f" in cpu_features()
TALL = (8, 8, 8, 6, 4) if AVX512 else (4, 3, 2)  # rows of a tile, for 1, 2, ... columns of a thin matrix at once
FACTORS = len(TALL)
ROWS, VECTORS = (4, 4) if AVX512 else (2, 3)  # of a tile that is updated
BLOCK = 24  # rows that are worked on before the next columns
PANEL = 768  # vectors of all columns of a block, F and Z; the fewer the shorter are the runs in which W is read
HEIGHTS = (ROWS, 1)
VECTOR_BYTES = 64


def _rows(e: Emit, base: ir.Value, row: ir.Value, count: int) -> list[ir.Value]:
    return [e.at(base, e.times(row, i)) for i in range(count)]


def prefetch(e: Emit, p: ir.Value, offset: ir.Value) -> None:
    function = ir.FunctionType(VOID, [PTR, I32, I32, I32])
    prefetch = cgutils.get_or_insert_function(e.module, function, "llvm.prefetch.p0")
    e.b.call(prefetch, [e.at(p, offset), *(ir.Constant(I32, x) for x in (0, 2, 1))])


def _fetch(e: Emit, rows: list[ir.Value], offset: ir.Value, ahead: ir.Value, slowly: ir.Value) -> None:
    """Fetch what lies ``ahead`` bytes after the beginning of rows, 2^slowly times as slowly as ``offset`` goes on."""
    line = e.b.and_(e.b.lshr(offset, slowly), const(-VECTOR_BYTES))
    for p in rows:
        prefetch(e, p, e.b.add(line, ahead))


def _shapes(e: Emit, m: ir.Value, n: ir.Value) -> Iterator[tuple[int, int]]:
    """Tiles of TALL[n - 1] rows or of one, for n <= FACTORS columns; the one that is asked for is taken."""
    b = e.b
    shape = b.add(b.select(b.icmp_signed("==", m, const(1)), const(FACTORS), const(0)), b.sub(n, const(1)))
    for case in e.cases(shape, range(2 * FACTORS)):
        width = case % FACTORS
        yield TALL[width] if case < FACTORS else 1, width + 1


def forward(e: Emit, w: ir.Value, w_row: ir.Value, m: ir.Value, f: ir.Value, f_row: ir.Value, n: ir.Value,
            sums: ir.Value, sums_row: ir.Value, columns: ir.Value, fresh: ir.Value,
            ahead: ir.Value, slowly: ir.Value) -> None:  # fmt: skip
    """sums[i, c] += the partial sums of W[i, k] F[k, c] over ``columns`` k, for m rows and n columns of `_shapes`.

    ``sums`` holds a vector for each c, and ``sums_row`` bytes further those of the next row; where ``fresh`` is not 0
    they count as zero.  W is fetched ``ahead``, see `_fetch`.
    """
    b = e.b
    w, f, sums = map(e.pointer, (w, f, sums))
    size = e.stream * e.element_bytes
    whole = b.and_(e.times(columns, e.element_bytes), const(-size))
    rest = b.and_(columns, const(e.stream - 1))
    for height, width in _shapes(e, m, n):
        w_at, f_at, s_at = _rows(e, w, w_row, height), _rows(e, f, f_row, width), _rows(e, sums, sums_row, height)
        spot = lambda c: const(c * size)  # noqa: E731
        old = [[e.load(s, spot(c), e.stream_type) for c in range(width)] for s in s_at]
        first = b.icmp_signed("!=", fresh, const(0))
        total = [[cgutils.alloca_once_value(b, b.select(first, e.zero(e.stream_type), x)) for x in row] for row in old]

        def add(part: Whole | Tail, o: ir.Value, w_at=w_at, f_at=f_at, total=total) -> None:
            x = [part.load(p, o) for p in f_at]
            for row, p in zip(total, w_at, strict=True):
                v = part.load(p, o)
                for slot, xc in zip(row, x, strict=True):
                    e.b.store(e.fma(v, xc, e.b.load(slot)), slot)

        with e.over(const(0), whole) as (o,):
            _fetch(e, w_at, o, ahead, slowly)
            add(Whole(e), o)
        with b.if_then(b.icmp_signed(">", rest, const(0))):
            add(Tail(e, rest), whole)
        for s, row in zip(s_at, total, strict=True):
            for c, slot in enumerate(row):
                e.store(b.load(slot), s, spot(c))


def backward(e: Emit, w: ir.Value, w_row: ir.Value, m: ir.Value, g: ir.Value, g_row: ir.Value, n: ir.Value,
             z: ir.Value, z_row: ir.Value, columns: ir.Value, ahead: ir.Value, slowly: ir.Value) -> None:  # fmt: skip
    """Z[k, c] += sum over i of W[i, k] G[i, c], for ``columns`` k, m rows i and n columns c of `_shapes`.

    W is fetched ``ahead``, see `_fetch`.
    """
    b = e.b
    w, g, z = map(e.pointer, (w, g, z))
    size = e.stream * e.element_bytes
    whole = b.and_(e.times(columns, e.element_bytes), const(-size))
    rest = b.and_(columns, const(e.stream - 1))
    for height, width in _shapes(e, m, n):
        w_at, g_at, z_at = _rows(e, w, w_row, height), _rows(e, g, g_row, width), _rows(e, z, z_row, width)
        factor = [[e.scalar(p, i * e.element_bytes, e.stream_type) for p in g_at] for i in range(height)]

        def add(part: Whole | Tail, o: ir.Value, w_at=w_at, z_at=z_at, factor=factor) -> None:
            v = [part.load(p, o) for p in w_at]
            for c, p in enumerate(z_at):
                x = part.load(p, o)
                for vi, row in zip(v, factor, strict=True):
                    x = e.fma(vi, row[c], x)
                part.store(x, p, o)

        with e.over(const(0), whole) as (o,):
            _fetch(e, w_at, o, ahead, slowly)
            add(Whole(e), o)
        with b.if_then(b.icmp_signed(">", rest, const(0))):
            add(Tail(e, rest), whole)


def add_product(e: Emit, out: ir.Value, out_row: ir.Value, w: ir.Value, w_row: ir.Value, scale: ir.Value, m: ir.Value,
               p: ir.Value, p_row: ir.Value, q: ir.Value, q_row: ir.Value, terms: ir.Value, vectors: ir.Value,
               rest: ir.Value, tolerance: ir.Value, sums: ir.Value) -> None:  # fmt: skip
    """out = scale W + P Q' on m = ROWS or 1 rows and ``vectors`` = VECTORS or 1 vectors; with rest > 0 a single vector
    of which ``rest`` numbers count.

    ``scale`` and ``tolerance`` (rtol, atol) point at numbers; ``sums`` at two vectors, to which out^2 and
    1/(atol + rtol |out|)^2 are added.
    """
    b = e.b
    out, w, scale, p, q, tolerance, sums = map(e.pointer, (out, w, scale, p, q, tolerance, sums))
    size = e.stream * e.element_bytes
    factor = e.scalar(scale, 0, e.stream_type)
    rtol, atol = (e.scalar(tolerance, i * e.element_bytes, e.stream_type) for i in range(2))
    kind = b.select(b.icmp_signed("==", vectors, const(VECTORS)), const(0), const(1))
    kind = b.select(b.icmp_signed(">", rest, const(0)), const(2), kind)
    shape = b.add(e.times(kind, 2), b.select(b.icmp_signed("==", m, const(1)), const(1), const(0)))
    for case in e.cases(shape, range(6)):
        height, width = HEIGHTS[case % 2], VECTORS if case < 2 else 1
        part: Whole | Tail = Tail(e, rest) if case >= 4 else Whole(e)
        spots = [const(v * size) for v in range(width)]
        start = [[part.load(row, o) for o in spots] for row in _rows(e, w, w_row, height)]
        total = [[cgutils.alloca_once_value(b, b.fmul(factor, x)) for x in row] for row in start]
        for row in _rows(e, e.at(w, e.times(w_row, height)), w_row, height):  # of the next tile
            for o in spots:
                prefetch(e, row, o)
        p_slot, q_slot = cgutils.alloca_once_value(b, p), cgutils.alloca_once_value(b, q)
        with e.each(terms):
            p_at, q_at = b.load(p_slot), b.load(q_slot)
            x = [part.load(q_at, o) for o in spots]
            for i, row in enumerate(total):
                g = e.scalar(p_at, i * e.element_bytes, e.stream_type)
                for slot, xv in zip(row, x, strict=True):
                    b.store(e.fma(g, xv, b.load(slot)), slot)
            b.store(e.at(p_at, p_row), p_slot)
            b.store(e.at(q_at, q_row), q_slot)
        squares, spread = e.load(sums, const(0), e.stream_type), e.load(sums, const(size), e.stream_type)
        for at, row in zip(_rows(e, out, out_row, height), total, strict=True):
            for o, slot in zip(spots, row, strict=True):
                x = b.load(slot)
                part.store(x, at, o)
                squares = e.fma(x, x, squares)
                one = ir.Constant(e.stream_type, [1.0] * e.stream)
                inverse = part.only(b.fdiv(one, e.fma(e.call("fabs", x), rtol, atol)))
                spread = e.fma(inverse, inverse, spread)
        e.store(squares, sums, const(0))
        e.store(spread, sums, const(size))


def collect(e: Emit, sums: ir.Value, y: ir.Value, y_row: ir.Value, rows: ir.Value, columns: ir.Value) -> None:
    """Y[i, c] = the sum of the partial sums, vectors in the order of `forward`; Y transposed."""
    sums, y = e.pointer(sums), e.pointer(y)
    with e.each(rows) as i, e.each(columns) as c:
        at = e.times(e.b.add(e.b.mul(i, columns), c), VECTOR_BYTES)
        out = e.b.add(e.b.mul(c, y_row), e.times(i, e.element_bytes))
        e.store(e.total(e.load(sums, at, e.stream_type)), y, out)


KERNELS = (forward, backward, add_product, collect)


@intrinsic
def _emit_library(context, like, lanes, out):
    def codegen(context, builder, signature, args):
        return emit_all(context, builder, signature, args, KERNELS)

    return types.void(like, lanes, out), codegen


@emitted
def _library(like, lanes, out):
    _emit_library(like, lanes, out)


@functools.cache
def library(dtype: DTypeLike) -> tuple[int, ...]:
    """Addresses of the kernels of this module."""
    return tuple(addresses(_library, KERNELS, dtype, 1).values())


@part
def share(count):
    """How many of ``count`` columns to take at once: equal parts of at most FACTORS."""
    parts = (count + FACTORS - 1) // FACTORS
    return (count + parts - 1) // parts if count > 0 else 1


@kernel
def multiply(tiles, item, w, w_row, rows, columns, f, f_row, f_count, sums, y, y_row, g, g_row, g_count, z, z_row):
    """Y = W F and Z += W' G for some rows of W; F and Z have its columns, G and Y these rows.

    ``sums`` is scratch: a vector for each row and column of F.  All are addresses and bytes but the
    counts and ``item``, the bytes of a number.  2 rows columns (f_count + g_count) flops.

    W goes by in blocks.  Each call of a tile fetches a part of the block that comes next: all at once would be more
    than the processor waits for, and the rest would be forgotten.
    """
    f_chunk, g_chunk = share(f_count), share(g_count)
    f_calls = (f_count + f_chunk - 1) // f_chunk
    calls = f_calls + (g_count + g_chunk - 1) // g_chunk
    slowly = 0 if calls == 1 else 1 if calls <= 3 else 2
    panel = max(PANEL // (f_count + g_count + 4), 4) * VECTOR_BYTES // item
    for block in range(0, rows, BLOCK):
        end = min(rows, block + BLOCK)
        for k in range(0, columns, panel):
            width = min(panel, columns - k)
            if k + panel < columns:
                following = panel * item
            else:
                following = BLOCK * w_row - k * item if end + BLOCK <= rows else 0
            for call in range(calls):
                turned = call >= f_calls
                c = (call - f_calls) * g_chunk if turned else call * f_chunk
                n = min(g_chunk, g_count - c) if turned else min(f_chunk, f_count - c)
                begun = min(call, (1 << slowly) - 1) * width * item >> slowly
                ahead = following + begun // VECTOR_BYTES * VECTOR_BYTES
                i, tall = block, TALL[n - 1]
                while i < end:
                    m = tall if end - i >= tall else 1
                    tile = w + i * w_row + k * item
                    if turned:
                        invoke(tiles[1], tile, w_row, m, g + c * g_row + i * item, g_row, n,
                               z + c * z_row + k * item, z_row, width, ahead, slowly)  # fmt: skip
                    else:
                        invoke(tiles[0], tile, w_row, m, f + c * f_row + k * item, f_row, n,
                               sums + (i * f_count + c) * VECTOR_BYTES, f_count * VECTOR_BYTES, width,
                               1 if k == 0 else 0, ahead, slowly)  # fmt: skip
                    i += m
    invoke(tiles[3], sums, y, y_row, rows, f_count)


@kernel
def update(tiles, item, out, out_row, w, w_row, scale, rows, columns, p, p_row, q, q_row, terms, tolerance, sums):
    """out = scale W + P Q' for some rows of W, in place or not; see `add_product`.  2 rows columns terms flops."""
    vector = VECTOR_BYTES // item
    k = 0
    while k < columns:
        width = columns - k
        width = VECTORS * vector if width >= VECTORS * vector else vector if width >= vector else width
        i = 0
        while i < rows:
            m = ROWS if rows - i >= ROWS else 1
            invoke(tiles[2], out + i * out_row + k * item, out_row, w + i * w_row + k * item, w_row, scale, m,
                   p + i * item, p_row, q + k * item, q_row, terms, width // vector, width % vector, tolerance,
                   sums)  # fmt: skip
            i += m
        k += width
