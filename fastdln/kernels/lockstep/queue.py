"""Trajectories enter a lane, and leave it."""

from __future__ import annotations

import numpy as np

from fastdln.integrate import law
from fastdln.kernels.lockstep.control import (
    ACTIVE,
    ATTEMPTS,
    CONTROL_ROWS,
    EXCESS2,
    FAILED,
    LEAST2,
    LONGEST,
    LOOKS,
    NEXT_OUTPUT,
    NEXT_STEP,
    REACHED,
    REJECTIONS,
    SLOPES,
    STOPPED,
)
from fastdln.kernels.lockstep.places import place, scratch
from fastdln.kernels.lockstep.way import begin_way, end_way
from fastdln.kernels.lockstep.workspace import (
    COUNT_ACCEPTED,
    COUNT_REJECTED,
    COUNT_RHS,
    DONE,
    FAILURES,
    HANDED_OVER,
    NEXT,
)
from fastdln.kernels.machine.compile import part
from fastdln.kernels.machine.library import invoke
from fastdln.kernels.machine.memory import fetch_add, peek, peek_real, poke, poke_real

SAVED = CONTROL_ROWS + 1  # numbers of a trajectory that is to go on: its control, and its next record

verdict, slopes_taken = part(law.verdict), part(law.slopes_taken)


@part
def clear(w, ctl, l):
    """Make lane l idle."""
    for row in range(w.control_rows):
        ctl[row, l] = 0.0
    ctl[NEXT_OUTPUT, l] = np.inf


@part
def load(w, arena, ctl, q, l):
    """Put trajectory q into lane l, where another method has left it if it is resumed; returns how many modes it has to
    learn."""
    batch, lane = w.batch, l * w.item
    start = batch.start + q * w.parameters * w.item
    for i in range(w.layers):
        size = peek(w.layer.sizes, i)
        invoke(w.put_lane, w.at.state + peek(w.layer.first, i) * w.entry + lane, start, size)
        start += size * w.item
    target = peek(batch.target_row, q)
    constants = batch.constants + target * w.products.constants * w.item
    invoke(w.put_lane, w.at.scratch + lane, constants, w.products.constants)
    invoke(w.put_lane, w.at.thresholds + lane, batch.goals + target * w.modes * w.item, w.modes)
    invoke(w.put_lane, scratch(w, w.growth.vectors) + lane, w.growth.general, w.growth.n_vectors)
    tolerance = place(w, w.at.tolerance) + l
    arena[tolerance], arena[tolerance + w.lanes] = w.rtol, peek_real(batch.atol, q)
    clear(w, ctl, l)
    ctl[ACTIVE, l] = 1.0
    ctl[LONGEST, l], ctl[EXCESS2, l], ctl[LEAST2, l] = np.inf, np.inf, peek_real(batch.least, target)
    if w.records.n_times > 0:
        ctl[NEXT_OUTPUT, l] = peek_real(w.records.times, 0)
    poke(w.trajectory, l, q)
    poke(w.next_record, l, 0)
    begin_way(w, ctl, q, l)
    if batch.resumed:
        saved, e = batch.saved + 8 * q * SAVED, place(w, w.at.thresholds) + l
        for row in range(CONTROL_ROWS):
            ctl[row, l] = peek_real(saved, row)
        ctl[LOOKS, l] = 0.0  # the vectors are new
        poke(w.next_record, l, np.int64(peek_real(saved, CONTROL_ROWS)))
        for j in range(w.modes):
            if peek_real(batch.learned, q * w.modes + j) >= 0.0:
                arena[e + j * w.lanes] = np.inf
    return open_modes(w, arena, l)


@part
def open_modes(w, arena, l):
    """How many modes are still to be learned in lane l."""
    e, count = place(w, w.at.thresholds) + l, 0
    for j in range(w.modes):
        count += arena[e + j * w.lanes] < np.inf
    return count


@part
def take_state(w, state, l, out):
    """Write the weights in lane l of a state to consecutive numbers."""
    for i in range(w.layers):
        size = peek(w.layer.sizes, i)
        invoke(w.take_lane, out, state + peek(w.layer.first, i) * w.entry + l * w.item, size)
        out += size * w.item


@part
def unload(w, arena, ctl, shared, l, over):
    """Take the trajectory out of lane l, and write what became of it, or where another method is to go on if it is not
    ``over``; returns how many of its modes were not learned."""
    batch, q = w.batch, peek(w.trajectory, l)
    take_state(w, w.at.state, l, batch.final + q * w.parameters * w.item)
    end_way(w, ctl, q, l)
    attempts, rejections = np.int64(ctl[ATTEMPTS, l]), np.int64(ctl[REJECTIONS, l])
    slopes = np.int64(ctl[SLOPES, l]) + slopes_taken(attempts, w.method.slopes_per_step + 1, w.fixed_step > 0.0)
    if over:
        status = verdict(
            ctl[STOPPED, l] > 0.0, ctl[REACHED, l], w.end, ctl[NEXT_STEP, l], ctl[FAILED, l] > 0.0, w.fixed_step > 0.0
        )
        if status == law.NONFINITE:
            status = w.method.failure
        poke(batch.status, q, status)
        poke_real(batch.reached, q, ctl[REACHED, l])
        poke(batch.counts, 3 * q + COUNT_RHS, slopes)
        poke(batch.counts, 3 * q + COUNT_ACCEPTED, attempts - rejections)
        poke(batch.counts, 3 * q + COUNT_REJECTED, rejections)
        fetch_add(shared, DONE)
        if status > law.STOPPED:
            fetch_add(shared, FAILURES)
    else:
        poke(batch.status, q, HANDED_OVER)
        ctl[SLOPES, l] = slopes - 1.0  # without the second one of a first step, which is counted again
        for row in range(CONTROL_ROWS):
            poke_real(batch.saved, q * SAVED + row, ctl[row, l])
        poke_real(batch.saved, q * SAVED + CONTROL_ROWS, float(peek(w.next_record, l)))
    clear(w, ctl, l)
    poke(w.trajectory, l, -1)
    left, e = open_modes(w, arena, l), place(w, w.at.thresholds) + l
    for j in range(w.modes):
        arena[e + j * w.lanes] = np.inf
    return left


@part
def release(w, arena, ctl, shared, finished, stiff):
    """Take out lanes that are over, and those that another method goes on with; returns how many of their modes were
    not learned."""
    left = 0
    for l in range(w.lanes):
        if ((finished | stiff) >> l) & 1:
            left += unload(w, arena, ctl, shared, l, (finished >> l) & 1 != 0)
    return left


@part
def fill_lanes(w, arena, ctl, shared, empty):
    """Fill empty lanes from the queue; returns those that are new, and the modes that they have to learn."""
    new, opened = 0, 0
    for l in range(w.lanes):
        if (empty >> l) & 1:
            k = fetch_add(shared, NEXT)
            if k < w.batch.n:
                opened += load(w, arena, ctl, peek(w.batch.queue, k), l)
                new |= 1 << l
    return new, opened
