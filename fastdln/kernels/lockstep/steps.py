"""One Runge-Kutta step of all lanes: slopes, stages, errors, continuous output, observables.

``w`` is a workspace (`layout`), ``arena`` its memory as an array, ``ctl`` its step-size control (`control`).
"""

from __future__ import annotations

import math

from fastdln.integrate.tableau import TERMS
from fastdln.kernels.lockstep.control import EXCESS2, GRADIENT2, LEAST2, LOSS2
from fastdln.kernels.lockstep.workspace import (
    BY_RESIDUAL,
    CLOSING,
    INDEX,
    KIND,
    OPENING,
    PREPARE,
    SEE,
    SINGLE,
    TERM_COUNT,
    WEIGHT,
)
from fastdln.kernels.machine.compile import part
from fastdln.kernels.machine.library import invoke
from fastdln.kernels.machine.memory import fill, peek, peek_real, place, poke
from fastdln.kernels.products.program import DERIVATIVE, STATE
from fastdln.kernels.products.tiles import CLOSED

LEAST_EXCESS = 2.0**-28  # of the least loss, which is known no better


@part
def slope(w, y, k):
    """k = right-hand side at y."""
    products(w, y, k)
    if w.rates:
        rescale(w, y, k)


@part
def slope_at_end(w, arena, ctl, y, k):
    """k = right-hand side at y, the end of a step or a start; what is asked for of such states is noted."""
    products(w, y, k)
    note(w, arena, ctl, k)
    if w.rates:
        rescale(w, y, k)


@part
def products(w, y, k):
    """k = -dL/dW at y."""
    poke(w.bases_at, STATE, y)
    poke(w.bases_at, DERIVATIVE, k)
    invoke(w.execute_rhs, w.bases_at, w.rhs_at, w.rhs_rows)


@part
def rescale(w, y, k):
    """Learning rates and weight decay."""
    for i in range(w.layers):
        first, last = peek(w.layers_at, i) * w.entry, peek(w.layers_at, i + 1) * w.entry
        invoke(w.rescale, k, y, w.rates_at + 2 * i * w.item, first, last)


@part
def note(w, arena, ctl, k):
    """Note ||grad L||^2 of the right-hand side just computed, and look at hidden growth, where they are asked for."""
    sums = place(w, w.sums_at)
    if w.stop_on_gradient:
        invoke(w.square_sum, w.sums_at, k, w.entries)
        for l in range(w.lanes):
            ctl[GRADIENT2, l] = arena[sums + l]
    if w.renew:
        invoke(w.execute_growth, w.bases_at, w.growth_at, w.growth_rows)
        if w.excess:
            excess(w, arena, ctl)


@part
def excess(w, arena, ctl):
    """Note twice the loss above its least value; the programs of observables may overwrite what the slope left."""
    if w.excess == BY_RESIDUAL:
        invoke(w.square_sum, w.sums_at, w.scratch_at + w.residual * w.entry, w.target_size)
    else:
        observe(w, peek(w.bases_at, STATE))
    sums = place(w, w.sums_at)
    for l in range(w.lanes):
        least = ctl[LEAST2, l]
        above, rounding = arena[sums + l] - least, LEAST_EXCESS * least
        ctl[EXCESS2, l] = w.excess_scale * (above if above > rounding else rounding)


@part
def renew(w):
    """Take over the rates of hidden growth in the lanes whose mask is zero."""
    invoke(w.renew_growth, w.ctl_at, w.par_at, w.norms_at, w.n_norms, w.general_vectors_at, w.mask_at)


@part
def observe(w, y):
    """Run the forward products at y: sums[0] = 2 (L - floor), and the strengths of the modes if they are recorded."""
    poke(w.bases_at, STATE, y)
    invoke(w.execute_observe, w.bases_at, w.observe_at, w.observe_rows)
    compared = peek(w.bases_at, w.compared_base) + w.compared * w.entry
    invoke(w.square_distance, w.sums_at, w.scratch_at + w.target * w.entry, compared, w.target_size)
    if w.record_strengths >= 0:
        measure_modes(w, w.strengths_at)


@part
def measure_modes(w, out):
    """The strengths of the modes from the projected product."""
    left, projected = w.scratch_at + w.left * w.entry, w.scratch_at + w.projected * w.entry
    invoke(w.column_dots, out, left, projected, w.out_rows, w.modes)


@part
def watch(w, arena, ctl, y, opened, ends):
    """What must be known of the state at the end of every step, behind its slope: strengths, loss."""
    if opened > 0:
        poke(w.bases_at, STATE, y)
        invoke(w.execute, w.bases_at, w.watch_at, w.watch_rows)
        measure_modes(w, ends)
    if not w.stop_on_loss:
        return
    observe(w, y)
    sums = place(w, w.sums_at)
    for l in range(w.lanes):
        ctl[LOSS2, l] = arena[sums + l]


