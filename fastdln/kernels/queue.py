"""Trajectories enter a lane, leave records, and leave the lane."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdln.kernels.compile import part
from fastdln.kernels.control import (
    ACTIVE,
    ATTEMPTS,
    DUE_LIMIT,
    FAILED,
    NEXT_OUTPUT,
    NEXT_STEP,
    OUTPUT_STEPS,
    REACHED,
    REJECTIONS,
    SMALLEST,
    STOPPED,
)  # fmt: skip
from fastdln.kernels.layout import (
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
)  # fmt: skip
from fastdln.kernels.library import invoke
from fastdln.kernels.memory import fetch_add, peek, place, poke
from fastdln.kernels.steps import evaluate, interpolate


class Job(NamedTuple):
    """What is to be integrated; rows of ``constants`` are shared through ``constant_row``."""

    start: NDArray  # (n, parameters)
    constants: NDArray  # (targets, constants)
    thresholds: NDArray  # (targets, modes)
    constant_row: NDArray  # (n,)
    atol: NDArray  # (n,)
    times: NDArray  # (n_t,) increasing, from the start of the span


class Results(NamedTuple):
    """What is written: rows of trajectories."""

    records: NDArray  # (n, n_t, columns)
    final: NDArray  # (n, parameters)
    reached: NDArray  # (n,)
    status: NDArray  # (n,)
    counts: NDArray  # (n, 3)
    learned: NDArray  # (n, modes)
    history: NDArray  # (n, steps) or empty


@part
def clear(ctl, l):
    """Make lane l idle."""
    for row in range(ctl.shape[0]):
        ctl[row, l] = 0.0
    ctl[NEXT_OUTPUT, l] = np.inf


@part
def load(w, arena, ctl, job, q, l):
    """Put trajectory q into lane l; returns how many modes it has to learn."""
    state, p = place(w, w.state_at) + l, 0
    for i in range(w.layers):
        e = state + peek(w.layers_at, i) * w.lanes
        for j in range(peek(w.sizes_at, i)):
            arena[e + j * w.lanes] = job.start[q, p]
            p += 1
    target = job.constant_row[q]
    e = place(w, w.scratch_at) + l
    for j in range(w.constants):
        arena[e + j * w.lanes] = job.constants[target, j]
    e, opened = place(w, w.thresholds_at) + l, 0
    for j in range(w.modes):
        arena[e + j * w.lanes] = job.thresholds[target, j]
        opened += job.thresholds[target, j] < np.inf
    arena[place(w, w.tolerance_at) + w.lanes + l] = job.atol[q]
    clear(ctl, l)
    ctl[ACTIVE, l] = 1.0
    if job.times.size > 0:
        ctl[NEXT_OUTPUT, l] = job.times[0]
    poke(w.traj_at, l, q)
    poke(w.output_at, l, 0)
    return opened


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
def unload(w, arena, ctl, out, shared, l):
    """Write what became of the trajectory in lane l; returns how many of its modes were not learned."""
    q = peek(w.traj_at, l)
    state, p = place(w, w.state_at) + l, 0
    for i in range(w.layers):
        e = state + peek(w.layers_at, i) * w.lanes
        for j in range(peek(w.sizes_at, i)):
            out.final[q, p] = arena[e + j * w.lanes]
            p += 1
    status = verdict(w, ctl, l)
    out.reached[q] = ctl[REACHED, l]
    out.status[q] = status
    attempts, rejections = np.int64(ctl[ATTEMPTS, l]), np.int64(ctl[REJECTIONS, l])
    first = 1 if w.fixed_step > 0.0 or attempts == 0 else 2  # the first step takes a slope to choose
    out.counts[q, COUNT_RHS] = first + attempts * (w.stages - 1) + np.int64(ctl[OUTPUT_STEPS, l]) * w.extra
    out.counts[q, COUNT_ACCEPTED] = attempts - rejections
    out.counts[q, COUNT_REJECTED] = rejections
    clear(ctl, l)
    poke(w.traj_at, l, -1)
    e, left = place(w, w.thresholds_at) + l, 0
    for j in range(w.modes):
        left += arena[e + j * w.lanes] < np.inf
        arena[e + j * w.lanes] = np.inf
    fetch_add(shared, DONE)
    if status > STOPPED_EARLY:
        fetch_add(shared, FAILURES)
    return left


@part
def exchange(w, arena, ctl, job, out, shared, finished):
    """Take finished lanes out and fill them from the queue; returns new lanes and the change in modes to learn."""
    new, opened = 0, 0
    for l in range(w.lanes):
        if (finished >> l) & 1:
            if peek(w.traj_at, l) >= 0:
                opened -= unload(w, arena, ctl, out, shared, l)
            q = fetch_add(shared, NEXT)
            if q < job.start.shape[0]:
                opened += load(w, arena, ctl, job, q, l)
                new |= 1 << l
    return new, opened


@part
def record(w, arena, out, l):
    """Write the next record of lane l: observables of the state in the first stage place, which `evaluate` has seen."""
    q, k, L = peek(w.traj_at, l), peek(w.output_at, l), w.lanes
    sums = place(w, w.sums_at)
    if w.record_distance >= 0:
        out.records[q, k, w.record_distance] = arena[sums + l]
    if w.record_gradient >= 0:
        out.records[q, k, w.record_gradient] = arena[sums + L + l]
    if w.record_strengths >= 0:
        e = place(w, w.strengths_at) + l
        for j in range(w.modes):
            out.records[q, k, w.record_strengths + j] = arena[e + j * L]
    if w.record_product >= 0:
        e = place(w, peek(w.bases_at, w.product_base)) + w.product * L + l
        for j in range(w.product_size):
            out.records[q, k, w.record_product + j] = arena[e + j * L]
    if w.record_weights >= 0:
        state, p = place(w, w.stage_at) + l, w.record_weights
        for i in range(w.layers):
            e = state + peek(w.layers_at, i) * L
            for j in range(peek(w.sizes_at, i)):
                out.records[q, k, p] = arena[e + j * L]
                p += 1


@part
def output(w, arena, ctl, job, out, due):
    """Record every requested time that this step reaches in the lanes ``due``, one time a lane and pass."""
    while due != 0:
        invoke(w.output_theta, w.ctl_at, w.theta_at)
        interpolate(w)
        evaluate(w)
        for l in range(w.lanes):
            if (due >> l) & 1:
                record(w, arena, out, l)
                k = peek(w.output_at, l) + 1
                poke(w.output_at, l, k)
                ctl[NEXT_OUTPUT, l] = job.times[k] if k < job.times.size else np.inf
                if not ctl[NEXT_OUTPUT, l] <= ctl[DUE_LIMIT, l]:
                    due &= ~(1 << l)


@part
def output_at_start(w, arena, ctl, job, out, over):
    """Lanes ``over`` end now: record the start itself if it was asked for and no step was accepted."""
    missing = 0
    for l in range(w.lanes):
        if (over >> l) & 1 and ctl[REACHED, l] == 0.0 and ctl[NEXT_OUTPUT, l] == 0.0:
            missing |= 1 << l
    if missing != 0:
        state, stage = place(w, w.state_at), place(w, w.stage_at)
        for e in range(w.entries * w.lanes):
            arena[stage + e] = arena[state + e]
        evaluate(w)
        for l in range(w.lanes):
            if (missing >> l) & 1:
                record(w, arena, out, l)
