"""Loads and stores of vectors of a row, of which the last may not be whole."""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils

from fastdln.kernels.machine.emit import I32, I64, PTR, VOID, Emit


class Tail:
    """Loads and stores of a last vector that is not whole; what lies beyond reads as zero."""

    def __init__(self, e: Emit, count: ir.Value) -> None:
        self.e, kind = e, ir.VectorType(I64, e.stream)
        self.mask_type = ir.VectorType(ir.IntType(1), e.stream)
        none = ir.Constant(kind, ir.Undefined)
        one = e.b.insert_element(none, count, ir.Constant(I32, 0))
        every = e.b.shuffle_vector(one, none, ir.Constant(ir.VectorType(I32, e.stream), [0] * e.stream))
        self.mask = e.b.icmp_signed("<", ir.Constant(kind, list(range(e.stream))), every)
        self.suffix = f"v{e.stream}f{e.bits}.p0"

    def load(self, p: ir.Value, offset: ir.Value) -> ir.Value:
        e, kind = self.e, self.e.stream_type
        function = ir.FunctionType(kind, [PTR, I32, self.mask_type, kind])
        load = cgutils.get_or_insert_function(e.module, function, f"llvm.masked.load.{self.suffix}")
        align = ir.Constant(I32, e.element_bytes)
        return e.b.call(load, [e.at(p, offset), align, self.mask, e.zero(kind)])

    def store(self, value: ir.Value, p: ir.Value, offset: ir.Value) -> None:
        e = self.e
        function = ir.FunctionType(VOID, [e.stream_type, PTR, I32, self.mask_type])
        store = cgutils.get_or_insert_function(e.module, function, f"llvm.masked.store.{self.suffix}")
        e.b.call(store, [value, e.at(p, offset), ir.Constant(I32, e.element_bytes), self.mask])

    def only(self, value: ir.Value) -> ir.Value:
        return self.e.b.select(self.mask, value, self.e.zero(value.type))


class Whole:
    """Loads and stores of a whole vector."""

    def __init__(self, e: Emit) -> None:
        self.e = e

    def load(self, p: ir.Value, offset: ir.Value) -> ir.Value:
        return self.e.load(p, offset, self.e.stream_type)

    def store(self, value: ir.Value, p: ir.Value, offset: ir.Value) -> None:
        self.e.store(value, p, offset)

    def only(self, value: ir.Value) -> ir.Value:
        return value
