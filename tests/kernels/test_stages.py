"""The vector kernels over states against their NumPy twins, and bits that no lane count changes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastdln.kernels.lockstep.stages import PAIR_TERMS, TERMS
from tests.support.kernels import addresses, call

KINDS = [("f8", 1), ("f8", 2), ("f8", 4), ("f8", 8), ("f4", 1), ("f4", 16)]
kinds = pytest.mark.parametrize(("dtype", "lanes"), KINDS)
COUNT = 192  # entries, a multiple of every padding


class State:
    """Random entries and per-lane factors of one kind."""

    def __init__(self, dtype, lanes, seed=0):
        self.dtype, self.lanes = np.dtype(dtype), lanes
        self.rng = np.random.default_rng(seed)
        self.close = {"rtol": 20 * np.finfo(dtype).eps, "atol": 20 * np.finfo(dtype).eps}

    def entries(self, count=COUNT):
        return self.rng.standard_normal((count, self.lanes)).astype(self.dtype)

    def call(self, name, *arguments):
        call(name, self.dtype, self.lanes, *arguments)


@kinds
@pytest.mark.parametrize("terms", range(1, TERMS + 1))
def test_combine(dtype, lanes, terms):
    s = State(dtype, lanes)
    start, out, factors = s.entries(), s.entries(), s.entries(TERMS)
    slopes = [s.entries() for _ in range(TERMS + 2)]
    index = s.rng.permutation(TERMS + 2)[:terms].astype(np.int64)
    s.call("combine", out, start, addresses(*slopes), index, factors, terms, COUNT)
    assert_allclose(out, start + sum(factors[j] * slopes[i] for j, i in enumerate(index)), **s.close)


@kinds
@pytest.mark.parametrize("terms", range(1, PAIR_TERMS + 1))
def test_a_pair_has_the_bits_of_two_single_combinations(dtype, lanes, terms):
    s = State(dtype, lanes)
    start, factors = s.entries(), s.entries(2 * terms)
    slopes = [s.entries() for _ in range(terms)]
    table, index = addresses(*slopes), np.arange(terms)
    pair, single = [s.entries() for _ in range(2)], [s.entries() for _ in range(2)]
    s.call("combine_pair", *pair, start, table, index, factors, terms, COUNT)
    for out, first in zip(single, (0, terms), strict=True):
        some = np.ascontiguousarray(factors[first : first + terms])
        s.call("combine", out, start, table, index, some, terms, COUNT)
    assert [x.tobytes() for x in pair] == [x.tobytes() for x in single]


@kinds
def test_factors(dtype, lanes):
    s = State(dtype, lanes)
    step, theta, out = s.entries(1), s.entries(1), s.entries(5)
    weights = s.entries(5)[:, 0].copy()
    s.call("scale_factors", out, step, weights, 5)
    assert_allclose(out, weights[:, None] * step, **s.close)
    polynomials = s.entries(15)
    s.call("dense_factors", out, step, theta, polynomials, 5, 3)
    powers = theta ** np.arange(1, 4)[:, None]
    assert_allclose(out, step * (polynomials.reshape(5, 3, lanes) * powers).sum(axis=1), **s.close)


@kinds
@pytest.mark.parametrize("terms", [1, 2, 7, TERMS])
def test_error_sum(dtype, lanes, terms):
    s = State(dtype, lanes)
    y, z, out, factors = s.entries(), s.entries(), s.entries(1), s.entries(terms)
    y[:5], z[:5] = 0.0, 0.0
    slopes = [s.entries() for _ in range(terms)]
    for k in slopes:
        k[5:9] = 0.0
    tolerance = np.abs(s.entries(2))
    first, last = 64, 128
    size = lanes * s.dtype.itemsize
    s.call("error_sum", out, addresses(y, z, tolerance), addresses(*slopes), np.arange(terms), factors, terms,
           first * size, last * size)  # fmt: skip
    error = sum(f * k for f, k in zip(factors, slopes, strict=True))
    scale = tolerance[1] + tolerance[0] * np.maximum(abs(y), abs(z))
    assert_allclose(out, np.square(error / scale)[first:last].sum(axis=0)[None], rtol=3e2 * np.finfo(dtype).eps)


@kinds
def test_error_sums_of_two_estimates(dtype, lanes):
    s = State(dtype, lanes)
    y, z, out, other, factors = s.entries(), s.entries(), s.entries(1), s.entries(1), s.entries(2 * TERMS)
    y[70:75], z[70:75] = 0.0, 0.0
    slopes = [s.entries() for _ in range(TERMS)]
    tolerance = np.abs(s.entries(2))
    index = s.rng.permutation(TERMS)
    first, last = 64, 128
    size = lanes * s.dtype.itemsize
    s.call("error_sum_pair", out, other, addresses(y, z, tolerance), addresses(*slopes), index, factors, first * size,
           last * size)  # fmt: skip
    scale = tolerance[1] + tolerance[0] * np.maximum(abs(y), abs(z))
    for found, part in ((out, factors[:TERMS]), (other, factors[TERMS:])):
        error = sum(f * slopes[j] for f, j in zip(part, index, strict=True))
        assert_allclose(found, np.square(error / scale)[first:last].sum(axis=0)[None], rtol=3e2 * np.finfo(dtype).eps)


@kinds
@pytest.mark.parametrize("terms", [1, 4, 7, TERMS])
def test_errors_and_output_in_one_pass_have_the_bits_of_two(dtype, lanes, terms):
    s = State(dtype, lanes)
    y, z, factors, weights = s.entries(), s.entries(), s.entries(terms), s.entries(terms)
    slopes = [s.entries() for _ in range(terms)]
    states, table, index = addresses(y, z, tolerance := np.abs(s.entries(2))), addresses(*slopes), np.arange(terms)
    first, last = (x * lanes * s.dtype.itemsize for x in (64, 128))
    sums, outputs = [s.entries(1) for _ in range(2)], [np.zeros((COUNT, lanes), dtype) for _ in range(2)]
    s.call("error_sum_output", sums[0], outputs[0], states, table, factors, weights, terms, first, last)
    s.call("error_sum", sums[1], states, table, index, factors, terms, first, last)
    s.call("combine", outputs[1], y, table, index, weights, terms, COUNT)
    outputs[1][:64], outputs[1][128:] = 0.0, 0.0
    assert sums[0].tobytes() == sums[1].tobytes()
    assert outputs[0].tobytes() == outputs[1].tobytes()
    assert tolerance.min() >= 0


@kinds
def test_an_entry_that_is_zero_for_ever_has_no_error(dtype, lanes):
    s = State(dtype, lanes)
    zero, out, factors = np.zeros((COUNT, lanes), dtype), s.entries(1), s.entries(1)
    tolerance = np.zeros((2, lanes), dtype)
    end = COUNT * lanes * s.dtype.itemsize
    arguments = (addresses(zero, zero, tolerance), addresses(zero), np.zeros(1, np.int64), factors, 1, 0, end)
    s.call("error_sum", out, *arguments)
    assert (out == 0).all()
    slope = zero.copy()
    slope[3] = np.nan
    s.call("error_sum", out, arguments[0], addresses(slope), *arguments[2:])
    assert np.isnan(out).all()


@kinds
def test_both_of_two_estimates_see_what_is_zero_for_ever_and_what_is_not_finite(dtype, lanes):
    s = State(dtype, lanes)
    zero, out, other, factors = np.zeros((COUNT, lanes), dtype), s.entries(1), s.entries(1), s.entries(2 * TERMS)
    tolerance = np.zeros((2, lanes), dtype)
    slope = zero.copy()
    slope[3] = np.nan
    end = COUNT * lanes * s.dtype.itemsize
    for last, expected in ((zero, 0.0), (slope, np.nan)):
        table = addresses(*[zero] * (TERMS - 1), last)
        s.call("error_sum_pair", out, other, addresses(zero, zero, tolerance), table, np.arange(TERMS), factors, 0, end)
        assert_array_equal(np.stack([out, other]), np.full((2, 1, lanes), expected))


@kinds
def test_sums_of_squares(dtype, lanes):
    s = State(dtype, lanes)
    a, b, out = s.entries(), s.entries(), s.entries(1)
    s.call("square_sum", out, a, COUNT)
    assert_allclose(out[0], np.square(a).sum(axis=0), rtol=200 * np.finfo(dtype).eps)
    s.call("square_distance", out, a, b, COUNT)
    assert_allclose(out[0], np.square(a - b).sum(axis=0), rtol=200 * np.finfo(dtype).eps)
    s.call("distance", out, a, b, COUNT)
    assert_allclose(out[0], np.linalg.norm(a - b, axis=0), rtol=200 * np.finfo(dtype).eps)


@kinds
def test_column_dots(dtype, lanes):
    s = State(dtype, lanes)
    a, b, out = s.entries(4 * 3), s.entries(4 * 3), s.entries(3)
    s.call("column_dots", out, a, b, 4, 3)
    assert_allclose(out, np.einsum("ijl,ijl->jl", a.reshape(4, 3, lanes), b.reshape(4, 3, lanes)), **s.close)


@kinds
def test_rescale_changes_one_layer_only(dtype, lanes):
    s = State(dtype, lanes)
    slope, state = s.entries(), s.entries()
    before, size = slope.copy(), lanes * s.dtype.itemsize
    rate, decay = pair = np.array([0.7, 0.2], s.dtype)
    s.call("rescale", slope, state, pair, 64 * size, 128 * size)
    assert_allclose(slope[64:128], (rate * before - decay * state)[64:128], **s.close)
    assert np.array_equal(slope[:64], before[:64])
    assert np.array_equal(slope[128:], before[128:])


@kinds
def test_blend_takes_whole_lanes(dtype, lanes):
    s = State(dtype, lanes)
    out, source = s.entries(), s.entries()
    before, mask = out.copy(), np.zeros((1, lanes), dtype)
    mask[0, ::2] = 1.0
    source[7] = np.nan
    s.call("blend", out, source, mask, COUNT)
    assert np.array_equal(out, np.where(mask != 0, source, before), equal_nan=True)


@pytest.mark.parametrize(
    "name",
    ["combine", "error_sum", "square_sum", "square_distance", "norm", "quick_norm", "distance", "dense_factors"],
)
def test_bits_do_not_depend_on_lanes(name):
    def run(columns):
        lanes = columns.stop - columns.start
        s = State("f8", 8)
        cut = lambda x: np.ascontiguousarray(x[:, columns])  # noqa: E731
        y, z, k1, k2 = (cut(s.entries()) for _ in range(4))
        factors, small, out = cut(s.entries(2)), cut(abs(s.entries(2))), cut(s.entries())
        polynomials, index = cut(s.entries(8)), np.arange(2)
        slopes, states = addresses(k1, k2), addresses(y, z, small)
        arguments = {
            "combine": (out, y, slopes, index, factors, 2, COUNT),
            "error_sum": (out, states, slopes, index, factors, 2, 0, COUNT * lanes * 8),
            "square_sum": (out, y, COUNT),
            "square_distance": (out, y, z, COUNT),
            "norm": (out, y, COUNT),
            "quick_norm": (out, y, COUNT),
            "distance": (out, y, z, COUNT),
            "dense_factors": (out, factors, small, polynomials, 2, 4),
        }
        call(name, "f8", lanes, *arguments[name])
        return out

    whole = run(slice(0, 8))
    for columns in (slice(2, 4), slice(4, 8), slice(0, 4)):
        assert run(columns).tobytes() == np.ascontiguousarray(whole[:, columns]).tobytes()


@kinds
@pytest.mark.parametrize("name", ["norm", "quick_norm", "distance"])
def test_norms_where_squares_underflow_or_overflow(dtype, lanes, name):
    """Each lane is scaled by itself, and one that needs no scaling keeps its bits beside those that do."""
    s = State(dtype, lanes)
    a, out, alone = s.entries(), s.entries(1), s.entries(1)

    def find(out, a):
        s.call(name, out, *((a, np.zeros_like(a)) if name == "distance" else (a,)), COUNT)

    find(alone, a)
    assert_allclose(alone[0], np.linalg.norm(a.astype(np.float64), axis=0), rtol=200 * np.finfo(dtype).eps)
    info = np.finfo(dtype)
    powers = (0, info.minexp + 20, info.maxexp - 20, info.minexp * 3 // 4, info.maxexp * 3 // 4, info.minexp // 2 - 1)
    for first in range(len(powers)):
        of = np.array([powers[(first + l) % len(powers)] for l in range(lanes)])
        find(out, np.ldexp(a, of))
        assert_array_equal(out[0], np.ldexp(alone[0], of))
    for special, expected in ((np.nan, np.nan), (np.inf, np.inf)):
        b = a.copy()
        b[3, 0] = special
        find(out, b)
        assert_array_equal(out[0], [expected, *alone[0, 1:]])
    find(out, np.zeros_like(a))
    assert_array_equal(out, np.zeros_like(out))
