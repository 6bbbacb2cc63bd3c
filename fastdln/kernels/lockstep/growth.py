"""How fast what no error norm sees may grow: its rate, as products with vectors and one vector kernel.

Small entries V of the weights obey V' = -H V.  Beside the part of the Hessian that only damps them it has one of rate
at most ||T||_2, T_ij = ||W_{<j} R' W_{>i}|| ||W_{i-1} ... W_{j+1}|| for i > j, symmetric, zero on the diagonal.  A mode
that is hidden behind learned ones grows by it, at any size, so steps must be such that the method follows that growth.
T has no trace, so ||T||_2^2 <= (1 - 1/h) ||T||_F^2, with equality where all layers take part alike.

Each norm is followed by a power iteration, v <- M'Mv/||M'Mv||, one round every `EVERY` attempts of a step; a general
vector is added, so that no direction is lost.  Until the vectors have settled the rate is taken to be larger, after n
rounds by 1 + (sqrt(d) - 1)/n^2: one round from a general vector of d entries falls short of the norm by sqrt(d) or so.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numpy.typing import NDArray

from fastdln.kernels.lockstep.control import EXCESS2, LONGEST, LOOKS, PARAMETERS
from fastdln.kernels.machine.emit import Emit, Vec, const
from fastdln.kernels.products.rows import NN, NT, SCRATCH, STATE, Operand, Product, Program

EVERY = 4  # attempts of a step between looks
# rounds at a start: one can meet a vector that is nearly at right angles to what grows, and they are dear where a start
# in one lane costs the time of all
FIRST_ROUNDS, FIRST_ROUNDS_ALONE = 2, 6
TRACE = 1e-3  # of a general vector, that stays in the others

# columns of a row of the table: addresses of v and M'Mv, entries, offset of the general vector in bytes, whether the
# norm is the first of a pair, whether it is the last
V, IMAGE, SIZE, GENERAL, FIRST, LAST = range(6)


class Growth(NamedTuple):
    """The products after those of the right-hand side; offsets in entries of the scratch."""

    products: tuple[Product, ...]
    norms: tuple[tuple[int, int, int, bool, bool], ...]  # offsets of v and M'Mv, entries; first and last of a pair
    residual: int  # where R lies
    vectors: int  # where all the vectors v lie, one after the other
    n_vectors: int  # entries of all vectors
    n_scratch: int


class _Plan:
    """Vectors in scratch, and products of matrices with them: a vector is a row or a column, as it is looked at."""

    def __init__(self, program: Program, widths: tuple[int, ...], unit: int) -> None:
        self.d, self.h, self.unit = widths, len(widths) - 1, unit
        self.program, self.top = program, program.n_scratch
        self.products: list[Product] = []

    def stack(self, count: int, size: int) -> list[Operand]:
        """Vectors at equal distances, the rows of a matrix."""
        stride, at = -(-size // self.unit) * self.unit, self.top
        self.top += count * stride
        return [Operand(SCRATCH, at + k * stride, 1) for k in range(count)]

    def new(self, size: int) -> Operand:
        return self.stack(1, size)[0]

    def times(self, matrix: Operand, rows: int, columns: int, x: Operand, out: Operand | None = None) -> Operand:
        """A x."""
        y = out or self.new(rows)
        self.products.append(Product(NN, y, matrix, x, rows, 1, columns))
        return y

    def transposed(self, matrix: Operand, rows: int, columns: int, x: Operand, out: Operand | None = None) -> Operand:
        """A'x, as a product of rows."""
        y = out or self.new(columns)
        self.products.append(Product(NN, y._replace(row=columns), x._replace(row=rows), matrix, 1, columns, rows))
        return y

    def layer(self, i: int) -> Operand:
        return Operand(STATE, self.program.layers[i - 1], self.d[i - 1])

    def along(self, first: int, last: int, x: Operand, out: Operand | None = None) -> Operand:
        """W_last ... W_first x."""
        for i in range(first, last + 1):
            x = self.times(self.layer(i), self.d[i], self.d[i - 1], x, out if i == last else None)
        return x

    def back(self, first: int, last: int, x: Operand, out: Operand | None = None) -> Operand:
        """(W_last ... W_first)' x."""
        for i in range(last, first - 1, -1):
            x = self.transposed(self.layer(i), self.d[i], self.d[i - 1], x, out if i == first else None)
        return x

    def up(self, i: int, x: Operand, out: Operand) -> None:
        """W_{>i} x."""
        k = self._known_from(i)
        x = self.along(i + 1, k, x, out if k == self.h else None)
        if k < self.h:
            self.times(self.program.known.suffix[k], self.d[-1], self.d[k], x, out)

    def down(self, i: int, x: Operand, out: Operand) -> None:
        """W_{>i}' x."""
        k = self._known_from(i)
        if k < self.h:
            x = self.transposed(self.program.known.suffix[k], self.d[-1], self.d[k], x, out if k == i else None)
        self.back(i + 1, k, x, out)

    def _known_from(self, i: int) -> int:
        """The first layer from i on above which the product of all others is known, or the last one."""
        return next((k for k in range(i, self.h) if k in self.program.known.suffix), self.h)

    def residual(self) -> Operand:
        """R, formed where the right-hand side did without."""
        known, rows, columns = self.program.known, self.d[-1], self.d[0]
        if known.residual is not None:
            return known.residual
        assert known.parts is not None
        upper, lower, inner = known.parts
        at = self.new(rows * columns)._replace(row=columns)
        self.products.append(Product(NN, at, upper, lower, rows, columns, inner, known.cross))
        return at


