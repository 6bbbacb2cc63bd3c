"""The stages of a step: the recurrence of both methods, and what ROCK4 does after it."""

from __future__ import annotations

from fastdln.integrate.chebyshev.tables import (
    NODE_A,
    NODE_B,
    RECURRENCE,
    RKC_COLUMNS,
    ROCK_COLUMNS,
    STAGE,
    W0,
    W1,
    WEIGHTS,
)
from fastdln.kernels.lockstep.chebyshev.table import (
    A1,
    B1,
    B2,
    D1,
    D2,
    DEGREE,
    E1,
    E2,
    G1,
    G2,
    K1,
    KIND,
    ROW,
    T1,
    T2,
    F,
    mixed,
)
from fastdln.kernels.lockstep.control import ACTIVE, STEP
from fastdln.kernels.lockstep.places import mask, place, slope_at
from fastdln.kernels.lockstep.slopes import slope
from fastdln.kernels.lockstep.workspace import RKC, ROCK
from fastdln.kernels.machine.compile import part
from fastdln.kernels.machine.library import invoke
from fastdln.kernels.machine.memory import peek_real, poke


@part
def open_recurrence(w, arena, ctl):
    """The first stage of the recurrence, and the polynomials of RKC2 at it."""
    f = place(w, w.at.factors)
    for l in range(w.lanes):
        h, row = ctl[STEP, l] * w.direction, int(ctl[ROW, l])
        if ctl[KIND, l] == ROCK:
            first = int(peek_real(w.chebyshev.rock, row * ROCK_COLUMNS + RECURRENCE))
            mu = peek_real(w.chebyshev.recurrence, 2 * first)
        else:
            w0 = peek_real(w.chebyshev.rkc, row * RKC_COLUMNS + W0)
            b = 0.25 / (w0 * w0)
            mu = b * peek_real(w.chebyshev.rkc, row * RKC_COLUMNS + W1)
            ctl[T1, l], ctl[T2, l], ctl[D1, l], ctl[D2, l], ctl[E1, l], ctl[E2, l] = w0, 1.0, 1.0, 0.0, 0.0, 0.0
            ctl[B1, l], ctl[B2, l], ctl[A1, l] = b, b, 1.0 - b * w0
        arena[f + l] = h * mu if ctl[ACTIVE, l] > 0.0 else 0.0
    mixed(w, w.at.stage, w.at.state, F, 1)


@part
def recurrence_factors(w, arena, ctl, j):
    """Factors of k, g_{j-1}, g_{j-2}, y, f(y) in g_j - g_{j-1} in each lane."""
    f = place(w, w.at.factors)
    for l in range(w.lanes):
        h, row = ctl[STEP, l] * w.direction, int(ctl[ROW, l])
        k = one = two = start = first_slope = 0.0
        if j <= ctl[DEGREE, l]:
            if ctl[KIND, l] == ROCK:
                at = 2 * (int(peek_real(w.chebyshev.rock, row * ROCK_COLUMNS + RECURRENCE)) + j - 1)
                k, one = h * peek_real(w.chebyshev.recurrence, at), peek_real(w.chebyshev.recurrence, at + 1)
                two = -one
            else:
                w0 = peek_real(w.chebyshev.rkc, row * RKC_COLUMNS + W0)
                t = 2.0 * w0 * ctl[T1, l] - ctl[T2, l]
                d = 2.0 * w0 * ctl[D1, l] - ctl[D2, l] + 2.0 * ctl[T1, l]
                e = 2.0 * w0 * ctl[E1, l] - ctl[E2, l] + 4.0 * ctl[D1, l]
                b = e / (d * d)
                mu, two = 2.0 * b * w0 / ctl[B1, l], -b / ctl[B2, l]
                k = 2.0 * b * peek_real(w.chebyshev.rkc, row * RKC_COLUMNS + W1) / ctl[B1, l] * h
                one, start, first_slope = mu - 1.0, 1.0 - mu - two, -ctl[A1, l] * k
                ctl[T2, l], ctl[D2, l], ctl[E2, l], ctl[B2, l] = ctl[T1, l], ctl[D1, l], ctl[E1, l], ctl[B1, l]
                ctl[T1, l], ctl[D1, l], ctl[E1, l], ctl[B1, l] = t, d, e, b
                ctl[A1, l] = 1.0 - b * t
        arena[f + l] = k
        arena[f + w.lanes + l] = one
        arena[f + 2 * w.lanes + l] = two
        arena[f + 3 * w.lanes + l] = start
        arena[f + 4 * w.lanes + l] = first_slope


@part
def keep(w, arena, ctl, g, j, column, out):
    """Keep stage j where it is the one that the error estimate and the continuous output of RKC2 ask for."""
    bits = 0
    for l in range(w.lanes):
        at = int(ctl[ROW, l]) * RKC_COLUMNS + column
        if ctl[ACTIVE, l] > 0.0 and ctl[KIND, l] == RKC and peek_real(w.chebyshev.rkc, at) == j:
            bits |= 1 << l
    if bits != 0:
        mask(w, arena, bits)
        invoke(w.blend, out, g, w.at.mask, w.entries)


@part
def recurrence(w, arena, ctl, highest, rkc):
    """All stages of the recurrence; returns the places of the last one and of the one before."""
    open_recurrence(w, arena, ctl)
    g, before, other = w.at.stage, w.at.state, w.at.output
    for j in range(2, highest + 1):
        slope(w, g, slope_at(w, 1))
        recurrence_factors(w, arena, ctl, j)
        poke(w.chebyshev.mix, G1, g)
        poke(w.chebyshev.mix, G2, before)
        mixed(w, other, g, K1, 5)  # over g_{j-2}, entry by entry, from the third stage on
        g, before, other = other, g, g
        if rkc:
            keep(w, arena, ctl, g, j, NODE_A, w.at.keep_a)
            keep(w, arena, ctl, g, j, NODE_B, w.at.keep_b)
    return g, other


@part
def finishing_factors(w, arena, ctl, column, terms):
    """Consecutive numbers of the row of ROCK4 times h; zero in the other lanes."""
    f = place(w, w.at.factors)
    for l in range(w.lanes):
        own = ctl[ACTIVE, l] > 0.0 and ctl[KIND, l] == ROCK
        h, at = ctl[STEP, l] * w.direction, int(ctl[ROW, l]) * ROCK_COLUMNS + column
        for j in range(terms):
            arena[f + j * w.lanes + l] = h * peek_real(w.chebyshev.rock, at + j) if own else 0.0


@part
def four_stages(w, arena, ctl, g, other):
    """The four stages of ROCK4 after the recurrence, and the end of the step."""
    column = STAGE
    for i in range(1, 5):
        slope(w, g if i == 1 else other, slope_at(w, i))
        finishing_factors(w, arena, ctl, column if i < 4 else WEIGHTS, i)
        column += i
        out = other if i < 4 else w.at.next
        invoke(w.combine, out, g, w.method.slopes, w.method.sequence + 8, w.at.factors, i, w.entries)
