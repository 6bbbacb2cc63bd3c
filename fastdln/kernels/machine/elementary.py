"""Exponential and logarithms of vectors of f64: the same operations in every element, so the same bits on all machines.

Errors are below one unit in the last place, and below two where the result is subnormal.  The logarithm is that of
fdlibm (Sun Microsystems, 1993): x = 2^k (1 + f) with 1 + f from sqrt(1/2) to sqrt(2), s = f / (2 + f), and a polynomial
in s^2.  The exponential takes x = n log 2 + r and a Taylor polynomial in r.
"""

from __future__ import annotations

import math
import struct

from llvmlite import ir

from fastdln.kernels.machine.emit import I64, Emit, Vec

LOG2_HIGH, LOG2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # the first one of 33 bits
ROUNDER = 1.5 * 2.0**52  # added to a number below 2^51, it leaves an integer in the last bits
LEAST, MOST = -746.0, 710.0  # beyond, the exponential is 0 or infinite
TERMS = 14  # of its polynomial
LOGARITHM = (
    6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01,
    1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01,
)  # fmt: skip
MANTISSA, BIAS = (1 << 52) - 1, 1023
ROOT_HALF = 0x3FE6A09E667F3BCD  # bits of sqrt(1/2)


def where(mask: Vec, x: Vec | float, y: Vec | float) -> Vec:
    """x where ``mask``, else y; one of them is a vector."""
    like = x if isinstance(x, Vec) else y
    assert isinstance(like, Vec)
    return Vec(like.emit, like.emit.b.select(mask.value, like._other(x), like._other(y)))


def fma(x: Vec, y: Vec | float, z: Vec | float) -> Vec:
    """x y + z, rounded once."""
    return Vec(x.emit, x.emit.fma(x.value, x._other(y), x._other(z)))


def absolute(x: Vec) -> Vec:
    """|x|."""
    return Vec(x.emit, x.emit.call("fabs", x.value))


def root(x: Vec) -> Vec:
    """The square root."""
    return Vec(x.emit, x.emit.call("sqrt", x.value))


def _integers(e: Emit, x: Vec) -> ir.Value:
    return e.b.bitcast(x.value, ir.VectorType(I64, x.value.type.count))


def _every(x: Vec, value: int) -> ir.Constant:
    count = x.value.type.count
    return ir.Constant(ir.VectorType(I64, count), [value] * count)


def _of_bits(like: Vec, bits: ir.Value) -> Vec:
    return Vec(like.emit, like.emit.b.bitcast(bits, like.value.type))


def exp(x: Vec) -> Vec:
    """The exponential; 0 and infinite where it underflows and overflows, NaN of NaN."""
    e = x.emit
    x = where(x < LEAST, LEAST, where(x > MOST, MOST, x))
    shifted = fma(x, 1 / math.log(2), ROUNDER)
    n = shifted - ROUNDER
    high = fma(n, -LOG2_HIGH, x)
    r = fma(n, -LOG2_LOW, high)
    rest = fma(n, -LOG2_LOW, high - r)
    total: Vec | float = 1 / math.factorial(TERMS - 1)
    for k in range(TERMS - 2, 1, -1):
        total = fma(r, total, 1 / math.factorial(k))
    assert isinstance(total, Vec)
    value = r + fma(r * r, total, rest) + 1.0
    # 2^n in two factors, as it may be neither a normal number nor finite
    half = fma(n, 0.5, ROUNDER)
    for part in (half, (n - (half - ROUNDER)) + ROUNDER):
        # of the bits of a rounded number none but those of the integer are left
        exponent = e.b.shl(_integers(e, part), _every(x, 52))
        value = value * _of_bits(x, e.b.add(exponent, _every(x, _bits(1.0))))
    return value


def log(x: Vec) -> Vec:
    """The logarithm; -infinity of 0, NaN of negative numbers and of NaN."""
    value = _log(x, None)
    value = where(x < math.inf, value, x)  # of infinity and of NaN
    return where(x > 0.0, value, where(x < 0.0, math.nan, where(x <= 0.0, x * 0.0 - math.inf, x)))


def log1p(x: Vec) -> Vec:
    """The logarithm of 1 + x; -infinity of -1, NaN of numbers below and of NaN."""
    value = _log(x + 1.0, x)
    value = where(x < math.inf, value, x)
    return where(x > -1.0, value, where(x < -1.0, math.nan, where(x <= -1.0, x * 0.0 - math.inf, x)))


def _log(x: Vec, less_one: Vec | None) -> Vec:
    """The logarithm of a positive number, which may be known better as 1 + ``less_one``."""
    e = x.emit
    small = x < 2.0**-1022
    bits = _integers(e, where(small, x * 2.0**54, x))
    # the mantissa from sqrt(1/2) to sqrt(2), and the exponent that goes with it, made a number by its bits
    moved = e.b.add(bits, _every(x, _bits(1.0) - ROOT_HALF))
    m = _of_bits(x, e.b.add(e.b.and_(moved, _every(x, MANTISSA)), _every(x, ROOT_HALF)))
    exponent = e.b.lshr(moved, _every(x, 52))
    k = _of_bits(x, e.b.add(exponent, _every(x, _bits(ROUNDER)))) - (ROUNDER + BIAS)
    k = where(small, k - 54.0, k)
    f, lost = m - 1.0, x * 0.0
    if less_one is not None:
        # 1 + x has lost what the last digits of x say
        whole = where(x >= 2.0, (less_one - x) + 1.0, less_one - (x - 1.0)) / x
        alone = absolute(k) <= 0.0
        f, lost = where(alone, less_one, f), where(alone, 0.0, whole)
    s = f / (f + 2.0)
    z, half = s * s, f * f * 0.5
    total = z * LOGARITHM[-1]
    for c in LOGARITHM[-2::-1]:
        total = (total + c) * z
    low = fma(k, LOG2_LOW, lost)
    return k * LOG2_HIGH - ((half - (s * (half + total) + low)) - f)


def power(x: Vec, p: Vec) -> Vec:
    """x^p for x >= 0, p > 0: its relative error is that of exp, and as many units as p log x is large."""
    return exp(log(x) * p)


def _bits(x: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", x))[0])
