"""Vector kernels over whole states: stage combinations, error sums, observables.

Addresses are int64; ``count`` and ranges are in entries or bytes as said.  States are padded with zeros to a whole
number of unrolled vectors, and stay zero there.  Sums run over entries in ascending order, one accumulator per lane.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir
from numba.core import cgutils

from fastdln.integrate.tableau import TERMS
from fastdln.kernels.machine.emit import I64, Emit, const
from fastdln.kernels.products import gemm, tiles

PAIR_TERMS = 9  # of a pass that writes two combinations
UNROLL = 4
TINY = 1e-300, 1e-37  # the least error scale, f64 and f32: 0/0 at an entry that is and stays zero must be 0


def _slopes(e: Emit, table: ir.Value, index: ir.Value, n: int) -> list[ir.Value]:
    """Pointers table[index[0..n-1]]."""
    slot = lambda j: e.at(table, e.b.mul(e.load_int(index, j), const(8)))  # noqa: E731
    return [e.pointer(e.b.load(slot(j), align=8, typ=I64)) for j in range(n)]


def execute(e: Emit, bases: ir.Value, rows: ir.Value, count: ir.Value) -> None:
    """Run a program of products: of many lanes, or of one network."""
    (tiles if e.lanes > 1 else gemm).interpret(e, bases, rows, count)


def combine(
    e: Emit,
    out: ir.Value,
    start: ir.Value,
    table: ir.Value,
    index: ir.Value,
    factors: ir.Value,
    terms: ir.Value,
    count: ir.Value,
) -> None:
    """out = start + sum_j factor_j k_j over ``count`` entries; k_j at table[index[j]], 1 <= terms <= TERMS."""
    out, start, table, index, factors = map(e.pointer, (out, start, table, index, factors))
    for n in e.cases(terms, range(1, TERMS + 1)):
        add(e, out, start, _slopes(e, table, index, n), factors, count)


def add(e: Emit, out: ir.Value, start: ir.Value, slopes: list[ir.Value], factors: ir.Value, count: ir.Value) -> None:
    """out = start + sum_j factor_j k_j over ``count`` entries, for pointers to all of them."""
    f = [e.per_lane(factors, j) for j in range(len(slopes))]
    with e.over(const(0), e.times(count, e.entry_bytes), UNROLL) as offsets:
        x = [e.load(start, o, e.stream_type) for o in offsets]
        for k, fj in zip(slopes, f, strict=True):
            x = [e.fma(e.load(k, o, e.stream_type), fj, v) for o, v in zip(offsets, x, strict=True)]
        for o, v in zip(offsets, x, strict=True):
            e.store(v, out, o)


def combine_pair(
    e: Emit,
    out: ir.Value,
    next_out: ir.Value,
    start: ir.Value,
    table: ir.Value,
    index: ir.Value,
    factors: ir.Value,
    terms: ir.Value,
    count: ir.Value,
) -> None:
    """Two combinations of the same slopes in one pass; the second one's factors follow the first's."""
    out, next_out, start, table, index, factors = map(e.pointer, (out, next_out, start, table, index, factors))
    for n in e.cases(terms, range(1, PAIR_TERMS + 1)):
        add_pair(e, (out, next_out), start, _slopes(e, table, index, n), factors, count)


def add_pair(
    e: Emit, out: tuple[ir.Value, ir.Value], start: ir.Value, slopes: list[ir.Value], factors: ir.Value, count: ir.Value
) -> None:
    """Two sums of the same slopes as in `add`; the second one's factors follow the first's."""
    n = len(slopes)
    f = [e.per_lane(factors, j) for j in range(2 * n)]
    with e.over(const(0), e.times(count, e.entry_bytes), UNROLL // 2) as offsets:
        x = [e.load(start, o, e.stream_type) for o in offsets]
        y = list(x)
        for j, slope in enumerate(slopes):
            k = [e.load(slope, o, e.stream_type) for o in offsets]
            x = [e.fma(q, f[j], v) for q, v in zip(k, x, strict=True)]
            y = [e.fma(q, f[n + j], v) for q, v in zip(k, y, strict=True)]
        for o, v, w in zip(offsets, x, y, strict=True):
            e.store(v, out[0], o)
            e.store(w, out[1], o)


def scale_factors(e: Emit, out: ir.Value, step: ir.Value, weights: ir.Value, count: ir.Value) -> None:
    """out_j = h weights_j: h one entry, weights ``count`` numbers."""
    out, weights = e.pointer(out), e.pointer(weights)
    h = e.load(e.pointer(step))
    with e.each(count) as j:
        w = e.scalar(weights, e.times(j, e.element_bytes), e.entry_type)
        e.store(e.b.fmul(h, w), out, e.times(j, e.entry_bytes))


def dense_factors(
    e: Emit,
    out: ir.Value,
    step: ir.Value,
    theta: ir.Value,
    polynomials: ir.Value,
    count: ir.Value,
    degree: ir.Value,
) -> None:
    """out_j = h sum_d polynomials[j, d] theta^(d+1): continuous output at t + theta h; one entry each."""
    out, polynomials = e.pointer(out), e.pointer(polynomials)
    at = e.load(e.pointer(theta))
    scale = e.b.fmul(e.load(e.pointer(step)), at)
    value = cgutils.alloca_once(e.b, e.entry_type)
    with e.each(count) as j:
        row = e.at(polynomials, e.times(e.b.mul(j, degree), e.entry_bytes))
        e.b.store(e.zero(e.entry_type), value)
        with e.each(degree) as i:
            power = e.b.sub(e.b.sub(degree, const(1)), i)
            c = e.load(row, e.times(power, e.entry_bytes))
            e.b.store(e.fma(e.b.load(value), at, c), value)
        e.store(e.b.fmul(scale, e.b.load(value)), out, e.times(j, e.entry_bytes))


def error_sum(
    e: Emit,
    out: ir.Value,
    states: ir.Value,
    table: ir.Value,
    index: ir.Value,
    factors: ir.Value,
    terms: ir.Value,
    first: ir.Value,
    last: ir.Value,
) -> None:
    """out = sum over entries of (sum_j factor_j k_j / (atol + rtol max(|y|, |z|)))^2, bytes [first, last) of a state.

    ``states`` points at the addresses of y and z and of two entries, rtol and atol.
    """
    out, table, index, factors = map(e.pointer, (out, table, index, factors))
    scale = _error_scale(e, states)
    total = cgutils.alloca_once_value(e.b, e.zero(e.stream_type))
    for n in e.cases(terms, range(1, TERMS + 1)):
        slopes = _slopes(e, table, index, n)
        f = [e.per_lane(factors, j) for j in range(n)]
        with e.over(first, last) as (o,):
            x = e.b.fmul(e.load(slopes[0], o, e.stream_type), f[0])
            for k, fj in zip(slopes[1:], f[1:], strict=True):
                x = e.fma(e.load(k, o, e.stream_type), fj, x)
            _add_square(e, total, e.b.fdiv(x, scale(o)))
    e.store(e.total(e.b.load(total)), out)


def error_sum_pair(
    e: Emit,
    out: ir.Value,
    next_out: ir.Value,
    states: ir.Value,
    table: ir.Value,
    index: ir.Value,
    factors: ir.Value,
    first: ir.Value,
    last: ir.Value,
) -> None:
    """The sums of `error_sum` for two estimates in one pass over TERMS slopes; the second one's factors follow."""
    out, next_out, table, index, factors = map(e.pointer, (out, next_out, table, index, factors))
    scale = _error_scale(e, states)
    one = ir.Constant(e.stream_type, [1.0] * e.stream)
    totals = [cgutils.alloca_once_value(e.b, e.zero(e.stream_type)) for _ in range(2)]
    slopes = _slopes(e, table, index, TERMS)
    f = [e.per_lane(factors, j) for j in range(2 * TERMS)]
    with e.over(first, last) as (o,):
        k = e.load(slopes[0], o, e.stream_type)
        sums = [e.b.fmul(k, f[0]), e.b.fmul(k, f[TERMS])]
        for j in range(1, TERMS):
            k = e.load(slopes[j], o, e.stream_type)
            sums = [e.fma(k, f[j], sums[0]), e.fma(k, f[TERMS + j], sums[1])]
        inverse = e.b.fdiv(one, scale(o))
        for x, total in zip(sums, totals, strict=True):
            _add_square(e, total, e.b.fmul(x, inverse))
    for total, place in zip(totals, (out, next_out), strict=True):
        e.store(e.total(e.b.load(total)), place)