def growth(program: Program, widths: tuple[int, ...], unit: int = 1) -> Growth:
    """Plan the power iterations of a network whose right-hand side has just been evaluated.

    All vectors go through the residual together, as the rows of one matrix.

    Parameters
    ----------
    program : the products of the right-hand side, whose intermediate results are used
    widths : d_0..d_h
    unit : every vector begins at, and is padded to, a multiple of this many entries
    """
    plan = _Plan(program, widths, unit)
    h, d = plan.h, widths
    pairs = [(i, j) for i in range(h, 1, -1) for j in range(1, i)]  # that of ||R|| is the first
    residual = plan.residual()
    first = plan.top
    above = plan.stack(len(pairs), d[h])  # W_{>i} v: for i = h the vectors themselves
    others = [plan.new(d[i]) for i, _ in pairs if i < h]
    vectors = above[: h - 1] + others
    between = {pair: plan.new(d[pair[1]]) for pair in pairs if pair[0] - pair[1] > 1}
    n_vectors = plan.top - first
    below, ends = plan.stack(len(pairs), d[0]), plan.stack(len(pairs), d[h])
    row = [v._replace(row=stack[-1].offset - stack[-2].offset if len(stack) > 1 else size)
           for v, stack, size in ((above[0], above, d[h]), (below[0], below, d[0]), (ends[0], ends, d[h]))]  # fmt: skip

    for (i, _), v, place in zip(pairs, vectors, above, strict=True):
        if i < h:
            plan.up(i, v, place)
    plan.products.append(Product(NN, row[1], row[0], residual, len(pairs), d[0], d[h]))
    for (_, j), x in zip(pairs, below, strict=True):
        if j > 1:
            plan.back(1, j - 1, plan.along(1, j - 1, x), x)
    plan.products.append(Product(NT, row[2], row[1], residual, len(pairs), d[h], d[0]))
    norms: list[tuple[int, int, int, bool, bool]] = []
    for pair, v, end in zip(pairs, vectors, ends, strict=True):
        i, j = pair
        image = end if i == h else plan.new(d[i])
        if i < h:
            plan.down(i, end, image)
        norms.append((v.offset, image.offset, d[i], True, pair not in between))
        if pair in between:
            image = plan.back(j + 1, i - 1, plan.along(j + 1, i - 1, between[pair]))
            norms.append((between[pair].offset, image.offset, d[j], False, True))
    return Growth(tuple(plan.products), tuple(norms), residual.offset, first, n_vectors, plan.top)


