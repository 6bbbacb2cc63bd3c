"""Learning times: when the strength of a mode first reaches its threshold, by continuous output.

Within a step a strength is a smooth function of theta, from 0 to 1, and what it was at the ends of the last steps is
known.  Interpolation between these points predicts the theta where it passes its threshold; there the loop brings the
state, by continuous output or by a step within the step, in one pass for all lanes, and for all modes of a lane that
wait for it.  With that point the prediction is repeated, and so on until the last terms of the interpolation are small
there.  Mostly one pass is enough.

It is scalar code, compiled for itself where it is first wanted, and called by its address.
"""

from __future__ import annotations

import numpy as np

from fastdln.kernels.lockstep.control import DUE_LIMIT, NEAR, REACHED, STEP, TIME
from fastdln.kernels.lockstep.places import scratch
from fastdln.kernels.lockstep.workspace import AWAIT, BEGIN, NEAR_BITS, PREPARE, workspace_at
from fastdln.kernels.machine.compile import part
from fastdln.kernels.machine.library import invoke
from fastdln.kernels.machine.memory import address, peek, peek_real, peek_single, poke, poke_real, poke_single
from fastdln.kernels.products.rows import STATE

NOWHERE = 2.0

# Points of a search: the ends of earlier steps and of this one, then the passes, at most this many.
OLDEST, BEFORE, START, END = range(4)
KNOWN, PASSES = 4, 16
MOST, NEAREST = KNOWN + PASSES, 7
# The table of a lane: theta of the points, and the values of a mode there, strength / threshold - 1; both again of the
# nearest points, with room for one more; how well a threshold must be met; the lengths of the last accepted steps, the
# latest first.
VALUE, THETA_NEAR, VALUE_NEAR = MOST, 2 * MOST, 2 * MOST + NEAREST + 1
TOLERANCE, LENGTH, LENGTHS = VALUE_NEAR + NEAREST + 1, VALUE_NEAR + NEAREST + 2, 3
ITERATIONS = 40
TABLE = LENGTH + LENGTHS


# ---- one mode


@part
def theta_of(table, p):
    """Where point p is."""
    return peek_real(table, p)


@part
def value_of(table, p):
    """What the mode has there."""
    return peek_real(table, VALUE + p)


@part
def put_near(table, k, theta, value):
    """Write number k of the nearest points."""
    poke_real(table, THETA_NEAR + k, theta)
    poke_real(table, VALUE_NEAR + k, value)


@part
def nearest(table, first, last, low, below, high, above):
    """Collect the ends of a bracket, and the points nearest to it; returns how many."""
    put_near(table, 0, low, below)
    put_near(table, 1, high, above)
    n = 2
    for p in range(first, last):
        theta, value = theta_of(table, p), value_of(table, p)
        distance = max(low - theta, theta - high)
        if not (distance > 0.0 and abs(value) < np.inf):
            continue
        n = min(n + 1, NEAREST + 1)
        k = n - 1
        while k > 2:
            other = peek_real(table, THETA_NEAR + k - 1)
            if max(low - other, other - high) <= distance:
                break
            put_near(table, k, other, peek_real(table, VALUE_NEAR + k - 1))
            k -= 1
        put_near(table, k, theta, value)
    return min(n, NEAREST)