def _add_square(e: Emit, total: ir.Value, x: ir.Value) -> None:
    """Add x^2 to the sum at a place."""
    e.b.store(e.fma(x, x, e.b.load(total)), total)


def _error_scale(e: Emit, states: ir.Value) -> Callable[[ir.Value], ir.Value]:
    """The tolerance of an entry, atol + rtol max(|y|, |z|), as a function of its offset."""
    y, z, tolerance = (e.pointer(e.load_int(e.pointer(states), i)) for i in range(3))
    rtol, atol = e.per_lane(tolerance, 0), e.per_lane(tolerance, 1)
    tiny = ir.Constant(e.stream_type, [TINY[e.bits == 32]] * e.stream)

    def scale(o: ir.Value) -> ir.Value:
        size = e.maximum(*(e.call("fabs", e.load(p, o, e.stream_type)) for p in (y, z)))
        return e.maximum(e.fma(size, rtol, atol), tiny)

    return scale


def error_sum_output(
    e: Emit,
    out: ir.Value,
    output: ir.Value,
    states: ir.Value,
    slopes: ir.Value,
    factors: ir.Value,
    output_factors: ir.Value,
    terms: ir.Value,
    first: ir.Value,
    last: ir.Value,
) -> None:
    """The sum of `error_sum`, and output = y + sum_j output_factor_j k_j, in one pass over the slopes of a table."""
    out, output, slopes, factors, output_factors = map(e.pointer, (out, output, slopes, factors, output_factors))
    scale = _error_scale(e, states)
    state = e.pointer(e.load_int(e.pointer(states)))
    total = cgutils.alloca_once_value(e.b, e.zero(e.stream_type))
    for n in e.cases(terms, range(1, TERMS + 1)):
        k = [e.pointer(e.load_int(slopes, j)) for j in range(n)]
        f, g = ([e.per_lane(p, j) for j in range(n)] for p in (factors, output_factors))
        with e.over(first, last) as (o,):
            slope = e.load(k[0], o, e.stream_type)
            x, y = e.b.fmul(slope, f[0]), e.fma(slope, g[0], e.load(state, o, e.stream_type))
            for kj, fj, gj in zip(k[1:], f[1:], g[1:], strict=True):
                slope = e.load(kj, o, e.stream_type)
                x, y = e.fma(slope, fj, x), e.fma(slope, gj, y)
            e.store(y, output, o)
            _add_square(e, total, e.b.fdiv(x, scale(o)))
    e.store(e.total(e.b.load(total)), out)


