"""How a trajectory begins: its first slope and its first step."""

from __future__ import annotations

import math

from fastdln.kernels.lockstep.control import FAILED, GRADIENT2, LOSS2, NEXT_STEP, STEP, STOPPED
from fastdln.kernels.lockstep.steps import ask, layer_sums, norm, renew, slope, slope_at_end, watch
from fastdln.kernels.lockstep.workspace import BEGIN
from fastdln.kernels.machine.compile import part
from fastdln.kernels.machine.library import invoke
from fastdln.kernels.machine.memory import fill, peek, place, poke

DOWN, DOWN_SINGLE = 2.0**-300, 2.0**-40


@part
def first_step(w, arena, ctl, new):
    """First steps of the lanes ``new``, whose first slopes are known; returns the bits of those that can not begin.

    The step is that of Hairer, Norsett and Wanner (Solving Ordinary Differential Equations I, II.4), rounded down to a
    power of two: so it does not depend on how the mathematical library rounds.
    """
    poke(w.states_at, 0, w.state_at)
    poke(w.states_at, 1, w.state_at)
    fill(w, arena, w.factors_at, 1.0)
    layer_sums(w, w.states_at, w.sequence_at, w.factors_at, 1, w.sums_at)
    for l in range(w.lanes):
        ctl[STEP, l] = norm(w, arena, l)
    # slopes are scaled by a power of two while they are squared: they may be far above their tolerance
    down = DOWN if w.item == 8 else DOWN_SINGLE
    fill(w, arena, w.factors_at, down)
    layer_sums(w, w.slopes_at, w.sequence_at, w.factors_at, 1, w.sums_at)
    factors, broken = place(w, w.factors_at), 0
    for l in range(w.lanes):
        arena[factors + l] = 0.0
        if (new >> l) & 1:
            size, speed = ctl[STEP, l], norm(w, arena, l) / down
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
    slope(w, w.stage_at, peek(w.slopes_at, 1))
    fill(w, arena, w.factors_at, -down)
    fill(w, arena, w.factors_at + w.entry, down)
    layer_sums(w, w.slopes_at, w.sequence_at, w.factors_at, 2, w.sums_at)
    for l in range(w.lanes):
        if (new >> l) & 1 and not (broken >> l) & 1:
            h, fastest = ctl[NEXT_STEP, l], ctl[STEP, l]
            bend = norm(w, arena, l) / down / h
            if fastest < bend <= 1e300:
                fastest = bend
            other = (0.01 / fastest) ** (1.0 / (w.order + 1)) if fastest > 1e-15 else 1e-6
            h = 100.0 * h if 100.0 * h < other else other
            h = 2.0 ** math.floor(math.log2(h))
            ctl[NEXT_STEP, l] = h if h < w.end else w.end
    return broken


@part
def first_look(w, arena, ctl, new):
    """The slopes at the states, and rates of hidden growth in the lanes ``new``."""
    w.renew = w.n_norms > 0
    slope_at_end(w, arena, ctl, w.state_at, peek(w.slopes_at, 0))
    if w.renew:
        mask = place(w, w.mask_at)
        for l in range(w.lanes):
            arena[mask + l] = 0.0 if (new >> l) & 1 else 1.0
        renew(w)
        for _ in range(1, w.first_rounds):
            invoke(w.execute_growth, w.bases_at, w.growth_at, w.growth_rows)
            renew(w)


@part
def begin(w, arena, ctl, new, opened):
    """Slopes, observables and first steps of the lanes ``new``.

    Returns the bits of those that are over already, and how many modes are still to be learned in all lanes.
    """
    first_look(w, arena, ctl, new)
    watch(w, arena, ctl, w.state_at, opened, peek(w.ends_at, 1))
    if opened > 0:
        opened -= ask(w, BEGIN, new)
    over = 0
    for l in range(w.lanes):
        if (new >> l) & 1 and (ctl[GRADIENT2, l] <= w.stop_gradient2 or ctl[LOSS2, l] <= w.stop_loss2):
            ctl[STOPPED, l] = 1.0
            over |= 1 << l
    return over | first_step(w, arena, ctl, new), opened
