"""Where stability has limited the steps of an explicit method for a while: there another method goes on.

The evidence is free of right-hand sides: the last two stages z, z' of the method are at the same time, the end of the
step, so rate = ||f(z) - f(z')||/||z - z'|| is the stiffness in the direction of their difference, which is the stiffest
one when steps are as long as stability lets them be (E. Hairer & G. Wanner, Solving Ordinary Differential Equations II,
IV.2).  One layer of the state shows it, in every fourth step of a trajectory.
"""

from __future__ import annotations

import math

import numpy as np

from fastdln.kernels.lockstep.control import ATTEMPTS, CONTROL_ROWS, DUE_LIMIT, REACHED, STEP
from fastdln.kernels.lockstep.places import layer, place, slope_at
from fastdln.kernels.lockstep.workspace import workspace_at
from fastdln.kernels.machine.library import invoke
from fastdln.kernels.machine.memory import numbers, rows_of

EVIDENCE, CALM = range(CONTROL_ROWS, CONTROL_ROWS + 2)  # looks at steps near the limit; consecutive ones at others
ROWS = CONTROL_ROWS + 2

NEAR_LIMIT = 2.5  # h rate; the pairs of order 5 are stable to about 3.3
EVERY = 4  # steps of a trajectory
ENOUGH, FORGOTTEN = 4.0, 2.0
WORTH = 50.0  # steps that are left, at the least


def weigh(workspace, memory, finished):
    """Collect evidence from accepted steps whose turn it is; ``stiff`` tells the lanes where it is enough."""
    w = workspace_at(workspace)
    arena, ctl = numbers(memory), rows_of(w.ctl, w.lanes)
    due, w.told.stiff = 0, 0
    for l in range(w.lanes):
        if ctl[DUE_LIMIT, l] >= 0.0 and np.int64(ctl[ATTEMPTS, l]) % EVERY == 0:
            due |= 1 << l
    due &= ~finished
    if due == 0:
        return
    first, end = layer(w, w.method.shown)
    size, last, before = (end - first) // w.entry, slope_at(w, w.method.stages - 1), slope_at(w, w.method.stages - 2)
    invoke(w.square_distance, w.at.sums, last + first, before + first, size)
    invoke(w.square_distance, w.at.sums + w.entry, w.at.next + first, w.at.stage + first, size)
    sums = place(w, w.at.sums)
    for l in range(w.lanes):
        if not (due >> l) & 1:
            continue
        h, change, distance = ctl[STEP, l], arena[sums + l], arena[sums + w.lanes + l]
        if h * math.sqrt(change) > NEAR_LIMIT * math.sqrt(distance):
            ctl[EVIDENCE, l] += 1.0
            ctl[CALM, l] = 0.0
            if ctl[EVIDENCE, l] >= ENOUGH and w.end - ctl[REACHED, l] > WORTH * h:
                w.told.stiff |= 1 << l
        else:
            ctl[CALM, l] += 1.0
            if ctl[CALM, l] >= FORGOTTEN:
                ctl[EVIDENCE, l] = 0.0
