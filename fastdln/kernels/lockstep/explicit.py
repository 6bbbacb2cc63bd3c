"""The routines of explicit Runge-Kutta pairs: an attempt of a step, output within it, and going on from its end."""

from __future__ import annotations

from fastdln.integrate.law import LEAST_ORDER
from fastdln.integrate.tableau import TERMS
from fastdln.kernels.lockstep.output import combine_outputs, defect_sums, interpolate, locate, output, output_factors
from fastdln.kernels.lockstep.places import fill, layer, place, slope_at
from fastdln.kernels.lockstep.slopes import judged_between, layer_sums, norm, note, slope, slope_at_end, watch
from fastdln.kernels.lockstep.way import go_on, measure
from fastdln.kernels.lockstep.workspace import (
    CLOSING,
    INDEX,
    KIND,
    OPENING,
    SINGLE,
    TERM_COUNT,
    VERDICT,
    WEIGHT,
    WITHIN_BITS,
    workspace_at,
)
from fastdln.kernels.machine.compile import part
from fastdln.kernels.machine.library import invoke
from fastdln.kernels.machine.memory import address, numbers, peek, poke, rows_of
from fastdln.kernels.products.tiles import CLOSED

# ---- an attempt


def attempt(workspace, memory, opened):
    """Try one step in every lane and judge it, with ``opened`` modes still to be learned in all lanes.

    See `loop` for what is told.
    """
    w = workspace_at(workspace)
    arena, ctl = numbers(memory), rows_of(w.ctl, w.lanes)
    invoke(w.begin_step, w.ctl, w.workspace, w.at.step)
    stages(w, arena, ctl)
    watch(w, arena, ctl, w.at.next, opened, peek(w.learning.ends, 0))
    if w.way >= 0:
        measure(w, w.method.order >= LEAST_ORDER)
    errors(w)
    invoke(w.end_step, w.ctl, w.workspace, w.at.sums, w.layer.entries, w.layers, w.method.estimates, w.at.mask,
           address(w.told) + VERDICT)  # fmt: skip


@part
def stages(w, arena, ctl):
    """All stages of a step; the last one is the slope at its end."""
    at, last = w.at, slope_at(w, w.method.stages - 1)
    invoke(w.scale_factors, at.factors, at.step, w.method.weights, w.method.n_weights)
    if w.routines.all_stages:
        invoke(w.routines.all_stages, w.products.bases, w.method.slopes, at.factors, at.state, at.next, at.stage,
               at.output)  # fmt: skip
        note(w, arena, ctl, last)
        return
    to_the_end(w)
    slope_at_end(w, arena, ctl, at.next, last)


@part
def to_the_end(w):
    """All stages but the last, and the state at the end of a step, for factors that are in their place."""
    at, last = w.at, w.method.stages - 1
    for s in range(1, w.method.stages):
        row = w.method.schedule + 32 * s
        # stages take turns in two places: one that a pair has opened must survive the slope in between
        out = at.next if s == last else at.stage if s & 1 else at.output
        if peek(row, KIND) == OPENING:
            terms, index = peek(row, TERM_COUNT), w.method.index + 8 * peek(row, INDEX)
            factors = at.factors + peek(row, WEIGHT) * w.entry
            after = at.next if s + 1 == last else at.output if s & 1 else at.stage
            invoke(w.combine_pair, out, after, at.state, w.method.slopes, index, factors, terms, w.entries)
            if w.products.closes:
                poke(w.products.bases, CLOSED, after)
                poke(w.products.bases, CLOSED + 1, factors + 2 * terms * w.entry)
        elif peek(row, KIND) == SINGLE or not w.products.closes:
            combine_stage(w, row, out, out if peek(row, KIND) == CLOSING else at.state)
        if s < last:
            slope(w, out, slope_at(w, s))
        poke(w.products.bases, CLOSED, 0)


@part
def combine_stage(w, row, out, source):
    """out = source + h sum_j a_j k_j for the row of the schedule at an address."""
    terms, first = peek(row, TERM_COUNT), w.method.index + 8 * peek(row, INDEX)
    for j in range(0, terms, TERMS):
        some = TERMS if terms - j > TERMS else terms - j
        factors = w.at.factors + (peek(row, WEIGHT) + j) * w.entry
        invoke(w.combine, out, source, w.method.slopes, first + 8 * j, factors, some, w.entries)
        source = out


