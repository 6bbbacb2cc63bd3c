"""The loop of every method over a queue of trajectories, one in each lane.

A method is a few routines that the loop calls by their addresses, each with the lanes, or the number, that it is for
(`fastdln.engines.lockstep.methods` says which method has which):

begin(new)         begins trajectories in these lanes where a method has no first slope and step: ``finished`` and
                   ``learned`` are told; without, `fastdln.kernels.lockstep.begin` does;
open(new)          prepares lanes where trajectories have begun, if there is anything to prepare;
attempt(opened)    tries a step and judges it: ``rejected``, ``due``, ``finished`` are told;
weigh(finished)    tells the ``stiff`` lanes that another method is to go on with, if there is one;
dense(due)         records, and learning times of the lanes ``passed``, from states within the step; tells ``learned``;
within(lanes)      brings such states by steps of their own, where continuous output is wrong (`output`);
advance(rejected)  goes on from the end of the step.

A finished lane is refilled from a counter that all threads share, at the next look at hidden growth (`growth`): so all
lanes look at the same time, after the same numbers of attempts of their own; or, with methods that wait for the lane
with the most stages, when all are empty: then they are alike for longer.  Everything a trajectory does depends on its
own start, constants and tolerances: not on its lane, its neighbours, the thread or the batch.  Scalar code runs for
lanes that begin, end or have output due; the rest are vector kernels.
"""

from __future__ import annotations

import numpy as np

from fastdln.kernels.lockstep.begin import begin
from fastdln.kernels.lockstep.certificate import certify
from fastdln.kernels.lockstep.control import ATTEMPTS, DUE_LIMIT, REACHED, REJECTIONS
from fastdln.kernels.lockstep.learning import ask
from fastdln.kernels.lockstep.queue import fill_lanes, release
from fastdln.kernels.lockstep.records import output_at_rest
from fastdln.kernels.lockstep.slopes import renew
from fastdln.kernels.lockstep.workspace import AWAIT, BROKEN, CANCEL, workspace_at
from fastdln.kernels.machine.compile import kernel, part
from fastdln.kernels.machine.library import invoke
from fastdln.kernels.machine.memory import peek, poke_real, view


@part
def note_history(w, ctl):
    """Write the times of the accepted steps."""
    for l in range(w.lanes):
        if peek(w.trajectory, l) >= 0 and ctl[DUE_LIMIT, l] >= 0.0:
            accepted = np.int64(ctl[ATTEMPTS, l] - ctl[REJECTIONS, l])
            at = peek(w.trajectory, l) * w.batch.most_steps + accepted - 1
            poke_real(w.batch.history, at, ctl[REACHED, l])


@part
def refill(w, arena, ctl, shared, empty, opened):
    """Begin trajectories from the queue in empty lanes; returns the lanes that are still empty, and modes to learn."""
    every_lane = (1 << w.lanes) - 1
    while empty == every_lane or (empty != 0 and not w.method.together):
        new, change = fill_lanes(w, arena, ctl, shared, empty)
        if new == 0:
            break
        if w.routines.begin:
            invoke(w.routines.begin, w.workspace, w.arena, new)
            finished, opened = w.told.finished, opened + change - w.told.learned
        else:
            finished, opened = begin(w, arena, ctl, new, opened + change)
        if w.routines.certify and not w.batch.resumed:
            finished |= certify(w, arena, ctl, new & ~finished)
        if w.routines.open:
            invoke(w.routines.open, w.workspace, w.arena, new & ~finished)
        output_at_rest(w, arena, ctl, finished)
        opened -= release(w, arena, ctl, shared, finished, 0)
        empty = (empty & ~new) | finished
    return empty, opened


@kernel
def integrate(workspace, memory, control, shared):
    """Integrate trajectories from the queue until it is empty or the call is cancelled."""
    w, arena, ctl = workspace_at(workspace), view(memory), view(control)
    routines, told = w.routines, w.told
    every_lane, opened, phase = (1 << w.lanes) - 1, 0, 0
    empty = every_lane
    while shared[CANCEL] == 0:
        if phase == 0:
            empty, opened = refill(w, arena, ctl, shared, empty, opened)
        if empty == every_lane:
            break
        told.renew = w.growth.n_norms > 0 and phase == w.growth.every - 1
        invoke(routines.attempt, w.workspace, w.arena, opened)
        rejected, finished = told.rejected, told.finished
        if told.renew:
            renew(w)
        told.passed = 0
        if opened > 0:
            ask(w, AWAIT, rejected)
        stiff = 0
        if routines.weigh:
            invoke(routines.weigh, w.workspace, w.arena, finished)
            stiff = told.stiff
        if routines.padding:
            invoke(routines.padding, w.workspace, w.arena, 0)
            if told.broken:
                shared[BROKEN] = shared[CANCEL] = 1
        if w.limits.history:
            note_history(w, ctl)
        if told.due | told.passed:
            invoke(routines.dense, w.workspace, w.arena, told.due)
            opened -= told.learned
        invoke(routines.advance, w.workspace, w.arena, rejected)
        if routines.certify:
            settled = certify(w, arena, ctl, ~(finished | rejected))
            finished |= settled
            stiff &= ~settled
        if finished | stiff:
            output_at_rest(w, arena, ctl, finished)
            opened -= release(w, arena, ctl, shared, finished, stiff)
        empty |= finished | stiff
        phase += 1
        if phase == w.growth.every or empty == every_lane:
            phase = 0
