"""Trajectories enter a lane, leave records, and leave the lane."""

from __future__ import annotations

import numpy as np

from fastdln.kernels.lockstep.control import (
    ACTIVE,
    ATTEMPTS,
    CONTROL_ROWS,
    DUE_LIMIT,
    EXCESS2,
    FAILED,
    LEAST2,
    LONGEST,
    NEXT_OUTPUT,
    NEXT_STEP,
    REACHED,
    REJECTIONS,
    SMALLEST,
    STOPPED,
)
from fastdln.kernels.lockstep.steps import evaluate, interpolate
from fastdln.kernels.lockstep.workspace import (
    COUNT_ACCEPTED,
    COUNT_REJECTED,
    COUNT_RHS,
    DONE,
    FAILURES,
    FINISHED,
    MAX_STEPS,
    NEXT,
    NONFINITE,
    STEP_TOO_SMALL,
    STOPPED_EARLY,
)
from fastdln.kernels.machine.compile import part
from fastdln.kernels.machine.library import invoke
from fastdln.kernels.machine.memory import fetch_add, fill, peek, peek_real, place, poke, poke_real


@part
def clear(w, ctl, l):
    """Make lane l idle."""
    for row in range(CONTROL_ROWS):
        ctl[row, l] = 0.0
    ctl[NEXT_OUTPUT, l] = np.inf


@part
def load(w, arena, ctl, q, l):
    """Put trajectory q into lane l; returns how many modes it has to learn."""
    lane, start = l * w.item, w.start_at + q * w.parameters * w.item
    for i in range(w.layers):
        size = peek(w.sizes_at, i)
        invoke(w.put_lane, w.state_at + peek(w.layers_at, i) * w.entry + lane, start, size)
        start += size * w.item
    target = peek(w.target_row_at, q)
    invoke(w.put_lane, w.scratch_at + lane, w.constants_at + target * w.constants * w.item, w.constants)
    invoke(w.put_lane, w.thresholds_at + lane, w.goals_at + target * w.modes * w.item, w.modes)
    invoke(w.put_lane, w.scratch_at + w.vectors * w.entry + lane, w.general_vectors_at, w.n_vectors)
    tolerance = place(w, w.tolerance_at) + l
    arena[tolerance], arena[tolerance + w.lanes] = w.rtol, peek_real(w.atol_at, q)
    clear(w, ctl, l)
    ctl[ACTIVE, l] = 1.0
    ctl[LONGEST, l], ctl[EXCESS2, l], ctl[LEAST2, l] = np.inf, np.inf, peek_real(w.least_at, target)
    if w.n_times > 0:
        ctl[NEXT_OUTPUT, l] = peek_real(w.times_at, 0)
    poke(w.traj_at, l, q)
    poke(w.output_at, l, 0)
    return open_modes(w, arena, l)


@part
def open_modes(w, arena, l):
    """How many modes are still to be learned in lane l."""
    e, count = place(w, w.thresholds_at) + l, 0
    for j in range(w.modes):
        count += arena[e + j * w.lanes] < np.inf
    return count


@part
def verdict(w, ctl, l):
    """The status of lane l when it is over."""
    if ctl[STOPPED, l] > 0.0:
        return STOPPED_EARLY
    if ctl[REACHED, l] >= w.end:
        return FINISHED
    if not ctl[NEXT_STEP, l] > ctl[REACHED, l] * SMALLEST or (w.fixed_step > 0.0 and ctl[FAILED, l] > 0.0):
        return NONFINITE if ctl[FAILED, l] > 0.0 else STEP_TOO_SMALL
    return MAX_STEPS


@part
def take_state(w, state, l, out):
    """Write the weights in lane l of a state to consecutive numbers."""
    for i in range(w.layers):
        size = peek(w.sizes_at, i)
        invoke(w.take_lane, out, state + peek(w.layers_at, i) * w.entry + l * w.item, size)
        out += size * w.item


@part
def slopes_taken(w, ctl, l):
    """Right-hand sides of an explicit method in lane l, without those that only records need."""
    attempts = np.int64(ctl[ATTEMPTS, l])
    first = 1 if w.fixed_step > 0.0 or attempts == 0 else 2  # the first step takes a slope to choose
    return first + attempts * (w.stages - 1)


