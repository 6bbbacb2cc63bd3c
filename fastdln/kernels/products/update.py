"""What an update of a descent makes of an entry and of its velocity, for the products that write states (`tiles`).

Lanes have numbers of their own, one entry each, in the order below; after them follow the factors of the gradient, an
entry for each layer.  A lane without momentum or decay has the bits that it would have without its neighbours.
"""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import ir

from fastdln.kernels.machine.emit import Emit

(
    KEPT,  # what is kept of a state: 1 - eta mu
    DECAYED,  # what is lost of it: -eta mu
    MOMENTUM,
    BOUND,  # of the entries
    LIMIT,  # of the sum of their squares, below which no entry can be beyond its bound
    SQUARES,  # that sum
) = range(6)
RATES = 6

# with neither momentum nor decay, with decay alone, with both from the state, with both from the state ahead
PLAIN, DECAY, HEAVY_BALL, NESTEROV = range(4)


class Rates(NamedTuple):
    """The numbers of an update as factors in a loop over states."""

    kind: int
    factor: ir.Value
    kept: ir.Value
    decayed: ir.Value
    momentum: ir.Value

    @property
    def moves(self) -> bool:
        """Whether there is a velocity."""
        return self.kind >= HEAVY_BALL


def read_rates(e: Emit, kind: int, rates: ir.Value, factor: ir.Value) -> Rates:
    """Read the numbers of an update, those that a kind needs."""
    kept, decayed, momentum = (e.per_lane(rates, i) for i in (KEPT, DECAYED, MOMENTUM))
    return Rates(kind, e.per_lane(factor), kept, decayed, momentum)


def ahead(e: Emit, rest: ir.Value, momentum: ir.Value, v: ir.Value) -> ir.Value:
    """``rest`` and, with momentum, beta v."""
    moves = e.b.fcmp_unordered("!=", momentum, e.zero(momentum.type))
    return e.b.select(moves, e.fma(momentum, v, rest), rest)


def updated(e: Emit, rates: Rates, x: ir.Value, w: ir.Value, v: ir.Value | None) -> tuple[ir.Value, ir.Value | None]:
    """W and v after an update from W, or with `NESTEROV` from the state ahead, where x is minus the gradient.

    v becomes beta v - eta mu W + eta x, and W becomes W + v.
    """
    rest = w if rates.kind == PLAIN else e.b.fmul(rates.kept, w)
    if v is None:
        return e.fma(x, rates.factor, rest), None
    if rates.kind == HEAVY_BALL:
        rest = ahead(e, rest, rates.momentum, v)
    moved = e.fma(rates.momentum, v, e.b.fmul(rates.decayed, w))
    return e.fma(x, rates.factor, rest), e.fma(x, rates.factor, moved)
