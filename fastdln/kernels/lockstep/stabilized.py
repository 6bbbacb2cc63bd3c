"""One step of the stabilized methods in all lanes, each lane with its own method, number of stages and step.

Lanes go through the recurrence together; a lane whose stages are done waits with factors zero for the lane with the
most.  The control of the lanes has more rows here than `control` knows, numbered below.
"""

from __future__ import annotations

import math

from fastdln.integrate.columns import (
    ERRORS,
    LEAST2,
    MOST2,
    NODE_A,
    NODE_B,
    PLACE_A,
    PLACE_B,
    REACH2,
    REACHED_BY,
    RECURRENCE,
    RKC_COLUMNS,
    ROCK_COLUMNS,
    STAGE,
    THIRD,
    W0,
    W1,
    WEIGHTS,
)
from fastdln.kernels.lockstep.control import ACTIVE, CONTROL_ROWS, LONGEST, NEXT_STEP, STEP
from fastdln.kernels.lockstep.steps import combine_outputs, defect_sums, interpolate, layer_sums, norm, slope
from fastdln.kernels.lockstep.workspace import RKC, ROCK
from fastdln.kernels.machine.compile import part
from fastdln.kernels.machine.library import invoke
from fastdln.kernels.machine.memory import fill, peek, peek_real, place, poke

(
    KIND,  # ROCK or RKC: the method of the step
    STAGES,  # of it; the slope at the end of the step is the last one
    DEGREE,  # number of stages of the recurrence
    ROW,  # row of the tables
    RADIUS,  # spectral radius, on the safe side
    ESTIMATE,  # the last estimate of it
    VECTOR_NORM,  # of the vector of the power iteration
    WAIT,  # accepted steps between estimates
    SINCE,  # accepted steps since the last one
    AT_LIMIT,  # consecutive steps as long as ROCK4 may take
    PATIENCE,  # how many of them until RKC2 is tried
    TRIALS,  # steps tried with RKC2 since
    KEPT_STEP,  # step of ROCK4 before
    EARLIER,  # length of the accepted step before this one, or 0
    SLOPES,  # slopes taken so far
    T1, T2, D1, D2, E1, E2,  # Chebyshev polynomials j - 1 and j - 2 with their derivatives, for RKC2
    B1, B2, A1,  # b and a of the stages j - 1 and j - 2
    WHOLE,  # the step itself, in a step within it
) = range(CONTROL_ROWS, CONTROL_ROWS + 25)  # fmt: skip
ROWS = CONTROL_ROWS + 25

# the table of addresses of all that is combined, in an order in which what belongs together is consecutive
K1, G1, G2, Y, F, BEFORE, F_BEFORE, F_END, END, KEEP_A, KEEP_B, Y_AGAIN, VECTOR = range(13)

OUTPUT_TERMS, OUTPUT_DEGREE = KEEP_B - Y + 1, 5

MARGIN = 1.1  # on the estimated spectral radius
MOST_WAIT = 16.0
MOST_PATIENCE = 64.0
SHARE2 = 0.2  # of the tolerance, for a step of RKC2: its error is not extrapolated away, and adds up
WORTH = 0.5  # RKC2 with steps above this part of the longest one of ROCK4 is cheaper
LEAST_TRIALS, CALMING = 2.0, 10.0
# Where continuous output of ROCK4 is checked, and the norm of its defect that is let pass.  What stiff motion leaves in
# the slopes at the ends shows at the one or the other; its error is the defect over h rho or less.
CHECKED, MOST_DEFECT = (0.3, 0.7), 15.0


@part
def tabulate(w):
    """Write where the states and slopes of this step are."""
    poke(w.mix_at, K1, peek(w.slopes_at, 1))
    poke(w.mix_at, Y, w.state_at)
    poke(w.mix_at, F, peek(w.slopes_at, 0))
    poke(w.mix_at, BEFORE, w.previous_at)
    poke(w.mix_at, F_BEFORE, w.previous_slope_at)
    poke(w.mix_at, F_END, peek(w.slopes_at, 5))
    poke(w.mix_at, END, w.next_at)
    poke(w.mix_at, KEEP_A, w.keep_a_at)
    poke(w.mix_at, KEEP_B, w.keep_b_at)
    poke(w.mix_at, Y_AGAIN, w.state_at)
    poke(w.mix_at, VECTOR, w.power_at)


