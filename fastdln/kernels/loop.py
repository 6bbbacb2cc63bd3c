"""The adaptive Runge-Kutta loop over a queue of trajectories, one in each lane.

A finished lane is refilled at once from a counter that all threads share.  Everything a trajectory does depends on its
own start, constants and tolerances: not on its lane, its neighbours, the thread or the batch.  Scalar code runs for
lanes that begin, end or have output due; the rest are vector kernels.

The arrays come from Python, which keeps them alive; their addresses lie in ``at``, their sizes in ``m`` (`layout`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from fastdln.kernels.compile import kernel
from fastdln.kernels.control import (
    ACTIVE, ATTEMPTS, DUE_BITS, DUE_LIMIT, DIRECTION, END, FAILED, FINISHED_BITS, FIXED_STEP, GRADIENT2, GROWTH_CAP,
    LOSS2, NEXT_OUTPUT, NEXT_STEP, OUTPUT_STEPS, REACHED, REJECTED_BITS, REJECTIONS, RESIDUAL2, RTOL, STEP, STOPPED,
    STOP_GRADIENT2, STOP_LOSS2, TIME, begin_step, end_step, output_theta, passed,
)  # fmt: skip
from fastdln.kernels.layout import *  # noqa: F403  names of places only
from fastdln.kernels.stages import (
    TERMS, blend, column_dots, combine, combine_pair, dense_factors, error_sum, execute, rescale, scale_factors,
    square_distance, square_sum,
)  # fmt: skip

ROOT_ITERATIONS = 60
ROOT_TOLERANCE = 1e-13  # of a step


class Job(NamedTuple):
    """What is to be integrated; rows of ``constants`` are shared through ``constant_row``."""

    start: NDArray  # (n, parameters)
    constants: NDArray  # (targets, constants)
    thresholds: NDArray  # (targets, modes)
    constant_row: NDArray  # (n,)
    atol: NDArray  # (n,)
    times: NDArray  # (n_t,) increasing, from the start of the span
    layers: NDArray  # (h + 1,) offsets of the layers in a padded state
    sizes: NDArray  # (h,) entries of the layers


class Results(NamedTuple):
    """What is written: rows of trajectories."""

    records: NDArray  # (n, n_t, columns)
    final: NDArray  # (n, parameters)
    reached: NDArray  # (n,)
    status: NDArray  # (n,)
    counts: NDArray  # (n, 3)
    learned: NDArray  # (n, modes)
    history: NDArray  # (n, steps) or empty


@intrinsic
def fetch_add(context, array, value):  # type: ignore[no-untyped-def]
    """Atomic ``array[0] += value``; returns the old value."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.atomic_rmw("add", data, args[1], "monotonic")

    return types.int64(array, types.int64), codegen


@kernel
def _slope(lanes, arena, ctl, at, m, bases, job, y, k, measure):
    """k = right-hand side at y; ``measure``: also note ||grad L||^2 and ||R||^2 where they are asked for."""
    L = len(lanes)
    entry = L * arena.itemsize
    bases[0] = y
    bases[1] = k
    execute(arena, lanes, at[BASES_AT], at[RHS_AT], m[RHS_ROWS])
    sums = (at[SUMS_AT] - at[ARENA]) // arena.itemsize
    if measure and m[STOP_ON_GRADIENT]:
        square_sum(arena, lanes, at[SUMS_AT], k, m[ENTRIES])
        for l in range(L):
            ctl[GRADIENT2, l] = arena[sums + l]
    if measure and m[CAPPED] == BY_RESIDUAL:
        square_sum(arena, lanes, at[SUMS_AT], at[SCRATCH_AT] + m[RESIDUAL] * entry, m[TARGET_SIZE])
        for l in range(L):
            ctl[RESIDUAL2, l] = arena[sums + l]
    if m[RATES]:
        for i in range(m[LAYERS]):
            pair = at[RATES_AT] + 2 * i * arena.itemsize
            rescale(arena, lanes, k, y, pair, job.layers[i] * entry, job.layers[i + 1] * entry)