def square_sum(e: Emit, out: ir.Value, state: ir.Value, count: ir.Value) -> None:
    """out = sum of squares over ``count`` entries, a multiple of the padding."""
    out, state = e.pointer(out), e.pointer(state)
    total = cgutils.alloca_once_value(e.b, e.zero(e.stream_type))
    with e.over(const(0), e.times(count, e.entry_bytes)) as (o,):
        _add_square(e, total, e.load(state, o, e.stream_type))
    e.store(e.total(e.b.load(total)), out)


def square_distance(e: Emit, out: ir.Value, a: ir.Value, b: ir.Value, count: ir.Value) -> None:
    """out = sum of (a - b)^2 over ``count`` entries, a multiple of the padding."""
    out, a, b = e.pointer(out), e.pointer(a), e.pointer(b)
    total = cgutils.alloca_once_value(e.b, e.zero(e.stream_type))
    with e.over(const(0), e.times(count, e.entry_bytes)) as (o,):
        _add_square(e, total, e.b.fsub(e.load(a, o, e.stream_type), e.load(b, o, e.stream_type)))
    e.store(e.total(e.b.load(total)), out)


def column_dots(e: Emit, out: ir.Value, a: ir.Value, b: ir.Value, rows: ir.Value, columns: ir.Value) -> None:
    """out_j = sum_i a_ij b_ij for row-major matrices of entries."""
    out, a, b = e.pointer(out), e.pointer(a), e.pointer(b)
    total = cgutils.alloca_once(e.b, e.entry_type)
    with e.each(columns) as j:
        e.b.store(e.zero(e.entry_type), total)
        with e.each(rows) as i:
            o = e.times(e.b.add(e.b.mul(i, columns), j), e.entry_bytes)
            e.b.store(e.fma(e.load(a, o), e.load(b, o), e.b.load(total)), total)
        e.store(e.b.load(total), out, e.times(j, e.entry_bytes))


def rescale(e: Emit, slope: ir.Value, state: ir.Value, pair: ir.Value, first: ir.Value, last: ir.Value) -> None:
    """slope = rate slope - decay state on bytes [first, last); ``pair`` points at the numbers rate and decay."""
    slope, state, pair = e.pointer(slope), e.pointer(state), e.pointer(pair)
    rate, decay = e.scalar(pair, 0, e.stream_type), e.scalar(pair, e.element_bytes, e.stream_type)
    with e.over(first, last) as (o,):
        shrink = e.b.fmul(decay, e.load(state, o, e.stream_type))
        negated = e.b.fsub(e.zero(e.stream_type), shrink)
        e.store(e.fma(rate, e.load(slope, o, e.stream_type), negated), slope, o)


def blend(e: Emit, out: ir.Value, source: ir.Value, mask: ir.Value, count: ir.Value) -> None:
    """out = source in the lanes whose mask (one entry) is not zero, over ``count`` entries."""
    out, source = e.pointer(out), e.pointer(source)
    flags = e.per_lane(e.pointer(mask))
    chosen = e.b.fcmp_unordered("!=", flags, e.zero(e.stream_type))
    with e.over(const(0), e.times(count, e.entry_bytes)) as (o,):
        e.store(e.b.select(chosen, e.load(source, o, e.stream_type), e.load(out, o, e.stream_type)), out, o)


def put_lane(e: Emit, out: ir.Value, source: ir.Value, count: ir.Value) -> None:
    """Write ``count`` consecutive numbers into one lane of consecutive entries; ``out`` points at the first of them."""
    _strided_copy(e, out, source, count, e.entry_bytes, e.element_bytes)


def take_lane(e: Emit, out: ir.Value, source: ir.Value, count: ir.Value) -> None:
    """Write one lane of ``count`` consecutive entries to consecutive numbers."""
    _strided_copy(e, out, source, count, e.element_bytes, e.entry_bytes)


def _strided_copy(e: Emit, out: ir.Value, source: ir.Value, count: ir.Value, step_out: int, step_in: int) -> None:
    out, source = e.pointer(out), e.pointer(source)
    with e.each(count) as i:
        x = e.b.load(e.at(source, e.times(i, step_in)), align=e.element_bytes, typ=e.element)
        e.b.store(x, e.at(out, e.times(i, step_out)), align=e.element_bytes)