@part
def root(table, n, tolerance):
    """The zero, between the first two, of the polynomial through n points; and the most that its last terms add there.

    It is artanh(value) that is interpolated: for a mode alone this is a straight line, or nearly one.
    """
    bent = True
    for i in range(n):
        bent &= abs(peek_real(table, VALUE_NEAR + i)) <= 1.0
    for i in range(n):
        x = peek_real(table, VALUE_NEAR + i)
        if bent:
            poke_real(table, VALUE_NEAR + i, x * (15.0 - 4.0 * x * x) / (15.0 - 9.0 * x * x))
    a, b = peek_real(table, THETA_NEAR), peek_real(table, THETA_NEAR + 1)
    at_a, at_b = peek_real(table, VALUE_NEAR), peek_real(table, VALUE_NEAR + 1)
    for m in range(1, n):
        for i in range(n - 1, m - 1, -1):
            change = peek_real(table, VALUE_NEAR + i) - peek_real(table, VALUE_NEAR + i - 1)
            distance = peek_real(table, THETA_NEAR + i) - peek_real(table, THETA_NEAR + i - m)
            poke_real(table, VALUE_NEAR + i, change / distance)
    theta = before = term = 0.0
    for _ in range(ITERATIONS):  # false position, halving what stays (Illinois)
        theta = b - at_b * (b - a) / (at_b - at_a)
        value, product = 0.0, 1.0
        for i in range(n):
            before, term = term, peek_real(table, VALUE_NEAR + i) * product
            value += term
            product *= theta - peek_real(table, THETA_NEAR + i)
        if theta == b or abs(value) <= 0.1 * tolerance:
            break
        if value * at_b < 0.0:
            a, at_a = b, at_b
        else:
            at_a *= 0.5
        b, at_b = theta, value
    return theta, max(abs(term), 0.1 * abs(before))


@part
def summit(table, first, last):
    """Where to look for a strength above its threshold that is below at both ends of the step, or NOWHERE.

    At first in the middle, unless the ends of this step and of the one before show that it bends too little; then at
    the vertex of a parabola, where that comes near to the threshold.
    """
    start, end = value_of(table, START), value_of(table, END)
    middle, top = NOWHERE, -np.inf
    for p in range(KNOWN, last):
        if 0.02 < theta_of(table, p) < 0.98 and value_of(table, p) > top:
            middle, top = theta_of(table, p), value_of(table, p)
    if middle == NOWHERE:
        if first < START:
            back = -theta_of(table, BEFORE)
            bend = (end - start - (start - value_of(table, BEFORE)) / back) / (1.0 + back)
            if 0.5 * abs(bend) < -max(start, end):
                return NOWHERE
        return 0.5
    left, below, right, above = 0.0, start, 1.0, end
    for p in range(KNOWN, last):
        theta, value = theta_of(table, p), value_of(table, p)
        if left < theta < middle and value < 0.0:
            left, below = theta, value
        if middle < theta < right and value < 0.0:
            right, above = theta, value
    rise, fall = (top - below) / (middle - left), (above - top) / (right - middle)
    bend = (fall - rise) / (right - left)
    slant = (rise * (right - middle) + fall * (middle - left)) / (right - left)
    vertex = middle - 0.5 * slant / bend if bend < 0.0 else NOWHERE
    # its height must come near to closing the gap
    return vertex if left < vertex < right and top - 0.25 * slant * slant / bend > 0.1 * top else NOWHERE


@part
def seek(table, first, last):
    """Where the points ``first`` to ``last`` of a mode tell to look next, or NOWHERE; and whether it is found there.

    Of the times at which a strength passes its threshold it is the first one that is known of.
    """
    low, below, high, above = 0.0, value_of(table, START), NOWHERE, 0.0
    if below >= 0.0:
        return low, last > KNOWN
    for p in range(START, last):
        if value_of(table, p) >= 0.0 and theta_of(table, p) < high:
            high, above = theta_of(table, p), value_of(table, p)
    if high == NOWHERE:
        return summit(table, first, last) if last < MOST else NOWHERE, False
    for p in range(KNOWN, last):
        if value_of(table, p) < 0.0 and low <= theta_of(table, p) < high:
            low, below = theta_of(table, p), value_of(table, p)
    tolerance = peek_real(table, TOLERANCE)
    theta, doubt = root(table, nearest(table, first, last, low, below, high, above), tolerance)
    if not low <= theta <= high:
        theta, doubt = 0.5 * (low + high), NOWHERE
    return theta, last == MOST or (last > KNOWN and doubt <= tolerance)


SEEK_ARGUMENTS = 4


def seek_alone(table, first, last, answer):
    """`seek` for engines that are not compiled; what it returns is written to two numbers."""
    theta, settled = seek(table, first, last)
    poke_real(answer, 0, theta)
    poke_real(answer, 1, 1.0 if settled else 0.0)


