"""Straight-line code for shapes so small that the interpreter of `tiles` costs as much as the products.

Tiles and sums are those of the interpreter and of `stages`, with every size a constant: so are the bits.  What is
emitted is what is to be executed, so no optimiser is run on it; it takes some tens of milliseconds.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from fastdln.kernels.lockstep.stages import add, add_pair
from fastdln.kernels.lockstep.workspace import CLOSING, OPENING
from fastdln.kernels.machine.assemble import Code, assemble, function, new_module
from fastdln.kernels.machine.emit import I64, VOID, Emit, const
from fastdln.kernels.products import maps
from fastdln.kernels.products.rows import DERIVATIVE, NT, STATE, TN, Map, Product
from fastdln.kernels.products.tiles import CLOSED, Closing, Lengths, Update, regions, tile, update_of


class Updating(NamedTuple):
    """The program of an update of a descent, its kind (`update`), or None where it writes slopes, and its map."""

    program: tuple[Product | Map, ...]
    kind: int | None
    map: str | None


class Stages(NamedTuple):
    """The rows of a schedule (`fastdln.engines.lockstep.schedule`), and the entries of a state."""

    rows: tuple[tuple[int, tuple[int, ...], int], ...]  # kind, slopes, number of the first weight
    entries: int


@functools.lru_cache(maxsize=64)
def compiled(
    rhs: tuple[Product | Map, ...],
    observe: tuple[Product | Map, ...],
    growth: tuple[Product | Map, ...],
    stages: Stages | None,
    bits: int,
    lanes: int,
    map: str | None = None,
    updating: Updating | None = None,
) -> Code:
    """Compile the programs as ``void f(bases, rows, count)``, like `tiles.interpret`, and the stages of a method.

    Maps among the products, all of one name, are called.
    """
    module = new_module("fastdln_straight")
    called = None if map is None else maps.compiled(map, bits, lanes)
    others = None
    rows: list[NDArray[np.int64]] = []
    names = ["execute_rhs", "execute_observe", "execute_growth"]
    for name, products in zip(names, (rhs, observe, growth), strict=True):
        e = function(module, name, 3, bits, lanes)
        _products(e, e.fn.args[0], products, called, rows)
        e.b.ret_void()
    if updating is not None:
        names.append("execute_update")
        others = None if updating.map is None else maps.compiled(updating.map, bits, lanes)
        e = function(module, "execute_update", 3, bits, lanes)
        update = None if updating.kind is None else update_of(e, e.pointer(e.fn.args[0]), updating.kind)
        _products(e, e.fn.args[0], updating.program, others, rows, update)
        e.b.ret_void()
    if stages is not None:
        names.append("all_stages")
        e = function(module, "all_stages", 7, bits, lanes)
        _stages(e, module.get_global("execute_rhs"), stages)
        e.b.ret_void()
    code = assemble(module, names)
    return code._replace(kept=(code.kept, called, others, rows))


def _products(
    e: Emit,
    bases: ir.Value,
    products: tuple[Product | Map, ...],
    called: Code | None,
    rows: list[NDArray[np.int64]],
    update: Update | None = None,
) -> None:
    """All tiles of a program, one after the other; the rows of maps, which must be kept, are added to ``rows``.

    With an ``update``, what is written for the derivative is a state.
    """
    table = e.pointer(bases)
    base = [e.pointer(e.load_int(table, i)) for i in range(3)]
    closed, factor = e.load_int(table, CLOSED), e.pointer(e.load_int(table, CLOSED + 1))
    distance = e.b.sub(closed, e.load_int(table, DERIVATIVE))
    some = e.b.icmp_signed("!=", closed, const(0))
    for p in products:
        if isinstance(p, Map):
            assert called is not None
            rows.append(maps.encode_map(p, e.entry_bytes))
            arguments = [bases, const(rows[-1].ctypes.data), const(1)]
            kind = ir.FunctionType(VOID, [I64] * 3).as_pointer()
            e.b.call(e.b.inttoptr(const(called.addresses[maps.entry(p)]), kind), arguments)
            continue
        lengths = Lengths(p.k, *(const(x.row * e.entry_bytes) for x in (p.a, p.b, p.c)))
        closing = Closing(some, distance, factor) if p.c.base == DERIVATIVE and update is None else None
        advance = update if p.c.base == DERIVATIVE else None
        d = p.d or p.c
        for first_row, first_column, m, n, down, across in regions(p.m, p.n, p.k):
            for i in range(first_row, first_row + m * down, m):
                for j in range(first_column, first_column + n * across, n):
                    spots = (
                        (p.a, i if p.form == TN else i * p.a.row),
                        (p.b, j * p.b.row if p.form == NT else j),
                        (p.c, i * p.c.row + j),
                        (d, i * d.row + j),
                    )
                    operands = tuple(e.at(base[x.base], (x.offset + o) * e.entry_bytes) for x, o in spots)
                    tile(e, p.form, m, n, lengths, operands, p.d is not None, closing=closing, update=advance)
                    # or loads of later tiles are moved up, and registers spilled
                    e.b.asm(ir.FunctionType(VOID, []), "", "~{memory}", [], True)


def _stages(e: Emit, execute: ir.Function, plan: Stages) -> None:
    """The loop of `steps.stages`, written out: bases, table of the slopes, factors, and the places of the states."""
    bases, slopes, factors, state, following, *places = e.fn.args
    table, slope = e.pointer(bases), [e.load_int(e.pointer(slopes), j) for j in range(len(plan.rows) + 1)]
    count, last = const(plan.entries), len(plan.rows)

    def poke(i: int, value: ir.Value) -> None:
        e.b.store(value, e.at(table, 8 * i), align=8)

    for s, (kind, terms, weight) in enumerate(plan.rows, start=1):
        out, after = (following if t == last else places[(t + 1) % 2] for t in (s, s + 1))
        k = [e.pointer(slope[j]) for j in terms]
        f = e.at(e.pointer(factors), weight * e.entry_bytes)
        if kind == OPENING:
            add_pair(e, (e.pointer(out), e.pointer(after)), e.pointer(state), k, f, count)
            poke(CLOSED, after)
            poke(CLOSED + 1, e.b.ptrtoint(e.at(f, 2 * len(terms) * e.entry_bytes), I64))
        elif kind != CLOSING:
            add(e, e.pointer(out), e.pointer(state), k, f, count)
        poke(STATE, out)
        poke(DERIVATIVE, slope[s])
        e.b.call(execute, [bases, const(0), const(0)])
        poke(CLOSED, const(0))