@kernel
def _observe(lanes, arena, at, m, bases, y):
    """Run the forward products at y: sums[0] = 2 (L - floor), strengths of the modes."""
    entry = len(lanes) * arena.itemsize
    bases[0] = y
    execute(arena, lanes, at[BASES_AT], at[OBSERVE_AT], m[OBSERVE_ROWS])
    scratch = at[SCRATCH_AT]
    compared = bases[m[COMPARED_BASE]] + m[COMPARED] * entry
    square_distance(arena, lanes, at[SUMS_AT], scratch + m[TARGET] * entry, compared, m[TARGET_SIZE])
    if m[MODES]:
        left, projected = scratch + m[LEFT] * entry, scratch + m[PROJECTED] * entry
        column_dots(arena, lanes, at[STRENGTHS_AT], left, projected, m[OUT_ROWS], m[MODES])


@kernel
def _interpolate(lanes, arena, at, m):
    """Continuous output at theta (per lane) into the first stage place."""
    entry = len(lanes) * arena.itemsize
    stages = m[STAGES] + m[EXTRA]
    dense_factors(arena, lanes, at[FACTORS_AT], at[STEP_AT], at[THETA_AT], at[DENSE_AT], stages, m[DEGREE])
    source = at[STATE_AT]
    for j in range(0, stages, TERMS):
        terms = min(TERMS, stages - j)
        combine(arena, lanes, at[STAGE_AT], source, at[SLOPES_AT], at[SEQUENCE_AT] + 8 * j,
                at[FACTORS_AT] + j * entry, terms, m[ENTRIES])  # fmt: skip
        source = at[STAGE_AT]


@kernel
def _combine_stage(lanes, arena, at, m, row, out, source):
    """out = source + h sum_j a_j k_j of one row of the schedule."""
    entry = len(lanes) * arena.itemsize
    weights = at[WEIGHTS_AT] + row[WEIGHT] * arena.itemsize
    scale_factors(arena, lanes, at[FACTORS_AT], at[STEP_AT], weights, row[TERMS_])
    for j in range(0, row[TERMS_], TERMS):
        terms = min(TERMS, row[TERMS_] - j)
        combine(arena, lanes, out, source, at[SLOPES_AT], at[INDEX_AT] + 8 * (row[INDEX] + j),
                at[FACTORS_AT] + j * entry, terms, m[ENTRIES])  # fmt: skip
        source = out


@kernel
def _stages(lanes, arena, ctl, at, m, bases, schedule, slopes, job):
    """All stages of a step; the last one is the slope at its end."""
    last = m[STAGES] - 1
    out = at[STAGE_AT]
    for s in range(1, m[STAGES]):
        row = schedule[s]
        free = at[NEXT_AT] if s == last else (at[STAGE_AT] if s & 1 else at[STAGE2_AT])
        if row[KIND] == OPENING:
            weights = at[WEIGHTS_AT] + row[WEIGHT] * arena.itemsize
            scale_factors(arena, lanes, at[FACTORS_AT], at[STEP_AT], weights, 2 * row[TERMS_])
            out = free
            after = at[NEXT_AT] if s + 1 == last else (at[STAGE2_AT] if s & 1 else at[STAGE_AT])
            combine_pair(arena, lanes, out, after, at[STATE_AT], at[SLOPES_AT], at[INDEX_AT] + 8 * row[INDEX],
                         at[FACTORS_AT], row[TERMS_], m[ENTRIES])  # fmt: skip
        else:
            out = free
            _combine_stage(lanes, arena, at, m, row, out, out if row[KIND] == CLOSING else at[STATE_AT])
        _slope(lanes, arena, ctl, at, m, bases, job, out, slopes[s], s == last)


@kernel
def _extra_stages(lanes, arena, ctl, at, m, bases, schedule, slopes, job):
    for s in range(m[STAGES], m[STAGES] + m[EXTRA]):
        _combine_stage(lanes, arena, at, m, schedule[s], at[STAGE_AT], at[STATE_AT])
        _slope(lanes, arena, ctl, at, m, bases, job, at[STAGE_AT], slopes[s], False)


