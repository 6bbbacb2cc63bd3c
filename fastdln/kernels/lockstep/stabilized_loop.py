"""The adaptive loop of the stabilized methods, the counterpart of `loop`.

Lanes wait for the one with the most stages, so they begin together: then they are alike for longer.
"""

from __future__ import annotations

import numpy as np

from fastdln.kernels.lockstep.begin import begin, first_look
from fastdln.kernels.lockstep.certificate import certify
from fastdln.kernels.lockstep.control import ATTEMPTS, CONTROL_ROWS, DUE_BITS, FINISHED_BITS, LOOKS, REJECTED_BITS
from fastdln.kernels.lockstep.learning import workspace_at
from fastdln.kernels.lockstep.loop import note_history
from fastdln.kernels.lockstep.queue import load, open_modes, output, output_at_rest, record_due, unload
from fastdln.kernels.lockstep.stabilized import (
    AT_LIMIT,
    CHECKED,
    EARLIER,
    KEPT_STEP,
    KIND,
    PATIENCE,
    SLOPES,
    TRIALS,
    advance,
    choose,
    continuous,
    count_stages,
    doubtful_at,
    finish,
    first_radius,
    judge,
    mask,
    recurrence,
    renew_radius,
    step_within,
    tabulate,
)
from fastdln.kernels.lockstep.steps import ask, locate, renew, slope_at_end, watch
from fastdln.kernels.lockstep.stiffness import SAVED
from fastdln.kernels.lockstep.workspace import AWAIT, BEGIN, CANCEL, COUNT_RHS, NEXT, PREPARE, RKC, ROCK, SEE
from fastdln.kernels.machine.compile import kernel, part
from fastdln.kernels.machine.library import invoke
from fastdln.kernels.machine.memory import fetch_add, fill, peek, peek_real, place, poke, view


@part
def leave(w, arena, ctl, shared, finished):
    """Take finished lanes out; returns how many modes they had to learn still."""
    left = 0
    for l in range(w.lanes):
        if (finished >> l) & 1 and peek(w.traj_at, l) >= 0:
            first = 1 if ctl[ATTEMPTS, l] == 0.0 else 2
            left += unload(w, arena, ctl, shared, l, first + np.int64(ctl[SLOPES, l]))
    return left


@part
def resume(w, arena, ctl, q, l):
    """Go on in lane l with trajectory q where another loop left it; returns how many modes it has to learn still."""
    lane, state = l * w.item, w.final_at + q * w.parameters * w.item
    for i in range(w.layers):
        size = peek(w.sizes_at, i)
        invoke(w.put_lane, w.state_at + peek(w.layers_at, i) * w.entry + lane, state, size)
        state += size * w.item
    for row in range(CONTROL_ROWS):
        ctl[row, l] = peek_real(w.saved_at, q * SAVED + row)
    ctl[LOOKS, l] = 0.0  # the vectors are new
    poke(w.output_at, l, np.int64(peek_real(w.saved_at, q * SAVED + CONTROL_ROWS)))
    ctl[SLOPES, l] = peek(w.counts_at, 3 * q + COUNT_RHS) - 1.0  # without the second one of a first step
    e = place(w, w.thresholds_at) + l
    for j in range(w.modes):
        if peek_real(w.learned_at, q * w.modes + j) >= 0.0:
            arena[e + j * w.lanes] = np.inf
    return open_modes(w, arena, l)


@part
def enter(w, arena, ctl, shared):
    """Fill all lanes from the queue; returns new lanes and the modes that they have to learn."""
    new, opened = 0, 0
    for l in range(w.lanes):
        k = fetch_add(shared, NEXT)
        if k < w.n:
            q = peek(w.queue_at, k)
            ctl[KIND, l] = ROCK if w.fourth else RKC
            ctl[AT_LIMIT, l], ctl[PATIENCE, l], ctl[TRIALS, l], ctl[KEPT_STEP, l] = 0.0, 1.0, 0.0, 0.0
            ctl[EARLIER, l], ctl[SLOPES, l] = 0.0, 0.0
            modes = load(w, arena, ctl, q, l)
            opened += resume(w, arena, ctl, q, l) if w.resumed else modes
            new |= 1 << l
    return new, opened


@part
def open_lanes(w, arena, ctl, new):
    """What a step needs beside the slope: a state before, and the spectral radius."""
    if new == 0:
        return
    mask(w, arena, new)
    invoke(w.blend, w.previous_at, w.state_at, w.mask_at, w.entries)
    invoke(w.blend, w.keep_a_at, w.state_at, w.mask_at, w.entries)
    invoke(w.blend, w.keep_b_at, w.state_at, w.mask_at, w.entries)
    invoke(w.blend, w.previous_slope_at, peek(w.slopes_at, 0), w.mask_at, w.entries)
    tabulate(w)
    first_radius(w, arena, ctl, new)


