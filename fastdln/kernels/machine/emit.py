"""A small language over LLVM IR in which the vector kernels are written.

An *entry* of a state is one vector of L lanes: L networks side by side, or one network when L = 1.  Kernels see
addresses (int64), element type and lane count are fixed at compile time, every width is a run-time value.  The
operations on an entry are the same for every lane and every L, in the same order, with explicit fused
multiply-adds: so are the bits.

Loops over a whole state are elementwise; with L = 1 they take several entries at once (``stream`` elements).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from llvmlite import ir
from numba.core import cgutils

I64, I32, I8 = ir.IntType(64), ir.IntType(32), ir.IntType(8)
F64 = ir.DoubleType()
PTR, VOID = ir.PointerType(), ir.VoidType()


def const(value: int) -> ir.Constant:
    return ir.Constant(I64, value)


class Vec:
    """An LLVM vector of f64 under Python's operators; comparisons are false where an operand is NaN."""

    def __init__(self, emit: Emit, value: ir.Value) -> None:
        self.emit, self.value = emit, value

    def _other(self, x: Vec | float) -> ir.Value:
        return x.value if isinstance(x, Vec) else ir.Constant(self.value.type, [float(x)] * self.value.type.count)

    def _do(self, name: str, x: Vec | float, swap: bool = False) -> Vec:
        a, b = self.value, self._other(x)
        return Vec(self.emit, getattr(self.emit.b, name)(*((b, a) if swap else (a, b))))

    def _compare(self, op: str, x: Vec | float) -> Vec:
        return Vec(self.emit, self.emit.b.fcmp_ordered(op, self.value, self._other(x)))

    def __add__(self, x: Vec | float) -> Vec:
        return self._do("fadd", x)

    def __sub__(self, x: Vec | float) -> Vec:
        return self._do("fsub", x)

    def __mul__(self, x: Vec | float) -> Vec:
        return self._do("fmul", x)

    def __truediv__(self, x: Vec | float) -> Vec:
        return self._do("fdiv", x)

    def __rtruediv__(self, x: float) -> Vec:
        return self._do("fdiv", x, swap=True)

    def __lt__(self, x: Vec | float) -> Vec:
        return self._compare("<", x)

    def __le__(self, x: Vec | float) -> Vec:
        return self._compare("<=", x)

    def __gt__(self, x: Vec | float) -> Vec:
        return self._compare(">", x)

    def __ge__(self, x: Vec | float) -> Vec:
        return self._compare(">=", x)

    def __and__(self, x: Vec) -> Vec:
        return Vec(self.emit, self.emit.b.and_(self.value, x.value))

    def __or__(self, x: Vec) -> Vec:
        return Vec(self.emit, self.emit.b.or_(self.value, x.value))

    def __invert__(self) -> Vec:
        return Vec(self.emit, self.emit.b.not_(self.value))


