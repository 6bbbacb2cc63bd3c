"""The adaptive Runge-Kutta loop over a queue of trajectories, one in each lane.

A finished lane is refilled from a counter that all threads share, at the next look at hidden growth (`growth`): so all
lanes look at the same time, after the same numbers of attempts of their own.  Everything a trajectory does depends on
its own start, constants and tolerances: not on its lane, its neighbours, the thread or the batch.  Scalar code runs for
lanes that begin, end or have output due; the rest are vector kernels.

The arrays come from Python, which keeps them alive; the workspace holds their addresses.
"""

from __future__ import annotations

import numpy as np

from fastdln.kernels.lockstep.begin import begin
from fastdln.kernels.lockstep.certificate import certify
from fastdln.kernels.lockstep.control import (
    ATTEMPTS,
    DUE_BITS,
    DUE_LIMIT,
    FINISHED_BITS,
    REACHED,
    REJECTED_BITS,
    REJECTIONS,
)
from fastdln.kernels.lockstep.queue import fill_lanes, output, output_at_rest, record_due, release
from fastdln.kernels.lockstep.steps import (
    ask,
    change_output,
    doubtful,
    errors,
    extra_stages,
    locate,
    renew,
    stages,
    step_within,
    watch,
)
from fastdln.kernels.lockstep.workspace import AWAIT, CANCEL, PREPARE, SEE
from fastdln.kernels.machine.compile import kernel, part
from fastdln.kernels.machine.library import invoke
from fastdln.kernels.machine.memory import peek, poke, poke_real, view


@part
def step(w, arena, ctl, opened):
    """Try one step in every lane and judge it.

    Returns the bits of lanes rejected, with output due, finished, and of those where a mode may have passed its
    threshold; and whether continuous output is in its place for the first times due.
    """
    invoke(w.begin_step, w.ctl_at, w.par_at, w.step_at)
    stages(w, arena, ctl)
    watch(w, arena, ctl, w.next_at, opened, peek(w.ends_at, 0))
    ready = errors(w)
    invoke(w.end_step, w.ctl_at, w.par_at, w.sums_at, w.layer_sizes_at, w.layers, w.estimates, w.mask_at,
           w.flags_at)  # fmt: skip
    rejected, due, finished = (
        peek(w.flags_at, REJECTED_BITS),
        peek(w.flags_at, DUE_BITS),
        peek(w.flags_at, FINISHED_BITS),
    )
    if w.renew:
        renew(w)
    passed = ask(w, AWAIT, rejected) if opened > 0 else 0
    return rejected, due, finished, passed, ready


# What follows is the last that is done with the slopes of a step.


@part
def output_by_steps(w, arena, ctl, due):
    """Record every requested time that this step reaches in the lanes ``due``, each by a step of its own."""
    while due != 0:
        invoke(w.output_theta, w.ctl_at, w.theta_at, w.flags_at)
        step_within(w, arena)
        due = record_due(w, ctl, due)


@part
def locate_by_steps(w, arena, passed):
    """As `fastdln.kernels.lockstep.steps.locate`, by steps of their own."""
    found, w.passes = 0, 0
    while passed != 0:
        ask(w, PREPARE, passed)
        step_within(w, arena)
        passed = ask(w, SEE, passed)
        found += peek(w.flags_at, 1)
    return found


@part
def checked_output(w, arena, ctl, due, passed):
    """Records and learning times of this step, from the first output that is right; returns how many were learned.

    First the method's own is tried, then the cubic.
    """
    learned, left = 0, due | passed
    extra_stages(w)
    for cubic in range(2):
        if left == 0:
            break
        if cubic:
            change_output(w)
        wrong = left & doubtful(w, arena)
        output(w, ctl, due & left & ~wrong, False)
        learned += locate(w, passed & left & ~wrong)
        left = wrong
        if cubic:
            change_output(w)
    if left:
        output_by_steps(w, arena, ctl, due & left)
        learned += locate_by_steps(w, arena, passed & left)
    return learned


@part
def note_history(w, ctl):
    """Write the times of the accepted steps."""
    for l in range(w.lanes):
        if peek(w.traj_at, l) >= 0 and ctl[DUE_LIMIT, l] >= 0.0:
            accepted = np.int64(ctl[ATTEMPTS, l] - ctl[REJECTIONS, l])
            poke_real(w.history_at, peek(w.traj_at, l) * w.most_steps + accepted - 1, ctl[REACHED, l])


@part
def advance(w, rejected):
    """Go on from the end of the step; rejected lanes from its beginning."""
    last = w.stages - 1
    w.state_at, w.next_at = w.next_at, w.state_at
    first_slope, last_slope = peek(w.slopes_at, 0), peek(w.slopes_at, last)
    poke(w.slopes_at, 0, last_slope)
    poke(w.slopes_at, last, first_slope)
    if rejected != 0:
        invoke(w.blend, w.state_at, w.next_at, w.mask_at, w.entries)
        invoke(w.blend, last_slope, first_slope, w.mask_at, w.entries)


@part
def refill(w, arena, ctl, shared, empty, opened):
    """Begin trajectories from the queue in empty lanes; returns the lanes that are still empty, and modes to learn."""
    while empty != 0:
        new, change = fill_lanes(w, arena, ctl, shared, empty)
        if new == 0:
            break
        finished, opened = begin(w, arena, ctl, new, opened + change)
        if w.certify:
            finished |= certify(w, arena, ctl, new & ~finished)
        output_at_rest(w, arena, ctl, finished)
        opened -= release(w, arena, ctl, shared, finished)
        empty = (empty & ~new) | finished
    return empty, opened


@kernel
def integrate(workspace, memory, control, shared):
    """Integrate trajectories from the queue until it is empty or the call is cancelled."""
    w, arena, ctl = workspace[0], view(memory), view(control)
    every_lane, opened, phase = (1 << w.lanes) - 1, 0, 0
    empty = every_lane
    while shared[CANCEL] == 0:
        if phase == 0:
            empty, opened = refill(w, arena, ctl, shared, empty, opened)
        if empty == every_lane:
            break
        w.renew = w.n_norms > 0 and phase == w.every - 1
        rejected, due, finished, passed, ready = step(w, arena, ctl, opened)
        if w.history:
            note_history(w, ctl)
        if due | passed:
            if w.checked:
                opened -= checked_output(w, arena, ctl, due, passed)
            else:
                if w.extra:
                    extra_stages(w)
                output(w, ctl, due, ready)
                opened -= locate(w, passed)
        advance(w, rejected)
        if w.certify:
            finished |= certify(w, arena, ctl, ~(finished | rejected))
        output_at_rest(w, arena, ctl, finished)
        if finished != 0:
            opened -= release(w, arena, ctl, shared, finished)
        empty |= finished
        phase = 0 if empty == every_lane else (phase + 1) % w.every
