"""The routines of gradient descent: an update, its records, and going on from it.

An update is a step of length 1, so that time counts updates: there is no error, nothing within a step, and no choice
of the next one.  The last that happens to an entry is one fused multiply-add of minus the gradient (`update`): so its
bits are the same whether the products write it while that is in registers (``fused``), or write the gradient before.
"""

from __future__ import annotations

import numpy as np

from fastdln.kernels.lockstep.control import (
    CONTROL_ROWS,
    DUE_LIMIT,
    GRADIENT,
    LENGTH,
    LOSS2,
    NEXT_STEP,
    REACHED,
    SLOPES,
    STOPPED,
)
from fastdln.kernels.lockstep.learning import read
from fastdln.kernels.lockstep.learning import write as put
from fastdln.kernels.lockstep.places import layer, place, slope_at
from fastdln.kernels.lockstep.queue import take_state
from fastdln.kernels.lockstep.records import output_at_rest
from fastdln.kernels.lockstep.samples import draw
from fastdln.kernels.lockstep.slopes import measure_modes, observe, products
from fastdln.kernels.lockstep.workspace import BEYOND_BITS, VERDICT, workspace_at
from fastdln.kernels.machine.compile import part
from fastdln.kernels.machine.library import invoke
from fastdln.kernels.machine.memory import address, numbers, peek, peek_real, poke, poke_real, rows_of
from fastdln.kernels.products.rows import DERIVATIVE, STATE
from fastdln.kernels.products.tiles import FACTOR, LANE_RATES, UPDATED, VELOCITY
from fastdln.kernels.products.update import (
    BOUND,
    DECAYED,
    HEAVY_BALL,
    KEPT,
    LIMIT,
    MOMENTUM,
    NESTEROV,
    RATES,
    SQUARES,
)

# rows of control beside those of every method
RATE, BETA, MU, EPOCH = range(CONTROL_ROWS, CONTROL_ROWS + 4)
ROWS = CONTROL_ROWS + 4

LARGEST, LARGEST_SINGLE = 1e300, 1e37  # sums of squares, of the entries of a state
REPEATS = 2  # see `fastdln.integrate.schedules.After`


# ---- beginning


def begin(workspace, memory, new):
    """Prepare the lanes ``new``: their rates, velocities, what is asked for of their starts, and records of these.

    ``finished`` tells those that are over, ``learned`` how many modes are learned there.
    """
    w = workspace_at(workspace)
    arena, ctl, course = numbers(memory), rows_of(w.ctl, w.lanes), w.course
    for l in range(w.lanes):
        if (new >> l) & 1:
            q = peek(w.trajectory, l)
            ctl[RATE, l], ctl[BETA, l] = peek_real(course.rate, q), peek_real(course.momentum, q)
            ctl[MU, l], ctl[EPOCH, l] = peek_real(course.decay, q), -1.0
            ctl[NEXT_STEP, l], ctl[SLOPES, l] = 1.0, -1.0  # no slope is taken before the first update
            e, bound = place(w, w.at.rates) + l, peek_real(course.bound, q)
            arena[e + BOUND * w.lanes], arena[e + SQUARES * w.lanes] = bound, 0.0
            arena[e + LIMIT * w.lanes] = min(0.25 * bound * bound, LARGEST if w.item == 8 else LARGEST_SINGLE)
            if w.descent.kind >= HEAVY_BALL:
                put_velocity(w, l, q)
    if w.descent.n_factors == 1:
        set_rates(w, arena, ctl)
    look(w, arena, ctl, w.at.state, w.routines.search != 0)
    w.told.finished, w.told.learned = 0, 0
    for l in range(w.lanes):
        if (new >> l) & 1 and (ctl[GRADIENT, l] <= w.stop_gradient or ctl[LOSS2, l] <= w.stop_loss2):
            ctl[STOPPED, l] = 1.0
            w.told.finished |= 1 << l
    if w.routines.search:
        note_learned(w, ctl, new)
    output_at_rest(w, arena, ctl, new)


@part
def put_velocity(w, l, q):
    """The velocity with which trajectory q begins, into lane l."""
    start = w.course.velocity + q * w.parameters * w.item
    for i in range(w.layers):
        size = peek(w.layer.sizes, i)
        invoke(w.put_lane, w.at.velocity + peek(w.layer.first, i) * w.entry + l * w.item, start, size)
        start += size * w.item


@part
def set_rates(w, arena, ctl):
    """The numbers of all lanes for their next update."""
    descent, e = w.descent, place(w, w.at.rates)
    for l in range(w.lanes):
        k = descent.first + np.int64(ctl[REACHED, l])
        if k >= descent.n_factors:
            k = k % descent.n_factors if descent.after == REPEATS else descent.n_factors - 1
        eta = ctl[RATE, l] * peek_real(descent.factors, k)
        arena[e + KEPT * w.lanes + l], arena[e + DECAYED * w.lanes + l] = 1.0 - eta * ctl[MU, l], -(eta * ctl[MU, l])
        arena[e + MOMENTUM * w.lanes + l] = ctl[BETA, l]
        for i in range(w.layers):
            arena[e + (RATES + i) * w.lanes + l] = eta * peek_real(descent.layer_rates, i)


# ---- an update


