"""How a trajectory begins: its first slope and its first step."""

from __future__ import annotations

import math

import numpy as np

from fastdln.kernels.compile import part
from fastdln.kernels.control import (
    FAILED,
    GRADIENT2,
    LOSS2,
    NEXT_STEP,
    RESIDUAL2,
    STEP,
    STOPPED,
)  # fmt: skip
from fastdln.kernels.learning import learn_at_start
from fastdln.kernels.library import invoke
from fastdln.kernels.memory import peek, place
from fastdln.kernels.steps import slope, watch


@part
def norm(w, arena, l, a, b):
    """Norm of a - b in lane l, or of a where b is 0, scaled as the error of a step from the state."""
    tolerances = place(w, w.tolerance_at) + l
    rtol, atol = np.float64(arena[tolerances]), np.float64(arena[tolerances + w.lanes])
    y, first, second = place(w, w.state_at) + l, place(w, a) + l, place(w, b) + l
    worst = 0.0
    for i in range(w.layers):
        total, start, size = 0.0, peek(w.layers_at, i), peek(w.sizes_at, i)
        for j in range(start, start + size):
            x = np.float64(arena[first + j * w.lanes])
            if b != 0:
                x -= np.float64(arena[second + j * w.lanes])
            scale = atol + rtol * abs(np.float64(arena[y + j * w.lanes]))
            r = x / (scale if scale > 1e-300 else 1e-300)
            total += r * r
        total /= size
        if worst == worst and not total <= worst:  # once NaN, it stays NaN
            worst = total
    return math.sqrt(worst)


@part
def first_step(w, arena, ctl, new):
    """First steps of the lanes ``new``, whose first slopes are known; returns the bits of those that can not begin.

    The step is that of Hairer, Norsett and Wanner (Solving Ordinary Differential Equations I, II.4), rounded down to a
    power of two: so it does not depend on how the mathematical library rounds.
    """
    factors, broken = place(w, w.factors_at), 0
    for l in range(w.lanes):
        arena[factors + l] = 0.0
        if (new >> l) & 1:
            size, speed = norm(w, arena, l, w.state_at, 0), norm(w, arena, l, peek(w.slopes_at, 0), 0)
            if not (size <= 1e300 and speed <= 1e300):
                ctl[FAILED, l] = 1.0
                broken |= 1 << l
                continue
            h = 0.01 * size / speed if size > 1e-5 and speed > 1e-5 else 1e-6
            ctl[NEXT_STEP, l] = h if h < w.end else w.end
            ctl[STEP, l] = speed
            arena[factors + l] = ctl[NEXT_STEP, l] * w.direction
    if w.fixed_step > 0.0:
        for l in range(w.lanes):
            if (new >> l) & 1 and not (broken >> l) & 1:
                ctl[NEXT_STEP, l] = w.fixed_step
        return broken
    invoke(w.combine, w.stage_at, w.state_at, w.slopes_at, w.sequence_at, w.factors_at, 1, w.entries)
    slope(w, arena, ctl, w.stage_at, peek(w.slopes_at, 1), False)
    for l in range(w.lanes):
        if (new >> l) & 1 and not (broken >> l) & 1:
            h, fastest = ctl[NEXT_STEP, l], ctl[STEP, l]
            bend = norm(w, arena, l, peek(w.slopes_at, 1), peek(w.slopes_at, 0)) / h
            if fastest < bend <= 1e300:
                fastest = bend
            other = (0.01 / fastest) ** (1.0 / (w.order + 1)) if fastest > 1e-15 else 1e-6
            h = 100.0 * h if 100.0 * h < other else other
            if w.growth_cap > 0.0 and h * math.sqrt(ctl[RESIDUAL2, l]) > w.growth_cap:
                h = w.growth_cap / math.sqrt(ctl[RESIDUAL2, l])
            h = 2.0 ** math.floor(math.log2(h))
            ctl[NEXT_STEP, l] = h if h < w.end else w.end
    return broken


@part
def begin(w, arena, ctl, out, new, opened):
    """Slopes, observables and first steps of the lanes ``new``.

    Returns the bits of those that are over already, and how many modes are still to be learned in all lanes.
    """
    slope(w, arena, ctl, w.state_at, peek(w.slopes_at, 0), True)
    watch(w, arena, ctl, w.state_at, opened)
    watched, over = opened > 0, 0
    for l in range(w.lanes):
        if (new >> l) & 1:
            if watched:
                opened -= learn_at_start(w, arena, out, peek(w.traj_at, l), l)
            if ctl[GRADIENT2, l] <= w.stop_gradient2 or ctl[LOSS2, l] <= w.stop_loss2:
                ctl[STOPPED, l] = 1.0
                over |= 1 << l
    return over | first_step(w, arena, ctl, new), opened
