"""Vector kernels of a descent, as a library of their own: it is compiled when a descent first runs.

Lanes have numbers of their own, `RATES`, one entry each; behind them follow the factors of the gradient, an entry for
each layer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

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
    GRADIENT2,
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

(
    KEPT,  # what is kept of a state: 1 - eta mu
    DECAYED,  # what is lost of it: -eta mu
    MOMENTUM,
    BOUND,  # of the entries
) = range(4)
RATES = 4

# what comes before the gradient
DECAY, HEAVY_BALL, NESTEROV = range(3)


def execute_update(e: Emit, bases: ir.Value, rows: ir.Value, count: ir.Value) -> None:
    """Run a program of products over lanes, that writes a state instead of a slope: see `tiles`; nothing for one lane."""
    if e.lanes > 1:
        tiles.interpret(e, bases, rows, count, updates=True)


def prepare(
    e: Emit, kind: ir.Value, kept: ir.Value, ahead: ir.Value, velocity: ir.Value, state: ir.Value, rates: ir.Value,
    count: ir.Value,
) -> None:  # fmt: skip
    """All of an update but the gradient, over ``count`` entries: the state ``kept`` that it is added to, and the
    velocity.

    DECAY: kept = (1 - eta mu) W.  HEAVY_BALL: v becomes beta v - eta mu W, and kept is W + v.  NESTEROV: the same from
    the state ``ahead``, W + beta v, instead of W and without its momentum.  A lane without momentum is as it would be
    without its neighbours.
    """
    kept, ahead, velocity, state, rates = map(e.pointer, (kept, ahead, velocity, state, rates))
    keep, lose, beta = (e.per_lane(rates, i) for i in (KEPT, DECAYED, MOMENTUM))
    moves = e.b.fcmp_unordered("!=", beta, e.zero(e.stream_type))
    load = lambda p, o: e.load(p, o, e.stream_type)  # noqa: E731
    for case in e.cases(kind, range(3)):
        with e.over(const(0), e.times(count, e.entry_bytes)) as (o,):
            w = load(state, o)
            if case == DECAY:
                e.store(e.b.fmul(keep, w), kept, o)
                continue
            v = load(velocity, o)
            if case == HEAVY_BALL:
                rest = e.b.fmul(keep, w)
                e.store(e.b.select(moves, e.fma(beta, v, rest), rest), kept, o)
            else:
                w = e.b.select(moves, e.fma(beta, v, w), w)
                e.store(w, ahead, o)
                e.store(e.b.fmul(keep, w), kept, o)
            e.store(e.fma(beta, v, e.b.fmul(lose, w)), velocity, o)


def add_gradient(
    e: Emit, out: ir.Value, kept: ir.Value, velocity: ir.Value, slope: ir.Value, factor: ir.Value, first: ir.Value,
    last: ir.Value,
) -> None:  # fmt: skip
    """out = kept + factor slope on bytes [first, last), and velocity += factor slope where its address is not 0."""
    moves = e.b.icmp_signed("!=", velocity, const(0))
    out, kept, velocity, slope, factor = map(e.pointer, (out, kept, velocity, slope, factor))
    f = e.per_lane(factor)
    load = lambda p, o: e.load(p, o, e.stream_type)  # noqa: E731
    with e.over(first, last) as (o,):
        e.store(e.fma(load(slope, o), f, load(kept, o)), out, o)
    with e.b.if_then(moves), e.over(first, last) as (o,):
        e.store(e.fma(load(slope, o), f, load(velocity, o)), velocity, o)


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
    stopped = good & ((e.get(ctl, GRADIENT2) <= par_("stop_gradient2")) | (e.get(ctl, LOSS2) <= par_("stop_loss2")))
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


KERNELS: tuple[Callable[..., None], ...] = (execute_update, prepare, add_gradient, exceed, end_update, put_column)


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
