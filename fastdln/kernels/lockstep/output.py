"""States within a step, for records and learning times: by continuous output, or by steps of their own."""

from __future__ import annotations

from fastdln.integrate.tableau import TERMS
from fastdln.kernels.lockstep.learning import ask
from fastdln.kernels.lockstep.places import place
from fastdln.kernels.lockstep.slopes import layer_sums
from fastdln.kernels.lockstep.workspace import PREPARE, SEE, WITHIN_BITS
from fastdln.kernels.machine.compile import part
from fastdln.kernels.machine.library import invoke
from fastdln.kernels.machine.memory import address, poke


@part
def output_factors(w):
    """Factors of what continuous output combines at theta (per lane)."""
    invoke(w.dense_factors, w.at.output_factors, w.at.step, w.at.theta, w.at.dense, w.output.terms, w.output.degree)


@part
def combine_outputs(w, out):
    """The state at the beginning of the step, and the sum of what output combines with the factors in place."""
    source = w.at.state
    for j in range(0, w.output.terms, TERMS):
        some = TERMS if w.output.terms - j > TERMS else w.output.terms - j
        index, factors = w.method.sequence + 8 * j, w.at.output_factors + j * w.entry
        invoke(w.combine, out, source, w.output.table, index, factors, some, w.entries)
        source = out


@part
def interpolate(w):
    """Continuous output at theta (per lane) into the place of outputs."""
    output_factors(w)
    combine_outputs(w, w.at.output)


@part
def bring(w, lanes, by_steps):
    """The states of some lanes at theta into the place of outputs."""
    if by_steps:
        invoke(w.routines.within, w.workspace, w.arena, lanes)
    else:
        interpolate(w)


@part
def output(w, due, ready, by_steps):
    """Record every requested time that this step reaches in the lanes ``due``, one time a lane and pass.

    ``ready``: the states of the first pass are in the place of outputs.
    """
    while due != 0:
        if not ready:
            invoke(w.output_theta, w.ctl, w.at.theta, address(w.told) + WITHIN_BITS)
            bring(w, due, by_steps)
        ready = False
        invoke(w.routines.record, w.workspace, w.arena, due)
        due = w.told.left


@part
def locate(w, passed, by_steps):
    """Find where in the step modes passed their thresholds in these lanes; returns how many did."""
    found, w.learning.passes = 0, 0
    while passed != 0:
        ask(w, PREPARE, passed)
        bring(w, passed, by_steps)
        ask(w, SEE, passed)
        passed = w.told.passed
        found += w.told.learned
    return found


@part
def defect_sums(w, arena, moved, k):
    """Error sums of ``moved`` - y - h k."""
    table = w.method.defect
    poke(table, 0, moved)
    poke(table, 1, w.at.state)
    poke(table, 2, k)
    f, step = place(w, w.at.output_factors), place(w, w.at.step)
    for l in range(w.lanes):
        arena[f + l], arena[f + w.lanes + l], arena[f + 2 * w.lanes + l] = 1.0, -1.0, -arena[step + l]
    layer_sums(w, table, w.method.sequence, w.at.output_factors, 3)