@part
def ask(w, question, bits):
    """The answer of the search for learning times."""
    invoke(w.search, w.workspace_at, question, bits, w.flags_at)
    return peek(w.flags_at, 0)


@part
def combine_stage(w, row, out, source):
    """out = source + h sum_j a_j k_j for the row of the schedule at an address."""
    terms, first = peek(row, TERM_COUNT), w.index_at + 8 * peek(row, INDEX)
    for j in range(0, terms, TERMS):
        some = TERMS if terms - j > TERMS else terms - j
        factors = w.factors_at + (peek(row, WEIGHT) + j) * w.entry
        invoke(w.combine, out, source, w.slopes_at, first + 8 * j, factors, some, w.entries)
        source = out


@part
def stages(w, arena, ctl):
    """All stages of a step; the last one is the slope at its end."""
    invoke(w.scale_factors, w.factors_at, w.step_at, w.weights_at, w.n_weights)
    last = w.stages - 1
    if w.all_stages:
        invoke(w.all_stages, w.bases_at, w.slopes_at, w.factors_at, w.state_at, w.next_at, w.stage_at, w.stage2_at)
        note(w, arena, ctl, peek(w.slopes_at, last))
        return
    to_the_end(w)
    slope_at_end(w, arena, ctl, w.next_at, peek(w.slopes_at, last))


@part
def to_the_end(w):
    """All stages but the last, and the state at the end of a step, for factors that are in their place."""
    last = w.stages - 1
    for s in range(1, w.stages):
        row = w.schedule_at + 32 * s
        # stages take turns in two places: one that a pair has opened must survive the slope in between
        out = w.next_at if s == last else w.stage_at if s & 1 else w.stage2_at
        if peek(row, KIND) == OPENING:
            terms, index = peek(row, TERM_COUNT), w.index_at + 8 * peek(row, INDEX)
            factors = w.factors_at + peek(row, WEIGHT) * w.entry
            after = w.next_at if s + 1 == last else w.stage2_at if s & 1 else w.stage_at
            invoke(w.combine_pair, out, after, w.state_at, w.slopes_at, index, factors, terms, w.entries)
            if w.closes:
                poke(w.bases_at, CLOSED, after)
                poke(w.bases_at, CLOSED + 1, factors + 2 * terms * w.entry)
        elif peek(row, KIND) == SINGLE or not w.closes:
            combine_stage(w, row, out, out if peek(row, KIND) == CLOSING else w.state_at)
        if s < last:
            slope(w, out, peek(w.slopes_at, s))
        poke(w.bases_at, CLOSED, 0)


@part
def step_within(w, arena):
    """The states at theta (per lane), each by a step of its own from the beginning, into the place of outputs.

    Slopes and stages between the ends of the step are overwritten.
    """
    theta, step = place(w, w.theta_at), place(w, w.step_at)
    for l in range(w.lanes):
        arena[theta + l] *= arena[step + l]
    invoke(w.scale_factors, w.factors_at, w.theta_at, w.weights_at, w.n_weights)
    w.next_at, w.within_at = w.within_at, w.next_at
    to_the_end(w)
    w.next_at, w.within_at, w.stage2_at = w.within_at, w.stage2_at, w.next_at


@part
def extra_stages(w):
    """The stages that only continuous output needs."""
    for s in range(w.stages, w.stages + w.extra):
        combine_stage(w, w.schedule_at + 32 * s, w.stage_at, w.state_at)
        slope(w, w.stage_at, peek(w.slopes_at, s))


@part
def layer_sums(w, table, index, factors, terms, out):
    """For each layer the sum of (sum_j factor_j k_j / scale)^2, scaled as an error between the states in ``states``."""
    poke(w.states_at, 2, w.tolerance_at)
    for i in range(w.layers):
        first, last = peek(w.layers_at, i) * w.entry, peek(w.layers_at, i + 1) * w.entry
        invoke(w.error_sum, out + i * w.entry, w.states_at, table, index, factors, terms, first, last)


