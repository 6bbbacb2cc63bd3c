"""Step-size control of all lanes at once, in f64, by fixed operations: the same bits on every machine.

The logarithm and the exponential are our own (about 1e-8 accurate): the mathematical library's results vary.
Each lane's control state is one column of the array ``ctl``; its rows are numbered here.
"""

from __future__ import annotations

import math

from llvmlite import ir
from numba.core import cgutils

from fastdln.integrate.law import SMALLEST
from fastdln.kernels.machine.emit import I64, Emit, Vec, const

# rows of ctl, one number per lane
(
    TIME,  # at the beginning of the step, counted from the start of the span
    STEP,  # its length
    REACHED,  # time reached after it
    NEXT_STEP,
    OLD_ERROR,  # log2 of the error norm of the last accepted step
    REJECTED,  # whether this step was
    NEXT_OUTPUT,  # first requested time not yet recorded, or inf
    ACTIVE,
    LAST,  # whether the step ends at the end of the span
    ATTEMPTS,
    REJECTIONS,
    DUE_LIMIT,  # outputs up to here can be given: REACHED, or -1 if rejected
    GRADIENT,  # ||grad L|| at REACHED, if a stop condition asks
    LOSS2,  # 2 (L - floor) at REACHED, if a stop condition asks
    LONGEST,  # step that follows the growth of what no error norm sees, or inf
    LOOKS,  # how often it has been renewed
    EXCESS2,  # twice the loss above its least value, if it bounds that growth, else inf
    LEAST2,  # twice that least value, above the floor of the loss
    FAILED,  # whether the error was not finite
    STOPPED,
    RETRY_FALL,  # descent of the loss from which on a check of the certified finish is worth while
    RETRY_STEP,  # accepted steps after which one comes in any case
    SLOPES,  # right-hand sides taken, by methods that count themselves, and by those that went before
    SIZE,  # error norms of the start and of its slope
    SPEED,
    LENGTH,  # of the way up to the beginning of the step, if it is recorded
) = range(26)
CONTROL_ROWS = 26

# numbers that hold for all lanes, in this order
PARAMETERS = (
    "end", "rtol", "safety", "least_factor", "most_factor", "alpha", "beta", "max_attempts", "fixed_step", "growth_cap",
    "stop_gradient", "stop_loss2", "direction", "growth_share", "growth_doubt",
)  # fmt: skip

REJECTED_BITS, DUE_BITS, FINISHED_BITS = range(3)  # in the order in which `end_step` tells them

# A strength that ends a step above this part of its threshold may have been above the threshold within the step.
NEAR = 0.75


def _polynomial(x: Vec, coefficients: list[float]) -> Vec:
    e = x.emit
    value = e.vfma(x, coefficients[-1], coefficients[-2])
    for c in coefficients[-3::-1]:
        value = e.vfma(value, x, c)
    return value


def _log2(x: Vec) -> Vec:
    """log2 of a normal positive number."""
    e, b = x.emit, x.emit.b
    integers = ir.VectorType(I64, e.lanes)
    every = lambda v: ir.Constant(integers, [v] * e.lanes)  # noqa: E731
    bits = b.bitcast(x.value, integers)
    exponent = Vec(e, b.sitofp(b.sub(b.lshr(bits, every(52)), every(1023)), e.control_type))
    mantissa = Vec(e, b.bitcast(b.or_(b.and_(bits, every((1 << 52) - 1)), every(1023 << 52)), e.control_type))
    z = (mantissa - math.sqrt(2)) / (mantissa + math.sqrt(2))
    c = 2 / math.log(2)
    return exponent + 0.5 + z * _polynomial(z * z, [c, c / 3, c / 5, c / 7, c / 9])


def _exp2(x: Vec) -> Vec:
    e, b = x.emit, x.emit.b
    integers = ir.VectorType(I64, e.lanes)
    every = lambda v: ir.Constant(integers, [v] * e.lanes)  # noqa: E731
    whole = Vec(e, e.call("floor", (x + 0.5).value))
    coefficients = [math.log(2) ** j / math.factorial(j) for j in range(8)]
    power = b.bitcast(b.shl(b.add(b.fptosi(whole.value, integers), every(1023)), every(52)), e.control_type)
    return _polynomial(x - whole, coefficients) * Vec(e, power)


