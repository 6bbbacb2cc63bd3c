"""Learning times: when the strength of a mode first reaches its threshold, by continuous output."""

from __future__ import annotations

import numpy as np

from fastdln.kernels.compile import part
from fastdln.kernels.control import DUE_LIMIT, STEP, TIME
from fastdln.kernels.memory import peek, place, poke_real
from fastdln.kernels.steps import interpolate, observe

ITERATIONS = 60
TOLERANCE = 1e-13  # of a step


@part
def strengths_within(w, arena, l, theta):
    """Strengths in lane l at t + theta h, into the place of strengths."""
    thetas = place(w, w.theta_at)
    for i in range(w.lanes):
        arena[thetas + i] = 0.0
    arena[thetas + l] = theta
    interpolate(w)
    observe(w, w.stage_at)


@part
def crossing(w, arena, l, j, below, above):
    """theta in (0, 1] where mode j reaches its threshold in lane l, by Chandrupatla's bracketing method.

    ``below`` < 0 < ``above`` are strength minus threshold at the ends of the step.
    """
    e = j * w.lanes + l
    strength, threshold = place(w, w.strengths_at) + e, place(w, w.thresholds_at) + e
    a, fa, b, fb = 1.0, above, 0.0, below
    t = below / (below - above)
    t = 1.0 - t  # from a towards b
    for _ in range(ITERATIONS):
        x = a + t * (b - a)
        strengths_within(w, arena, l, x)
        fx = np.float64(arena[strength]) - np.float64(arena[threshold])
        if (fx >= 0.0) == (fa >= 0.0):
            c, fc = a, fa
        else:
            c, fc = b, fb
            b, fb = a, fa
        a, fa = x, fx
        if abs(b - a) < TOLERANCE or fx == 0.0:
            break
        xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
        t = 0.5
        if phi * phi < xi and (1.0 - phi) * (1.0 - phi) < 1.0 - xi:  # inverse quadratic interpolation is safe
            t = fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
        edge = 0.5 * TOLERANCE / abs(b - a)
        t = edge if t < edge else 1.0 - edge if t > 1.0 - edge else t
    return a


@part
def learn_at_start(w, arena, l):
    """Modes of the trajectory in lane l that are learned before it begins; returns how many."""
    found = 0
    strengths, thresholds = place(w, w.strengths_at) + l, place(w, w.thresholds_at) + l
    for j in range(w.modes):
        e = j * w.lanes
        if arena[strengths + e] >= arena[thresholds + e]:
            poke_real(w.learned_at, peek(w.traj_at, l) * w.modes + j, 0.0)
            arena[thresholds + e] = np.inf
            found += 1
    return found


@part
def learn(w, arena, ctl, hits):
    """Locate the thresholds that were passed in this step by the lanes ``hits``; returns how many.

    The strengths at the end of the step are in place.
    """
    strengths, thresholds = place(w, w.strengths_at), place(w, w.thresholds_at)
    ends = strengths + w.modes * w.lanes  # kept, as the search overwrites the strengths
    for e in range(w.modes * w.lanes):
        arena[ends + e] = arena[strengths + e]
    found = 0
    for l in range(w.lanes):
        if not ((hits >> l) & 1 and ctl[DUE_LIMIT, l] >= 0.0):
            continue
        for j in range(w.modes):
            e = j * w.lanes + l
            if not arena[ends + e] >= arena[thresholds + e]:
                continue
            goal = np.float64(arena[thresholds + e])
            strengths_within(w, arena, l, 0.0)
            below, above = np.float64(arena[strengths + e]) - goal, np.float64(arena[ends + e]) - goal
            theta = 0.0 if below >= 0.0 else 1.0
            if below < 0.0 < above:
                theta = crossing(w, arena, l, j, below, above)
            moment = ctl[TIME, l] + theta * ctl[STEP, l]
            poke_real(w.learned_at, peek(w.traj_at, l) * w.modes + j, moment)
            arena[thresholds + e] = np.inf
            found += 1
    return found