@part
def mixed(w, out, start, first, terms):
    """out = start + sum of the factors times ``terms`` of the table from number ``first`` on."""
    invoke(w.combine, out, start, w.mix_at, w.sequence_at + 8 * first, w.factors_at, terms, w.entries)


@part
def mask(w, arena, bits):
    """The mask of the lanes ``bits``."""
    f = place(w, w.mask_at)
    for l in range(w.lanes):
        arena[f + l] = 1.0 if (bits >> l) & 1 else 0.0


# ---- spectral radius


@part
def iterate(w, arena, ctl, bits):
    """One power iteration in the lanes ``bits``: v <- (f(y + d v) - f(y))/d, and its growth as the estimate."""
    f = place(w, w.factors_at)
    sums, steps = place(w, w.sums_at), place(w, w.theta_at)
    tiny = 1.5e-8 if w.item == 8 else 3.5e-4
    invoke(w.square_sum, w.sums_at, w.state_at, w.entries)
    for l in range(w.lanes):
        size = math.sqrt(arena[sums + l])
        d = tiny * (size if size > 0.0 else 1.0) / ctl[VECTOR_NORM, l] if (bits >> l) & 1 else 0.0
        arena[steps + l] = d
        arena[f + l] = d
    mixed(w, w.stage_at, w.state_at, VECTOR, 1)
    k1 = peek(w.slopes_at, 1)
    slope(w, w.stage_at, k1)
    fill(w, arena, w.factors_at, -1.0)
    mixed(w, k1, k1, F, 1)
    invoke(w.square_sum, w.sums_at, k1, w.entries)
    moved = 0
    for l in range(w.lanes):
        if (bits >> l) & 1:
            ctl[SLOPES, l] += 1.0
            grown = math.sqrt(arena[sums + l])
            estimate = grown / (arena[steps + l] * ctl[VECTOR_NORM, l])
            if estimate <= 1e300 and grown > 0.0:
                ctl[ESTIMATE, l] = estimate
                ctl[VECTOR_NORM, l] = grown
                moved |= 1 << l
    mask(w, arena, moved)
    invoke(w.blend, w.power_at, k1, w.mask_at, w.entries)


@part
def first_radius(w, arena, ctl, new):
    """Spectral radius in the lanes ``new``: from the slope and a general vector until it settles."""
    f = place(w, w.factors_at)
    mask(w, arena, new)
    invoke(w.blend, w.power_at, w.general_at, w.mask_at, w.entries)
    sums = place(w, w.sums_at)
    invoke(w.square_sum, w.sums_at, peek(w.slopes_at, 0), w.entries)
    for l in range(w.lanes):
        size = math.sqrt(arena[sums + l])
        arena[f + l] = 1.0 / size if (new >> l) & 1 and 0.0 < size <= 1e150 else 0.0
    mixed(w, w.stage_at, w.power_at, F, 1)
    invoke(w.blend, w.power_at, w.stage_at, w.mask_at, w.entries)
    invoke(w.square_sum, w.sums_at, w.power_at, w.entries)
    for l in range(w.lanes):
        if (new >> l) & 1:
            ctl[VECTOR_NORM, l] = math.sqrt(arena[sums + l])
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
            ctl[T1, l] = ctl[ESTIMATE, l]
    if due == 0:
        return
    iterate(w, arena, ctl, due)
    for l in range(w.lanes):
        if (due >> l) & 1:
            before, now, radius = ctl[T1, l], ctl[ESTIMATE, l], ctl[RADIUS, l]
            steady = abs(now - before) < 0.05 * now and now < radius
            wait = 2.0 * ctl[WAIT, l]
            ctl[WAIT, l] = (wait if wait < MOST_WAIT else MOST_WAIT) if steady else 1.0
            ctl[SINCE, l] = 0.0
            least = 0.9 * radius if now < before else 0.0
            ctl[RADIUS, l] = MARGIN * now if MARGIN * now > least else least