def begin_step(e: Emit, ctl: ir.Value, par: ir.Value, step: ir.Value) -> None:
    """Take over time and step; cut the step at the end of the span; ``step`` = signed step, 0 in idle lanes.

    No step outruns the growth that the error norm does not see.
    """
    ctl, par, step = e.pointer(ctl), e.pointer(par), e.pointer(step)
    time, h, end = e.get(ctl, REACHED), e.get(ctl, NEXT_STEP), e.parameter(par, PARAMETERS.index("end"))
    longest = e.get(ctl, LONGEST)
    h = e.where(longest < h, longest, h)
    left = end - time
    last = h * 1.0000001 >= left  # no sliver of a step at the end
    h = e.where(e.get(ctl, ACTIVE) > 0.0, e.where(last, left, h), 0.0)
    e.put(ctl, TIME, time)
    e.put(ctl, STEP, h)
    e.put(ctl, LAST, e.where(last, 1.0, 0.0))
    e.store(e.narrow(h * e.parameter(par, PARAMETERS.index("direction"))), step)


def end_step(
    e: Emit,
    ctl: ir.Value,
    par: ir.Value,
    sums: ir.Value,
    sizes: ir.Value,
    layers: ir.Value,
    rows: ir.Value,
    mask: ir.Value,
    flags: ir.Value,
) -> None:
    """Accept or reject, choose the next step, say which lanes are rejected, have output due, are finished.

    ``sums``: error sums, ``layers`` entries for each of ``rows`` (1 or 2) estimates; ``sizes``: entries per layer.
    The error norm is the maximum over layers of the RMS error; two estimates e, f are joined as Hairer, Norsett and
    Wanner (II.10) do for DOP853: e^2 / sqrt(e^2 + 0.01 f^2).
    """
    ctl, par, sums, sizes, mask, flags = map(e.pointer, (ctl, par, sums, sizes, mask, flags))
    par_ = lambda name: e.parameter(par, PARAMETERS.index(name))  # noqa: E731
    worst_slot = cgutils.alloca_once_value(e.b, e.zero(e.control_type))
    bad_slot = cgutils.alloca_once_value(e.b, e.zero(e.control_type))
    two = e.b.icmp_signed("==", rows, const(2))
    second_row = e.b.select(two, layers, const(0))
    with e.each(layers) as i:
        size = e.parameter(e.at(sizes, e.times(i, 8)), 0)
        error2 = e.widen(sums, e.times(i, e.entry_bytes)) / size
        other2 = e.widen(sums, e.times(e.b.add(i, second_row), e.entry_bytes)) / size
        joined = error2 * (error2 / (error2 + other2 * 0.01))
        joined = Vec(e, e.b.select(two, e.where(error2 > 0.0, joined, error2).value, error2.value))
        finite = (joined <= 1e300) & (other2 <= 1e300)
        bad = Vec(e, e.b.load(bad_slot))
        e.b.store(e.where(finite, bad, 1.0).value, bad_slot)
        e.b.store(e.maximum(joined.value, e.b.load(worst_slot)), worst_slot)
    error2, finite = Vec(e, e.b.load(worst_slot)), ~(Vec(e, e.b.load(bad_slot)) > 0.0)

    active = e.get(ctl, ACTIVE) > 0.0
    fixed = par_("fixed_step")
    accepted = finite & ((error2 <= 1.0) | (fixed > 0.0))
    log_error = _log2(e.where(finite, e.where(error2 > 1e-16, error2, 1e-16), 1.0)) * 0.5
    clip = lambda x: e.where(x > 60.0, 60.0, e.where(x < -60.0, -60.0, x))  # noqa: E731
    plain = par_("safety") - par_("alpha") * log_error
    grown = _exp2(clip(e.vfma(par_("beta"), e.get(ctl, OLD_ERROR), plain)))
    most = e.where(e.get(ctl, REJECTED) > 0.0, 1.0, par_("most_factor"))
    grown = e.where(grown > most, most, grown)
    least = par_("least_factor")
    grown = e.where(grown < least, least, grown)
    shrunk = _exp2(clip(plain))
    shrunk = e.where(finite, e.where(shrunk < least, least, shrunk), 0.1)
    h, time = e.get(ctl, STEP), e.get(ctl, TIME)
    next_step = h * e.where(accepted, grown, shrunk)
    next_step = e.where((fixed > 0.0) & finite, fixed, next_step)
    end = par_("end")
    rejected, good = active & ~accepted, active & accepted
    attempts = e.get(ctl, ATTEMPTS) + e.where(active, 1.0, 0.0)
    advanced = e.where(fixed > 0.0, attempts * fixed, time + h)  # rounding does not add up over fixed steps
    reached = e.where(accepted, e.where(e.get(ctl, LAST) > 0.0, end, advanced), time)
    limit = e.where(good, reached, -1.0)
    stopped = good & ((e.get(ctl, GRADIENT) <= par_("stop_gradient")) | (e.get(ctl, LOSS2) <= par_("stop_loss2")))
    stuck = ~(next_step > reached * SMALLEST) | ((fixed > 0.0) & ~finite)
    finished = active & ((reached >= end) | stuck | (attempts >= par_("max_attempts")) | stopped)
    for row, value in (
        (REACHED, reached),
        (NEXT_STEP, next_step),
        (OLD_ERROR, e.where(good, log_error, e.get(ctl, OLD_ERROR))),
        (REJECTED, e.where(rejected, 1.0, 0.0)),
        (ATTEMPTS, attempts),
        (REJECTIONS, e.get(ctl, REJECTIONS) + e.where(rejected, 1.0, 0.0)),
        (DUE_LIMIT, limit),
        (FAILED, e.where(finite, 0.0, 1.0)),
        (STOPPED, e.where(stopped, 1.0, 0.0)),
    ):
        e.put(ctl, row, value)
    e.store(e.narrow(e.where(rejected, 1.0, 0.0)), mask)
    for number, bits in (
        (REJECTED_BITS, rejected), (DUE_BITS, e.get(ctl, NEXT_OUTPUT) <= limit), (FINISHED_BITS, finished)
    ):  # fmt: skip
        e.b.store(e.bitmask(bits), e.at(flags, 8 * number), align=8)


