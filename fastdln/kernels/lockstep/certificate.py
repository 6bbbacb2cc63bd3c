"""The certified finish: whether a trajectory can still move by more than its tolerance.

With E = 1/2 ||R||_F^2, R = Sigma - W, and the rates eta_i, the flow satisfies dE/dt <= -2 mu E with

    mu = sum_i eta_i sigma_min(W_{i-1}...W_1)^2 sigma_min(W_h...W_{i+1})^2,

the least singular values over all inputs and all outputs.  So long as mu >= m, the path that is left is at most
(2 max_i eta_i E / m)^(1/2); and if this is at most delta for a bound m that holds in the ball of radius delta around
the weights, then the trajectory never leaves that ball.  Here delta is the tolerance.  Then W tends to Sigma, and every
mode of Sigma will have passed half its singular value: while one has not, nothing is certified.

The decision is rigorous: weights as they are and the target in f64, lower bounds of singular values by elimination, all
rounding bounded (S. Rump, BIT Numer. Math. 46 (2006) 433-452).  It is scalar code on one trajectory, by the same
operations everywhere; it is compiled for itself where it is first wanted, and called by its address.
"""

from __future__ import annotations

import math

import numpy as np

from fastdln.integrate import certificate as law
from fastdln.integrate.certificate import BELOW, EVERY, SMALL, UNIT
from fastdln.kernels.lockstep.control import ATTEMPTS, REACHED, REJECTIONS, RETRY_FALL, RETRY_STEP
from fastdln.kernels.lockstep.places import place, slope_at
from fastdln.kernels.lockstep.queue import open_modes
from fastdln.kernels.lockstep.workspace import workspace_at
from fastdln.kernels.machine.compile import part
from fastdln.kernels.machine.library import invoke
from fastdln.kernels.machine.memory import peek, peek_real, peek_single, poke, poke_real, record

BRACKETS = 14  # of 1/16 each, to where rounding hides an eigenvalue
ARGUMENTS = 10  # of `check`

# What the routine is told, as one record; addresses are of tables of f64 where nothing else is said.
TASK = np.dtype(
    [
        ("rtol", np.float64),
        ("fastest", np.float64),  # the largest rate
        ("tight", np.float64),  # factor of the tolerance near the end
        ("reach2", np.float64),  # square of the number of tolerances within which a trajectory is near its end
        ("noise", np.float64),  # rounding of a residual that the loop computes, relative to the product of the norms
        ("rounding", np.float64),  # a bound of that of a product in f64
    ]
    + [
        (name, np.int64)
        for name in (
            "layers",
            "item",  # bytes of a number of a state, and of an entry
            "entry",
            "widths",  # integers d_0..d_h
            "offsets",  # integers: where the layers begin in a state
            "usable",  # integers: whether the layers below can reach all inputs, and those above all outputs
            "rates",
            "sizes",  # entries of the layers, over which their root mean squares are taken
            "targets",  # (targets, d_h d_0)
            "norms",
            "weights",  # addresses of W_1, ..., W_h
            "prefixes",  # and of W_i...W_1, i = 1..h; the first is W_1 itself
            "suffixes",  # and of (W_h...W_{i+1})', i = 1..h-1
            "gram",
            "factor",
        )
    ]
)


task_at = record("task", TASK)

waits, moves_fast, shortfall = part(law.waits), part(law.moves_fast), part(law.shortfall)
residual_bound, allowed, is_settled = part(law.residual_bound), part(law.allowed), part(law.settled)
in_units_of, next_fall, next_step = part(law.excess), part(law.retry_fall), part(law.retry_step)
shifted, less = part(law.shifted), part(law.lowered)


@part
def read(w, address, i):
    """Number i of a lane whose first number lies at an address."""
    if w.item == 8:
        return peek_real(address + i * w.entry, 0)
    return np.float64(peek_single(address + i * w.entry, 0))


@part
def width(w, i):
    """d_i."""
    return peek(w.widths, i)


@part
def square_sum(w, address, count):
    """Sum of the squares of some numbers of a lane, in four sums that do not wait for each other."""
    a, b, c, d, e = 0.0, 0.0, 0.0, 0.0, 0
    while e + 4 <= count:
        x, y, u, v = read(w, address, e), read(w, address, e + 1), read(w, address, e + 2), read(w, address, e + 3)
        a += x * x
        b += y * y
        c += u * u
        d += v * v
        e += 4
    while e < count:
        x = read(w, address, e)
        a += x * x
        e += 1
    return (a + b) + (c + d)


@part
def entries(w, i):
    """How many entries layer i + 1 has."""
    return width(w, i) * width(w, i + 1)