class Emit:
    """A builder inside a fresh internal function ``void name(int64, ...)``, with the helpers of a kernel."""

    def __init__(self, module: ir.Module, name: str, n_args: int, bits: int, lanes: int) -> None:
        self.bits, self.lanes = bits, lanes
        self.element = F64 if bits == 64 else ir.FloatType()
        self.element_bytes = bits // 8
        self.entry_bytes = lanes * self.element_bytes
        # elements of one load in loops over a whole state: the lanes, or, for one lane, 64 bytes of entries
        self.stream = lanes if lanes > 1 else 512 // bits
        self.entry_type = ir.VectorType(self.element, lanes)
        self.stream_type = ir.VectorType(self.element, self.stream)
        self.control_type = ir.VectorType(F64, lanes)
        self.module = module
        self.fn = ir.Function(module, ir.FunctionType(VOID, [I64] * n_args), name)
        self.fn.linkage = "internal"
        self.fn.attributes.add("noinline")
        self.b = ir.IRBuilder(self.fn.append_basic_block("entry"))

    # ---- addresses, loads, stores
    def pointer(self, address: ir.Value) -> ir.Value:
        return self.b.inttoptr(address, PTR)

    def at(self, p: ir.Value, offset: ir.Value | int) -> ir.Value:
        offset = const(offset) if isinstance(offset, int) else offset
        return self.b.gep(p, [offset], source_etype=I8)

    def load_int(self, p: ir.Value, i: int = 0) -> ir.Value:
        return self.b.load(self.at(p, 8 * i), align=8, typ=I64)

    def load(self, p: ir.Value, offset: ir.Value | int = 0, kind: ir.Type | None = None) -> ir.Value:
        return self.b.load(self.at(p, offset), align=self.element_bytes, typ=kind or self.entry_type)

    def store(self, value: ir.Value, p: ir.Value, offset: ir.Value | int = 0) -> None:
        self.b.store(value, self.at(p, offset), align=self.element_bytes)

    def scalar(self, p: ir.Value, offset: ir.Value | int, kind: ir.Type) -> ir.Value:
        """The element at ``p + offset`` in every element of a vector of type ``kind``."""
        x = self.b.load(self.at(p, offset), align=8 if kind.element == F64 else 4, typ=kind.element)
        none = ir.Constant(kind, ir.Undefined)
        one = self.b.insert_element(none, x, ir.Constant(I32, 0))
        return self.b.shuffle_vector(one, none, ir.Constant(ir.VectorType(I32, kind.count), [0] * kind.count))

    def per_lane(self, p: ir.Value, i: int = 0) -> ir.Value:
        """Per-lane value number i at ``p``, as a factor in a loop over a state."""
        if self.lanes > 1:
            return self.load(p, i * self.entry_bytes)
        return self.scalar(p, i * self.element_bytes, self.stream_type)

    # ---- arithmetic
    def call(self, name: str, *args: ir.Value) -> ir.Value:
        kind = args[0].type
        suffix = f"v{kind.count}f{64 if kind.element == F64 else 32}"
        function = ir.FunctionType(kind, [kind] * len(args))
        return self.b.call(cgutils.get_or_insert_function(self.module, function, f"llvm.{name}.{suffix}"), args)

    def fma(self, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
        return self.call("fma", x, y, z)

    def maximum(self, x: ir.Value, y: ir.Value) -> ir.Value:
        """x where x > y, else y: y also where x is NaN."""
        return self.b.select(self.b.fcmp_ordered(">", x, y), x, y)

    def zero(self, kind: ir.Type) -> ir.Constant:
        return ir.Constant(kind, [0.0] * kind.count)

    def times(self, a: ir.Value, k: int) -> ir.Value:
        if isinstance(a, ir.Constant):
            return const(a.constant * k)
        return const(0) if k == 0 else a if k == 1 else self.b.mul(a, const(k))

    def plus(self, a: ir.Value, k: int) -> ir.Value:
        return const(a.constant + k) if isinstance(a, ir.Constant) else self.b.add(a, const(k))

    # ---- branches and loops
    def repeat(
        self, count: ir.Value | int, values: list[ir.Value], step: Callable[[list[ir.Value]], list[ir.Value]]
    ) -> list[ir.Value]:
        """Apply ``step`` to values ``count`` times: in a loop, or written out where the count is a number."""
        if isinstance(count, int):
            for _ in range(count):
                values = step(values)
            return values
        before, body, done = self.b.block, self.fn.append_basic_block("body"), self.fn.append_basic_block("done")
        self.b.cbranch(self.b.icmp_signed(">", count, const(0)), body, done)
        self.b.position_at_end(body)
        index, *current = (self.b.phi(v.type) for v in (const(0), *values))
        self.keep_rolled()
        after = step(current)
        following = self.b.add(index, const(1))
        end = self.b.block
        self.b.cbranch(self.b.icmp_signed("<", following, count), body, done)
        for phi, first, other in zip((index, *current), (const(0), *values), (following, *after), strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(other, end)
        return self._joined(done, (before, values), (end, after))

    def where_so(
        self, so: ir.Value | bool, values: list[ir.Value], change: Callable[[list[ir.Value]], list[ir.Value]]
    ) -> list[ir.Value]:
        """The values, changed where ``so``."""
        if isinstance(so, bool):
            return change(values) if so else values
        before, yes, done = self.b.block, self.fn.append_basic_block("yes"), self.fn.append_basic_block("done")
        self.b.cbranch(so, yes, done)
        self.b.position_at_end(yes)
        changed = change(values)
        end = self.b.block
        self.b.branch(done)
        return self._joined(done, (before, values), (end, changed))

    def _joined(self, block: ir.Block, *ways: tuple[ir.Block, list[ir.Value]]) -> list[ir.Value]:
        """Go on in a block, with the values that each way into it brings."""
        self.b.position_at_end(block)
        joined = [self.b.phi(v.type) for v in ways[0][1]]
        for origin, values in ways:
            for phi, value in zip(joined, values, strict=True):
                phi.add_incoming(value, origin)
        return joined

    def keep_rolled(self) -> None:
        """Keep LLVM from unrolling the enclosing loop with a run-time remainder: it costs 30-60 % at small widths."""
        self.b.asm(ir.FunctionType(VOID, []), "", "", [], True).attributes.add("convergent")

    @contextmanager
    def each(self, count: ir.Value) -> Iterator[ir.Value]:
        with cgutils.for_range(self.b, count) as loop:
            self.keep_rolled()
            yield loop.index

    @contextmanager
    def over(self, first: ir.Value, last: ir.Value, unroll: int = 1) -> Iterator[list[ir.Value]]:
        """Byte offsets of ``unroll`` consecutive stream vectors, through [first, last)."""
        size = self.stream * self.element_bytes
        with cgutils.for_range_slice(self.b, first, last, const(unroll * size), I64) as (offset, _):
            self.keep_rolled()
            yield [self.b.add(offset, const(u * size)) for u in range(unroll)]

    def cases(self, value: ir.Value, numbers: range) -> Iterator[int]:
        """One block for each of ``numbers``, chosen at run time by ``value``; afterwards the builder is after them."""
        done = self.fn.append_basic_block("done")
        switch = self.b.switch(value, done)
        for number in numbers:
            block = self.fn.append_basic_block(f"case{number}")
            switch.add_case(const(number), block)
            self.b.position_at_end(block)
            yield number
            self.b.branch(done)
        self.b.position_at_end(done)

    def total(self, acc: ir.Value) -> ir.Value:
        """The sum of a stream accumulator over entries: itself for many lanes, one element for one lane."""
        if self.lanes > 1:
            return acc
        values = [self.b.extract_element(acc, ir.Constant(I32, i)) for i in range(self.stream)]
        while len(values) > 1:
            values = [self.b.fadd(x, y) for x, y in zip(values[::2], values[1::2], strict=True)]
        return self.b.insert_element(ir.Constant(self.entry_type, ir.Undefined), values[0], ir.Constant(I32, 0))

    # ---- control: vectors of f64, whatever the element type
    def get(self, p: ir.Value, i: int) -> Vec:
        return Vec(self, self.b.load(self.at(p, 8 * self.lanes * i), align=8, typ=self.control_type))

    def put(self, p: ir.Value, i: int, x: Vec) -> None:
        self.b.store(x.value, self.at(p, 8 * self.lanes * i), align=8)

    def parameter(self, p: ir.Value, i: int) -> Vec:
        return Vec(self, self.scalar(p, 8 * i, self.control_type))

    def widen(self, p: ir.Value, offset: ir.Value | int) -> Vec:
        """An entry of the working precision, as f64."""
        x = self.load(p, offset)
        return Vec(self, x if self.bits == 64 else self.b.fpext(x, self.control_type))

    def narrow(self, x: Vec) -> ir.Value:
        return x.value if self.bits == 64 else self.b.fptrunc(x.value, self.entry_type)

    def where(self, mask: Vec, x: Vec | float, y: Vec | float) -> Vec:
        def constant(v: Vec | float) -> ir.Value:
            return v.value if isinstance(v, Vec) else ir.Constant(self.control_type, [float(v)] * self.lanes)

        return Vec(self, self.b.select(mask.value, constant(x), constant(y)))

    def vfma(self, x: Vec, y: Vec | float, z: Vec | float) -> Vec:
        return Vec(self, self.fma(x.value, x._other(y), x._other(z)))

    def bitmask(self, mask: Vec) -> ir.Value:
        """Bit l is lane l of ``mask``."""
        return self.b.zext(self.b.bitcast(mask.value, ir.IntType(self.lanes)), I64)