# ---- which method, how many stages


@part
def choose(w, ctl):
    """The method of the next step in each lane, and the longest step it can take.

    ROCK4, until its steps have been as long as rounding lets them be for a while; then RKC2, while its steps are long
    enough to be cheaper.
    """
    longest4 = peek_real(w.rock_at, w.longest * ROCK_COLUMNS + REACHED_BY)
    longest2 = (MOST2 * MOST2 - 1) / REACH2
    for l in range(w.lanes):
        if not ctl[ACTIVE, l] > 0.0:
            continue
        h, radius = ctl[NEXT_STEP, l], ctl[RADIUS, l]
        if w.fourth and ctl[KIND, l] == RKC and h * radius < WORTH * longest4 and ctl[TRIALS, l] >= LEAST_TRIALS:
            ctl[KIND, l] = ROCK
            h = ctl[KEPT_STEP, l] if ctl[KEPT_STEP, l] > h else h
            patience = 2.0 * ctl[PATIENCE, l]
            ctl[PATIENCE, l] = patience if patience < MOST_PATIENCE else MOST_PATIENCE
            ctl[AT_LIMIT, l] = 0.0
        if ctl[KIND, l] == ROCK:
            if h * radius >= 0.999 * longest4:
                h = longest4 / radius
                ctl[AT_LIMIT, l] += 1.0
            else:
                ctl[AT_LIMIT, l] = 0.0
            if ctl[AT_LIMIT, l] > ctl[PATIENCE, l]:
                ctl[KIND, l], ctl[TRIALS, l], ctl[KEPT_STEP, l] = RKC, 0.0, h
        if ctl[KIND, l] == RKC:
            ctl[TRIALS, l] += 1.0
            if h * radius > longest2:
                h = longest2 / radius
            if h > w.second_growth_cap * ctl[LONGEST, l]:
                h = w.second_growth_cap * ctl[LONGEST, l]
        ctl[NEXT_STEP, l] = h


@part
def count_stages(w, ctl):
    """Fewest stages that are stable; returns the highest degree of a recurrence, and whether each method is used."""
    highest, rock, rkc = 1, False, False
    for l in range(w.lanes):
        ctl[DEGREE, l] = 1.0
        if not ctl[ACTIVE, l] > 0.0:
            continue
        z = ctl[STEP, l] * ctl[RADIUS, l]
        if ctl[KIND, l] == ROCK:
            row = 0
            while row < w.longest and peek_real(w.rock_at, row * ROCK_COLUMNS + REACHED_BY) < z:
                row += 1
            stages = peek_real(w.rock_at, row * ROCK_COLUMNS)
            ctl[ROW, l], ctl[STAGES, l], ctl[DEGREE, l] = row, stages, stages - 4.0
            rock = True
        else:
            stages = 1.0 + math.floor(math.sqrt(1.0 + REACH2 * z))
            stages = LEAST2 if stages < LEAST2 else MOST2 if not stages <= MOST2 else stages
            ctl[ROW, l], ctl[STAGES, l], ctl[DEGREE, l] = stages, stages, stages
            rkc = True
        ctl[SLOPES, l] += ctl[STAGES, l]
        if ctl[DEGREE, l] > highest:
            highest = int(ctl[DEGREE, l])
    return highest, rock, rkc


# ---- the stages


@part
def open_recurrence(w, arena, ctl):
    """The first stage of the recurrence, and the polynomials of RKC2 at it."""
    f = place(w, w.factors_at)
    for l in range(w.lanes):
        h, row = ctl[STEP, l] * w.direction, int(ctl[ROW, l])
        if ctl[KIND, l] == ROCK:
            first = int(peek_real(w.rock_at, row * ROCK_COLUMNS + RECURRENCE))
            mu = peek_real(w.recurrence_at, 2 * first)
        else:
            w0 = peek_real(w.rkc_at, row * RKC_COLUMNS + W0)
            b = 0.25 / (w0 * w0)
            mu = b * peek_real(w.rkc_at, row * RKC_COLUMNS + W1)
            ctl[T1, l], ctl[T2, l], ctl[D1, l], ctl[D2, l], ctl[E1, l], ctl[E2, l] = w0, 1.0, 1.0, 0.0, 0.0, 0.0
            ctl[B1, l], ctl[B2, l], ctl[A1, l] = b, b, 1.0 - b * w0
        arena[f + l] = h * mu if ctl[ACTIVE, l] > 0.0 else 0.0
    mixed(w, w.stage_at, w.state_at, F, 1)