@part
def descent(w, slope):
    """sum_i ||dW_i/dt||_F^2 / eta_i: how fast the loss falls."""
    total = 0.0
    for i in range(w.layers):
        total += square_sum(w, slope + peek(w.offsets, i) * w.entry, entries(w, i)) / peek_real(w.rates, i)
    return total


@part
def norms(w, state):
    """Note the norms of the layers; returns the least root mean square of one."""
    least = np.inf
    for i in range(w.layers):
        squares = square_sum(w, state + peek(w.offsets, i) * w.entry, entries(w, i))
        poke_real(w.norms, i, math.sqrt(squares) * (1.0 + UNIT * (entries(w, i) + 4)))
        size = math.sqrt(squares / peek_real(w.sizes, i))
        least = size if size < least else least
    return least


@part
def take(w, state):
    """Copy the weights of a lane."""
    for i in range(w.layers):
        first, copy = state + peek(w.offsets, i) * w.entry, peek(w.weights, i)
        for e in range(entries(w, i)):
            poke_real(copy, e, read(w, first, e))


@part
def steepest(w):
    """sum_i eta_i prod_{j != i} ||W_j||_F^2: the loss falls no faster than 2 E times this."""
    total = 0.0
    for i in range(w.layers):
        product = peek_real(w.rates, i)
        for j in range(w.layers):
            if j != i:
                product *= peek_real(w.norms, j) ** 2
        total += product
    return total


@part
def multiply(out, m, n, inner, a, b, transposed):
    """out = a b, or a' b, an m x n matrix; row by row, so that entries beside each other do not wait for each other."""
    for i in range(m):
        row = out + 8 * n * i
        for j in range(n):
            poke_real(row, j, 0.0)
        for k in range(inner):
            x, other = peek_real(a, k * m + i if transposed else i * inner + k), b + 8 * n * k
            for j in range(n):
                poke_real(row, j, peek_real(row, j) + x * peek_real(other, j))


@part
def excess(w, target):
    """2 E; the products W_i...W_1 are left in place."""
    d_0, last = width(w, 0), w.layers
    for i in range(2, last + 1):
        out, below = peek(w.prefixes, i), peek(w.prefixes, i - 1)
        multiply(out, width(w, i), d_0, width(w, i - 1), peek(w.weights, i - 1), below, False)
    size, product = d_0 * width(w, last), peek(w.prefixes, last)
    wanted, total = w.targets + 8 * target * size, 0.0
    for e in range(size):
        x = peek_real(wanted, e) - peek_real(product, e)
        total += x * x
    return total


@part
def suffixes(w):
    """Put the products (W_h...W_{i+1})' in place."""
    d_h, last = width(w, w.layers), w.layers - 1
    for i in range(last, 0, -1):
        d, W, out = width(w, i), peek(w.weights, i), peek(w.suffixes, i)
        if i < last:
            multiply(out, d, d_h, width(w, i + 1), W, peek(w.suffixes, i + 1), True)
        else:
            for a in range(d):
                for b in range(d_h):
                    poke_real(out, a * d_h + b, peek_real(W, b * d + a))


@part
def positive(gram, factor, n, shift):
    """Whether elimination in gram - shift I, n x n, meets positive pivots only."""
    for e in range(n * n):
        poke_real(factor, e, peek_real(gram, e))
    for k in range(n):
        poke_real(factor, k * n + k, peek_real(gram, k * n + k) - shift)
    for k in range(n):
        row = factor + 8 * n * k
        pivot = peek_real(row, k)
        if not pivot > SMALL:
            return False
        for i in range(k + 1, n):
            x, other = peek_real(row, i) / pivot, factor + 8 * n * i
            for j in range(i, n):
                poke_real(other, j, peek_real(other, j) - x * peek_real(row, j))
    return True


@part
def least_value(w, matrix, rows, columns):
    """A lower bound of the least singular value, over all columns, of the matrix at an address.

    The least eigenvalue of its Gram matrix is found by bisection, within a factor of 1.2 where rounding permits.
    """
    multiply(w.gram, columns, columns, rows, matrix, matrix, True)
    shift, trace, found = np.inf, 0.0, False
    for i in range(columns):
        x = peek_real(w.gram, i * columns + i)
        shift = x if x < shift else shift
        trace += x
    for _ in range(BRACKETS):
        shift *= 0.0625
        found = positive(w.gram, w.factor, columns, shift)
        if found:
            break
    for step in (4.0, 2.0, 1.4140625, 1.1875):
        if found and positive(w.gram, w.factor, columns, step * shift):
            shift *= step
    value = shift - 4.0 * UNIT * (rows + columns + 8) * trace
    return math.sqrt(value) * BELOW if found and value > SMALL else 0.0


