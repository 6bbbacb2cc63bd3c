"""Products over lanes: register tiles, and the interpreter of a program of them.

A product is covered by a few *regions* of equal register tiles, each region is a row of 20 integers, and one compiled
interpreter executes the rows: so one compilation serves every width and depth.  In a tile each entry of C has one
accumulator, the sum over k ascends, every step is one fused multiply-add: the bits do not depend on the tiling.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numpy.typing import NDArray

from fastdln.kernels.machine.emit import I64, Emit, const
from fastdln.kernels.products.rows import DERIVATIVE, NN, NT, TN, Product
from fastdln.kernels.products.update import SQUARES, read_rates, updated

# columns of a row; strides and offsets in bytes, S* choose the base an operand lies at
(KIND, NI, NJ, K, SA, OA, LA, SB, OB, LB, SC, OC, LC, USE_D, SD, OD, STEP_A, STEP_B, STEP_CI, STEP_CJ) = range(20)
COLUMNS = 20

CLOSED = 4  # in the table of bases, after the buffer of `gemm`
UPDATED, VELOCITY, LANE_RATES, FACTOR = range(4, 8)  # there, in updates
N_BASES = 8

REGISTERS = 16  # of AVX2; with more of them larger tiles were no faster
TILES = [(m, n) for m in range(1, 5) for n in range(1, 5) if m * n + min(m, n) + 1 <= REGISTERS]


def _cycles(m: int, n: int, k: int) -> float:
    """Model of an m x n tile: two multiply-adds, two loads, six micro-operations a cycle, and a fixed part."""
    return k * max(m * n / 2, (m + n) / 2, (m * n + m + n + 4) / 6) + 0.5 * m * n + 6


def _split(extent: int, size: int) -> list[tuple[int, int]] | None:
    """``extent`` as tiles of ``size`` and ``size - 1`` (7 = 4 + 3, never a ragged 1): [(size, how many)], or None."""
    count = -(-extent // size)
    shorter = count * size - extent
    if shorter > count or size > extent or (size == 1 and shorter):
        return None
    return [(s, c) for s, c in ((size, count - shorter), (size - 1, shorter)) if c]


@functools.cache
def regions(m: int, n: int, k: int) -> tuple[tuple[int, int, int, int, int, int], ...]:
    """Cover m x n with regions (first row, first column, tile rows, tile columns, tiles down, tiles across)."""
    best: tuple[tuple[int, int, int, int, int, int], ...] = ()
    best_cost = float("inf")
    for tile_rows, tile_columns in TILES:
        down, across = _split(m, tile_rows), _split(n, tile_columns)
        if down is None or across is None:
            continue
        found, cost, i = [], 0.0, 0
        for rows, count_i in down:
            j = 0
            for columns, count_j in across:
                found.append((i, j, rows, columns, count_i, count_j))
                cost += count_i * count_j * _cycles(rows, columns, k) + 12
                j += columns * count_j
            i += rows * count_i
        if cost < best_cost:
            best, best_cost = tuple(found), cost
    return best


def encode(products: tuple[Product, ...], entry_bytes: int) -> NDArray[np.int64]:
    """The rows that `interpret` executes."""
    rows = []
    for p in products:
        a_row, b_row, c_row = p.a.row * entry_bytes, p.b.row * entry_bytes, p.c.row * entry_bytes
        a_down = entry_bytes if p.form == TN else a_row  # from one row of C to the next
        b_across = b_row if p.form == NT else entry_bytes
        d = p.d or p.c
        for i, j, m, n, down, across in regions(p.m, p.n, p.k):
            row = [0] * COLUMNS
            row[KIND], row[NI], row[NJ], row[K] = p.form * len(TILES) + TILES.index((m, n)), down, across, p.k
            row[SA], row[OA], row[LA] = p.a.base, p.a.offset * entry_bytes + i * a_down, a_row
            row[SB], row[OB], row[LB] = p.b.base, p.b.offset * entry_bytes + j * b_across, b_row
            row[SC], row[OC], row[LC] = (
                p.c.base,
                p.c.offset * entry_bytes + i * c_row + j * entry_bytes,
                c_row,
            )
            row[SD], row[OD] = d.base, d.offset * entry_bytes + i * d.row * entry_bytes + j * entry_bytes
            row[USE_D] = int(p.d is not None)
            row[STEP_A], row[STEP_B] = m * a_down, n * b_across
            row[STEP_CI], row[STEP_CJ] = m * c_row, n * entry_bytes
            rows.append(row)
    return np.array(rows, np.int64).reshape(-1, COLUMNS)


class Closing(NamedTuple):
    """A state += factor C, as far after C as ``distance``, where it is ``wanted``."""

    wanted: ir.Value
    distance: ir.Value
    factor: ir.Value


class Update(NamedTuple):
    """What is written where C would be, where it is ``wanted``: the state that follows from another one by C.

    That one lies that many bytes after C, and so does the velocity.  The squares of what is written are summed up.
    """

    kind: int
    wanted: ir.Value | bool
    state: ir.Value
    velocity: ir.Value
    rates: ir.Value
    factor: ir.Value


class Lengths(NamedTuple):
    """What is summed over (a number, and the sum is written out, or a value), and the bytes between rows of A, B, C."""

    k: ir.Value | int
    a: ir.Value
    b: ir.Value
    c: ir.Value


def tile(
    e: Emit,
    form: int,
    m: int,
    n: int,
    lengths: Lengths,
    operands: tuple[ir.Value, ir.Value, ir.Value, ir.Value],
    given: ir.Value | bool,
    sums: bool = False,
    closing: Closing | None = None,
    update: Update | None = None,
) -> None:
    """C = op(A) op(B) for one tile; the operands point at its first entries of A, B, C, D.

    Where D is ``given``, C = D - A B (of the form NN only); with ``sums``, D + op(A) op(B).  C itself is not written
    where an update is.
    """
    a, b, c, d = operands
    one = const(e.entry_bytes)
    a_i, a_k = (one, lengths.a) if form == TN else (lengths.a, one)
    b_k, b_j = (one, lengths.b) if form == NT else (lengths.b, one)
    # where each entry of C and D lies after their first
    spots = [e.plus(e.times(lengths.c, i), e.entry_bytes * j) for i in range(m) for j in range(n)]

    def accumulate(values: list[ir.Value]) -> list[ir.Value]:
        xa, xb, *total = values
        get_a = lambda i: e.load(xa, e.times(a_i, i))  # noqa: E731
        get_b = lambda j: e.load(xb, e.times(b_j, j))  # noqa: E731
        # the shorter side is held in registers, the longer one streams past it
        if n <= m:
            held = [get_b(j) for j in range(n)]
            pairs = ((i, j, x, held[j]) for i in range(m) for x in [get_a(i)] for j in range(n))
        else:
            held = [get_a(i) for i in range(m)]
            pairs = ((i, j, held[i], x) for j in range(n) for x in [get_b(j)] for i in range(m))
        for i, j, x, y in pairs:
            total[i * n + j] = e.fma(x, y, total[i * n + j])
        return [e.at(xa, a_k), e.at(xb, b_k), *total]

    def load(_: list[ir.Value]) -> list[ir.Value]:
        return [e.load(d, o) for o in spots]

    def subtract(total: list[ir.Value]) -> list[ir.Value]:
        return [e.b.fsub(e.load(d, o), x) for o, x in zip(spots, total, strict=True)]

    def close(total: list[ir.Value]) -> list[ir.Value]:
        assert closing is not None
        factor, to = e.load(closing.factor), e.at(c, closing.distance)
        for o, x in zip(spots, total, strict=True):
            e.store(e.fma(x, factor, e.load(to, o)), to, o)
        return total

    def advance(total: list[ir.Value]) -> list[ir.Value]:
        assert update is not None
        numbers = read_rates(e, update.kind, update.rates, update.factor)
        state, velocity = e.at(c, update.state), e.at(c, update.velocity)
        sums = [e.zero(e.entry_type)] * 2
        out = []
        for i, (o, x) in enumerate(zip(spots, total, strict=True)):
            w, v = updated(e, numbers, x, e.load(state, o), e.load(velocity, o) if numbers.moves else None)
            if v is not None:
                e.store(v, velocity, o)
            sums[i % 2] = e.fma(w, w, sums[i % 2])
            out.append(w)
        squares = e.at(update.rates, SQUARES * e.entry_bytes)
        e.store(e.b.fadd(e.load(squares), e.b.fadd(*sums)), squares)
        return out

    total = [e.zero(e.entry_type)] * (m * n)
    if sums:
        total = e.where_so(given, total, load)
    _, _, *total = e.repeat(lengths.k, [a, b, *total], accumulate)
    if form == NN and not sums:
        total = e.where_so(given, total, subtract)
    if update is not None:
        total = e.where_so(update.wanted, total, advance)
    for o, x in zip(spots, total, strict=True):
        e.store(x, c, o)
    if closing is not None:
        e.where_so(closing.wanted, total, close)


def update_of(e: Emit, table: ir.Value, kind: int) -> Update:
    """What the table of the bases tells of an update."""
    derivative, state, velocity, rates, factor = (
        e.load_int(table, i) for i in (DERIVATIVE, UPDATED, VELOCITY, LANE_RATES, FACTOR)
    )
    return Update(
        kind, True, e.b.sub(state, derivative), e.b.sub(velocity, derivative), e.pointer(rates), e.pointer(factor)
    )


def interpret(
    e: Emit, bases: ir.Value, rows: ir.Value, count: ir.Value, sums: bool = False, updates: int | None = None
) -> None:
    """Execute ``count`` rows; ``bases`` holds addresses of state, derivative, scratch; D has rows as long as C's.

    ``sums``: products are added to D, in all forms, instead of subtracted from it.  Without, the table goes on with the
    address of a state, or 0, to which the derivative is added while it is in registers, and of its factor (`CLOSED`).

    ``updates``: a kind of them (`update`).  What is written for the derivative is the state that follows from another
    one by it, and the table goes on with that state, its velocity, the numbers of the lanes, and the layers' factor.
    """
    table = e.pointer(bases)
    plain = not sums and updates is None
    update = None if updates is None else update_of(e, table, updates)
    if plain:
        closed, factor = e.load_int(table, CLOSED), e.pointer(e.load_int(table, CLOSED + 1))
        distance = e.b.sub(closed, e.load_int(table, DERIVATIVE))
        some = e.b.icmp_signed("!=", closed, const(0))
    with e.each(count) as index:
        row = e.pointer(e.b.add(rows, e.b.mul(index, const(8 * COLUMNS))))
        field = [e.load_int(row, i) for i in range(COLUMNS)]

        def start(base: int, offset: int) -> ir.Value:
            at = e.b.load(e.at(table, e.b.shl(field[base], const(3))), align=8, typ=I64)
            return e.pointer(e.b.add(at, field[offset]))

        a, b, c, d = start(SA, OA), start(SB, OB), start(SC, OC), start(SD, OD)
        lengths = Lengths(field[K], field[LA], field[LB], field[LC])
        given = e.b.icmp_signed("!=", field[USE_D], const(0))
        closing = None
        if update is not None:
            update = update._replace(wanted=e.b.icmp_signed("==", field[SC], const(DERIVATIVE)))
        if plain:
            wanted = e.b.and_(some, e.b.icmp_signed("==", field[SC], const(DERIVATIVE)))
            closing = Closing(wanted, distance, factor)
        for kind in e.cases(field[KIND], range(3 * len(TILES))):
            form, (m, n) = kind // len(TILES), TILES[kind % len(TILES)]
            down = {x: cgutils.alloca_once_value(e.b, p) for x, p in (("a", a), ("c", c), ("d", d))}
            with e.each(field[NI]):
                first = (("b", b), ("c", e.b.load(down["c"])), ("d", e.b.load(down["d"])))
                across = {x: cgutils.alloca_once_value(e.b, p) for x, p in first}
                with e.each(field[NJ]):
                    xb, xc, xd = (e.b.load(across[x]) for x in "bcd")
                    tile(e, form, m, n, lengths, (e.b.load(down["a"]), xb, xc, xd), given, sums, closing, update)
                    for x, p, step in (("b", xb, STEP_B), ("c", xc, STEP_CJ), ("d", xd, STEP_CJ)):
                        e.b.store(e.at(p, field[step]), across[x])
                for x, step in (("a", STEP_A), ("c", STEP_CI), ("d", STEP_CI)):
                    e.b.store(e.at(e.b.load(down[x]), field[step]), down[x])
