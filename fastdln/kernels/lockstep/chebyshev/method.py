"""The routines of the stabilized methods: see `fastdln.kernels.lockstep.loop`."""

from __future__ import annotations

from fastdln.kernels.lockstep.chebyshev.choice import choose_method, count_stages
from fastdln.kernels.lockstep.chebyshev.error import judge
from fastdln.kernels.lockstep.chebyshev.output import CHECKED, continuous, doubtful_at
from fastdln.kernels.lockstep.chebyshev.radius import first_radius, renew_radius
from fastdln.kernels.lockstep.chebyshev.stages import four_stages, recurrence
from fastdln.kernels.lockstep.chebyshev.table import (
    AT_LIMIT,
    DEGREE,
    EARLIER,
    KEPT_STEP,
    KIND,
    PATIENCE,
    SINCE,
    TRIALS,
    WAIT,
    WHOLE,
    tabulate,
)
from fastdln.kernels.lockstep.control import STEP
from fastdln.kernels.lockstep.output import locate, output
from fastdln.kernels.lockstep.places import fill, mask, place, slope_at
from fastdln.kernels.lockstep.slopes import slope_at_end, watch
from fastdln.kernels.lockstep.way import go_on_from, measure
from fastdln.kernels.lockstep.workspace import RKC, ROCK, VERDICT, workspace_at
from fastdln.kernels.machine.library import invoke
from fastdln.kernels.machine.memory import address, numbers, peek, poke, rows_of


def open_lanes(workspace, memory, new):
    """What a step needs beside the slope: a method, a state before, and the spectral radius."""
    w = workspace_at(workspace)
    at, arena, ctl = w.at, numbers(memory), rows_of(w.ctl, w.lanes)
    if new == 0:
        return
    for l in range(w.lanes):
        if (new >> l) & 1:
            ctl[KIND, l] = ROCK if w.chebyshev.fourth else RKC
            ctl[AT_LIMIT, l], ctl[PATIENCE, l], ctl[TRIALS, l], ctl[KEPT_STEP, l] = 0.0, 1.0, 0.0, 0.0
            ctl[EARLIER, l] = 0.0
    mask(w, arena, new)
    invoke(w.blend, at.previous, at.state, at.mask, w.entries)
    invoke(w.blend, at.keep_a, at.state, at.mask, w.entries)
    invoke(w.blend, at.keep_b, at.state, at.mask, w.entries)
    invoke(w.blend, at.previous_slope, slope_at(w, 0), at.mask, w.entries)
    tabulate(w)
    first_radius(w, arena, ctl, new)


def attempt(workspace, memory, opened):
    """Try one step in every lane and judge it, as `fastdln.kernels.lockstep.explicit.attempt`."""
    w = workspace_at(workspace)
    at, arena, ctl = w.at, numbers(memory), rows_of(w.ctl, w.lanes)
    tabulate(w)
    renew_radius(w, arena, ctl)
    choose_method(w, ctl)
    invoke(w.begin_step, w.ctl, w.workspace, at.step)
    highest, rock, rkc = count_stages(w, ctl)
    w.told.rock, w.told.rkc = rock, rkc
    invoke(w.routines.stages, w.workspace, w.arena, highest)
    slope_at_end(w, arena, ctl, at.next, slope_at(w, 5))
    watch(w, arena, ctl, at.next, opened, peek(w.learning.ends, 0))
    if w.way >= 0:
        measure(w, False)
    judge(w, arena, ctl, rock, rkc)
    invoke(w.end_step, w.ctl, w.workspace, at.sums, w.chebyshev.one, 1, 1, at.mask, address(w.told) + VERDICT)


def stages(workspace, memory, highest):
    """All stages of a step whose highest degree is this, of the methods that are told, into the place of its end."""
    w = workspace_at(workspace)
    at, arena, ctl = w.at, numbers(memory), rows_of(w.ctl, w.lanes)
    g, other = recurrence(w, arena, ctl, highest, w.told.rkc != 0)
    if w.told.rock:
        four_stages(w, arena, ctl, g, other)
    else:
        fill(w, arena, at.mask, 1.0)
        invoke(w.blend, at.next, g, at.mask, w.entries)


def dense(workspace, memory, due):
    """Records of the lanes ``due``, and learning times: by continuous output, or by steps within where it is wrong."""
    w = workspace_at(workspace)
    arena, ctl, passed = numbers(memory), rows_of(w.ctl, w.lanes), w.told.passed
    continuous(w, arena, ctl)
    wrong = 0
    if w.chebyshev.fourth:
        wrong = doubtful_at(w, arena, ctl, CHECKED[0]) | doubtful_at(w, arena, ctl, CHECKED[1])
    output(w, due & ~wrong, False, False)
    learned = locate(w, passed & ~wrong, False)
    if wrong & (due | passed):
        output(w, due & wrong, False, True)
        learned += locate(w, passed & wrong, True)
    w.told.learned = learned


def within(workspace, memory, lanes):
    """The states at theta (per lane) in some lanes, each by a step of ROCK4 of its own, into the place of outputs.

    They take the stages of the whole step, which are known to be stable.  Slopes and stages between its ends are
    overwritten.
    """
    w = workspace_at(workspace)
    at, arena, ctl = w.at, numbers(memory), rows_of(w.ctl, w.lanes)
    theta, highest = place(w, at.theta), 1
    for l in range(w.lanes):
        ctl[WHOLE, l] = ctl[STEP, l]
        inside = (lanes >> l) & 1
        ctl[STEP, l] *= arena[theta + l] if inside else 0.0
        if inside and ctl[DEGREE, l] > highest:
            highest = int(ctl[DEGREE, l])
    at.next, at.within = at.within, at.next
    w.told.rock, w.told.rkc = 1, 0  # which keeps no stages
    invoke(w.routines.stages, w.workspace, w.arena, highest)
    at.next, at.within, at.output = at.within, at.output, at.next
    for l in range(w.lanes):
        ctl[STEP, l] = ctl[WHOLE, l]


def advance(workspace, memory, rejected):
    """Go on from the end of the step, rejected lanes from its beginning; the step before stays known."""
    w = workspace_at(workspace)
    at, arena, ctl, slopes = w.at, numbers(memory), rows_of(w.ctl, w.lanes), w.method.slopes
    at.previous, at.state, at.next = at.state, at.next, at.previous
    first, last = peek(slopes, 0), peek(slopes, 5)
    before = at.previous_slope
    at.previous_slope = first
    poke(slopes, 0, last)
    poke(slopes, 5, before)
    if rejected != 0:
        mask(w, arena, rejected)
        invoke(w.blend, at.state, at.previous, at.mask, w.entries)
        invoke(w.blend, at.previous, at.next, at.mask, w.entries)
        invoke(w.blend, last, first, at.mask, w.entries)
        invoke(w.blend, first, before, at.mask, w.entries)
        invoke(w.blend, at.keep_a, at.state, at.mask, w.entries)  # whatever overflowed there
        invoke(w.blend, at.keep_b, at.state, at.mask, w.entries)
    if w.way >= 0:
        go_on_from(w, ctl, at.previous)
    for l in range(w.lanes):
        if (rejected >> l) & 1:
            ctl[SINCE, l] = ctl[WAIT, l]
        else:
            ctl[EARLIER, l] = ctl[STEP, l]
            ctl[SINCE, l] += 1.0
