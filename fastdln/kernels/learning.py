"""Learning times: when the strength of a mode first reaches its threshold, by continuous output."""

from __future__ import annotations

import numpy as np

from fastdln.kernels.compile import part
from fastdln.kernels.control import DUE_LIMIT, NEAR, STEP, TIME
from fastdln.kernels.memory import peek, place, poke_real
from fastdln.kernels.steps import interpolate, observe

ITERATIONS = 60
TOLERANCE = 1e-13  # of a step
NOWHERE = 2.0


@part
def strengths_within(w, arena, l, theta):
    """Strengths in lane l at t + theta h, into the place of strengths."""
    thetas = place(w, w.theta_at)
    for i in range(w.lanes):
        arena[thetas + i] = 0.0
    arena[thetas + l] = theta
    interpolate(w)
    observe(w, w.stage2_at)


@part
def excess(w, arena, l, j, theta):
    """Strength minus threshold of mode j in lane l at t + theta h."""
    strengths_within(w, arena, l, theta)
    e = j * w.lanes + l
    return np.float64(arena[place(w, w.strengths_at) + e]) - np.float64(arena[place(w, w.thresholds_at) + e])


@part
def next_fraction(a, fa, b, fb, c, fc):
    """How far from a towards b to look next, where a and b enclose a zero and c is the point before (Chandrupatla)."""
    xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
    t = 0.5
    if phi * phi < xi and (1.0 - phi) * (1.0 - phi) < 1.0 - xi:  # inverse quadratic interpolation is safe
        t = fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
    edge = 0.5 * TOLERANCE / abs(b - a)
    return edge if t < edge else 1.0 - edge if t > 1.0 - edge else t


@part
def summit(start, middle, end):
    """Where three values below zero, at 0, 1/2 and 1, have a parabola whose vertex comes near to zero, or NOWHERE."""
    bend = start - 2.0 * middle + end
    vertex = 0.5 - 0.25 * (end - start) / bend if bend < 0.0 else 0.0
    # its height above the middle must come near to closing the gap
    if 0.0 < vertex < 1.0 and middle - 0.125 * (end - start) * (end - start) / bend > 0.1 * middle:
        return vertex
    return NOWHERE


@part
def crossing(w, arena, l, j, b, fb, a, fa):
    """theta in (b, a] where mode j reaches its threshold in lane l, by Chandrupatla's bracketing method.

    fb < 0 <= fa are strength minus threshold at both ends.
    """
    t = fa / (fa - fb)  # the secant, from a towards b
    for _ in range(ITERATIONS):
        x = a + t * (b - a)
        fx = excess(w, arena, l, j, x)
        if (fx >= 0.0) == (fa >= 0.0):
            c, fc = a, fa
        else:
            c, fc = b, fb
            b, fb = a, fa
        a, fa = x, fx
        if abs(b - a) < TOLERANCE or fx == 0.0:
            break
        t = next_fraction(a, fa, b, fb, c, fc)
    return a


@part
def first_passing(w, arena, l, j, start, middle, end):
    """First theta at which mode j reaches its threshold in lane l, or NOWHERE.

    ``start``, ``middle``, ``end`` are strength minus threshold.  A strength may pass its threshold and fall back within
    one step: where all three are below, the vertex of the parabola through them is looked at.
    """
    if start >= 0.0:
        return 0.0
    if middle >= 0.0:
        return crossing(w, arena, l, j, 0.0, start, 0.5, middle)
    if end >= 0.0:
        return crossing(w, arena, l, j, 0.5, middle, 1.0, end)
    vertex = summit(start, middle, end)
    if vertex != NOWHERE:
        top = excess(w, arena, l, j, vertex)
        if top >= 0.0:
            if vertex > 0.5:
                return crossing(w, arena, l, j, 0.5, middle, vertex, top)
            return crossing(w, arena, l, j, 0.0, start, vertex, top)
    return NOWHERE


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
    values, thresholds = place(w, w.strengths_at), place(w, w.thresholds_at)
    size = (
        w.modes * w.lanes
    )  # behind the strengths, which the search overwrites, those of end, start and middle are kept
    for e in range(size):
        arena[values + size + e] = arena[values + e]
    found = 0
    for l in range(w.lanes):
        if not ((hits >> l) & 1 and ctl[DUE_LIMIT, l] >= 0.0):
            continue
        for kept in range(2, 4):
            strengths_within(w, arena, l, 0.5 * (kept - 2))
            for j in range(w.modes):
                arena[values + kept * size + j * w.lanes + l] = arena[values + j * w.lanes + l]
        for j in range(w.modes):
            e = j * w.lanes + l
            goal = np.float64(arena[thresholds + e])
            end = np.float64(arena[values + size + e]) - goal
            if not end >= (NEAR - 1.0) * goal:
                continue
            start, middle = arena[values + 2 * size + e] - goal, arena[values + 3 * size + e] - goal
            theta = first_passing(w, arena, l, j, start, middle, end)
            if theta != NOWHERE:
                moment = ctl[TIME, l] + theta * ctl[STEP, l]
                poke_real(w.learned_at, peek(w.traj_at, l) * w.modes + j, moment)
                arena[thresholds + e] = np.inf
                found += 1
    return found
