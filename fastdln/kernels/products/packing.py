"""Matrices of networks that lie apart in memory into lanes, and back: small transpositions in registers.

A *transfer* is four integers: the address of a matrix of entries, that of the matrix of network 0 outside, how many
bytes those of two networks are apart, and how many numbers a matrix has.  Lane l takes network ``first + l``, or the
``last`` where that is beyond it.  Squares of lanes x lanes numbers are transposed at once; what is left over is done by
a last square that overlaps the one before, or number by number where there is no whole one.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir
from numba.core import cgutils

from fastdln.kernels.machine.emit import I32, I64, Emit, const

PLACE, OUTSIDE, STRIDE, COUNT = range(4)
COLUMNS = 4


def pack(e: Emit, transfer: ir.Value, first: ir.Value, last: ir.Value) -> None:
    """Write the numbers of each lane's network into consecutive entries."""
    place, count, runs = _transfer(e, transfer, first, last)

    def square(at: ir.Value) -> None:
        columns = [e.load(p, e.times(at, e.element_bytes)) for p in runs]
        for i, row in enumerate(transpose(e, columns)):
            e.store(row, place, e.times(e.b.add(at, const(i)), e.entry_bytes))

    def single(at: ir.Value) -> None:
        entry = ir.Constant(e.entry_type, ir.Undefined)
        for l, p in enumerate(runs):
            x = e.b.load(e.at(p, e.times(at, e.element_bytes)), align=e.element_bytes, typ=e.element)
            entry = e.b.insert_element(entry, x, ir.Constant(I32, l))
        e.store(entry, place, e.times(at, e.entry_bytes))

    _cover(e, count, square, single)


def unpack(e: Emit, transfer: ir.Value, first: ir.Value, last: ir.Value) -> None:
    """Write consecutive entries to the numbers of each lane's network."""
    place, count, runs = _transfer(e, transfer, first, last)

    def square(at: ir.Value) -> None:
        rows = [e.load(place, e.times(e.b.add(at, const(i)), e.entry_bytes)) for i in range(e.lanes)]
        for p, column in zip(runs, transpose(e, rows), strict=True):
            e.store(column, p, e.times(at, e.element_bytes))

    def single(at: ir.Value) -> None:
        entry = e.load(place, e.times(at, e.entry_bytes))
        for l, p in enumerate(runs):
            x = e.b.extract_element(entry, ir.Constant(I32, l))
            e.b.store(x, e.at(p, e.times(at, e.element_bytes)), align=e.element_bytes)

    _cover(e, count, square, single)


def _transfer(
    e: Emit, transfer: ir.Value, first: ir.Value, last: ir.Value
) -> tuple[ir.Value, ir.Value, list[ir.Value]]:
    """The matrix of entries, how many numbers it has, and where they lie for each lane."""
    place, outside, stride, count = (e.load_int(e.pointer(transfer), i) for i in range(COLUMNS))
    runs = []
    for l in range(e.lanes):
        network = e.b.add(first, const(l))
        inside = e.b.icmp_signed("<", network, last)
        runs.append(e.pointer(e.b.add(outside, e.b.mul(e.b.select(inside, network, last), stride))))
    return e.pointer(place), count, runs


def _cover(e: Emit, count: ir.Value, square: Callable[[ir.Value], None], single: Callable[[ir.Value], None]) -> None:
    """All numbers: by squares where there are as many as lanes, else one by one."""
    size = const(e.lanes)
    with e.b.if_else(e.b.icmp_signed("<", count, size)) as (few, many):
        with few, e.each(count) as i:
            single(i)
        with many:
            final = e.b.sub(count, size)
            with cgutils.for_range_slice(e.b, const(0), final, size, I64) as (at, _):
                e.keep_rolled()
                square(at)
            square(final)


def transpose(e: Emit, rows: list[ir.Value]) -> list[ir.Value]:
    """Transpose a square, one vector a row, by exchanging blocks of 1, 2, 4, ... entries between pairs of rows."""
    step, size = 1, len(rows)
    while step < size:
        low = [size + k - step if k & step else k for k in range(size)]
        high = [size + k if k & step else k + step for k in range(size)]
        picks = {pick: ir.Constant(ir.VectorType(I32, size), values) for pick, values in ((0, low), (step, high))}
        rows = [e.b.shuffle_vector(rows[i & ~step], rows[i | step], picks[i & step]) for i in range(size)]
        step *= 2
    return rows
