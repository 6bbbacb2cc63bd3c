"""Which method takes the next step of a lane, and with how many stages."""

from __future__ import annotations

import math

from fastdln.integrate.chebyshev.rkc2 import LEAST2, MOST2, REACH2
from fastdln.integrate.chebyshev.tables import REACHED_BY, ROCK_COLUMNS
from fastdln.kernels.lockstep.chebyshev.table import (
    AT_LIMIT,
    DEGREE,
    KEPT_STEP,
    KIND,
    PATIENCE,
    RADIUS,
    ROW,
    STAGES,
    TRIALS,
)
from fastdln.kernels.lockstep.control import ACTIVE, LONGEST, NEXT_STEP, SLOPES, STEP
from fastdln.kernels.lockstep.workspace import RKC, ROCK
from fastdln.kernels.machine.compile import part
from fastdln.kernels.machine.memory import peek_real

MOST_PATIENCE = 64.0
WORTH = 0.5  # RKC2 with steps above this part of the longest one of ROCK4 is cheaper
LEAST_TRIALS = 2.0


@part
def choose_method(w, ctl):
    """The method of the next step in each lane, and the longest step it can take.

    ROCK4, until its steps have been as long as rounding lets them be for a while; then RKC2, while its steps are long
    enough to be cheaper.
    """
    longest4 = peek_real(w.chebyshev.rock, w.chebyshev.longest * ROCK_COLUMNS + REACHED_BY)
    longest2 = (MOST2 * MOST2 - 1) / REACH2
    for l in range(w.lanes):
        if not ctl[ACTIVE, l] > 0.0:
            continue
        h, radius = ctl[NEXT_STEP, l], ctl[RADIUS, l]
        dear = h * radius < WORTH * longest4 and ctl[TRIALS, l] >= LEAST_TRIALS
        if w.chebyshev.fourth and ctl[KIND, l] == RKC and dear:
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
            if h > w.chebyshev.second_growth_cap * ctl[LONGEST, l]:
                h = w.chebyshev.second_growth_cap * ctl[LONGEST, l]
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
            while row < w.chebyshev.longest and peek_real(w.chebyshev.rock, row * ROCK_COLUMNS + REACHED_BY) < z:
                row += 1
            stages = peek_real(w.chebyshev.rock, row * ROCK_COLUMNS)
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