@part
def step(w, arena, ctl, opened):
    """Try one step in every lane and judge it, as `fastdln.kernels.lockstep.loop.step`."""
    tabulate(w)
    renew_radius(w, arena, ctl)
    choose(w, ctl)
    invoke(w.begin_step, w.ctl_at, w.par_at, w.step_at)
    highest, rock, rkc = count_stages(w, ctl)
    g, other = recurrence(w, arena, ctl, highest, rkc)
    if rock:
        finish(w, arena, ctl, g, other)
    else:
        fill(w, arena, w.mask_at, 1.0)
        invoke(w.blend, w.next_at, g, w.mask_at, w.entries)
    slope_at_end(w, arena, ctl, w.next_at, peek(w.slopes_at, 5))
    watch(w, arena, ctl, w.next_at, opened, peek(w.ends_at, 0))
    judge(w, arena, ctl, rock, rkc)
    invoke(w.end_step, w.ctl_at, w.par_at, w.sums_at, w.unit_at, 1, 1, w.mask_at, w.flags_at)
    rejected, due, finished = (
        peek(w.flags_at, REJECTED_BITS),
        peek(w.flags_at, DUE_BITS),
        peek(w.flags_at, FINISHED_BITS),
    )
    if w.renew:
        renew(w)
    passed = ask(w, AWAIT, rejected) if opened > 0 else 0
    return rejected, due, finished, passed


# What follows is the last that is done with the slopes and stages of a step.


@part
def output_by_steps(w, arena, ctl, due):
    """Record every requested time that this step reaches in the lanes ``due``, each by a step of its own."""
    while due != 0:
        invoke(w.output_theta, w.ctl_at, w.theta_at, w.flags_at)
        step_within(w, arena, ctl, due)
        due = record_due(w, ctl, due)


@part
def locate_by_steps(w, arena, ctl, passed):
    """As `fastdln.kernels.lockstep.steps.locate`, by steps of their own."""
    found, w.passes = 0, 0
    while passed != 0:
        ask(w, PREPARE, passed)
        step_within(w, arena, ctl, passed)
        passed = ask(w, SEE, passed)
        found += peek(w.flags_at, 1)
    return found


@kernel
def integrate(workspace, memory, control, shared):
    """Integrate trajectories from the queue until it is empty or the call is cancelled."""
    w, arena, ctl = workspace_at(workspace), view(memory), view(control)
    opened, phase = 0, 0
    while shared[CANCEL] == 0:
        busy = 0
        for l in range(w.lanes):
            busy += peek(w.traj_at, l) >= 0
        if busy == 0:
            new, opened = enter(w, arena, ctl, shared)
            if new == 0:
                break
            phase = 0
            if w.resumed:
                finished = 0
                first_look(w, arena, ctl, new)
                watch(w, arena, ctl, w.state_at, opened, peek(w.ends_at, 1))
                if opened > 0:
                    opened -= ask(w, BEGIN, new)
            else:
                finished, opened = begin(w, arena, ctl, new, opened)
                if w.certify:
                    finished |= certify(w, arena, ctl, new & ~finished)
            open_lanes(w, arena, ctl, new & ~finished)
            output_at_rest(w, arena, ctl, finished)
            opened -= leave(w, arena, ctl, shared, finished)
            continue
        w.renew = w.n_norms > 0 and phase == w.every - 1
        phase = (phase + 1) % w.every
        rejected, due, finished, passed = step(w, arena, ctl, opened)
        if w.history:
            note_history(w, ctl)
        if due | passed:
            continuous(w, arena, ctl)
            within = 0
            if w.fourth:
                within = doubtful_at(w, arena, ctl, CHECKED[0]) | doubtful_at(w, arena, ctl, CHECKED[1])
            output(w, ctl, due & ~within, False)
            opened -= locate(w, passed & ~within)
            if within & (due | passed):
                output_by_steps(w, arena, ctl, due & within)
                opened -= locate_by_steps(w, arena, ctl, passed & within)
        advance(w, arena, ctl, rejected)
        if w.certify:
            finished |= certify(w, arena, ctl, ~(finished | rejected))
        output_at_rest(w, arena, ctl, finished)
        opened -= leave(w, arena, ctl, shared, finished)
