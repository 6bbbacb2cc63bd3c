"""Records: observables of the states in the place of outputs, written to the trajectories' own."""

from __future__ import annotations

import numpy as np

from fastdln.kernels.lockstep.control import DUE_LIMIT, LENGTH, NEXT_OUTPUT, REACHED
from fastdln.kernels.lockstep.learning import write as put
from fastdln.kernels.lockstep.places import fill
from fastdln.kernels.lockstep.queue import take_state
from fastdln.kernels.lockstep.slopes import observe, products
from fastdln.kernels.lockstep.way import chords, within
from fastdln.kernels.lockstep.workspace import workspace_at
from fastdln.kernels.machine.compile import part
from fastdln.kernels.machine.library import invoke
from fastdln.kernels.machine.memory import peek, peek_real, poke, rows_of


@part
def evaluate(w):
    """Observables of the states in the place of outputs: sums = 2 (L - floor), ||grad L||; strengths; product."""
    if w.records.gradient >= 0:
        products(w, w.at.output, w.at.probe)
    observe(w, w.at.output)
    if w.records.gradient >= 0:
        invoke(w.norm, w.at.sums + w.entry, w.at.probe, w.layered)
    if w.way >= 0 and w.told.rests == 0:
        chords(w, w.at.output)


@part
def write(w, ctl, l):
    """Write the next record of lane l, of the states that `evaluate` has seen."""
    records, lane, k = w.records, l * w.item, peek(w.next_record, l)
    row = w.batch.records + (peek(w.trajectory, l) * records.n_times + k) * records.columns * w.item
    if records.distance >= 0:
        invoke(w.take_lane, row + records.distance * w.item, w.at.sums + lane, 1)
    if records.gradient >= 0:
        invoke(w.take_lane, row + records.gradient * w.item, w.at.sums + w.entry + lane, 1)
    if records.length >= 0:
        length = ctl[LENGTH, l]
        if w.way >= 0 and w.told.rests == 0:
            length += within(w, w.at.output, l)
        put(w, row, records.length, length)
    if records.strengths >= 0:
        invoke(w.take_lane, row + records.strengths * w.item, w.at.strengths + lane, w.modes)
    if records.product >= 0:
        product = peek(w.products.bases, w.products.product_base) + w.products.product * w.entry
        invoke(w.take_lane, row + records.product * w.item, product + lane, records.product_size)
    if records.weights >= 0:
        take_state(w, w.at.output, l, row + records.weights * w.item)
    poke(w.next_record, l, k + 1)
    ctl[NEXT_OUTPUT, l] = peek_real(records.times, k + 1) if k + 1 < records.n_times else np.inf


def record(workspace, memory, due):
    """Record the states in the place of outputs in the lanes ``due``, for one time each; ``left`` tells the lanes with
    more to record in this step.  Where a state ``rests`` it is recorded for all times that the lane has reached."""
    w = workspace_at(workspace)
    ctl, left = rows_of(w.ctl, w.lanes), 0
    evaluate(w)
    for l in range(w.lanes):
        if (due >> l) & 1:
            write(w, ctl, l)
            while w.told.rests and ctl[NEXT_OUTPUT, l] <= ctl[REACHED, l]:
                write(w, ctl, l)
            if ctl[NEXT_OUTPUT, l] <= ctl[DUE_LIMIT, l]:
                left |= 1 << l
    w.told.left = left


@part
def output_at_rest(w, arena, ctl, over):
    """Lanes ``over`` end now: record their states at the times that they have reached without a step.

    That is the start, where no step was accepted, and the rest of the span of those that hold their state.
    """
    missing = 0
    for l in range(w.lanes):
        if (over >> l) & 1 and ctl[NEXT_OUTPUT, l] <= ctl[REACHED, l]:
            missing |= 1 << l
    if missing != 0:
        fill(w, arena, w.at.mask, 1.0)
        invoke(w.blend, w.at.output, w.at.state, w.at.mask, w.entries)
        w.told.rests = 1
        invoke(w.routines.record, w.workspace, w.arena, missing)
        w.told.rests = 0
