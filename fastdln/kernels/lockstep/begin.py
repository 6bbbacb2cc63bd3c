"""How a trajectory begins: its first slope and its first step."""

from __future__ import annotations

from fastdln.integrate import law
from fastdln.kernels.lockstep.control import FAILED, GRADIENT, LOSS2, NEXT_STEP, SIZE, SPEED, STOPPED
from fastdln.kernels.lockstep.learning import ask
from fastdln.kernels.lockstep.places import fill, place, slope_at
from fastdln.kernels.lockstep.slopes import judged_between, layer_sums, norm, renew, slope, slope_at_end, watch
from fastdln.kernels.lockstep.workspace import BEGIN
from fastdln.kernels.machine.compile import part
from fastdln.kernels.machine.library import invoke
from fastdln.kernels.machine.memory import peek

begins, first_guess, choose_first = part(law.begins), part(law.first_guess), part(law.first_step)


@part
def first_step(w, arena, ctl, new):
    """First steps of the lanes ``new``, whose first slopes are known; returns the bits of those that cannot begin.

    The step is that of Hairer, Norsett and Wanner (Solving Ordinary Differential Equations I, II.4).
    """
    at, index, slopes = w.at, w.method.sequence, w.method.slopes
    judged_between(w, at.state, at.state)
    fill(w, arena, at.factors, 1.0)
    layer_sums(w, w.method.scale, index, at.factors, 1)
    for l in range(w.lanes):
        ctl[SIZE, l] = norm(w, arena, l)
    # slopes are scaled by a power of two while they are squared: they may be far above their tolerance
    down = law.DOWN if w.item == 8 else law.DOWN_SINGLE
    fill(w, arena, at.factors, down)
    layer_sums(w, slopes, index, at.factors, 1)
    factors, broken = place(w, at.factors), 0
    for l in range(w.lanes):
        arena[factors + l] = 0.0
        if (new >> l) & 1:
            ctl[SPEED, l] = norm(w, arena, l) / down
            if not begins(ctl[SIZE, l], ctl[SPEED, l]):
                ctl[FAILED, l] = 1.0
                broken |= 1 << l
                continue
            ctl[NEXT_STEP, l] = first_guess(ctl[SIZE, l], ctl[SPEED, l], w.end)
            arena[factors + l] = ctl[NEXT_STEP, l] * w.direction
    if w.fixed_step > 0.0:
        for l in range(w.lanes):
            if (new >> l) & 1 and not (broken >> l) & 1:
                ctl[NEXT_STEP, l] = w.fixed_step
        return broken
    invoke(w.combine, at.stage, at.state, slopes, index, at.factors, 1, w.entries)
    slope(w, at.stage, slope_at(w, 1))
    fill(w, arena, at.factors, -down)
    fill(w, arena, at.factors + w.entry, down)
    layer_sums(w, slopes, index, at.factors, 2)
    for l in range(w.lanes):
        if (new >> l) & 1 and not (broken >> l) & 1:
            guess = ctl[NEXT_STEP, l]
            bend = norm(w, arena, l) / down / guess
            ctl[NEXT_STEP, l] = choose_first(guess, ctl[SPEED, l], bend, w.method.order, w.end)
    return broken


@part
def begin(w, arena, ctl, new, opened):
    """Slopes, observables, rates of hidden growth and, unless another method has left them, first steps of the lanes
    ``new``.

    Returns the bits of those that are over already, and how many modes are still to be learned in all lanes.
    """
    w.told.renew = w.growth.n_norms > 0
    slope_at_end(w, arena, ctl, w.at.state, slope_at(w, 0))
    if w.told.renew:
        mask = place(w, w.at.mask)
        for l in range(w.lanes):
            arena[mask + l] = 0.0 if (new >> l) & 1 else 1.0
        renew(w)
        for _ in range(1, w.growth.first_rounds):
            invoke(w.routines.execute_growth, w.products.bases, w.products.growth, w.products.growth_rows)
            renew(w)
    watch(w, arena, ctl, w.at.state, opened, peek(w.learning.ends, 1))
    if opened > 0:
        ask(w, BEGIN, new)
        opened -= w.told.learned
    if w.batch.resumed:
        return 0, opened
    over = 0
    for l in range(w.lanes):
        if (new >> l) & 1 and (ctl[GRADIENT, l] <= w.stop_gradient or ctl[LOSS2, l] <= w.stop_loss2):
            ctl[STOPPED, l] = 1.0
            over |= 1 << l
    return over | first_step(w, arena, ctl, new), opened
