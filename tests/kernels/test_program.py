"""The planned products of a network against the matrix formula, executed here by a small interpreter."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from fastdln.field import product, rhs
from fastdln.kernels.products.program import program
from fastdln.kernels.products.rows import NN, NT, TN
from fastdln.losses import Quadratic, Regression
from fastdln.network import Network

networks = st.lists(st.integers(1, 7), min_size=2, max_size=7).map(lambda widths: Network(tuple(widths)))


def orders(depth):
    return [(family, m) for family in ("meet", "narrow") for m in range(1, depth)] or [None]


def matrix(bases, operand, rows, columns):
    """View a matrix of rows that are ``operand.row`` apart."""
    start, step = operand.offset, operand.row
    flat = bases[operand.base]
    assert start + (rows - 1) * step + columns <= len(flat)
    item = flat.itemsize
    return np.lib.stride_tricks.as_strided(flat[start:], (rows, columns), (step * item, item))


def execute(products, bases):
    for p in products:
        rows, columns = (p.k, p.m) if p.form == TN else (p.m, p.k)
        A = matrix(bases, p.a, rows, columns)
        A = A.T if p.form == TN else A
        B = matrix(bases, p.b, p.n, p.k).T if p.form == NT else matrix(bases, p.b, p.k, p.n)
        assert p.form in (NN, TN, NT)
        result = A @ B if p.d is None else matrix(bases, p.d, p.m, p.n) - A @ B
        matrix(bases, p.c, p.m, p.n)[...] = result


def random_problem(net, gram, seed=0):
    rng = np.random.default_rng(seed)
    d_0, d_h = net.widths[0], net.widths[-1]
    weights = tuple(rng.standard_normal(shape) for shape in net.shapes)
    if gram:
        return weights, Regression(rng.standard_normal((d_0, 9)), rng.standard_normal((d_h, 9)))
    return weights, Quadratic(rng.standard_normal((d_h, d_0)))


def run(net, weights, loss, plan):
    """Execute a program; returns its state, derivative and scratch, unused numbers NaN."""
    state, slope = (np.full(plan.layers[-1], np.nan) for _ in range(2))
    scratch = np.full(plan.n_scratch, np.nan)
    for i, W in enumerate(weights):
        state[plan.layers[i] : plan.layers[i] + W.size] = W.ravel()
    identity = np.eye(net.widths[0])
    named = {
        "cross": loss.quadratic.cross,
        "gram": identity if loss.quadratic.input_gram is None else loss.quadratic.input_gram,
        "root": identity if loss.quadratic.input_root is None else loss.quadratic.input_root,
        "whitened": loss.quadratic.whitened,
        "left": loss.modes.U,
        "right": loss.modes.V,
        "whole": loss.quadratic.cross @ loss.modes.V,
    }
    for name, (offset, rows, columns) in plan.constants.items():
        assert named[name].shape == (rows, columns)
        scratch[offset : offset + rows * columns] = named[name].ravel()
    bases = (state, slope, scratch)
    execute(plan.rhs, bases)
    residual = None
    if plan.known.residual is not None:
        residual = matrix(bases, plan.known.residual, *loss.shape).copy()
    execute(plan.watch, bases)
    watched = projection(bases, plan, loss)
    execute(plan.observe, bases)
    return bases, residual, watched


def projection(bases, plan, loss):
    """W V, if strengths are wanted."""
    return bases[2][plan.projected : plan.projected + loss.modes.U.size].reshape(loss.modes.U.shape).copy()


@given(networks, st.booleans(), st.sampled_from([1, 8]), st.data())
def test_every_order_gives_the_field_of_the_formula(net, gram, unit, data):
    order = data.draw(st.sampled_from([*orders(net.depth), None]))
    weights, loss = random_problem(net, gram)
    plan = program(net.widths, gram, min(loss.shape), unit, order)
    bases, residual, watched = run(net, weights, loss, plan)
    for i, V in enumerate(rhs(weights, loss)):
        computed = bases[1][plan.layers[i] : plan.layers[i] + V.size].reshape(V.shape)
        assert_allclose(computed, V, rtol=1e-10, atol=1e-10 * (1 + np.abs(V).max()))
    W = product(weights)
    close = {"rtol": 1e-10, "atol": 1e-10 * (1 + np.abs(W).max())}
    if residual is not None:
        assert_allclose(residual, -loss.grad(W), **close)
    assert_allclose(matrix(bases, plan.product, *loss.shape), W, **close)
    compared = W if loss.quadratic.input_root is None else W @ loss.quadratic.input_root
    assert_allclose(matrix(bases, plan.compared, *loss.shape), compared, **close)
    U, _, V = loss.modes
    execute(plan.project, bases)
    strengths = np.einsum("ij,ik,kj->j", U, W, V)
    for projected in (watched, projection(bases, plan, loss)):
        assert_allclose((projected * U).sum(axis=0), strengths, **close)
    for j, v in enumerate(V.T):
        bases[2][plan.column : plan.column + len(v)] = v
        execute(plan.follow, bases)
        assert_allclose(U[:, j] @ bases[2][plan.image : plan.image + len(U)], strengths[j], **close)


@given(networks, st.booleans())
def test_matrices_begin_at_whole_vectors(net, gram):
    unit = 8
    plan = program(net.widths, gram, net.rank, unit)
    for p in (*plan.rhs, *plan.observe, *plan.project, *plan.watch, *plan.follow):
        for operand in (p.a, p.b, p.c, p.d or p.c):
            assert operand.offset % unit == 0
    assert all(offset % unit == 0 for offset in plan.layers)


def counted(products):
    return sum(2 * p.m * p.n * p.k for p in products)


@given(networks)
def test_flops_are_those_of_the_formulas(net):
    d, h = net.widths, net.depth
    if h == 1:
        return
    suffix = 6 * d[h] * sum(d[i] * d[i - 1] for i in range(1, h))
    prefix = 6 * d[0] * sum(d[i] * d[i - 1] for i in range(2, h + 1))
    costs = []
    for order, formula in ((("meet", 1), suffix), (("meet", h - 1), prefix)):
        assert counted(program(d, order=order).rhs) == formula
        costs.append(formula)
    for k in range(1, h):
        outside = sum(d[i] * d[i - 1] for i in range(1, h + 1) if i not in (k, k + 1))
        narrow = 6 * d[k] * outside + 4 * d[h] * d[0] * d[k] + 4 * d[k] ** 2 * (d[0] + d[h])
        assert counted(program(d, order=("narrow", k)).rhs) == narrow
        costs.append(narrow)
    costs += [counted(program(d, order=("meet", m)).rhs) for m in range(2, h - 1)]
    cheapest = program(d)
    assert counted(cheapest.rhs) == cheapest.flops == min(costs)


@given(networks)
def test_the_cheapest_order_is_chosen_with_a_gram_matrix_too(net):
    plans = [program(net.widths, True, order=order) for order in orders(net.depth)]
    assert program(net.widths, True).flops == min(counted(plan.rhs) for plan in plans)


def test_a_bottleneck_is_worth_its_own_order():
    widths = (20, 15, 3, 14, 18)
    flops = {order: program(widths, order=order).flops for order in orders(4)}
    assert flops[("narrow", 2)] == 15_624
    assert (flops[("meet", 3)], flops[("meet", 1)]) == (40_680, 41_796)
    assert program(widths).order == ("narrow", 2)


def test_equal_widths_take_six_products_a_layer():
    for h in range(2, 7):
        plan = program((5,) * (h + 1))
        assert plan.flops == 6 * (h - 1) * 5**3
        assert plan.order[0] == "meet"
