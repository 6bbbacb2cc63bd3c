"""The spectral radius of the flow where a step begins, by power iterations on differences of slopes."""

from __future__ import annotations

from fastdln.kernels.lockstep.chebyshev.table import (
    ESTIMATE,
    ESTIMATE_BEFORE,
    RADIUS,
    SINCE,
    VECTOR,
    VECTOR_NORM,
    WAIT,
    F,
    mixed,
)
from fastdln.kernels.lockstep.control import ACTIVE, SLOPES
from fastdln.kernels.lockstep.places import fill, mask, place, slope_at
from fastdln.kernels.lockstep.slopes import slope
from fastdln.kernels.machine.compile import part
from fastdln.kernels.machine.library import invoke

MARGIN = 1.1  # on the estimated spectral radius
MOST_WAIT = 16.0


@part
def iterate(w, arena, ctl, bits):
    """One power iteration in the lanes ``bits``: v <- (f(y + d v) - f(y))/d, and its growth as the estimate."""
    f = place(w, w.at.factors)
    sums, distances = place(w, w.at.sums), place(w, w.at.distance)
    tiny = 1.5e-8 if w.item == 8 else 3.5e-4
    invoke(w.norm, w.at.sums, w.at.state, w.layered)
    for l in range(w.lanes):
        size = arena[sums + l]
        d = tiny * (size if size > 0.0 else 1.0) / ctl[VECTOR_NORM, l] if (bits >> l) & 1 else 0.0
        arena[distances + l] = d
        arena[f + l] = d
    mixed(w, w.at.stage, w.at.state, VECTOR, 1)
    k1 = slope_at(w, 1)
    slope(w, w.at.stage, k1)
    fill(w, arena, w.at.factors, -1.0)
    mixed(w, k1, k1, F, 1)
    invoke(w.norm, w.at.sums, k1, w.layered)
    moved = 0
    for l in range(w.lanes):
        if (bits >> l) & 1:
            ctl[SLOPES, l] += 1.0
            grown = arena[sums + l]
            estimate = grown / (arena[distances + l] * ctl[VECTOR_NORM, l])
            if estimate <= 1e300 and grown > 0.0:
                ctl[ESTIMATE, l] = estimate
                ctl[VECTOR_NORM, l] = grown
                moved |= 1 << l
    mask(w, arena, moved)
    invoke(w.blend, w.at.power, k1, w.at.mask, w.entries)


@part
def first_radius(w, arena, ctl, new):
    """Spectral radius in the lanes ``new``: from the slope and a general vector until it settles."""
    f = place(w, w.at.factors)
    mask(w, arena, new)
    invoke(w.blend, w.at.power, w.at.general, w.at.mask, w.entries)
    sums = place(w, w.at.sums)
    invoke(w.norm, w.at.sums, slope_at(w, 0), w.layered)
    for l in range(w.lanes):
        size = arena[sums + l]
        arena[f + l] = 1.0 / size if (new >> l) & 1 and 0.0 < size <= 1e150 else 0.0
    mixed(w, w.at.stage, w.at.power, F, 1)
    invoke(w.blend, w.at.power, w.at.stage, w.at.mask, w.entries)
    invoke(w.norm, w.at.sums, w.at.power, w.layered)
    for l in range(w.lanes):
        if (new >> l) & 1:
            ctl[VECTOR_NORM, l] = arena[sums + l]
            ctl[ESTIMATE, l] = 0.0
    left = new
    for i in range(20):
        for l in range(w.lanes):
            if (left >> l) & 1:
                ctl[RADIUS, l] = ctl[ESTIMATE, l]
        iterate(w, arena, ctl, left)
        for l in range(w.lanes):
            if (left >> l) & 1 and i > 2 and not abs(ctl[ESTIMATE, l] - ctl[RADIUS, l]) >= 0.01 * ctl[ESTIMATE, l]:
                left &= ~(1 << l)
        if left == 0:
            break
    for l in range(w.lanes):
        if (new >> l) & 1:
            ctl[RADIUS, l] = MARGIN * ctl[ESTIMATE, l]
            ctl[WAIT, l] = 1.0
            ctl[SINCE, l] = 0.0


@part
def renew_radius(w, arena, ctl):
    """Estimate the spectral radius anew where it is time: the more rarely the less it changes."""
    due = 0
    for l in range(w.lanes):
        if ctl[ACTIVE, l] > 0.0 and ctl[SINCE, l] >= ctl[WAIT, l]:
            due |= 1 << l
            ctl[ESTIMATE_BEFORE, l] = ctl[ESTIMATE, l]
    if due == 0:
        return
    iterate(w, arena, ctl, due)
    for l in range(w.lanes):
        if (due >> l) & 1:
            before, now, radius = ctl[ESTIMATE_BEFORE, l], ctl[ESTIMATE, l], ctl[RADIUS, l]
            steady = abs(now - before) < 0.05 * now and now < radius
            wait = 2.0 * ctl[WAIT, l]
            ctl[WAIT, l] = (wait if wait < MOST_WAIT else MOST_WAIT) if steady else 1.0
            ctl[SINCE, l] = 0.0
            least = 0.9 * radius if now < before else 0.0
            ctl[RADIUS, l] = MARGIN * now if MARGIN * now > least else least