@part
def unload(w, arena, ctl, shared, l, slopes):
    """Write what became of the trajectory in lane l; returns how many of its modes were not learned."""
    q = peek(w.traj_at, l)
    take_state(w, w.state_at, l, w.final_at + q * w.parameters * w.item)
    status = verdict(w, ctl, l)
    poke_real(w.reached_at, q, ctl[REACHED, l])
    poke(w.status_at, q, status)
    attempts, rejections = np.int64(ctl[ATTEMPTS, l]), np.int64(ctl[REJECTIONS, l])
    poke(w.counts_at, 3 * q + COUNT_RHS, slopes)
    poke(w.counts_at, 3 * q + COUNT_ACCEPTED, attempts - rejections)
    poke(w.counts_at, 3 * q + COUNT_REJECTED, rejections)
    clear(w, ctl, l)
    poke(w.traj_at, l, -1)
    left, e = open_modes(w, arena, l), place(w, w.thresholds_at) + l
    for j in range(w.modes):
        arena[e + j * w.lanes] = np.inf
    fetch_add(shared, DONE)
    if status > STOPPED_EARLY:
        fetch_add(shared, FAILURES)
    return left


@part
def release(w, arena, ctl, shared, finished):
    """Take finished lanes out; returns how many of their modes were not learned."""
    left = 0
    for l in range(w.lanes):
        if (finished >> l) & 1:
            left += unload(w, arena, ctl, shared, l, slopes_taken(w, ctl, l))
    return left


@part
def fill_lanes(w, arena, ctl, shared, empty):
    """Fill empty lanes from the queue; returns those that are new, and the modes that they have to learn."""
    new, opened = 0, 0
    for l in range(w.lanes):
        if (empty >> l) & 1:
            q = fetch_add(shared, NEXT)
            if q < w.n:
                opened += load(w, arena, ctl, q, l)
                new |= 1 << l
    return new, opened


@part
def record(w, ctl, l):
    """Write the next record of lane l: observables of the state in the place of outputs, which `evaluate` has seen."""
    row = w.records_at + (peek(w.traj_at, l) * w.n_times + peek(w.output_at, l)) * w.columns * w.item
    lane = l * w.item
    if w.record_distance >= 0:
        invoke(w.take_lane, row + w.record_distance * w.item, w.sums_at + lane, 1)
    if w.record_gradient >= 0:
        invoke(w.take_lane, row + w.record_gradient * w.item, w.sums_at + w.entry + lane, 1)
    if w.record_strengths >= 0:
        invoke(w.take_lane, row + w.record_strengths * w.item, w.strengths_at + lane, w.modes)
    if w.record_product >= 0:
        product = peek(w.bases_at, w.product_base) + w.product * w.entry
        invoke(w.take_lane, row + w.record_product * w.item, product + lane, w.product_size)
    if w.record_weights >= 0:
        take_state(w, w.stage2_at, l, row + w.record_weights * w.item)
    k = peek(w.output_at, l) + 1
    poke(w.output_at, l, k)
    ctl[NEXT_OUTPUT, l] = peek_real(w.times_at, k) if k < w.n_times else np.inf


@part
def output(w, ctl, due, ready):
    """Record every requested time that this step reaches in the lanes ``due``, one time a lane and pass.

    ``ready``: continuous output is in its place for the first pass.
    """
    while due != 0:
        if not ready:
            invoke(w.output_theta, w.ctl_at, w.theta_at, w.flags_at)
            interpolate(w)
        ready = False
        due = record_due(w, ctl, due)


@part
def record_due(w, ctl, due):
    """Record what lies in the place of outputs in the lanes ``due``; returns those with more to record in this step."""
    evaluate(w)
    for l in range(w.lanes):
        if (due >> l) & 1:
            record(w, ctl, l)
            if not ctl[NEXT_OUTPUT, l] <= ctl[DUE_LIMIT, l]:
                due &= ~(1 << l)
    return due


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
        fill(w, arena, w.mask_at, 1.0)
        invoke(w.blend, w.stage2_at, w.state_at, w.mask_at, w.entries)
        evaluate(w)
        for l in range(w.lanes):
            while (missing >> l) & 1 and ctl[NEXT_OUTPUT, l] <= ctl[REACHED, l]:
                record(w, ctl, l)
