"""The error of a step, as one number for each lane."""

from __future__ import annotations

from fastdln.integrate.chebyshev.tables import ERRORS, RKC_COLUMNS, THIRD
from fastdln.kernels.lockstep.chebyshev.stages import finishing_factors
from fastdln.kernels.lockstep.chebyshev.table import ERROR, F_END, KIND, MOVED, ROW, TRIALS
from fastdln.kernels.lockstep.places import place
from fastdln.kernels.lockstep.slopes import judged_between, layer_sums, norm
from fastdln.kernels.lockstep.workspace import RKC, ROCK
from fastdln.kernels.machine.compile import part
from fastdln.kernels.machine.memory import peek_real

SHARE2 = 0.2  # of the tolerance, for a step of RKC2: its error is not extrapolated away, and adds up
CALMING = 10.0
KEEPING = 0.8**3  # an error norm of RKC2 after which the step stays as it is


@part
def difference_sums(w, arena, ctl):
    """Error sums of RKC2 in its lanes: a third difference of stages."""
    f = place(w, w.at.factors)
    for l in range(w.lanes):
        at = int(ctl[ROW, l]) * RKC_COLUMNS + THIRD
        own = ctl[KIND, l] == RKC
        arena[f + l] = 0.0  # the slope at the end takes part: if it is not finite, neither is the error
        for j in range(4):
            value = peek_real(w.chebyshev.rkc, at + (3 if j == 0 else j % 3)) if own else 0.0
            arena[f + (1 + j) * w.lanes + l] = value
    layer_sums(w, w.chebyshev.mix, w.method.sequence + 8 * F_END, w.at.factors, 5)


@part
def displacement(w, arena, ctl):
    """How far the step leads in each lane, in the error norm, into the row MOVED."""
    f = place(w, w.at.factors)
    for l in range(w.lanes):
        for j in range(5):
            arena[f + j * w.lanes + l] = 1.0 if j == 1 else -1.0 if j == 4 else 0.0
    layer_sums(w, w.chebyshev.mix, w.method.sequence + 8 * F_END, w.at.factors, 5)
    for l in range(w.lanes):
        ctl[MOVED, l] = norm(w, arena, l)


@part
def judge(w, arena, ctl, rock, rkc):
    """The error norm of each lane as one sum, such that its fourth root is the factor of the step.

    A step of RKC2 is of order 2: its norm e is given as e^(4/3).  In the first steps after ROCK4, whose rounding in
    stiff directions the difference of stages multiplies, one that is too large is passed, with the step kept as it is,
    where the whole step leads no farther than the tolerance.
    """
    judged_between(w, w.at.state, w.at.next)
    displacement(w, arena, ctl)
    if rock:
        finishing_factors(w, arena, ctl, ERRORS, 5)
        layer_sums(w, w.method.slopes, w.method.sequence + 8, w.at.factors, 5)
        for l in range(w.lanes):
            if ctl[KIND, l] == ROCK:
                ctl[ERROR, l] = norm(w, arena, l)
    if rkc:
        difference_sums(w, arena, ctl)
        for l in range(w.lanes):
            if ctl[KIND, l] == RKC:
                ctl[ERROR, l] = norm(w, arena, l) / SHARE2
                calm = w.chebyshev.fourth and ctl[TRIALS, l] <= CALMING and ctl[MOVED, l] <= SHARE2
                if calm and 1.0 < ctl[ERROR, l] <= 1e300:
                    ctl[ERROR, l] = KEEPING
    sums = place(w, w.at.sums)
    for l in range(w.lanes):
        e = ctl[ERROR, l]
        arena[sums + l] = e * e * cube_root(e * e) if ctl[KIND, l] == RKC and e <= 1e100 else e * e


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
