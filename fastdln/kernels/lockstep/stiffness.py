"""The explicit loop of `loop`, which a trajectory leaves where stability has limited its steps for a while.

The evidence is free of right-hand sides: the last two stages z, z' of the method are at the same time, the end of the
step, so rate = ||f(z) - f(z')||/||z - z'|| is the stiffness in the direction of their difference, which is the stiffest
one when steps are as long as stability lets them be (E. Hairer & G. Wanner, Solving Ordinary Differential Equations II,
IV.2).  One layer of the state shows it, in every fourth step of a trajectory.
"""

from __future__ import annotations

import math

import numpy as np

from fastdln.kernels.lockstep.certificate import certify
from fastdln.kernels.lockstep.control import ATTEMPTS, CONTROL_ROWS, DUE_LIMIT, REACHED, STEP
from fastdln.kernels.lockstep.loop import advance, note_history, refill, step
from fastdln.kernels.lockstep.queue import (
    clear,
    open_modes,
    output,
    output_at_rest,
    release,
    slopes_taken,
    take_state,
)
from fastdln.kernels.lockstep.steps import locate
from fastdln.kernels.lockstep.workspace import CANCEL, COUNT_RHS, STIFF
from fastdln.kernels.machine.compile import kernel, part
from fastdln.kernels.machine.library import invoke
from fastdln.kernels.machine.memory import peek, place, poke, poke_real, view

EVIDENCE, CALM = range(CONTROL_ROWS, CONTROL_ROWS + 2)  # looks at steps near the limit; consecutive ones at others
ROWS = CONTROL_ROWS + 2
SAVED = CONTROL_ROWS + 1  # numbers of a trajectory that is to go on: its control, and the number of its next record

NEAR_LIMIT = 2.5  # h rate; the pairs of order 5 are stable to about 3.3
EVERY = 4  # steps of a trajectory
ENOUGH, FORGOTTEN = 4.0, 2.0
WORTH = 50.0  # steps that are left, at the least


@part
def weigh(w, arena, ctl, finished):
    """Collect evidence from accepted steps whose turn it is; returns the bits of the lanes that are stiff."""
    due, stiff = 0, 0
    for l in range(w.lanes):
        if ctl[DUE_LIMIT, l] >= 0.0 and np.int64(ctl[ATTEMPTS, l]) % EVERY == 0:
            due |= 1 << l
    due &= ~finished
    if due == 0:
        return stiff
    first = peek(w.layers_at, w.shown) * w.entry
    size = peek(w.layers_at, w.shown + 1) - peek(w.layers_at, w.shown)
    last, before = peek(w.slopes_at, w.stages - 1), peek(w.slopes_at, w.stages - 2)
    invoke(w.square_distance, w.sums_at, last + first, before + first, size)
    invoke(w.square_distance, w.sums_at + w.entry, w.next_at + first, w.stage_at + first, size)
    sums = place(w, w.sums_at)
    for l in range(w.lanes):
        if not (due >> l) & 1:
            continue
        h, change, distance = ctl[STEP, l], arena[sums + l], arena[sums + w.lanes + l]
        if h * math.sqrt(change) > NEAR_LIMIT * math.sqrt(distance):
            ctl[EVIDENCE, l] += 1.0
            ctl[CALM, l] = 0.0
            if ctl[EVIDENCE, l] >= ENOUGH and w.end - ctl[REACHED, l] > WORTH * h:
                stiff |= 1 << l
        else:
            ctl[CALM, l] += 1.0
            if ctl[CALM, l] >= FORGOTTEN:
                ctl[EVIDENCE, l] = 0.0
    return stiff


@part
def hand_over(w, arena, ctl, stiff):
    """Take the lanes ``stiff`` out, to be gone on with; returns how many modes they have to learn still."""
    left = 0
    for l in range(w.lanes):
        if (stiff >> l) & 1:
            q = peek(w.traj_at, l)
            take_state(w, w.state_at, l, w.final_at + q * w.parameters * w.item)
            for row in range(CONTROL_ROWS):
                poke_real(w.saved_at, q * SAVED + row, ctl[row, l])
            poke_real(w.saved_at, q * SAVED + CONTROL_ROWS, float(peek(w.output_at, l)))
            poke(w.status_at, q, STIFF)
            poke(w.counts_at, 3 * q + COUNT_RHS, slopes_taken(w, ctl, l))
            left += open_modes(w, arena, l)
            clear(w, ctl, l)
            poke(w.traj_at, l, -1)
            for j in range(w.modes):
                arena[place(w, w.thresholds_at) + j * w.lanes + l] = math.inf
    return left


@part
def forget(w, ctl, finished):
    """No evidence in lanes that are new."""
    for l in range(w.lanes):
        if (finished >> l) & 1:
            ctl[EVIDENCE, l] = ctl[CALM, l] = 0.0


@kernel
def integrate(workspace, memory, control, shared):
    """As `fastdln.kernels.lockstep.loop.integrate`, but stiff trajectories are handed over.

    The body is repeated, without extra stages and checks of output, which the starting method does not have.
    """
    w, arena, ctl = workspace[0], view(memory), view(control)
    every_lane, opened, phase = (1 << w.lanes) - 1, 0, 0
    empty = every_lane
    while shared[CANCEL] == 0:
        if phase == 0:
            forget(w, ctl, empty)
            empty, opened = refill(w, arena, ctl, shared, empty, opened)
        if empty == every_lane:
            break
        w.renew = w.n_norms > 0 and phase == w.every - 1
        rejected, due, finished, passed, ready = step(w, arena, ctl, opened)
        stiff = weigh(w, arena, ctl, finished)
        if w.history:
            note_history(w, ctl)
        if due:
            output(w, ctl, due, ready)
        if passed:
            opened -= locate(w, passed)
        advance(w, rejected)
        if w.certify:
            settled = certify(w, arena, ctl, ~(finished | rejected))
            finished |= settled
            stiff &= ~settled
        output_at_rest(w, arena, ctl, finished)
        if finished != 0:
            opened -= release(w, arena, ctl, shared, finished)
        if stiff != 0:
            opened -= hand_over(w, arena, ctl, stiff)
        empty |= finished | stiff
        phase = 0 if empty == every_lane else (phase + 1) % w.every
