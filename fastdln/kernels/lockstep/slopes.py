"""Slopes, and what is noted of the states that they are taken at: gradient, loss, strengths, hidden growth.

In all files of this folder ``w`` is a workspace (`workspace`), ``arena`` its memory as an array of numbers, ``ctl`` the
control of its lanes (`control`); ``y`` and ``k`` are addresses of a state and of a slope, ``l`` is a lane and ``q`` the
trajectory in it.  States and slopes lie apart from each other.  Sets of lanes are bits of an integer.
"""

from __future__ import annotations

import math

from fastdln.kernels.lockstep.control import EXCESS2, GRADIENT, LEAST2, LOSS2
from fastdln.kernels.lockstep.places import layer, place, scratch
from fastdln.kernels.lockstep.way import speed
from fastdln.kernels.lockstep.workspace import BY_RESIDUAL
from fastdln.kernels.machine.compile import part
from fastdln.kernels.machine.library import invoke
from fastdln.kernels.machine.memory import peek, peek_real, poke
from fastdln.kernels.products.rows import DERIVATIVE, DIRECTION, STATE

LEAST_EXCESS = 2.0**-28  # of the least loss, which is known no better


@part
def slope(w, y, k):
    """k = right-hand side at y."""
    products(w, y, k)
    if w.products.has_rates:
        rescale(w, y, k)
    if w.way >= 0:
        speed(w, y, k)


@part
def slope_at_end(w, arena, ctl, y, k):
    """k = right-hand side at y, the end of a step or a start; what is asked for of such states is noted."""
    products(w, y, k)
    note(w, arena, ctl, k)
    if w.products.has_rates:
        rescale(w, y, k)
    if w.way >= 0:
        speed(w, y, k)


@part
def products(w, y, k):
    """k = -dL/dW at y."""
    poke(w.products.bases, STATE, y)
    poke(w.products.bases, DERIVATIVE, k)
    invoke(w.routines.execute_rhs, w.products.bases, w.products.rhs, w.products.rhs_rows)


@part
def rescale(w, y, k):
    """Learning rates and weight decay, and the correction of a modified flow."""
    for i in range(w.layers):
        first, last = layer(w, i)
        invoke(w.rescale, k, y, w.products.rates + 2 * i * w.item, first, last)
    if w.products.correction_rows > 0:
        correct(w, y, k)


@part
def correct(w, y, k):
    """Add to the field k = -(D G + mu W), D the layers' rates, -eta/2 times its derivative along itself.

    That derivative is -(D H + mu) k, with the Hessian H.
    """
    products, out = w.products, w.at.correction
    poke(products.correction_bases, STATE, y)
    poke(products.correction_bases, DERIVATIVE, out)
    poke(products.correction_bases, DIRECTION, k)
    invoke(w.routines.execute_correction, products.correction_bases, products.correction, products.correction_rows)
    for i in range(w.layers):
        first, last = layer(w, i)
        invoke(w.rescale, k, out, products.correction_factors + 2 * i * w.item, first, last)


@part
def note(w, arena, ctl, k):
    """Note ||grad L|| of the right-hand side just computed, and look at hidden growth, where they are asked for."""
    if w.limits.stop_on_gradient:
        invoke(w.norm, w.at.sums, k, w.layered)
        sums = place(w, w.at.sums)
        for l in range(w.lanes):
            ctl[GRADIENT, l] = arena[sums + l]
    if w.told.renew:
        invoke(w.routines.execute_growth, w.products.bases, w.products.growth, w.products.growth_rows)
        if w.growth.excess:
            excess(w, arena, ctl)


@part
def excess(w, arena, ctl):
    """Note twice the loss above its least value; the programs of observables may overwrite what the slope left."""
    if w.growth.excess == BY_RESIDUAL:
        invoke(w.square_sum, w.at.sums, scratch(w, w.growth.residual), w.products.target_size)
    else:
        observe(w, peek(w.products.bases, STATE))
    sums = place(w, w.at.sums)
    for l in range(w.lanes):
        least = ctl[LEAST2, l]
        above, rounding = arena[sums + l] - least, LEAST_EXCESS * least
        ctl[EXCESS2, l] = w.growth.excess_scale * (above if above > rounding else rounding)


@part
def renew(w):
    """Take over the rates of hidden growth in the lanes whose mask is zero."""
    growth = w.growth
    invoke(w.renew_growth, w.ctl, w.workspace, growth.norms, growth.n_norms, growth.general, w.at.mask)


@part
def observe(w, y):
    """Run the forward products at y: sums[0] = 2 (L - floor), and the strengths of the modes if they are recorded."""
    products = w.products
    poke(products.bases, STATE, y)
    invoke(w.routines.execute_observe, products.bases, products.observe, products.observe_rows)
    compared = peek(products.bases, products.compared_base) + products.compared * w.entry
    invoke(w.routines.value, w.at.sums, scratch(w, products.target), compared, products.target_size)
    if w.records.strengths >= 0:
        measure_modes(w, w.at.strengths)


@part
def measure_modes(w, out):
    """The strengths of the modes from the projected product."""
    left, projected = scratch(w, w.products.left), scratch(w, w.products.projected)
    invoke(w.column_dots, out, left, projected, w.products.out_rows, w.modes)


@part
def watch(w, arena, ctl, y, opened, ends):
    """What must be known of the state at the end of every step, after its slope: strengths, loss."""
    if opened > 0:
        poke(w.products.bases, STATE, y)
        invoke(w.execute, w.products.bases, w.products.watch, w.products.watch_rows)
        measure_modes(w, ends)
    if not w.limits.stop_on_loss:
        return
    observe(w, y)
    sums = place(w, w.at.sums)
    for l in range(w.lanes):
        ctl[LOSS2, l] = arena[sums + l]


# ---- norms


@part
def layer_sums(w, table, index, factors, terms):
    """For each layer the sum of (sum_j factor_j k_j / scale)^2 into ``sums``, scaled as an error: see `judged_between`.

    The addresses k_j are table[index[j]], their factors entries.
    """
    for i in range(w.layers):
        first, last = layer(w, i)
        out = w.at.sums + i * w.entry
        invoke(w.error_sum, out, w.method.scale, table, index, factors, terms, first, last)


@part
def judged_between(w, y, z):
    """Errors are relative to the sizes of the states y and z from now on."""
    poke(w.method.scale, 0, y)
    poke(w.method.scale, 1, z)
    poke(w.method.scale, 2, w.at.tolerance)


@part
def norm(w, arena, l):
    """The error norm of lane l from the sums over layers that lie in place."""
    e, worst = place(w, w.at.sums) + l, 0.0
    for i in range(w.layers):
        mean = arena[e + i * w.lanes] / peek_real(w.layer.entries, i)
        if worst == worst and not mean <= worst:  # once NaN, it stays NaN
            worst = mean
    return math.sqrt(worst)