@part
def errors(w):
    """Error sums of all estimates and layers.

    Where an output lies within the step, continuous output is found in the same pass: both read all slopes.
    """
    method, out = w.method, w.at.sums
    judged_between(w, w.at.state, w.at.next)
    factors = w.at.factors + method.error_weight * w.entry
    w.told.ready = 0
    if method.joins and w.way < 0:  # that pass writes the entries of layers alone
        invoke(w.output_theta, w.ctl, w.at.theta, address(w.told) + WITHIN_BITS)
        if w.told.within != 0:
            w.told.ready = 1
            output_factors(w)
            for i in range(w.layers):
                first, last = layer(w, i)
                invoke(w.error_sum_output, out + i * w.entry, w.at.output, method.scale, method.slopes, factors,
                       w.at.output_factors, w.output.terms, first, last)  # fmt: skip
            return
    if method.estimates == 1:
        layer_sums(w, method.slopes, method.error_index, factors, method.error_terms)
        return
    for i in range(w.layers):
        first, last = layer(w, i)
        other = out + (w.layers + i) * w.entry
        invoke(w.error_sum_pair, out + i * w.entry, other, method.scale, method.slopes, method.error_index, factors,
               first, last)  # fmt: skip


# ---- output


def dense(workspace, memory, due):
    """Records of the lanes ``due``, and learning times, by continuous output that needs no check."""
    w = workspace_at(workspace)
    if w.output.extra:
        extra_stages(w)
    output(w, due, w.told.ready != 0, False)
    w.told.learned = locate(w, w.told.passed, False)


def checked_dense(workspace, memory, due):
    """Records of the lanes ``due``, and learning times, from the first output that is right.

    First the method's own is tried, then the cubic, then steps within the step.
    """
    w = workspace_at(workspace)
    arena, passed = numbers(memory), w.told.passed
    learned, left = 0, due | passed
    extra_stages(w)
    for cubic in range(2):
        if left == 0:
            break
        if cubic:
            change_output(w)
        wrong = left & doubtful(w, arena)
        output(w, due & left & ~wrong, False, False)
        learned += locate(w, passed & left & ~wrong, False)
        left = wrong
        if cubic:
            change_output(w)
    if left:
        output(w, due & left, False, True)
        learned += locate(w, passed & left, True)
    w.told.learned = learned


@part
def extra_stages(w):
    """The stages that only continuous output needs."""
    for s in range(w.method.stages, w.method.stages + w.output.extra):
        combine_stage(w, w.method.schedule + 32 * s, w.at.stage, w.at.state)
        slope(w, w.at.stage, slope_at(w, s))


@part
def change_output(w):
    """Go from the one continuous output that is tried to the other, or back."""
    at, out = w.at, w.output
    at.dense, at.other_dense = at.other_dense, at.dense
    out.slant, out.other_slant = out.other_slant, out.slant
    out.check_theta, out.other_theta = out.other_theta, out.check_theta
    out.check_most, out.other_most = out.other_most, out.check_most
    out.terms, out.other_terms = out.other_terms, out.terms


@part
def doubtful(w, arena):
    """The bits of the lanes whose continuous output is wrong, told by its defect h (du/dt - f(u)) in one place."""
    at = w.at
    fill(w, arena, at.theta, w.output.check_theta)
    interpolate(w)
    slope(w, at.output, at.stage)
    invoke(w.scale_factors, at.output_factors, at.step, w.output.slant, w.output.terms)
    combine_outputs(w, at.within)
    defect_sums(w, arena, at.within, at.stage)
    bits = 0
    for l in range(w.lanes):
        if not norm(w, arena, l) <= w.output.check_most:
            bits |= 1 << l
    return bits


def within(workspace, memory, lanes):
    """The states at theta (per lane), each by a step of its own from the beginning, into the place of outputs.

    Slopes and stages between the ends of the step are overwritten.
    """
    w = workspace_at(workspace)
    at, arena = w.at, numbers(memory)
    theta, step = place(w, at.theta), place(w, at.step)
    for l in range(w.lanes):
        arena[theta + l] *= arena[step + l]
    invoke(w.scale_factors, at.factors, at.theta, w.method.weights, w.method.n_weights)
    at.next, at.within = at.within, at.next
    to_the_end(w)
    at.next, at.within, at.output = at.within, at.output, at.next


# ---- going on


def advance(workspace, memory, rejected):
    """Go on from the end of the step; rejected lanes from its beginning."""
    w = workspace_at(workspace)
    at, slopes, last = w.at, w.method.slopes, w.method.stages - 1
    at.state, at.next = at.next, at.state
    first_slope, last_slope = peek(slopes, 0), peek(slopes, last)
    poke(slopes, 0, last_slope)
    poke(slopes, last, first_slope)
    if rejected != 0:
        invoke(w.blend, at.state, at.next, at.mask, w.entries)
        invoke(w.blend, last_slope, first_slope, at.mask, w.entries)
    if w.way >= 0:
        go_on(w, rows_of(w.ctl, w.lanes))