# ---- one lane


@part
def read(w, address, i):
    """Number i at an address in the working precision, as f64."""
    return peek_real(address, i) if w.item == 8 else np.float64(peek_single(address, i))


@part
def write(w, address, i, x):
    """Write it."""
    if w.item == 8:
        poke_real(address, i, x)
    else:
        poke_single(address, i, np.float32(x))


@part
def of_lane(w, row, l):
    """Number of lane l in a row of control."""
    return peek_real(w.ctl, row * w.lanes + l)


@part
def table_of(w, l):
    """The table of lane l."""
    return w.learning.tables + 8 * TABLE * l


@part
def mode_of(w, l, k):
    """The k-th mode that lane l wants to know, from 1 on; 0: how many they are."""
    return w.learning.wanted + 8 * ((1 + w.modes) * l + k)


@part
def begin(w, l):
    """Modes of the trajectory in lane l that are learned where it begins, or goes on; returns how many."""
    found, strengths = 0, peek(w.learning.ends, 1)
    for i in range(LENGTHS):
        poke_real(table_of(w, l), LENGTH + i, 0.0)
    for j in range(w.modes):
        e = j * w.lanes + l
        if read(w, strengths, e) >= read(w, w.at.thresholds, e):
            poke_real(w.batch.learned, peek(w.trajectory, l) * w.modes + j, of_lane(w, REACHED, l))
            write(w, w.at.thresholds, e, np.inf)
            found += 1
    return found


@part
def aim(w, l, passes):
    """Note where to look next in lane l after these passes, and for which modes; returns how many are found."""
    table, last, wanted, found = table_of(w, l), KNOWN + passes, 0, 0
    h, back, further = peek_real(table, LENGTH), peek_real(table, LENGTH + 1), peek_real(table, LENGTH + 2)
    first = OLDEST if further > 0.0 else BEFORE if back > 0.0 else START
    if w.output.checked:  # states within the step may be off the curve of the steps before by some tolerances
        first = START
    poke_real(table, OLDEST, -(back + further) / h)
    poke_real(table, BEFORE, -back / h)
    poke_real(table, START, 0.0)
    poke_real(table, END, 1.0)
    poke_real(table, TOLERANCE, w.learning.timing)
    for j in range(w.modes):
        e = j * w.lanes + l
        goal = read(w, w.at.thresholds, e)
        if not (goal < np.inf and read(w, peek(w.learning.ends, 1), e) >= NEAR * goal):
            continue
        for p in range(first, last):
            strengths = w.at.seen + (p - KNOWN) * w.modes * w.entry
            if p < KNOWN:
                strengths = peek(w.learning.ends, (KNOWN - p) % KNOWN)
            poke_real(table, VALUE + p, (read(w, strengths, e) - goal) / goal)
        theta, settled = seek(table, first, last)
        if settled:
            moment = of_lane(w, TIME, l) + theta * of_lane(w, STEP, l)
            poke_real(w.batch.learned, peek(w.trajectory, l) * w.modes + j, moment)
            write(w, w.at.thresholds, e, np.inf)
            found += 1
        elif theta != NOWHERE:
            if wanted == 0:
                poke_real(table, last, theta)
            wanted += 1
            poke(mode_of(w, l, wanted), 0, j)
    poke(mode_of(w, l, 0), 0, wanted)
    return found


# ---- all lanes


@part
def prepare(w, hits):
    """Say where in the step the lanes ``hits`` are to be looked at next."""
    for l in range(w.lanes):
        write(w, w.at.theta, l, 0.0)
        if (hits >> l) & 1:
            write(w, w.at.theta, l, peek_real(table_of(w, l), KNOWN + w.learning.passes))
            poke_real(table_of(w, l), KNOWN + w.learning.passes, read(w, w.at.theta, l))