@kernel
def _errors(lanes, arena, at, m, states, error_rows, job):
    """Error sums of all estimates and layers."""
    entry = len(lanes) * arena.itemsize
    states[0] = at[STATE_AT]
    states[1] = at[NEXT_AT]
    states[2] = at[TOLERANCE_AT]
    for estimate in range(m[ESTIMATES]):
        row = error_rows[estimate]
        index, terms = at[ERROR_INDEX_AT] + 8 * row[INDEX], row[TERMS_]
        scale_factors(arena, lanes, at[FACTORS_AT], at[STEP_AT],
                      at[ERROR_WEIGHTS_AT] + row[WEIGHT] * arena.itemsize, terms)  # fmt: skip
        for i in range(m[LAYERS]):
            error_sum(arena, lanes, at[SUMS_AT] + (estimate * m[LAYERS] + i) * entry, at[STATES_AT], at[SLOPES_AT],
                      index, at[FACTORS_AT], terms, job.layers[i] * entry, job.layers[i + 1] * entry)  # fmt: skip


@kernel
def _load(lanes, arena, ctl, at, m, job, q, l):
    """Put trajectory q into lane l."""
    L = len(lanes)
    y = (at[STATE_AT] - at[ARENA]) // arena.itemsize + l
    p = 0
    for i in range(m[LAYERS]):
        e = y + job.layers[i] * L
        for j in range(job.sizes[i]):
            arena[e + j * L] = job.start[q, p]
            p += 1
    target = job.constant_row[q]
    e = (at[SCRATCH_AT] - at[ARENA]) // arena.itemsize + l
    for j in range(m[CONSTANTS]):
        arena[e + j * L] = job.constants[target, j]
    e = (at[THRESHOLDS_AT] - at[ARENA]) // arena.itemsize + l
    opened = 0
    for j in range(m[MODES]):
        arena[e + j * L] = job.thresholds[target, j]
        opened += job.thresholds[target, j] < np.inf
    arena[(at[TOLERANCE_AT] - at[ARENA]) // arena.itemsize + L + l] = job.atol[q]
    ctl[:, l] = 0.0
    ctl[ACTIVE, l] = 1.0
    ctl[NEXT_OUTPUT, l] = job.times[0] if job.times.size else np.inf
    return opened


@kernel
def _unload(lanes, arena, ctl, at, m, par, job, out, q, l):
    """Take trajectory q out of lane l; returns how many of its modes are still to be learned."""
    L = len(lanes)
    y = (at[STATE_AT] - at[ARENA]) // arena.itemsize + l
    p = 0
    for i in range(m[LAYERS]):
        e = y + job.layers[i] * L
        for j in range(job.sizes[i]):
            out.final[q, p] = arena[e + j * L]
            p += 1
    out.reached[q] = ctl[REACHED, l]
    if ctl[STOPPED, l] > 0.0:
        status = STOPPED_EARLY
    elif ctl[REACHED, l] >= par[END]:
        status = FINISHED
    elif ctl[FAILED, l] > 0.0 and (ctl[NEXT_STEP, l] <= ctl[REACHED, l] * 2.0**-51 or par[FIXED_STEP] > 0.0):
        status = NONFINITE
    elif ctl[NEXT_STEP, l] <= ctl[REACHED, l] * 2.0**-51:
        status = STEP_TOO_SMALL
    else:
        status = MAX_STEPS
    out.status[q] = status
    attempts, rejections = np.int64(ctl[ATTEMPTS, l]), np.int64(ctl[REJECTIONS, l])
    first = 1 if par[FIXED_STEP] > 0.0 or attempts == 0 else 2
    steps = attempts * (m[STAGES] - 1) + np.int64(ctl[OUTPUT_STEPS, l]) * m[EXTRA]
    out.counts[q, COUNT_RHS] = first + steps
    out.counts[q, COUNT_ACCEPTED] = attempts - rejections
    out.counts[q, COUNT_REJECTED] = rejections
    ctl[:, l] = 0.0
    ctl[NEXT_OUTPUT, l] = np.inf
    e = (at[THRESHOLDS_AT] - at[ARENA]) // arena.itemsize + l
    left = 0
    for j in range(m[MODES]):
        left += arena[e + j * L] < np.inf
        arena[e + j * L] = np.inf
    return left, status > STOPPED_EARLY


@kernel
def _norm(lanes, arena, at, m, job, rtol, l, a, b):
    """Error norm of a - b in lane l, scaled as the error of a step from y; b = 0: of a."""
    L, item = len(lanes), arena.itemsize
    atol = np.float64(arena[(at[TOLERANCE_AT] - at[ARENA]) // item + L + l])
    ey, ea, eb = (at[STATE_AT] - at[ARENA]) // item + l, (a - at[ARENA]) // item + l, (b - at[ARENA]) // item + l
    worst = 0.0
    for i in range(m[LAYERS]):
        total = 0.0
        for j in range(job.layers[i], job.layers[i] + job.sizes[i]):
            x = np.float64(arena[ea + j * L])
            if b != 0:
                x -= np.float64(arena[eb + j * L])
            r = x / max(atol + rtol * abs(np.float64(arena[ey + j * L])), 1e-300)
            total += r * r
        total /= job.sizes[i]
        if worst == worst and not total <= worst:  # once NaN, it stays NaN
            worst = total
    return np.sqrt(worst)


@kernel
def _watch(lanes, arena, ctl, at, m, bases, y, opened):
    """What must be known of the state at the end of every step: loss, strengths, residual."""
    if not (m[STOP_ON_LOSS] or m[CAPPED] == BY_LOSS or opened > 0):
        return
    _observe(lanes, arena, at, m, bases, y)
    sums = (at[SUMS_AT] - at[ARENA]) // arena.itemsize
    for l in range(len(lanes)):
        ctl[LOSS2, l] = arena[sums + l]
        if m[CAPPED] == BY_LOSS:
            ctl[RESIDUAL2, l] = arena[sums + l]


@kernel
def _first_step(lanes, arena, ctl, at, m, par, bases, slopes, job, new):
    """First steps of the lanes ``new``, whose first slopes are known; returns the bits of those that can not begin.

    The step is that of Hairer, Norsett and Wanner (II.4), rounded down to a power of two: so it does not depend on how
    the mathematical library rounds.
    """
    L, item = len(lanes), arena.itemsize
    step, factors = (at[STEP_AT] - at[ARENA]) // item, (at[FACTORS_AT] - at[ARENA]) // item
    broken = 0
    for l in range(L):
        arena[factors + l] = 0.0
        if (new >> l) & 1:
            size = _norm(lanes, arena, at, m, job, par[RTOL], l, at[STATE_AT], 0)
            speed = _norm(lanes, arena, at, m, job, par[RTOL], l, slopes[0], 0)
            if not (size <= 1e300 and speed <= 1e300):
                ctl[FAILED, l] = 1.0
                broken |= 1 << l
            else:
                h = 0.01 * size / speed if size > 1e-5 and speed > 1e-5 else 1e-6
                ctl[NEXT_STEP, l] = min(h, par[END])
                ctl[STEP, l] = speed
                arena[factors + l] = ctl[NEXT_STEP, l] * par[DIRECTION]
    if par[FIXED_STEP] > 0.0:
        for l in range(L):
            if (new >> l) & 1 and not (broken >> l) & 1:
                ctl[NEXT_STEP, l] = par[FIXED_STEP]
        return broken
    combine(arena, lanes, at[STAGE_AT], at[STATE_AT], at[SLOPES_AT], at[SEQUENCE_AT], at[FACTORS_AT], 1, m[ENTRIES])
    _slope(lanes, arena, ctl, at, m, bases, job, at[STAGE_AT], slopes[1], False)
    for l in range(L):
        if (new >> l) & 1 and not (broken >> l) & 1:
            h = ctl[NEXT_STEP, l]
            bend = _norm(lanes, arena, at, m, job, par[RTOL], l, slopes[1], slopes[0]) / h
            fastest = max(ctl[STEP, l], bend if bend <= 1e300 else 0.0)
            second = (0.01 / fastest) ** (1.0 / (m[ORDER] + 1)) if fastest > 1e-15 else max(1e-6, 1e-3 * h)
            h = min(100.0 * h, second)
            if par[GROWTH_CAP] > 0.0 and ctl[RESIDUAL2, l] > 0.0:
                h = min(h, par[GROWTH_CAP] / np.sqrt(ctl[RESIDUAL2, l]))
            ctl[NEXT_STEP, l] = min(2.0 ** np.floor(np.log2(h)), par[END])
    return broken


@kernel
def _begin(lanes, arena, ctl, at, m, par, bases, slopes, job, out, traj, new, opened):
    """Slopes, observables and first steps of the lanes ``new``.

    Returns the bits of those that are over already, and how many modes are still to be learned.
    """
    L = len(lanes)
    _slope(lanes, arena, ctl, at, m, bases, job, at[STATE_AT], slopes[0], True)
    _watch(lanes, arena, ctl, at, m, bases, at[STATE_AT], opened)
    strengths = (at[STRENGTHS_AT] - at[ARENA]) // arena.itemsize
    thresholds = (at[THRESHOLDS_AT] - at[ARENA]) // arena.itemsize
    over = 0
    for l in range(L):
        if (new >> l) & 1:
            if ctl[GRADIENT2, l] <= par[STOP_GRADIENT2] or ctl[LOSS2, l] <= par[STOP_LOSS2]:
                ctl[STOPPED, l] = 1.0
                over |= 1 << l
            for j in range(m[MODES] if opened > 0 else 0):
                e = j * L + l
                if arena[thresholds + e] <= arena[strengths + e]:
                    out.learned[traj[l], j] = 0.0
                    arena[thresholds + e] = np.inf
                    opened -= 1
    return over | _first_step(lanes, arena, ctl, at, m, par, bases, slopes, job, new), opened


@kernel
def _strength(lanes, arena, ctl, at, m, bases, l, theta):
    """Strengths in lane l at t + theta h, into the place of strengths."""
    places = (at[THETA_AT] - at[ARENA]) // arena.itemsize
    for i in range(len(lanes)):
        arena[places + i] = 0.0
    arena[places + l] = theta
    _interpolate(lanes, arena, at, m)
    _observe(lanes, arena, at, m, bases, at[STAGE_AT])


@kernel
def _crossing(lanes, arena, ctl, at, m, bases, l, j, below, above):
    """theta in (0, 1] where mode j reaches its threshold in lane l (Chandrupatla's bracketing method).

    ``below`` < 0 <= ``above`` are strength minus threshold at the ends of the step.
    """
    place = (at[STRENGTHS_AT] - at[ARENA]) // arena.itemsize + j * len(lanes) + l
    goal = arena[(at[THRESHOLDS_AT] - at[ARENA]) // arena.itemsize + j * len(lanes) + l]
    a, fa, b, fb = 1.0, above, 0.0, below
    c, fc = a, fa
    t = below / (below - above)
    for _ in range(ROOT_ITERATIONS):
        x = a + t * (b - a)
        _strength(lanes, arena, ctl, at, m, bases, l, x)
        fx = np.float64(arena[place] - goal)
        if (fx >= 0.0) == (fa >= 0.0):
            c, fc = a, fa
        else:
            c, b, fc, fb = b, a, fb, fa
        a, fa = x, fx
        if abs(b - a) < ROOT_TOLERANCE or fx == 0.0:
            break
        xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
        if phi * phi < xi and (1.0 - phi) * (1.0 - phi) < 1.0 - xi:  # inverse quadratic interpolation is safe
            t = fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
        else:
            t = 0.5
        edge = 0.5 * ROOT_TOLERANCE / abs(b - a)
        t = min(max(t, edge), 1.0 - edge)
    return a


@kernel
def _learn(lanes, arena, ctl, at, m, par, bases, out, traj, hits):
    """Locate the thresholds that were passed in this step by the lanes ``hits``; returns how many.

    The strengths at the end of the step are in place.
    """
    L = len(lanes)
    strengths = (at[STRENGTHS_AT] - at[ARENA]) // arena.itemsize
    thresholds = (at[THRESHOLDS_AT] - at[ARENA]) // arena.itemsize
    modes = m[MODES]
    ends = strengths + modes * L  # kept, as the search overwrites the strengths
    for e in range(modes * L):
        arena[ends + e] = arena[strengths + e]
    found = 0
    for l in range(L):
        if not ((hits >> l) & 1 and ctl[DUE_LIMIT, l] >= 0.0):
            continue
        for j in range(modes):
            e = j * L + l
            goal = arena[thresholds + e]
            if not arena[ends + e] >= goal:
                continue
            _strength(lanes, arena, ctl, at, m, bases, l, 0.0)
            below, above = np.float64(arena[strengths + e] - goal), np.float64(arena[ends + e] - goal)
            theta = 0.0
            if below < 0.0:
                theta = _crossing(lanes, arena, ctl, at, m, bases, l, j, below, above) if above > 0.0 else 1.0
            out.learned[traj[l], j] = ctl[TIME, l] + theta * ctl[STEP, l]
            arena[thresholds + e] = np.inf
            found += 1
    return found


@kernel
def _record(lanes, arena, at, m, bases, job, out, q, k, l, sums):
    """Write record k of trajectory q from lane l: observables of the state in the first stage place."""
    L = len(lanes)
    if m[RECORD_LOSS] >= 0:
        out.records[q, k, m[RECORD_LOSS]] = arena[sums + l]
    if m[RECORD_GRADIENT] >= 0:
        out.records[q, k, m[RECORD_GRADIENT]] = arena[sums + L + l]
    if m[RECORD_STRENGTHS] >= 0:
        e = (at[STRENGTHS_AT] - at[ARENA]) // arena.itemsize + l
        for j in range(m[MODES]):
            out.records[q, k, m[RECORD_STRENGTHS] + j] = arena[e + j * L]
    if m[RECORD_PRODUCT] >= 0:
        e = (bases[m[PRODUCT_BASE]] - at[ARENA]) // arena.itemsize + m[PRODUCT] * L + l
        for j in range(m[PRODUCT_SIZE]):
            out.records[q, k, m[RECORD_PRODUCT] + j] = arena[e + j * L]
    if m[RECORD_WEIGHTS] >= 0:
        y = (at[STAGE_AT] - at[ARENA]) // arena.itemsize + l
        p = m[RECORD_WEIGHTS]
        for i in range(m[LAYERS]):
            e = y + job.layers[i] * L
            for j in range(job.sizes[i]):
                out.records[q, k, p] = arena[e + j * L]
                p += 1


@kernel
def _evaluate(lanes, arena, ctl, at, m, bases, job):
    """Observables of the states in the first stage place: sums = 2 (L - floor), ||grad L||^2; strengths; product."""
    entry = len(lanes) * arena.itemsize
    if m[RECORD_GRADIENT] >= 0:
        bases[0] = at[STAGE_AT]
        bases[1] = at[PROBE_AT]
        execute(arena, lanes, at[BASES_AT], at[RHS_AT], m[RHS_ROWS])
    _observe(lanes, arena, at, m, bases, at[STAGE_AT])
    if m[RECORD_GRADIENT] >= 0:
        square_sum(arena, lanes, at[SUMS_AT] + entry, at[PROBE_AT], m[ENTRIES])


@kernel
def _output(lanes, arena, ctl, at, m, bases, job, out, traj, output, due):
    """Record every requested time that this step reaches, one time a lane and pass."""
    L = len(lanes)
    sums = (at[SUMS_AT] - at[ARENA]) // arena.itemsize
    while due != 0:
        output_theta(arena, lanes, at[CTL_AT], at[THETA_AT])
        _interpolate(lanes, arena, at, m)
        _evaluate(lanes, arena, ctl, at, m, bases, job)
        for l in range(L):
            if (due >> l) & 1:
                _record(lanes, arena, at, m, bases, job, out, traj[l], output[l], l, sums)
                output[l] += 1
                ctl[NEXT_OUTPUT, l] = job.times[output[l]] if output[l] < job.times.size else np.inf
                if not ctl[NEXT_OUTPUT, l] <= ctl[DUE_LIMIT, l]:
                    due &= ~(1 << l)


@kernel
def _output_at_start(lanes, arena, ctl, at, m, bases, job, out, traj, over):
    """Lanes that are over before a step: the record of the start itself, if it is asked for and finite."""
    if not (job.times.size and job.times[0] == 0.0):
        return
    L = len(lanes)
    y = (at[STATE_AT] - at[ARENA]) // arena.itemsize
    z = (at[STAGE_AT] - at[ARENA]) // arena.itemsize
    for e in range(m[ENTRIES] * L):
        arena[z + e] = arena[y + e]
    _evaluate(lanes, arena, ctl, at, m, bases, job)
    for l in range(L):
        if (over >> l) & 1 and ctl[REACHED, l] == 0.0 and ctl[NEXT_OUTPUT, l] == 0.0:
            _record(lanes, arena, at, m, bases, job, out, traj[l], 0, l, (at[SUMS_AT] - at[ARENA]) // arena.itemsize)


@kernel
def _exchange(lanes, arena, ctl, at, m, par, job, out, shared, traj, output, finished):
    """Take finished lanes out and fill them from the queue; returns new lanes and the change in open modes."""
    new, opened = 0, 0
    for l in range(len(lanes)):
        if (finished >> l) & 1:
            if traj[l] >= 0:
                left, failed = _unload(lanes, arena, ctl, at, m, par, job, out, traj[l], l)
                opened -= left
                fetch_add(shared[DONE:], 1)
                if failed:
                    fetch_add(shared[FAILURES:], 1)
                traj[l] = -1
            q = fetch_add(shared, 1)
            if q < job.start.shape[0]:
                opened += _load(lanes, arena, ctl, at, m, job, q, l)
                traj[l] = q
                output[l] = 0
                new |= 1 << l
    return new, opened


@kernel
def integrate(lanes, arena, ctl, at, m, par, bases, flags, states, schedule, error_rows, slopes, traj, output, job,
              out, shared):  # fmt: skip
    """Integrate trajectories from the queue until it is empty or the call is cancelled."""
    L = len(lanes)
    finished = (1 << L) - 1
    opened = 0
    while shared[CANCEL] == 0:
        while finished != 0:
            new, change = _exchange(lanes, arena, ctl, at, m, par, job, out, shared, traj, output, finished)
            opened += change
            finished = 0
            if new != 0:
                finished, opened = _begin(
                    lanes, arena, ctl, at, m, par, bases, slopes, job, out, traj, new, opened
                )
                if finished != 0:
                    _output_at_start(lanes, arena, ctl, at, m, bases, job, out, traj, finished)
        if traj.max() < 0:
            break
        begin_step(arena, lanes, at[CTL_AT], at[PAR_AT], at[STEP_AT])
        _stages(lanes, arena, ctl, at, m, bases, schedule, slopes, job)
        _watch(lanes, arena, ctl, at, m, bases, at[NEXT_AT], opened)
        _errors(lanes, arena, at, m, states, error_rows, job)
        end_step(arena, lanes, at[CTL_AT], at[PAR_AT], at[SUMS_AT], at[LAYER_SIZES_AT], m[LAYERS], m[ESTIMATES],
                 at[MASK_AT], at[FLAGS_AT])  # fmt: skip
        rejected, due, finished = flags[REJECTED_BITS], flags[DUE_BITS], flags[FINISHED_BITS]
        hits = 0
        if opened > 0:
            passed(arena, lanes, at[FLAGS_AT], at[STRENGTHS_AT], at[THRESHOLDS_AT], m[MODES])
            hits = flags[0]
            for l in range(L):
                if ctl[DUE_LIMIT, l] < 0.0:
                    hits &= ~(1 << l)
        if m[HISTORY]:
            for l in range(L):
                if traj[l] >= 0 and ctl[DUE_LIMIT, l] >= 0.0:
                    out.history[traj[l], np.int64(ctl[ATTEMPTS, l] - ctl[REJECTIONS, l]) - 1] = ctl[REACHED, l]
        if due | hits:
            if m[EXTRA]:
                _extra_stages(lanes, arena, ctl, at, m, bases, schedule, slopes, job)
                for l in range(L):
                    ctl[OUTPUT_STEPS, l] += ((due | hits) >> l) & 1
            if hits:
                opened -= _learn(lanes, arena, ctl, at, m, par, bases, out, traj, hits)
            if due:
                _output(lanes, arena, ctl, at, m, bases, job, out, traj, output, due)
        if finished & rejected:
            _output_at_start(lanes, arena, ctl, at, m, bases, job, out, traj, finished & rejected)
        at[STATE_AT], at[NEXT_AT] = at[NEXT_AT], at[STATE_AT]
        last = m[STAGES] - 1
        slopes[0], slopes[last] = slopes[last], slopes[0]
        if rejected:
            blend(arena, lanes, at[STATE_AT], at[NEXT_AT], at[MASK_AT], m[ENTRIES])
            blend(arena, lanes, slopes[0], slopes[last], at[MASK_AT], m[ENTRIES])
