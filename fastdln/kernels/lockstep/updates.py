"""Vector kernels of a descent, as a library of their own: it is compiled when a descent first runs."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import DTypeLike

from fastdln.kernels.lockstep.control import (
    ACTIVE,
    ATTEMPTS,
    DUE_BITS,
    DUE_LIMIT,
    FAILED,
    FINISHED_BITS,
    GRADIENT,
    LOSS2,
    NEXT_OUTPUT,
    PARAMETERS,
    REACHED,
    REJECTED_BITS,
    STOPPED,
)
from fastdln.kernels.lockstep.stages import UNROLL
from fastdln.kernels.machine.compile import emitted
from fastdln.kernels.machine.emit import Emit, Vec, const
from fastdln.kernels.machine.library import addresses, emit_all
from fastdln.kernels.products import tiles
from fastdln.kernels.products.update import (
    DECAY,
    HEAVY_BALL,
    LIMIT,
    MOMENTUM,
    NESTEROV,
    PLAIN,
    SQUARES,
    ahead,
    read_rates,
    updated,
)


def look_ahead(
    e: Emit, out: ir.Value, state: ir.Value, velocity: ir.Value, rates: ir.Value, count: ir.Value
) -> None:  # fmt: skip
    """out = W + beta v over ``count`` entries."""
    out, state, velocity, rates = map(e.pointer, (out, state, velocity, rates))
    beta = e.per_lane(rates, MOMENTUM)
    load = lambda p, o: e.load(p, o, e.stream_type)  # noqa: E731
    with e.over(const(0), e.times(count, e.entry_bytes), UNROLL) as offsets:
        for o in offsets:
            e.store(ahead(e, load(state, o), beta, load(velocity, o)), out, o)


def add_gradient(
    e: Emit, kind: ir.Value, out: ir.Value, slope: ir.Value, state: ir.Value, velocity: ir.Value, rates: ir.Value,
    factor: ir.Value, first: ir.Value, last: ir.Value,
) -> None:  # fmt: skip
    """The states after an update of some kind, for slopes that were written, on bytes [first, last); v in place."""
    out, slope, state, velocity, rates, factor = map(e.pointer, (out, slope, state, velocity, rates, factor))
    load = lambda p, o: e.load(p, o, e.stream_type)  # noqa: E731
    for case in e.cases(kind, range(NESTEROV + 1)):
        numbers = read_rates(e, case, rates, factor)
        with e.over(first, last) as (o,):
            w, v = updated(e, numbers, load(slope, o), load(state, o), load(velocity, o) if numbers.moves else None)
            e.store(w, out, o)
            if v is not None:
                e.store(v, velocity, o)


def doubt(e: Emit, flags: ir.Value, rates: ir.Value) -> None:
    """flags[0] = bits of the lanes the sum of whose squares is not below its limit; the sums begin anew."""
    rates = e.pointer(rates)
    squares, limit = (e.load(rates, i * e.entry_bytes) for i in (SQUARES, LIMIT))
    e.b.store(e.bitmask(Vec(e, e.b.fcmp_unordered(">=", squares, limit))), e.pointer(flags), align=8)
    e.store(e.zero(e.entry_type), rates, SQUARES * e.entry_bytes)


def exceed(e: Emit, flags: ir.Value, state: ir.Value, bound: ir.Value, count: ir.Value) -> None:
    """flags[0] = bits of the lanes with an entry that is not a number, or above the bound; ``count`` is padded."""
    state, flags = e.pointer(state), e.pointer(flags)
    most = e.per_lane(e.pointer(bound))
    kind = ir.VectorType(ir.IntType(1), e.stream)
    none = ir.Constant(kind, [0] * e.stream)
    slots = [cgutils.alloca_once_value(e.b, none) for _ in range(UNROLL)]
    with e.over(const(0), e.times(count, e.entry_bytes), UNROLL) as offsets:
        for slot, o in zip(slots, offsets, strict=True):
            beyond = e.b.fcmp_unordered(">", e.call("fabs", e.load(state, o, e.stream_type)), most)
            e.b.store(e.b.or_(e.b.load(slot), beyond), slot)
    found = e.b.load(slots[0])
    for slot in slots[1:]:
        found = e.b.or_(found, e.b.load(slot))
    bits = e.b.bitcast(found, ir.IntType(e.stream))
    if e.lanes == 1:
        bits = e.b.zext(e.b.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0)), ir.IntType(64))
    else:
        bits = e.b.zext(bits, ir.IntType(64))
    e.b.store(bits, flags, align=8)


def end_update(e: Emit, ctl: ir.Value, par: ir.Value, beyond: ir.Value, mask: ir.Value, flags: ir.Value) -> None:
    """Count an update, and say which lanes are rejected, have output due, are finished; those ``beyond`` are rejected
    and finished."""
    ctl, par, mask, flags = map(e.pointer, (ctl, par, mask, flags))
    par_ = lambda name: e.parameter(par, PARAMETERS.index(name))  # noqa: E731
    lanes = ir.VectorType(ir.IntType(1), e.lanes)
    lost = Vec(e, e.b.bitcast(e.b.trunc(beyond, ir.IntType(e.lanes)), lanes))
    active = e.get(ctl, ACTIVE) > 0.0
    attempts = e.get(ctl, ATTEMPTS) + e.where(active, 1.0, 0.0)
    rejected, good = active & lost, active & ~lost
    reached = e.where(good, attempts, e.get(ctl, REACHED))
    limit = e.where(good, reached, -1.0)
    stopped = good & ((e.get(ctl, GRADIENT) <= par_("stop_gradient")) | (e.get(ctl, LOSS2) <= par_("stop_loss2")))
    finished = active & (rejected | (reached >= par_("end")) | stopped)
    for row, value in (
        (REACHED, reached),
        (ATTEMPTS, attempts),
        (DUE_LIMIT, limit),
        (FAILED, e.where(rejected, 1.0, 0.0)),
        (STOPPED, e.where(stopped, 1.0, 0.0)),
    ):
        e.put(ctl, row, value)
    e.store(e.narrow(e.where(rejected, 1.0, 0.0)), mask)
    for number, bits in (
        (REJECTED_BITS, rejected), (DUE_BITS, e.get(ctl, NEXT_OUTPUT) <= limit), (FINISHED_BITS, finished)
    ):  # fmt: skip
        e.b.store(e.bitmask(bits), e.at(flags, 8 * number), align=8)


def put_column(e: Emit, out: ir.Value, source: ir.Value, count: ir.Value, across: ir.Value) -> None:
    """Write ``count`` consecutive numbers into one lane of entries that lie ``across`` bytes apart."""
    out, source = e.pointer(out), e.pointer(source)
    with e.each(count) as i:
        x = e.b.load(e.at(source, e.times(i, e.element_bytes)), align=e.element_bytes, typ=e.element)
        e.b.store(x, e.at(out, e.b.mul(i, across)), align=e.element_bytes)


KERNELS: tuple[Callable[..., None], ...] = (look_ahead, add_gradient, doubt, exceed, end_update, put_column)


@intrinsic
def _emit_library(context, like, lanes, out):
    def codegen(context, builder, signature, args):
        return emit_all(context, builder, signature, args, KERNELS)

    return types.void(like, lanes, out), codegen


@emitted
def _library(like, lanes, out):
    _emit_library(like, lanes, out)


@functools.cache
def library(dtype: DTypeLike, lanes: int) -> dict[str, int]:
    """Addresses of the kernels."""
    return addresses(_library, KERNELS, dtype, lanes)


# ---- products that write states: an interpreter for each kind of update, compiled where it is wanted


def execute_plain(e: Emit, bases: ir.Value, rows: ir.Value, count: ir.Value) -> None:
    """Run a program of products over lanes, whose derivatives are states after an update: see `tiles`."""
    tiles.interpret(e, bases, rows, count, updates=PLAIN)


def execute_decay(e: Emit, bases: ir.Value, rows: ir.Value, count: ir.Value) -> None:
    """The same with weight decay."""
    tiles.interpret(e, bases, rows, count, updates=DECAY)


def execute_heavy_ball(e: Emit, bases: ir.Value, rows: ir.Value, count: ir.Value) -> None:
    """The same with momentum."""
    tiles.interpret(e, bases, rows, count, updates=HEAVY_BALL)


def execute_nesterov(e: Emit, bases: ir.Value, rows: ir.Value, count: ir.Value) -> None:
    """The same from a state ahead."""
    tiles.interpret(e, bases, rows, count, updates=NESTEROV)


EXECUTORS = (execute_plain, execute_decay, execute_heavy_ball, execute_nesterov)


@intrinsic
def _emit_executor(context, like, lanes, out, kind):
    def codegen(context, builder, signature, args):
        one = (EXECUTORS[signature.args[3].count - 1],)
        return emit_all(context, builder, types.void(*signature.args[:3]), args[:3], one)

    return types.void(like, lanes, out, kind), codegen


@emitted
def _executor(like, lanes, out, kind):
    _emit_executor(like, lanes, out, kind)


@functools.cache
def executor(dtype: DTypeLike, lanes: int, kind: int) -> int:
    """Address of what executes programs of a kind of update over lanes; the kind is told by the length of a tuple."""
    out = np.zeros(1, np.int64)
    _executor(np.empty(0, dtype), (0,) * lanes, out, (0,) * (kind + 1))
    return int(out[0])