@part
def see(w, hits):
    """Evaluate the modes that the lanes ``hits`` want, of the states in the place of outputs."""
    most, seen = 0, w.at.seen + w.learning.passes * w.modes * w.entry
    for l in range(w.lanes):
        if (hits >> l) & 1:
            most = max(most, peek(mode_of(w, l, 0), 0))
            for j in range(w.modes):
                write(w, seen, j * w.lanes + l, np.nan)
    poke(w.products.bases, STATE, w.at.output)
    left, right = scratch(w, w.products.left), scratch(w, w.products.right)
    column, image = scratch(w, w.products.column), scratch(w, w.products.image)
    for k in range(1, 1 + most):
        for l in range(w.lanes):
            if (hits >> l) & 1 and k <= peek(mode_of(w, l, 0), 0):
                j = peek(mode_of(w, l, k), 0)
                for i in range(w.products.in_rows):
                    write(w, column, i * w.lanes + l, read(w, right, (i * w.modes + j) * w.lanes + l))
        invoke(w.execute, w.products.bases, w.products.follow, w.products.follow_rows)
        for l in range(w.lanes):
            if (hits >> l) & 1 and k <= peek(mode_of(w, l, 0), 0):
                j, strength = peek(mode_of(w, l, k), 0), 0.0
                for i in range(w.products.out_rows):
                    strength += read(w, left, (i * w.modes + j) * w.lanes + l) * read(w, image, i * w.lanes + l)
                write(w, seen, j * w.lanes + l, strength)


@part
def turn(w, rejected):
    """Strengths at the end of the step are those at the beginning of the next one; rejected lanes keep theirs."""
    unused = peek(w.learning.ends, KNOWN - 1)
    for i in range(KNOWN - 1, 0, -1):
        poke(w.learning.ends, i, peek(w.learning.ends, i - 1))
    poke(w.learning.ends, 0, unused)
    if rejected != 0:
        for i in range(1, KNOWN):
            invoke(w.blend, peek(w.learning.ends, i), peek(w.learning.ends, (i + 1) % KNOWN), w.at.mask, w.modes)
    for l in range(w.lanes):
        if of_lane(w, DUE_LIMIT, l) >= 0.0:
            for i in range(LENGTHS - 1, 0, -1):
                poke_real(table_of(w, l), LENGTH + i, peek_real(table_of(w, l), LENGTH + i - 1))
            poke_real(table_of(w, l), LENGTH, of_lane(w, STEP, l))


SEARCH_ARGUMENTS = 3


def search(workspace, question, bits):
    """Learning times of the lanes of a workspace.

    BEGIN: note the modes that are learned already where the lanes ``bits`` begin; ``learned`` tells how many.
    AWAIT: a step was taken, the lanes ``bits`` were rejected; ``passed`` tells the lanes where a mode may have passed
    its threshold, so that states within the step are needed.
    PREPARE: say in ``theta`` where they are needed next in these lanes.
    SEE: they are in the place of outputs; ``passed`` tells the lanes where more of them are needed, and ``learned`` how
    many modes were found to have been learned.
    """
    w, found = workspace_at(workspace), 0
    if question == BEGIN:
        for l in range(w.lanes):
            if (bits >> l) & 1:
                found += begin(w, l)
        w.told.learned = found
    elif question == PREPARE:
        prepare(w, bits)
    else:
        if question == AWAIT:
            turn(w, bits)
            invoke(w.passed, address(w.told) + NEAR_BITS, peek(w.learning.ends, 1), w.at.thresholds, w.modes)
            bits = w.told.near
            for l in range(w.lanes):
                if not of_lane(w, DUE_LIMIT, l) >= 0.0:
                    bits &= ~(1 << l)
            w.learning.passes = 0
        else:
            see(w, bits)
            w.learning.passes += 1
        for l in range(w.lanes):
            if (bits >> l) & 1:
                found += aim(w, l, w.learning.passes)
                if peek(mode_of(w, l, 0), 0) == 0:
                    bits &= ~(1 << l)
        w.told.passed = bits
        w.told.learned = found


@part
def ask(w, question, bits):
    """Ask the search for learning times."""
    invoke(w.routines.search, w.workspace, question, bits)
