"""The check of the padding, in a debug mode: sums run over it, so states and slopes must be zero there, and stay so.

Padding is what lies between two layers, and after the last one.  Numbers that are not finite are left out.
"""

from __future__ import annotations

import math

from fastdln.kernels.lockstep.places import place
from fastdln.kernels.lockstep.workspace import workspace_at
from fastdln.kernels.machine.memory import numbers, peek


def check(workspace, memory, _):
    """Tell whether padding is ``broken``."""
    w = workspace_at(workspace)
    arena = numbers(memory)
    for j in range(w.n_padded):
        first = place(w, peek(w.padded, j))
        for i in range(w.n_gaps):
            e = first + peek(w.gaps, i) * w.lanes
            for l in range(w.lanes):
                if math.isfinite(arena[e + l]) and arena[e + l] != 0.0:
                    w.told.broken = 1