@part
def recurrence_factors(w, arena, ctl, j):
    """Factors of k, g_{j-1}, g_{j-2}, y, f(y) in g_j - g_{j-1} in each lane."""
    f = place(w, w.factors_at)
    for l in range(w.lanes):
        h, row = ctl[STEP, l] * w.direction, int(ctl[ROW, l])
        k = one = two = start = first_slope = 0.0
        if j <= ctl[DEGREE, l]:
            if ctl[KIND, l] == ROCK:
                at = 2 * (int(peek_real(w.rock_at, row * ROCK_COLUMNS + RECURRENCE)) + j - 1)
                k, one = h * peek_real(w.recurrence_at, at), peek_real(w.recurrence_at, at + 1)
                two = -one
            else:
                w0 = peek_real(w.rkc_at, row * RKC_COLUMNS + W0)
                t = 2.0 * w0 * ctl[T1, l] - ctl[T2, l]
                d = 2.0 * w0 * ctl[D1, l] - ctl[D2, l] + 2.0 * ctl[T1, l]
                e = 2.0 * w0 * ctl[E1, l] - ctl[E2, l] + 4.0 * ctl[D1, l]
                b = e / (d * d)
                mu, two = 2.0 * b * w0 / ctl[B1, l], -b / ctl[B2, l]
                k = 2.0 * b * peek_real(w.rkc_at, row * RKC_COLUMNS + W1) / ctl[B1, l] * h
                one, start, first_slope = mu - 1.0, 1.0 - mu - two, -ctl[A1, l] * k
                ctl[T2, l], ctl[D2, l], ctl[E2, l], ctl[B2, l] = ctl[T1, l], ctl[D1, l], ctl[E1, l], ctl[B1, l]
                ctl[T1, l], ctl[D1, l], ctl[E1, l], ctl[B1, l] = t, d, e, b
                ctl[A1, l] = 1.0 - b * t
        arena[f + l] = k
        arena[f + w.lanes + l] = one
        arena[f + 2 * w.lanes + l] = two
        arena[f + 3 * w.lanes + l] = start
        arena[f + 4 * w.lanes + l] = first_slope


@part
def keep(w, arena, ctl, g, j, column, out):
    """Keep stage j where it is the one that the error estimate and the continuous output of RKC2 ask for."""
    bits = 0
    for l in range(w.lanes):
        at = int(ctl[ROW, l]) * RKC_COLUMNS + column
        if ctl[ACTIVE, l] > 0.0 and ctl[KIND, l] == RKC and peek_real(w.rkc_at, at) == j:
            bits |= 1 << l
    if bits != 0:
        mask(w, arena, bits)
        invoke(w.blend, out, g, w.mask_at, w.entries)


@part
def recurrence(w, arena, ctl, highest, rkc):
    """All stages of the recurrence; returns the places of the last one and of the one before."""
    open_recurrence(w, arena, ctl)
    g, before, other = w.stage_at, w.state_at, w.stage2_at
    for j in range(2, highest + 1):
        slope(w, g, peek(w.slopes_at, 1))
        recurrence_factors(w, arena, ctl, j)
        poke(w.mix_at, G1, g)
        poke(w.mix_at, G2, before)
        mixed(w, other, g, K1, 5)  # over g_{j-2}, entry by entry, from the third stage on
        g, before, other = other, g, g
        if rkc:
            keep(w, arena, ctl, g, j, NODE_A, w.keep_a_at)
            keep(w, arena, ctl, g, j, NODE_B, w.keep_b_at)
    return g, other


