"""Register tiles over lanes and of one network against einsum: every form, and bits that no tiling changes."""

from __future__ import annotations

from itertools import product as pairs

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fastdln.kernels.lockstep import blocks
from fastdln.kernels.products import gemm, tiles
from fastdln.kernels.products.rows import DERIVATIVE, NN, NT, SCRATCH, STATE, TN, Operand, Product
from tests.support.kernels import addresses, call

SUBTRACT, IN_PLACE = 3, 4  # D - A B, and C - A B into C
FORMS = {NN: "ij,jk", TN: "ji,jk", NT: "ij,kj", SUBTRACT: "ij,jk", IN_PLACE: "ij,jk"}
EXTENTS = range(1, 10)
BEHIND = 16  # numbers behind a matrix that may be read
KINDS = [("f8", 2), ("f8", 4), ("f8", 8), ("f4", 16)]


def one_product(kind, m, n, k):
    """A product of a matrix of the state and one of the derivative; C and D in scratch, behind a gap."""
    form = kind if kind in (NN, TN, NT) else NN
    a = Operand(STATE, 3, m if form == TN else k)
    b = Operand(DERIVATIVE, 1, k if form == NT else n)
    c, d = Operand(SCRATCH, 5, n), Operand(SCRATCH, 5 + m * n + 2, n)
    return Product(form, c, a, b, m, n, k, {SUBTRACT: d, IN_PLACE: c}.get(kind))


def numbers(p, dtype, lanes, seed=0):
    rng = np.random.default_rng(seed)
    sizes = (3 + p.m * p.k, 1 + p.k * p.n, 5 + 2 * p.m * p.n + 2)
    sizes = [size + BEHIND for size in sizes]
    return [rng.standard_normal((size, lanes)).astype(dtype) for size in sizes]


def run(p, memory, **options):
    dtype, lanes = memory[0].dtype, memory[0].shape[1]
    rows = (tiles if lanes > 1 else gemm).encode((p,), lanes * dtype.itemsize)
    buffer = np.full(gemm.buffer((p,), dtype.itemsize), np.nan, dtype)
    state, slope, scratch = (array.copy() for array in memory)
    bases = np.concatenate([addresses(state, slope, scratch, buffer), [0, 0]])
    call("execute", dtype, lanes, bases, rows, len(rows), **options)
    assert state.tobytes() == memory[0].tobytes()
    assert slope.tobytes() == memory[1].tobytes()
    outside = np.ones(len(scratch), bool)
    outside[p.c.offset : p.c.offset + p.m * p.n] = False
    assert np.array_equal(scratch[outside], memory[2][outside])
    return scratch[p.c.offset : p.c.offset + p.m * p.n].reshape(p.m, p.n, lanes)


def expected(kind, p, memory):
    lanes = memory[0].shape[1]
    matrix = lambda base, at, rows: memory[base][at : at + rows.size].reshape(*rows.shape, lanes)  # noqa: E731
    A = matrix(STATE, 3, np.empty((p.k, p.m) if p.form == TN else (p.m, p.k)))
    B = matrix(DERIVATIVE, 1, np.empty((p.n, p.k) if p.form == NT else (p.k, p.n)))
    left, right = FORMS[kind].split(",")
    out = np.einsum(f"{left}l,{right}l->ikl", A.astype(float), B.astype(float))
    if p.d is None:
        return out
    return matrix(SCRATCH, p.d.offset, np.empty((p.m, p.n))) - out


@pytest.mark.parametrize(("dtype", "lanes"), KINDS)
@pytest.mark.parametrize("kind", FORMS)
def test_products_of_all_small_shapes(kind, dtype, lanes):
    for m, n, k in pairs(EXTENTS, EXTENTS, EXTENTS):
        p = one_product(kind, m, n, k)
        memory = numbers(p, dtype, lanes, seed=100 * m + 10 * n + k)
        eps = np.finfo(dtype).eps
        assert_allclose(run(p, memory), expected(kind, p, memory), atol=40 * eps, rtol=40 * eps)