@part
def lowered(w, value, first, last, delta):
    """A singular value of the product of the layers first + 1, ..., last, less what rounding and moving them by delta
    can take from it; 0 where that is all."""
    size, shift = 1.0, 0.0
    for i in range(first, last):
        norm = peek_real(w.norms, i)
        shift = shifted(size, shift, norm, delta)
        size *= norm
    return less(value, shift, w.rounding * size)


@part
def constant(w, delta):
    """A lower bound of mu in the ball of radius delta; products of the first and of the last layers are in place."""
    total, d_0, d_h = 0.0, width(w, 0), width(w, w.layers)
    for i in range(w.layers):
        if peek(w.usable, i) != 0:
            value = 1.0
            if i > 0:
                below = least_value(w, peek(w.prefixes, i), width(w, i), d_0)
                value *= lowered(w, below, 0, i, delta)
            if i < w.layers - 1:
                above = least_value(w, peek(w.suffixes, i + 1), width(w, i + 1), d_h)
                value *= lowered(w, above, i + 1, w.layers, delta)
            total += peek_real(w.rates, i) * value * value
    return total * BELOW


def check(workspace, task, accepted, unlearned, state, slope, target, atol, retry_fall, retry_step):
    """Tell whether the path that is left to a trajectory is within its tolerance, and how to scale that till then.

    State and slope are those of one lane, ``target`` is the number of its target; the last three arguments are
    addresses. Cheap tests come before the bound of mu: whether the trajectory moves slowly, and whether its loss, which
    falls at the rate -2 E mu' with some mu' >= mu, is small enough for that mu'.
    """
    w, told = task_at(task), workspace_at(workspace).told
    told.settled, told.tighter = 0, 1.0
    if unlearned > 0:
        return
    fall = descent(w, slope)
    if waits(accepted, fall, peek_real(retry_step, 0), peek_real(retry_fall, 0)):
        told.tighter = w.tight
        return
    tolerance = peek_real(atol, 0) + w.rtol * norms(w, state)
    steep, delta2 = steepest(w), tolerance * tolerance
    if moves_fast(w.fastest, fall, w.reach2, delta2, steep):
        return
    size = 1.0
    for i in range(w.layers):
        size *= peek_real(w.norms, i)
    take(w, state)
    twice = excess(w, target)
    short = shortfall(w.fastest, twice, delta2, fall, steep, w.noise * size)
    if not short <= w.reach2:
        return
    told.tighter = w.tight
    if short <= 1.0:
        suffixes(w)
        distance = residual_bound(twice, width(w, 0) * width(w, w.layers), w.rounding * size)
        most2 = allowed(delta2, constant(w, tolerance), w.fastest)
        told.settled = is_settled(distance, most2)
        short = in_units_of(distance, most2)
    poke_real(retry_fall, 0, next_fall(fall, short))
    poke_real(retry_step, 0, next_step(accepted))


@part
def certify(w, arena, ctl, lanes):
    """Check those of the lanes that have made their number of steps; returns the bits of those that are at their end.

    They are to hold their state for the rest of the span.  Near the end the tolerance of steps is tightened: what
    explicit methods leave in the fast modes there, where stability limits the steps, is as large as it permits, and
    so it would not be certified; shorter steps are rarely needed.
    """
    over, tolerance, told = 0, place(w, w.at.tolerance), w.told
    for l in range(w.lanes):
        q, accepted = peek(w.trajectory, l), np.int64(ctl[ATTEMPTS, l] - ctl[REJECTIONS, l])
        if (lanes >> l) & 1 and q >= 0 and accepted % EVERY == 0:
            state, slope = w.at.state + l * w.item, slope_at(w, 0) + l * w.item
            target, atol = peek(w.batch.target_row, q), w.batch.atol + 8 * q
            retry_fall, retry_step = w.ctl + 8 * (RETRY_FALL * w.lanes + l), w.ctl + 8 * (RETRY_STEP * w.lanes + l)
            invoke(w.routines.certify, w.workspace, w.routines.certificate, accepted, open_modes(w, arena, l), state,
                   slope, target, atol, retry_fall, retry_step)  # fmt: skip
            rtol, scale = w.rtol * told.tighter, peek_real(atol, 0) * told.tighter
            arena[tolerance + l], arena[tolerance + w.lanes + l] = rtol, scale
            if told.settled != 0:
                ctl[REACHED, l] = w.end
                poke(w.batch.certified, q, 1)
                over |= 1 << l
    return over