@part
def finishing_factors(w, arena, ctl, column, terms):
    """Consecutive numbers of the row of ROCK4 times h; zero in the other lanes."""
    f = place(w, w.factors_at)
    for l in range(w.lanes):
        own = ctl[ACTIVE, l] > 0.0 and ctl[KIND, l] == ROCK
        h, at = ctl[STEP, l] * w.direction, int(ctl[ROW, l]) * ROCK_COLUMNS + column
        for j in range(terms):
            arena[f + j * w.lanes + l] = h * peek_real(w.rock_at, at + j) if own else 0.0


@part
def finish(w, arena, ctl, g, other):
    """The four stages of ROCK4 behind the recurrence, and the end of the step."""
    column = STAGE
    for i in range(1, 5):
        slope(w, g if i == 1 else other, peek(w.slopes_at, i))
        finishing_factors(w, arena, ctl, column if i < 4 else WEIGHTS, i)
        column += i
        out = other if i < 4 else w.next_at
        invoke(w.combine, out, g, w.slopes_at, w.sequence_at + 8, w.factors_at, i, w.entries)


# ---- the error


@part
def difference_sums(w, arena, ctl):
    """Error sums of RKC2 in its lanes: a third difference of stages."""
    f = place(w, w.factors_at)
    for l in range(w.lanes):
        at = int(ctl[ROW, l]) * RKC_COLUMNS + THIRD
        own = ctl[KIND, l] == RKC
        arena[f + l] = 0.0  # the slope at the end takes part: if it is not finite, neither is the error
        for j in range(4):
            value = peek_real(w.rkc_at, at + (3 if j == 0 else j % 3)) if own else 0.0
            arena[f + (1 + j) * w.lanes + l] = value
    layer_sums(w, w.mix_at, w.sequence_at + 8 * F_END, w.factors_at, 5, w.sums_at)


@part
def displacement(w, arena, ctl):
    """How far the step leads in each lane, in the error norm, into the row T2."""
    f = place(w, w.factors_at)
    for l in range(w.lanes):
        for j in range(5):
            arena[f + j * w.lanes + l] = 1.0 if j == 1 else -1.0 if j == 4 else 0.0
    layer_sums(w, w.mix_at, w.sequence_at + 8 * F_END, w.factors_at, 5, w.sums_at)
    for l in range(w.lanes):
        ctl[T2, l] = norm(w, arena, l)


@part
def judge(w, arena, ctl, rock, rkc):
    """The error norm of each lane as one sum, such that its fourth root is the factor of the step.

    A step of RKC2 is of order 2: its norm e is given as e^(4/3).  In the first steps after ROCK4, whose rounding in
    stiff directions the difference of stages multiplies, one that is too large is passed, with the step kept as it is,
    where the whole step leads no farther than the tolerance.
    """
    poke(w.states_at, 0, w.state_at)
    poke(w.states_at, 1, w.next_at)
    displacement(w, arena, ctl)
    if rock:
        finishing_factors(w, arena, ctl, ERRORS, 5)
        layer_sums(w, w.slopes_at, w.sequence_at + 8, w.factors_at, 5, w.sums_at)
        for l in range(w.lanes):
            if ctl[KIND, l] == ROCK:
                ctl[T1, l] = norm(w, arena, l)
    if rkc:
        difference_sums(w, arena, ctl)
        for l in range(w.lanes):
            if ctl[KIND, l] == RKC:
                ctl[T1, l] = norm(w, arena, l) / SHARE2
                calm = w.fourth and ctl[TRIALS, l] <= CALMING and ctl[T2, l] <= SHARE2
                if calm and 1.0 < ctl[T1, l] <= 1e300:
                    ctl[T1, l] = KEEPING
    sums = place(w, w.sums_at)
    for l in range(w.lanes):
        e = ctl[T1, l]
        arena[sums + l] = e * e * cube_root(e * e) if ctl[KIND, l] == RKC and e <= 1e100 else e * e


KEEPING = 0.8**3  # an error norm of RKC2 after which the step stays as it is