def output_theta(e: Emit, ctl: ir.Value, theta: ir.Value, flags: ir.Value) -> None:
    """theta = (next output - t)/h in lanes where it lies within the step, else 0; flags[0] = bits of those lanes.

    It can be asked for before the step is judged; times that rounding may bring into the step count as within.
    """
    ctl, theta, flags = map(e.pointer, (ctl, theta, flags))
    ahead, h = e.get(ctl, NEXT_OUTPUT) - e.get(ctl, TIME), e.get(ctl, STEP)
    within = (ahead <= h * 1.0000001) & (h > 0.0)
    e.store(e.narrow(e.where(within, ahead / h, 0.0)), theta)
    e.b.store(e.bitmask(within), flags, align=8)


def passed(e: Emit, flags: ir.Value, values: ir.Value, thresholds: ir.Value, count: ir.Value) -> None:
    """flags[0] = bits of the lanes where any of ``count`` values is near its threshold, or above it."""
    flags, values, thresholds = map(e.pointer, (flags, values, thresholds))
    none = ir.Constant(ir.VectorType(ir.IntType(1), e.lanes), [0] * e.lanes)
    any_ = cgutils.alloca_once_value(e.b, none)
    with e.each(count) as j:
        o = e.times(j, e.entry_bytes)
        near = e.b.fmul(e.load(thresholds, o), ir.Constant(e.entry_type, [NEAR] * e.lanes))
        hit = e.b.fcmp_ordered(">=", e.load(values, o), near)
        e.b.store(e.b.or_(e.b.load(any_), hit), any_)
    e.b.store(e.bitmask(Vec(e, e.b.load(any_))), flags, align=8)
