"""Continuous output of a step: polynomials for each lane, and where they are wrong."""

from __future__ import annotations

from fastdln.integrate.chebyshev.tables import PLACE_A, PLACE_B, RKC_COLUMNS
from fastdln.kernels.lockstep.chebyshev.table import (
    BEFORE,
    EARLIER,
    END,
    F_BEFORE,
    F_END,
    KEEP_A,
    KEEP_B,
    KIND,
    OUTPUT_DEGREE,
    OUTPUT_TERMS,
    ROW,
    F,
    Y,
)
from fastdln.kernels.lockstep.control import ACTIVE, STEP
from fastdln.kernels.lockstep.output import combine_outputs, defect_sums, interpolate
from fastdln.kernels.lockstep.places import fill, place, slope_at
from fastdln.kernels.lockstep.slopes import norm, slope
from fastdln.kernels.lockstep.workspace import RKC, ROCK
from fastdln.kernels.machine.compile import part
from fastdln.kernels.machine.memory import peek_real

# Where continuous output of ROCK4 is checked, and the norm of its defect that is let pass.  What stiff motion leaves in
# the slopes at the ends shows at the one or the other; its error is the defect over h rho or less.
CHECKED, MOST_DEFECT = (0.3, 0.7), 15.0


@part
def quintic(row, arena, r, h, lanes):
    """The quintic through three states and slopes, as polynomials of what the table holds from Y on, for one lane.

    With the step as unit of length the states are at -r, 0, 1.  It is the cubic q of [0, 1] plus
    x^2 (1 - x)^2 (c + d (x + r)), which meets state and slope at -r too; without a step before, the cubic alone.
    """
    # bump x^2 (1 - x)^2 at -r and its logarithmic derivative there
    bump, slant = r * r * (1.0 + r) * (1.0 + r), -2.0 * (1.0 + 2.0 * r) / (r * (1.0 + r)) if r > 0.0 else 0.0
    meets = r > 0.1
    for i in range(OUTPUT_TERMS):
        two = three = one = at = inclined = 0.0  # the cubic; what state and slope at -r want beyond it
        unit = 1.0
        if i == END - Y or i == 0:
            sign = 1.0 if i == END - Y else -1.0
            two, three = 3.0 * sign, -2.0 * sign
            at, inclined = -sign * r * r * (3.0 + 2.0 * r), sign * 6.0 * r * (1.0 + r)
            if i == 0:
                at -= 1.0
            unit = 1.0 / h
        elif i == F - Y:
            one, two, three = 1.0, -2.0, 1.0
            at, inclined = r * (1.0 + r) * (1.0 + r), -(1.0 + r) * (1.0 + 3.0 * r)
        elif i == F_END - Y:
            two, three = -1.0, 1.0
            at, inclined = r * r * (1.0 + r), -r * (2.0 + 3.0 * r)
        elif i == BEFORE - Y:
            at, unit = 1.0, 1.0 / h
        elif i == F_BEFORE - Y:
            inclined = 1.0
        linear = constant = 0.0
        if meets:
            linear = (inclined - at * slant) / bump
            constant = at / bump + r * linear
        e = row + OUTPUT_DEGREE * i * lanes
        arena[e] = one * unit
        arena[e + lanes] = (two + constant) * unit
        arena[e + 2 * lanes] = (three + linear - 2.0 * constant) * unit
        arena[e + 3 * lanes] = (constant - 2.0 * linear) * unit
        arena[e + 4 * lanes] = linear * unit


@part
def through_stages(row, arena, a, b, h, lanes):
    """The cubic through the states at 0, a, b, 1, in the same form."""
    for i in range(OUTPUT_TERMS * OUTPUT_DEGREE):
        arena[row + i * lanes] = 0.0
    for i in range(3):
        x, y, z = (1.0, a, b) if i == 0 else (a, 1.0, b) if i == 1 else (b, 1.0, a)
        scale = 1.0 / (x * (x - y) * (x - z) * h)
        e = row + OUTPUT_DEGREE * (END - Y if i == 0 else KEEP_A - Y if i == 1 else KEEP_B - Y) * lanes
        arena[e], arena[e + lanes], arena[e + 2 * lanes] = y * z * scale, -(y + z) * scale, scale
        for power in range(3):
            arena[row + power * lanes] -= arena[e + power * lanes]


@part
def continuous(w, arena, ctl):
    """Write the polynomials of the continuous output of this step in each lane."""
    dense = place(w, w.at.dense)
    for l in range(w.lanes):
        if ctl[ACTIVE, l] > 0.0:
            h = ctl[STEP, l]
            if ctl[KIND, l] == RKC:
                row = int(ctl[ROW, l]) * RKC_COLUMNS
                a, b = peek_real(w.chebyshev.rkc, row + PLACE_A), peek_real(w.chebyshev.rkc, row + PLACE_B)
                through_stages(dense + l, arena, a, b, h * w.direction, w.lanes)
            else:
                quintic(dense + l, arena, ctl[EARLIER, l] / h, h * w.direction, w.lanes)


@part
def slant(w, arena, theta):
    """Factors of the derivative of continuous output, times the step, at one theta in all lanes."""
    dense, f = place(w, w.at.dense), place(w, w.at.output_factors)
    step = place(w, w.at.step)
    for i in range(OUTPUT_TERMS):
        for l in range(w.lanes):
            value = 0.0
            for power in range(OUTPUT_DEGREE - 1, -1, -1):
                e = dense + (OUTPUT_DEGREE * i + power) * w.lanes + l
                value = value * theta + (power + 1.0) * arena[e]
            arena[f + i * w.lanes + l] = value * arena[step + l]


@part
def doubtful_at(w, arena, ctl, theta):
    """The bits of the lanes where continuous output has a large defect h (du/dt - f(u)) at theta."""
    fill(w, arena, w.at.theta, theta)
    interpolate(w)
    k1 = slope_at(w, 1)
    slope(w, w.at.output, k1)
    slant(w, arena, theta)
    combine_outputs(w, w.at.within)
    bits = 0
    defect_sums(w, arena, w.at.within, k1)
    for l in range(w.lanes):
        if ctl[KIND, l] == ROCK and not norm(w, arena, l) <= MOST_DEFECT:
            bits |= 1 << l
    return bits
