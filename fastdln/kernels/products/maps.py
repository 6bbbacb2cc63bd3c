"""Maps of losses that are not quadratic, as rows of a program among its products: E = map(Z; Y), and the value.

A map is one function that is given vectors of outputs Z and of what they are compared with Y, and the parameter of the
loss; it is emitted twice, as the row that writes E, of which -dL/dW is made, and as the one that sums up the loss.
Entrywise maps go through all entries in one piece, and one of them has a parameter for each entry; that of softmax
goes through each column, a sample, with its rows.
All is computed in f64.  Where Y is zero in padding so is E, and nothing is added to the value.

A map is compiled for the losses that use it only, and that of functions of others once for all of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numpy.typing import NDArray

from fastdln.kernels.machine.assemble import Code, assemble, function, new_module
from fastdln.kernels.machine.elementary import absolute, exp, log, log1p, power, root, where
from fastdln.kernels.machine.emit import F64, I64, VOID, Emit, Vec, const
from fastdln.kernels.machine.foreign import call_foreign
from fastdln.kernels.products.rows import CUSTOM, MASKED, MEASURED, Map, Operand, Product
from fastdln.kernels.products.tiles import CLOSED

# columns of a row: base and offset in bytes of result, outputs, what they are compared with, and parameter; then the
# rows, their length in entries, and all entries with the padding
(SC, OC, SZ, OZ, SY, OY, SP, OP, ROWS, COLUMNS, ENTRIES) = range(11)
N_COLUMNS = 11
STEP = 3  # columns of a script: a function, its rows, and how many


# ---- entrywise maps: (E, its share of the value) of vectors z, y and the parameter p, of the loss or of each entry


def _square(z: Vec, y: Vec, p: Vec) -> tuple[Vec, Vec]:
    error = y - z
    slope = error * p
    return slope, slope * error * 0.5


def _power(z: Vec, y: Vec, p: Vec) -> tuple[Vec, Vec]:
    error = y - z
    size = absolute(error)
    slope = power(size, p - 1.0)
    return where(error < 0.0, slope * -1.0, slope), slope * size / p


def _huber(z: Vec, y: Vec, p: Vec) -> tuple[Vec, Vec]:
    error = y - z
    size = absolute(error)
    clipped = where(error > p, p, where(error < p * -1.0, p * -1.0, error))
    return clipped, where(size > p, p * (size - p * 0.5), error * error * 0.5)


def _pseudo_huber(z: Vec, y: Vec, p: Vec) -> tuple[Vec, Vec]:
    error = y - z
    ratio = error / p
    size = root(ratio * ratio + 1.0)
    return error / size, error * (error / (size + 1.0))


def _logistic(z: Vec, y: Vec, p: Vec) -> tuple[Vec, Vec]:
    margin = y * z
    small = exp(absolute(margin) * -1.0)
    share = where(margin > 0.0, small, 1.0) / (small + 1.0)
    value = log1p(small) + where(margin < 0.0, margin * -1.0, 0.0)
    return share * y * p, value * absolute(y) * p


def _exponential(z: Vec, y: Vec, p: Vec) -> tuple[Vec, Vec]:
    size = exp(y * z * -1.0) * p
    return size * y, size * absolute(y)


ENTRYWISE: dict[str, Callable[[Vec, Vec, Vec], tuple[Vec, Vec]]] = {
    **dict.fromkeys((MASKED, MEASURED), _square),
    "power": _power,
    "huber": _huber,
    "pseudo_huber": _pseudo_huber,
    "logistic": _logistic,
    "exponential": _exponential,
}
COLUMNWISE = ("softmax",)
FOREIGN = CLOSED + 2  # in the table of bases: the address of a record of what `CUSTOM` calls, and its fields
VALUE_AT, GRAD_AT, SOURCE, FILLED, FURTHER = range(5)


class _Row:
    """The fields of a row, read where it is executed."""

    def __init__(self, e: Emit) -> None:
        self.e = e
        bases, row, _ = e.fn.args
        self._table, self._row = e.pointer(bases), e.pointer(row)
        self.out, self.outputs, self.target, self.parameter = (
            self._start(base, offset) for base, offset in ((SC, OC), (SZ, OZ), (SY, OY), (SP, OP))
        )
        self.rows, self.columns, self.entries = (e.load_int(self._row, i) for i in (ROWS, COLUMNS, ENTRIES))
        self.kind = ir.VectorType(F64, e.stream)

    def _start(self, base: int, offset: int) -> ir.Value:
        e = self.e
        number, first = e.load_int(self._row, base), e.load_int(self._row, offset)
        at = e.b.load(e.at(self._table, e.b.shl(number, const(3))), align=8, typ=I64)
        return e.pointer(e.b.add(at, first))

    def foreign(self) -> list[ir.Value]:
        """The fields of the record of what is called."""
        record = self.e.pointer(self.e.load_int(self._table, FOREIGN))
        return [self.e.load_int(record, i) for i in range(FURTHER + 1)]

    def wide(self, value: ir.Value) -> Vec:
        """A vector of the working precision, in f64."""
        return Vec(self.e, value if self.e.bits == 64 else self.e.b.fpext(value, self.kind))

    def load(self, p: ir.Value, offset: ir.Value) -> Vec:
        return self.wide(self.e.load(p, offset, self.e.stream_type))

    def narrow(self, x: Vec) -> ir.Value:
        return x.value if self.e.bits == 64 else self.e.b.fptrunc(x.value, self.e.stream_type)

    def store(self, x: Vec, p: ir.Value, offset: ir.Value) -> None:
        self.e.store(self.narrow(x), p, offset)

    def number(self) -> Vec:
        """The parameter, for each element of a vector."""
        return self.wide(self.e.per_lane(self.parameter))


class _Sum:
    """Twice the value of the loss, in the working precision; many lanes have one accumulator each."""

    def __init__(self, row: _Row) -> None:
        self._row, self._e = row, row.e
        self._total = cgutils.alloca_once_value(row.e.b, row.e.zero(row.e.stream_type))

    def add(self, x: Vec) -> None:
        e = self._e
        e.b.store(e.b.fadd(e.b.load(self._total), self._row.narrow(x * 2.0)), self._total)

    def store(self) -> None:
        self._e.store(self._e.total(self._e.b.load(self._total)), self._row.out)


def _entrywise(e: Emit, name: str, value: bool) -> None:
    row = _Row(e)
    number = row.number() if name != MASKED else None
    total = _Sum(row) if value else None
    with e.over(const(0), e.times(row.entries, e.entry_bytes)) as (o,):
        p = row.load(row.parameter, o) if number is None else number
        slope, share = ENTRYWISE[name](row.load(row.outputs, o), row.load(row.target, o), p)
        if total is None:
            row.store(slope, row.out, o)
        else:
            total.add(share)
    if total is not None:
        total.store()


def _softmax(e: Emit, value: bool) -> None:
    """E = p (Y - w softmax(Z)), w the sum of a column of Y: 1, or 0 in padding."""
    row = _Row(e)
    p = row.number()
    total = _Sum(row) if value else None
    length, none = e.times(row.columns, e.entry_bytes), ir.Constant(row.kind, [0.0] * row.kind.count)

    def highest(values: list[ir.Value]) -> list[ir.Value]:
        o, so_far = values
        z, most = row.load(row.outputs, o), Vec(e, so_far)
        return [e.b.add(o, length), where(z > most, z, most).value]

    def add_up(values: list[ir.Value]) -> list[ir.Value]:
        o, most, *sums = values
        less, y = row.load(row.outputs, o) - Vec(e, most), row.load(row.target, o)
        share = exp(less)
        if total is None:
            row.store(share, row.out, o)
        terms = (share, y, y * less)
        return [e.b.add(o, length), most, *((Vec(e, x) + term).value for x, term in zip(sums, terms, strict=True))]

    with e.over(const(0), length) as (first,):
        _, most = e.repeat(row.rows, [first, row.load(row.outputs, first).value], highest)
        _, _, *found = e.repeat(row.rows, [first, most, none, none, none], add_up)
        shares, weight, score = (Vec(e, x) for x in found)
        if total is not None:
            total.add((weight * log(shares) - score) * p)
        else:
            factor = weight / shares
            with e.each(row.rows) as i:
                o = e.b.add(first, e.b.mul(i, length))
                row.store((row.load(row.target, o) - factor * row.load(row.out, o)) * p, row.out, o)
    if total is not None:
        total.store()


def _custom(e: Emit, value: bool) -> None:
    """E = -grad(Z), or twice the value, by functions that are called for each lane with its Z in a piece, in f64."""
    row = _Row(e)
    value_at, grad_at, source, filled, further = row.foreign()
    size, single = e.b.mul(row.rows, row.columns), e.bits == 32
    read, written = e.pointer(source), e.pointer(filled)
    with e.each(const(e.lanes)) as lane:
        first = e.times(lane, e.element_bytes)

        def place(of: ir.Value, i: ir.Value) -> ir.Value:
            return e.at(of, e.b.add(e.times(i, e.entry_bytes), first))

        def give(x: ir.Value, at: ir.Value) -> None:
            e.b.store(e.b.fptrunc(x, e.element) if single else x, at, align=e.element_bytes)

        with e.each(size) as i:
            z = e.b.load(place(row.outputs, i), align=e.element_bytes, typ=e.element)
            e.b.store(e.b.fpext(z, F64) if single else z, e.at(read, e.times(i, 8)), align=8)
        call_foreign(e.b, value_at if value else grad_at, source, filled, further)
        if value:
            found = e.b.load(written, align=8, typ=F64)
            give(e.b.fadd(found, found), place(row.out, const(0)))
        else:
            with e.each(size) as i:
                give(e.b.fneg(e.b.load(e.at(written, e.times(i, 8)), align=8, typ=F64)), place(row.out, i))


def _run(e: Emit) -> None:
    """Execute a script: each step a function of the bases, its rows, and how many."""
    bases, script, count = e.fn.args
    kind = ir.FunctionType(VOID, [I64] * 3)
    with e.each(count) as i:
        step = e.pointer(e.b.add(script, e.b.mul(i, const(8 * STEP))))
        address, rows, n = (e.load_int(step, j) for j in range(STEP))
        e.b.call(e.b.inttoptr(address, kind.as_pointer()), [bases, rows, n], name="")


def _take(e: Emit) -> None:
    """out = the first entry of b, in the place of a distance of a from b."""
    out, _, b, _ = e.fn.args
    e.store(e.load(e.pointer(b)), e.pointer(out))


@functools.lru_cache(maxsize=64)
def compiled(name: str, bits: int, lanes: int) -> Code:
    """The functions of a map: ``map`` and ``value`` execute a row, ``run`` a script, ``take`` reads the value."""
    module = new_module(f"fastdln_{name}")
    made = {key: function(module, key, n_args, bits, lanes) for key, n_args in (("run", 3), ("take", 4))}
    _run(made["run"])
    _take(made["take"])
    for key in ("map", "value"):
        made[key] = function(module, key, 3, bits, lanes)
        if name == CUSTOM:
            _custom(made[key], key == "value")
        elif name in COLUMNWISE:
            _softmax(made[key], key == "value")
        else:
            _entrywise(made[key], name, key == "value")
    for e in made.values():
        e.b.ret_void()
    return assemble(module, list(made))


class Script(NamedTuple):
    """A program with maps: a table of its steps, and the rows of each, which it holds the addresses of."""

    table: NDArray[np.int64]
    rows: tuple[NDArray[np.int64], ...]


def script(
    program: tuple[Product | Map, ...],
    encode: Callable[[tuple[Product, ...], int], NDArray[np.int64]],
    entry_bytes: int,
    execute: int,
    code: Code,
) -> Script:
    """Take a program apart at its maps.

    Parameters
    ----------
    program : products and maps, in their order
    encode : makes the rows of products
    entry_bytes : bytes of an entry
    execute : address of what executes those
    code : functions of the map
    """
    steps: list[tuple[int, NDArray[np.int64]]] = []
    together: list[Product] = []

    def flush() -> None:
        if together:
            steps.append((execute, encode(tuple(together), entry_bytes)))
            together.clear()

    for p in program:
        if isinstance(p, Product):
            together.append(p)
        else:
            flush()
            steps.append((code.addresses[entry(p)], encode_map(p, entry_bytes)))
    flush()
    table = [(address, rows.ctypes.data, len(rows)) for address, rows in steps]
    return Script(np.array(table, np.int64).reshape(-1, STEP), tuple(rows for _, rows in steps))


def entry(p: Map) -> str:
    """The name of the function that executes a row."""
    return "value" if p.sums else "map"


def encode_map(p: Map, entry_bytes: int) -> NDArray[np.int64]:
    """The row of a map."""

    def place(x: Operand) -> tuple[int, int]:
        return x.base, x.offset * entry_bytes

    return np.array([[*place(p.c), *place(p.z), *place(p.y), *place(p.parameter), p.m, p.n, p.entries]], np.int64)