@pytest.mark.parametrize(("dtype", "lanes"), KINDS)
@pytest.mark.parametrize("form", [NN, TN, NT])
def test_sums_of_products(form, dtype, lanes):
    for m, n, k in pairs((1, 2, 5, 8), (1, 3, 4, 9), (1, 4, 6)):
        plain = one_product(form, m, n, k)
        memory = numbers(plain, dtype, lanes)
        product, eps = expected(form, plain, memory), np.finfo(dtype).eps
        close = {"atol": 40 * eps, "rtol": 40 * eps, "err_msg": f"{m, n, k}"}
        assert_allclose(run(plain, memory, library=blocks.library), product, **close)
        behind = Operand(SCRATCH, 5 + m * n + 2, n)
        for d in (behind, plain.c):
            given = memory[2][d.offset : d.offset + m * n].reshape(m, n, lanes)
            added = run(plain._replace(d=d), memory, library=blocks.library)
            assert_allclose(added, given + product, **close)


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("kind", FORMS)
def test_products_of_one_network(kind, dtype):
    for m, n, k in (*pairs((1, 2, 5, 9, 17), (1, 3, 8, 20), (1, 4, 7)), (70, 70, 33), (65, 130, 16), (4, 100, 64)):
        p = one_product(kind, m, n, k)
        memory = numbers(p, dtype, 1)
        close = dict.fromkeys(("atol", "rtol"), (30 + 10 * k) * np.finfo(dtype).eps)
        assert_allclose(run(p, memory), expected(kind, p, memory), **close, err_msg=f"{m, n, k}")


@pytest.mark.parametrize("kind", FORMS)
def test_one_network_has_the_bits_of_lanes(kind):
    for m, n, k in pairs((1, 8, 31), (2, 16, 29), (1, 21)):
        p = one_product(kind, m, n, k)
        memory = numbers(p, "f8", 2)
        whole = run(p, memory)
        for lane in range(2):
            alone = run(p, [np.ascontiguousarray(x[:, lane, None]) for x in memory])
            assert alone.tobytes() == whole[..., lane].tobytes()


@pytest.mark.parametrize("kind", FORMS)
def test_bits_do_not_depend_on_tiling_or_lanes(kind, monkeypatch):
    shapes = list(pairs((1, 3, 5, 8), (2, 4, 7, 9), (1, 6)))
    problems = [(p, numbers(p, "f8", 8)) for p in (one_product(kind, *shape) for shape in shapes)]
    best = [run(p, memory) for p, memory in problems]
    for lanes in (2, 4):
        for (p, memory), whole in zip(problems, best, strict=True):
            part = [np.ascontiguousarray(x[:, lanes : 2 * lanes]) for x in memory]
            assert run(p, part).tobytes() == whole[..., lanes : 2 * lanes].tobytes()
    monkeypatch.setattr(tiles, "regions", lambda m, n, k: ((0, 0, 1, 1, m, n),))
    for (p, memory), whole in zip(problems, best, strict=True):
        assert run(p, memory).tobytes() == whole.tobytes()


@pytest.mark.parametrize(("dtype", "lanes"), KINDS)
@pytest.mark.parametrize("form", [NN, TN, NT])
def test_a_product_that_closes_a_stage_has_the_bits_of_a_combination(form, dtype, lanes):
    for m, n, k in ((1, 1, 1), (5, 3, 2), (4, 8, 3)):
        rng, size = np.random.default_rng(0), 4 * (m * n + 3)  # padded as states are
        draw = lambda count: rng.standard_normal((count, lanes)).astype(dtype)  # noqa: B023, E731
        state, scratch, factor, stage = draw(m * k), draw(k * n), draw(1), draw(size)
        slope = np.zeros((size, lanes), dtype)
        a = Operand(STATE, 0, m if form == TN else k)
        b = Operand(SCRATCH, 0, k if form == NT else n)
        rows = tiles.encode((Product(form, Operand(DERIVATIVE, 3, n), a, b, m, n, k),), lanes * slope.itemsize)
        expected, closed = stage.copy(), stage.copy()
        bases = np.concatenate([addresses(state, slope, scratch), [0], addresses(closed, factor)])
        call("execute", dtype, lanes, bases, rows, len(rows))
        call("combine", dtype, lanes, expected, stage, addresses(slope), np.zeros(1, np.int64), factor, 1, size)
        assert closed.tobytes() == expected.tobytes()
        assert closed.tobytes() != stage.tobytes()


@pytest.mark.parametrize(("m", "n", "k"), [(1, 1, 1), (7, 5, 3), (9, 9, 9), (17, 4, 2), (48, 10, 64)])
def test_regions_cover_every_entry_once(m, n, k):
    covered = np.zeros((m, n), int)
    for i, j, rows, columns, down, across in tiles.regions(m, n, k):
        assert (rows, columns) in tiles.TILES
        covered[i : i + rows * down, j : j + columns * across] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize("special", [np.nan, np.inf])
def test_a_lane_that_is_not_finite_leaves_the_others_alone(special):
    p = one_product(NN, 5, 4, 3)
    memory = numbers(p, "f8", 4)
    usual = run(p, memory)
    for array in memory[:2]:
        array[:, 1] = special
    changed = run(p, memory)
    assert not np.isfinite(changed[..., 1]).any()
    others = [0, 2, 3]
    assert changed[..., others].tobytes() == usual[..., others].tobytes()