def general(n: int) -> NDArray[np.float64]:
    """A vector of n entries that no symmetry contains; a number of few digits each, the same on every machine."""
    return 0.5 + np.modf(np.arange(1, n + 1) * 0.6180339887)[0].round(6)


def renew_growth(
    e: Emit, ctl: ir.Value, par: ir.Value, table: ir.Value, count: ir.Value, vector: ir.Value, mask: ir.Value
) -> None:
    """Take over what the products gave, in the lanes whose mask is zero: new vectors, and the longest step.

    ``vector``: general vectors for all norms.  A norm whose square is 0, or overflows, counts as 0 and keeps its
    vector.
    """
    ctl, par, table, vector, mask = map(e.pointer, (ctl, par, table, vector, mask))
    fresh = e.b.fcmp_ordered("==", e.load(mask), e.zero(e.entry_type))
    every = lambda x: ir.Constant(e.entry_type, [x] * e.lanes)  # noqa: E731
    pair = cgutils.alloca_once_value(e.b, e.zero(e.entry_type))
    total = cgutils.alloca_once_value(e.b, e.zero(e.entry_type))
    residual = cgutils.alloca_once_value(e.b, e.zero(e.entry_type))
    squares = cgutils.alloca_once(e.b, e.entry_type)
    with e.each(count) as k:
        row = e.at(table, e.times(k, 8 * (LAST + 1)))
        v, image = (e.pointer(e.load_int(row, i)) for i in (V, IMAGE))
        some = e.at(vector, e.load_int(row, GENERAL))
        size, first, last = e.load_int(row, SIZE), e.load_int(row, FIRST), e.load_int(row, LAST)
        e.b.store(e.zero(e.entry_type), squares)
        with e.each(size) as j:
            x = e.load(image, e.times(j, e.entry_bytes))
            e.b.store(e.fma(x, x, e.b.load(squares)), squares)
        square = e.b.load(squares)
        good = e.b.and_(
            e.b.fcmp_ordered(">", square, every(1e-280 if e.bits == 64 else 1e-36)),
            e.b.fcmp_ordered("<=", square, every(1e300 if e.bits == 64 else 1e37)),
        )
        norm = e.b.select(good, e.call("sqrt", square), e.zero(e.entry_type))
        inverse = e.b.fdiv(every(1.0), norm)
        chosen = e.b.and_(good, fresh)
        with e.each(size) as j:
            o = e.times(j, e.entry_bytes)
            trace = e.b.fmul(e.scalar(some, e.times(j, e.element_bytes), e.entry_type), every(TRACE))
            renewed = e.fma(e.load(image, o), inverse, trace)
            e.store(e.b.select(chosen, renewed, e.load(v, o)), v, o)
        zero = const(0)
        with_first = e.b.select(e.b.icmp_signed("!=", first, zero), norm, e.b.fmul(e.b.load(pair), norm))
        e.b.store(with_first, pair)
        so_far = e.b.load(total)
        e.b.store(e.b.select(e.b.icmp_signed("!=", last, zero), e.b.fadd(so_far, with_first), so_far), total)
        known = e.b.load(residual)
        e.b.store(e.b.select(e.b.icmp_signed("==", k, zero), norm, known), residual)
    par_ = lambda name: e.parameter(par, PARAMETERS.index(name))  # noqa: E731
    wide = lambda x: Vec(e, x if e.bits == 64 else e.b.fpext(x, e.control_type))  # noqa: E731
    square, largest = wide(e.b.load(total)) * par_("growth_share"), wide(e.b.load(residual))
    excess, looks = e.get(ctl, EXCESS2), e.get(ctl, LOOKS)
    square = e.where(excess < largest, square * (excess / largest), square)
    rounds = looks + 1.0
    doubt = par_("growth_doubt") / (rounds * rounds) + 1.0
    longest = par_("growth_cap") / (Vec(e, e.call("sqrt", square.value)) * doubt)
    fresh_lanes = Vec(e, fresh)
    e.put(ctl, LONGEST, e.where(fresh_lanes, longest, e.get(ctl, LONGEST)))
    e.put(ctl, LOOKS, e.where(fresh_lanes, rounds, looks))