@part
def errors(w):
    """Error sums of all estimates and layers; returns whether continuous output at theta is in its place now.

    Where an output lies within the step, it is found in the same pass: both read all slopes.
    """
    poke(w.states_at, 0, w.state_at)
    poke(w.states_at, 1, w.next_at)
    factors = w.factors_at + w.error_weight * w.entry
    if w.joins:
        invoke(w.output_theta, w.ctl_at, w.theta_at, w.flags_at)
        if peek(w.flags_at, 0) != 0:
            output_factors(w)
            poke(w.states_at, 2, w.tolerance_at)
            for i in range(w.layers):
                first, last = peek(w.layers_at, i) * w.entry, peek(w.layers_at, i + 1) * w.entry
                invoke(w.error_sum_output, w.sums_at + i * w.entry, w.stage2_at, w.states_at, w.slopes_at,
                       factors, w.output_factors_at, w.output_terms, first, last)  # fmt: skip
            return True
    if w.estimates == 1:
        layer_sums(w, w.slopes_at, w.error_index_at, factors, w.error_terms, w.sums_at)
        return False
    poke(w.states_at, 2, w.tolerance_at)
    for i in range(w.layers):
        first, last = peek(w.layers_at, i) * w.entry, peek(w.layers_at, i + 1) * w.entry
        out, index = w.sums_at + i * w.entry, w.error_index_at
        other = out + w.layers * w.entry
        invoke(w.error_sum_pair, out, other, w.states_at, w.slopes_at, index, factors, first, last)
    return False


@part
def output_factors(w):
    """Factors of the slopes in the continuous output at theta (per lane)."""
    invoke(w.dense_factors, w.output_factors_at, w.step_at, w.theta_at, w.dense_at, w.output_terms, w.degree)


@part
def interpolate(w):
    """Continuous output at theta (per lane) into its place."""
    output_factors(w)
    combine_outputs(w, w.stage2_at)


@part
def locate(w, passed):
    """Find by continuous output where modes passed their thresholds in these lanes; returns how many did."""
    found, w.passes = 0, 0
    while passed != 0:
        ask(w, PREPARE, passed)
        interpolate(w)
        passed = ask(w, SEE, passed)
        found += peek(w.flags_at, 1)
    return found


@part
def combine_outputs(w, out):
    """The state at the beginning of the step, and the sum over the slopes for output with the factors in place."""
    source = w.state_at
    for j in range(0, w.output_terms, TERMS):
        some = TERMS if w.output_terms - j > TERMS else w.output_terms - j
        index, factors = w.sequence_at + 8 * j, w.output_factors_at + j * w.entry
        invoke(w.combine, out, source, w.output_table_at, index, factors, some, w.entries)
        source = out


@part
def norm(w, arena, l):
    """The error norm of lane l from the sums over layers that lie in place."""
    e, worst = place(w, w.sums_at) + l, 0.0
    for i in range(w.layers):
        mean = arena[e + i * w.lanes] / peek_real(w.layer_sizes_at, i)
        if worst == worst and not mean <= worst:  # once NaN, it stays NaN
            worst = mean
    return math.sqrt(worst)


@part
def defect_sums(w, arena, moved, k):
    """Error sums of ``moved`` - y - h k."""
    poke(w.defect_at, 0, moved)
    poke(w.defect_at, 1, w.state_at)
    poke(w.defect_at, 2, k)
    f, step = place(w, w.output_factors_at), place(w, w.step_at)
    for l in range(w.lanes):
        arena[f + l], arena[f + w.lanes + l], arena[f + 2 * w.lanes + l] = 1.0, -1.0, -arena[step + l]
    layer_sums(w, w.defect_at, w.sequence_at, w.output_factors_at, 3, w.sums_at)


@part
def change_output(w):
    """Go from the one continuous output that is tried to the other, or back."""
    w.dense_at, w.other_dense_at = w.other_dense_at, w.dense_at
    w.slant_at, w.other_slant_at = w.other_slant_at, w.slant_at
    w.check_theta, w.other_theta = w.other_theta, w.check_theta
    w.check_most, w.other_most = w.other_most, w.check_most
    w.output_terms, w.other_terms = w.other_terms, w.output_terms


@part
def doubtful(w, arena):
    """The bits of the lanes whose continuous output is wrong, told by its defect h (du/dt - f(u)) in one place."""
    fill(w, arena, w.theta_at, w.check_theta)
    interpolate(w)
    slope(w, w.stage2_at, w.stage_at)
    invoke(w.scale_factors, w.output_factors_at, w.step_at, w.slant_at, w.output_terms)
    combine_outputs(w, w.within_at)
    defect_sums(w, arena, w.within_at, w.stage_at)
    bits = 0
    for l in range(w.lanes):
        if not norm(w, arena, l) <= w.check_most:
            bits |= 1 << l
    return bits


@part
def evaluate(w):
    """Observables of the states in the place of outputs: sums = 2 (L - floor), ||grad L||^2; strengths; product."""
    if w.record_gradient >= 0:
        poke(w.bases_at, STATE, w.stage2_at)
        poke(w.bases_at, DERIVATIVE, w.probe_at)
        invoke(w.execute_rhs, w.bases_at, w.rhs_at, w.rhs_rows)
    observe(w, w.stage2_at)
    if w.record_gradient >= 0:
        invoke(w.square_sum, w.sums_at + w.entry, w.probe_at, w.entries)