def attempt(workspace, memory, opened):
    """One update in every lane, with ``opened`` modes to be learned; where an entry leaves its bound it is rejected."""
    w = workspace_at(workspace)
    arena, ctl = numbers(memory), rows_of(w.ctl, w.lanes)
    if w.descent.n_factors > 1:
        set_rates(w, arena, ctl)
    if w.descent.samples:
        draw(w, ctl, EPOCH)
    update(w)
    watch_bounds(w)
    look(w, arena, ctl, w.at.next, opened > 0)
    invoke(w.descent.end_update, w.ctl, w.workspace, w.told.beyond, w.at.mask, address(w.told) + VERDICT)
    if w.records.length >= 0:
        lengthen(w, ctl)


@part
def lengthen(w, ctl):
    """Add the update to the length of the way, in the lanes that made it."""
    invoke(w.distance, w.at.sums, w.at.next, w.at.state, w.layered)
    for l in range(w.lanes):
        if ctl[DUE_LIMIT, l] >= 0.0:
            ctl[LENGTH, l] += read(w, w.at.sums, l)


@part
def update(w):
    """The states after the update, and their velocities."""
    at, descent, bases = w.at, w.descent, w.descent.bases
    state = at.state
    if descent.kind == NESTEROV:
        state = at.stage
        invoke(descent.look_ahead, state, at.state, at.velocity, at.rates, w.entries)
    factors, slope = at.rates + RATES * w.entry, slope_at(w, 0)
    poke(bases, STATE, state)
    if descent.fused:
        poke(bases, DERIVATIVE, at.next)
        poke(bases, UPDATED, state)
        poke(bases, VELOCITY, at.velocity)
        poke(bases, LANE_RATES, at.rates)
        poke(bases, FACTOR, factors)
        invoke(w.routines.execute_update, bases, descent.program, descent.rows)
        return
    if not descent.known:
        poke(bases, DERIVATIVE, slope)
        invoke(w.routines.execute_update, bases, descent.program, descent.rows)
    for i in range(w.layers):
        first, last = layer(w, i)
        invoke(descent.add_gradient, descent.kind, at.next, slope, state, at.velocity, at.rates, factors + i * w.entry,
               first, last)  # fmt: skip


@part
def watch_bounds(w):
    """Tell the lanes with an entry ``beyond`` its bound; the sums of squares, where there are any, rule most out."""
    beyond = address(w.told) + BEYOND_BITS
    if w.descent.fused:
        invoke(w.descent.doubt, beyond, w.at.rates)
    if not w.descent.fused or w.told.beyond != 0:
        invoke(w.descent.exceed, beyond, w.at.next, w.at.rates + BOUND * w.entry, w.entries)


@part
def look(w, arena, ctl, y, waits):
    """Note of states what a stop condition asks for, and the strengths where modes are waited for."""
    if w.limits.stop_on_gradient:
        products(w, y, slope_at(w, 0))
        invoke(w.norm, w.at.sums, slope_at(w, 0), w.layered)
        sums = place(w, w.at.sums)
        for l in range(w.lanes):
            ctl[GRADIENT, l] = arena[sums + l]
    if w.limits.stop_on_loss or waits:
        observe(w, y)
        sums = place(w, w.at.sums)
        for l in range(w.lanes):
            ctl[LOSS2, l] = arena[sums + l]
    if waits:
        measure_modes(w, peek(w.learning.ends, 0))


# ---- records, and going on


def dense(workspace, memory, due):
    """Records of the lanes ``due``, and learning times, of the states after the update."""
    w = workspace_at(workspace)
    at = w.at
    if due:
        at.output, at.next = at.next, at.output
        invoke(w.routines.record, w.workspace, w.arena, due)
        at.output, at.next = at.next, at.output
    w.told.learned = 0
    if w.told.passed:
        note_learned(w, rows_of(w.ctl, w.lanes), w.told.passed)


def search(workspace, _, rejected):
    """Tell the lanes ``passed`` where a mode has reached its threshold after this update."""
    w = workspace_at(workspace)
    ctl, ends, bits = rows_of(w.ctl, w.lanes), peek(w.learning.ends, 0), 0
    for l in range(w.lanes):
        if ctl[DUE_LIMIT, l] >= 0.0:
            for j in range(w.modes):
                if read(w, ends, j * w.lanes + l) >= read(w, w.at.thresholds, j * w.lanes + l):
                    bits |= 1 << l
    w.told.passed = bits


@part
def note_learned(w, ctl, bits):
    """Note the modes that have reached their thresholds in some lanes; ``learned`` tells how many."""
    ends = peek(w.learning.ends, 0)
    for l in range(w.lanes):
        if (bits >> l) & 1:
            for j in range(w.modes):
                e = j * w.lanes + l
                if read(w, ends, e) >= read(w, w.at.thresholds, e):
                    poke_real(w.batch.learned, peek(w.trajectory, l) * w.modes + j, ctl[REACHED, l])
                    put(w, w.at.thresholds, e, np.inf)
                    w.told.learned += 1


def advance(workspace, memory, rejected):
    """Go on from the states after the update; rejected lanes keep those before it."""
    w = workspace_at(workspace)
    at = w.at
    at.state, at.next = at.next, at.state
    if rejected != 0:
        invoke(w.blend, at.state, at.next, at.mask, w.entries)
    if w.descent.kind >= HEAVY_BALL and w.told.finished != 0:
        for l in range(w.lanes):
            if (w.told.finished >> l) & 1:
                take_state(w, at.velocity, l, w.course.last_velocity + peek(w.trajectory, l) * w.parameters * w.item)
