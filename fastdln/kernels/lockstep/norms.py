"""The norm of a state, for gradients, speeds and power iterations, where squares may underflow or overflow.

Other sums of squares are of numbers relative to something: errors to their tolerance, a distance to the loss.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir
from numba.core import cgutils

from fastdln.kernels.machine.emit import I32, Emit, Vec, const

# Sums of squares outside these limits, by bits of a number, may have lost entries to underflow, or overflow: they are
# taken anew of entries times 2^shift, or 2^-shift.
FAITHFUL = {64: (2.0**-900, 2.0**1000), 32: (2.0**-80, 2.0**120)}
SHIFT = {64: 600, 32: 100}
SUMS = 4  # that do not wait for each other; the padding is for as many vectors at once


def norm(e: Emit, out: ir.Value, state: ir.Value, count: ir.Value) -> None:
    """out = root of the sum of squares over ``count`` entries, also where squares underflow or overflow.

    Lanes are scaled one by one, by powers of two: what needs none keeps its bits.
    """
    state = e.pointer(state)
    _root(e, out, lambda o: e.load(state, o, e.stream_type), count, 1)


def quick_norm(e: Emit, out: ir.Value, state: ir.Value, count: ir.Value) -> None:
    """The same in SUMS sums, of every SUMS-th vector each, for ``count`` entries that are a multiple of the padding."""
    state = e.pointer(state)
    _root(e, out, lambda o: e.load(state, o, e.stream_type), count, SUMS)


def distance(e: Emit, out: ir.Value, a: ir.Value, b: ir.Value, count: ir.Value) -> None:
    """out = the `quick_norm` of a - b."""
    a, b = e.pointer(a), e.pointer(b)
    _root(e, out, lambda o: e.b.fsub(e.load(a, o, e.stream_type), e.load(b, o, e.stream_type)), count, SUMS)


def _root(e: Emit, out: ir.Value, entry: Callable[[ir.Value], ir.Value], count: ir.Value, sums: int) -> None:
    """The norm of the entries that a function tells by their offsets, in a number of sums."""
    out = e.pointer(out)
    totals = [cgutils.alloca_once(e.b, e.stream_type) for _ in range(sums)]

    def squares(factor: ir.Value | None) -> ir.Value:
        for total in totals:
            e.b.store(e.zero(e.stream_type), total)
        with e.over(const(0), e.times(count, e.entry_bytes), sums) as offsets:
            for o, total in zip(offsets, totals, strict=True):
                x = entry(o)
                x = x if factor is None else e.b.fmul(x, factor)
                e.b.store(e.fma(x, x, e.b.load(total)), total)
        parts = [e.b.load(total) for total in totals]
        while len(parts) > 1:
            parts = [e.b.fadd(x, y) for x, y in zip(parts[::2], parts[1::2], strict=True)]
        return e.total(parts[0])

    every = lambda x: ir.Constant(e.entry_type, [x] * e.lanes)  # noqa: E731
    (least, most), shift = FAITHFUL[e.bits], SHIFT[e.bits]
    plain = squares(None)
    small, large = e.b.fcmp_ordered("<", plain, every(least)), e.b.fcmp_ordered(">", plain, every(most))

    def choose(up: float, down: float) -> ir.Value:
        return e.b.select(small, every(up), e.b.select(large, every(down), every(1.0)))

    def scaled(_: list[ir.Value]) -> list[ir.Value]:
        factor = choose(2.0**shift, 2.0**-shift)
        if e.lanes == 1:
            first = ir.Constant(ir.VectorType(I32, e.stream), [0] * e.stream)
            factor = e.b.shuffle_vector(factor, ir.Constant(e.entry_type, ir.Undefined), first)
        return [e.b.fmul(e.call("sqrt", squares(factor)), choose(2.0**-shift, 2.0**shift))]

    anew = e.b.icmp_signed("!=", e.bitmask(Vec(e, e.b.or_(small, large))), const(0))
    (root,) = e.where_so(anew, [e.call("sqrt", plain)], scaled)
    e.store(root, out)