@part
def cube_root(x):
    """The cube root of x >= 0, by operations that round alike everywhere."""
    if not x > 1e-30:
        return 0.0
    root = 1.0
    while root * root * root < x:
        root *= 2.0
    while root * root * root > 8.0 * x:
        root *= 0.5
    for _ in range(6):
        root -= (root - x / (root * root)) / 3.0
    return root


# ---- continuous output


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
    dense = place(w, w.dense_at)
    for l in range(w.lanes):
        if ctl[ACTIVE, l] > 0.0:
            h = ctl[STEP, l]
            if ctl[KIND, l] == RKC:
                row = int(ctl[ROW, l]) * RKC_COLUMNS
                a, b = peek_real(w.rkc_at, row + PLACE_A), peek_real(w.rkc_at, row + PLACE_B)
                through_stages(dense + l, arena, a, b, h * w.direction, w.lanes)
            else:
                quintic(dense + l, arena, ctl[EARLIER, l] / h, h * w.direction, w.lanes)


@part
def slant(w, arena, theta):
    """Factors of the derivative of continuous output, times the step, at one theta in all lanes."""
    dense, f = place(w, w.dense_at), place(w, w.output_factors_at)
    step = place(w, w.step_at)
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
    fill(w, arena, w.theta_at, theta)
    interpolate(w)
    k1 = peek(w.slopes_at, 1)
    slope(w, w.stage2_at, k1)
    slant(w, arena, theta)
    combine_outputs(w, w.within_at)
    bits = 0
    defect_sums(w, arena, w.within_at, k1)
    for l in range(w.lanes):
        if ctl[KIND, l] == ROCK and not norm(w, arena, l) <= MOST_DEFECT:
            bits |= 1 << l
    return bits


@part
def step_within(w, arena, ctl, lanes):
    """The states at theta (per lane) in some lanes, each by a step of ROCK4 of its own, into the place of outputs.

    They take the stages of the whole step, which are known to be stable.  Slopes and stages between its ends are
    overwritten.
    """
    theta, highest = place(w, w.theta_at), 1
    for l in range(w.lanes):
        ctl[WHOLE, l] = ctl[STEP, l]
        within = (lanes >> l) & 1
        ctl[STEP, l] *= arena[theta + l] if within else 0.0
        if within and ctl[DEGREE, l] > highest:
            highest = int(ctl[DEGREE, l])
    w.next_at, w.within_at = w.within_at, w.next_at
    g, other = recurrence(w, arena, ctl, highest, False)
    finish(w, arena, ctl, g, other)
    w.next_at, w.within_at, w.stage2_at = w.within_at, w.stage2_at, w.next_at
    for l in range(w.lanes):
        ctl[STEP, l] = ctl[WHOLE, l]


@part
def advance(w, arena, ctl, rejected):
    """Go on from the end of the step, rejected lanes from its beginning; the step before stays known."""
    w.previous_at, w.state_at, w.next_at = w.state_at, w.next_at, w.previous_at
    first, last = peek(w.slopes_at, 0), peek(w.slopes_at, 5)
    before = w.previous_slope_at
    w.previous_slope_at = first
    poke(w.slopes_at, 0, last)
    poke(w.slopes_at, 5, before)
    if rejected != 0:
        mask(w, arena, rejected)
        invoke(w.blend, w.state_at, w.previous_at, w.mask_at, w.entries)
        invoke(w.blend, w.previous_at, w.next_at, w.mask_at, w.entries)
        invoke(w.blend, last, first, w.mask_at, w.entries)
        invoke(w.blend, first, before, w.mask_at, w.entries)
        invoke(w.blend, w.keep_a_at, w.state_at, w.mask_at, w.entries)  # whatever overflowed there
        invoke(w.blend, w.keep_b_at, w.state_at, w.mask_at, w.entries)
    for l in range(w.lanes):
        if (rejected >> l) & 1:
            ctl[SINCE, l] = ctl[WAIT, l]
        else:
            ctl[EARLIER, l] = ctl[STEP, l]
            ctl[SINCE, l] += 1.0
