"""Compiled evaluations: programs of Hessian-vector products, packing, and bits that nothing about a batch changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import fastdln as dln
from fastdln import evaluation as evaluate
from fastdln.kernels.lockstep import blocks
from fastdln.kernels.machine.lanes import LANES_VARIABLE
from fastdln.kernels.products import tangent
from fastdln.kernels.products.program import orders, program
from fastdln.kernels.products.rows import NN, NT, TN, Map
from fastdln.theory import compiled, hessian, landscape
from fastdln.theory.hessian.products import Point
from tests.support.draws import mapped_losses
from tests.support.kernels import call
from tests.support.mapped import MAPS, STEP

LOSSES = {"pseudo-huber of many targets": "targets", "softmax": "softmax", "huber": "huber"}
KINDS = ("quadratic", "regression", "targets", "pseudo-huber of many targets", "softmax")

networks = st.lists(st.integers(1, 6), min_size=2, max_size=6).map(lambda widths: dln.Network(tuple(widths)))


def problem(widths, kind="quadratic", n=11, dtype=np.float64, seed=6):
    rng = np.random.default_rng(seed)
    net = dln.Network(widths)
    weights, directions = (
        tuple(rng.standard_normal((n, *shape)).astype(dtype) for shape in net.shapes) for _ in range(2)
    )
    d_0, d_h = widths[0], widths[-1]
    if kind in LOSSES:
        return weights, directions, mapped_losses(net, targets=n)[LOSSES[kind]]
    if kind == "regression":
        return weights, directions, dln.Regression(rng.standard_normal((d_0, 9)), rng.standard_normal((d_h, 9)))
    targets = (n,) if kind == "targets" else ()
    return weights, directions, dln.Quadratic(rng.standard_normal((*targets, d_h, d_0)))


def view(bases, operand, rows, columns):
    flat = bases[operand.base][operand.offset :]
    return np.lib.stride_tricks.as_strided(flat, (rows, columns), (operand.row * 8, 8))


@given(networks, st.booleans(), st.data())
def test_every_order_gives_the_hessian_vector_product(net, gram, data):
    order = data.draw(st.sampled_from([*orders(net.depth), None]))
    weights, directions, loss = problem(net.widths, "regression" if gram else "quadratic", n=1)
    check_products(tangent.hessian(net.widths, gram, order=order), weights, directions, loss)


@given(networks, st.sampled_from(["power 4", "softmax", "logistic"]), st.data())
def test_every_order_gives_the_hessian_vector_product_of_a_map(net, name, data):
    order = data.draw(st.sampled_from([*orders(net.depth, "map"), None]))
    weights, directions, _ = problem(net.widths, n=1)
    loss = mapped_losses(net, data.draw(st.integers(1, 9)))[name]
    plan = tangent.hessian(net.widths, **loss.form._asdict(), order=order)
    check_products(plan, weights, directions, loss)


def check_products(plan, weights, directions, loss):
    """Execute a program here."""
    bases = [np.full(size, np.nan) for size in plan.sizes]
    places = (*plan.weights, *plan.directions, *plan.constants.values())
    for place, array in zip(places, (*weights, *directions, *compiled.constants(plan, loss)), strict=True):
        bases[place.base][place.offset : place.offset + place.size] = array.ravel()
    for p in plan.products:
        if isinstance(p, Map):
            Z, dZ = (view(bases, x, p.m, p.n).copy() for x in (p.z, p.along))
            Y, parameter = view(bases, p.y, p.m, p.n), view(bases, p.parameter, 1, 1)
            E = MAPS[plan.map](Z + 1j * STEP * dZ, Y, parameter)[0]
            view(bases, p.c, p.m, p.n)[...], view(bases, p.image, p.m, p.n)[...] = -E.real, -E.imag / STEP
            continue
        A = view(bases, p.a, p.k, p.m).T if p.form == TN else view(bases, p.a, p.m, p.k)
        B = view(bases, p.b, p.n, p.k).T if p.form == NT else view(bases, p.b, p.k, p.n)
        assert p.form in (NN, TN, NT)
        given = 0.0 if p.d is None else view(bases, p.d, p.m, p.n)
        view(bases, p.c, p.m, p.n)[...] = given + A @ B
    for place, expected in zip(plan.results, Point(weights, loss).apply(directions), strict=True):
        found = bases[place.base][place.offset : place.offset + place.size]
        assert_allclose(found, expected.ravel(), rtol=1e-10, atol=1e-10 * (1 + np.abs(expected).max()))


@given(networks, st.booleans())
def test_the_cheapest_order_is_chosen(net, gram):
    costs = {order: tangent.hessian(net.widths, gram, order=order).flops for order in orders(net.depth)}
    assert tangent.hessian(net.widths, gram).flops == min(costs.values())
    # a product of the right-hand side becomes at most three: itself and its two derivatives
    for order, flops in costs.items():
        assert flops <= 3 * program(net.widths, gram, order=order).flops


def test_flops_of_equal_widths():
    for h in range(2, 6):
        # the residual, h - 2 prefixes and as many steps back three times, one product for each of h layers twice
        d = 5
        assert tangent.hessian((d,) * (h + 1), False).flops == 2 * d**3 * (3 + 3 * 2 * (h - 2) + 2 * h)


@pytest.mark.parametrize(("dtype", "lanes"), [("f8", 2), ("f8", 4), ("f8", 8), ("f4", 8), ("f4", 16)])
@pytest.mark.parametrize("count", [1, 3, 7, 8, 9, 16, 31, 64])
def test_packing_and_unpacking(dtype, lanes, count):
    rng = np.random.default_rng(count)
    outside = rng.standard_normal((2 * lanes, count + 3)).astype(dtype)
    entries = np.zeros((count + 2, lanes), dtype)

    def transfer(array):
        return np.array([entries[1:].ctypes.data, array[:, 1:].ctypes.data, array.strides[0], count], np.int64)

    for first in (0, lanes - 1, 2 * lanes - 2):
        last = 2 * lanes - 1
        networks = np.minimum(first + np.arange(lanes), last)
        call("pack", dtype, lanes, transfer(outside), first, last, library=blocks.library)
        assert np.array_equal(entries[1:-1], outside[networks, 1 : count + 1].T)
        assert not entries[[0, -1]].any()
        written = np.zeros_like(outside)
        call("unpack", dtype, lanes, transfer(written), first, last, library=blocks.library)
        inside = np.zeros_like(outside)
        inside[networks, 1 : count + 1] = outside[networks, 1 : count + 1]
        assert np.array_equal(written, inside)


def contents(arrays, rows=...):
    return [np.asarray(A)[rows].tobytes() for A in arrays]


def part(weights, directions, loss, rows):
    chosen = (tuple(W[rows] for W in x) for x in (weights, directions))
    return *chosen, loss[rows] if loss.batch_shape else loss


def hvp(weights, directions, loss):
    return hessian.apply(weights, loss, directions)


def plane(weights, directions, loss):
    return (landscape.slice(weights, (directions, weights), loss, (np.linspace(-1, 1, 5), np.linspace(0, 2, 3))),)


evaluations = pytest.mark.parametrize("evaluation", [hvp, plane])


@evaluations
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("widths", [(3, 5, 2, 4), (2, 3), (90, 100, 90)])
def test_bits_do_not_depend_on_order_subset_and_batch_of_one(widths, kind, dtype, evaluation):
    given = problem(widths, kind, dtype=dtype)
    whole = evaluation(*given)
    for rows in (np.arange(11)[::-1], np.array([4, 9, 4]), np.arange(11) % 3 == 0, slice(0, 1)):
        assert contents(evaluation(*part(*given, rows))) == contents(whole, rows)
    for k in (0, 7):
        assert contents(evaluation(*part(*given, k))) == contents(whole, k)


@evaluations
@pytest.mark.parametrize("name", ["targets", *mapped_losses(dln.Network((2, 2)))])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_bits_do_not_depend_on_lanes(evaluation, name, dtype, monkeypatch):
    weights, directions, loss = problem((3, 5, 2, 4), "targets", dtype=dtype)
    loss = mapped_losses(dln.Network((3, 5, 2, 4))).get(name, loss)
    found = {}
    for lanes in ("2", "4", "8"):
        monkeypatch.setenv(LANES_VARIABLE, lanes)
        found[lanes] = contents(evaluation(weights, directions, loss))
    assert found["2"] == found["4"] == found["8"]


@evaluations
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("widths", [(3, 5, 2, 4), (3, 4)])
def test_bits_do_not_depend_on_threads_and_pieces(widths, kind, evaluation, monkeypatch):
    given = problem(widths, kind, n=100)
    whole = contents(evaluation(*given))
    monkeypatch.setattr(evaluate, "PIECE_FLOPS", 1)
    for cores in (1, 3):
        for module in (hessian.products, landscape.slices):
            monkeypatch.setattr(module, "cores", lambda cores=cores: cores)
        assert contents(evaluation(*given)) == whole


@evaluations
@pytest.mark.parametrize("kind", KINDS)
def test_a_network_that_is_not_finite_leaves_the_others_alone(kind, evaluation):
    weights, directions, loss = problem((3, 5, 2, 4), kind)
    usual = evaluation(weights, directions, loss)
    weights[1][3] = np.nan
    spoiled = evaluation(weights, directions, loss)
    others = np.arange(11) != 3
    assert contents(spoiled, others) == contents(usual, others)
    assert np.isnan(spoiled[0][3]).any()


@pytest.mark.parametrize("kind", ["quadratic", "softmax", "huber"])
@pytest.mark.parametrize("widths", [(3, 5, 2, 4), (3, 4)])
def test_layers_may_lie_anywhere(widths, kind):
    weights, directions, loss = problem(widths, kind)
    expected = hvp(weights, directions, loss)
    scattered = tuple(np.asfortranarray(W) for W in weights)
    spread = tuple(np.repeat(V, 2, axis=0)[::2] for V in directions)
    assert contents(hvp(scattered, spread, loss)) == contents(expected)
    # one network and many directions: the same as as many copies of it
    one = tuple(W[:1] for W in weights)
    copies = tuple(np.repeat(W, 11, axis=0) for W in one)
    assert contents(hvp(tuple(W[0] for W in one), directions, loss)) == contents(hvp(copies, directions, loss))


def test_an_error_in_a_thread_is_raised(monkeypatch):
    def fail(task, first, stop):
        raise RuntimeError("as planned")

    monkeypatch.setattr(evaluate, "PIECE_FLOPS", 1)
    monkeypatch.setattr(blocks, "products", fail)
    monkeypatch.setattr(hessian.products, "cores", lambda: 2)
    with pytest.raises(RuntimeError, match="as planned"):
        hvp(*problem((3, 5, 2, 4), n=40))
