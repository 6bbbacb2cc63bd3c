"""Growth that no error norm sees: the products and the rate that limit steps, and the flows that this keeps right."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import fastdln as dln
from fastdln import theory as th
from fastdln.field import product
from fastdln.integrate.chebyshev import RKC2, ROCK, rkc2, rock4
from fastdln.integrate.control import FOLLOWED, followed, stability_polynomial
from fastdln.integrate.methods import growth_limits
from fastdln.integrate.tableaus import EXPLICIT
from fastdln.kernels.lockstep import control
from fastdln.kernels.lockstep.growth import TRACE, general, growth
from fastdln.kernels.products.program import program
from fastdln.network import Network
from tests.kernels.test_program import execute, networks, orders, random_problem
from tests.support.hidden import SIGMA, learning_time, network
from tests.support.kernels import call

LANES = 4
PAR = dict.fromkeys(control.PARAMETERS, 0.0)


def chain(weights, first, last, size):
    """W_last ... W_first of layers counted from 1; the identity where there is none."""
    product = np.eye(size)
    for W in weights[first - 1 : last]:
        product = W @ product
    return product


def operators(weights, R):
    """For pairs i > j, the matrices W_{<j} R' W_{>i} and W_{i-1} ... W_{j+1} (or None)."""
    h = len(weights)
    d = [weights[0].shape[1], *(len(W) for W in weights)]
    for i in range(h, 1, -1):
        for j in range(1, i):
            outer = chain(weights, 1, j - 1, d[0]) @ R.T @ chain(weights, i + 1, h, d[i])
            yield outer, chain(weights, j + 1, i - 1, d[j]) if i - j > 1 else None


# ---- the products


@given(networks, st.booleans(), st.sampled_from([1, 8]), st.data())
def test_the_products_are_those_of_the_power_iterations(net, gram, unit, data):
    if net.depth == 1:
        return
    order = data.draw(st.sampled_from([*orders(net.depth), None]))
    weights, loss = random_problem(net, gram)
    plan = program(net.widths, gram, 0, unit, order)
    look = growth(plan, net.widths, unit)
    rng = np.random.default_rng(1)
    bases = [np.full(plan.layers[-1], np.nan), np.full(plan.layers[-1], np.nan), np.full(look.n_scratch, np.nan)]
    for i, W in enumerate(weights):
        bases[0][plan.layers[i] : plan.layers[i] + W.size] = W.ravel()
    form = loss.quadratic
    constants = {"cross": form.cross, "gram": form.input_gram, "root": form.input_root, "whitened": form.whitened}
    for name, (offset, rows, columns) in plan.constants.items():
        bases[2][offset : offset + rows * columns] = constants[name].ravel()
    vectors = [rng.standard_normal(size) for _, _, size, _, _ in look.norms]
    for (v, _, size, _, _), x in zip(look.norms, vectors, strict=True):
        assert look.vectors <= v < look.vectors + look.n_vectors
        bases[2][v : v + size] = x
    execute(plan.rhs, bases)
    execute(look.products, bases)
    R = -loss.grad(product(weights))
    expected = [M for outer, inner in operators(weights, R) for M in (outer, inner) if M is not None]
    assert len(expected) == len(look.norms)
    for (v, image, size, _, _), x, M in zip(look.norms, vectors, expected, strict=True):
        assert np.array_equal(bases[2][v : v + size], x)  # kept
        found = M.T @ (M @ x)
        scale = (
            1e-11
            * (1 + np.linalg.norm(M) ** 2 + np.abs(R).max() ** 2)
            * np.prod([1 + np.abs(W).max() for W in weights]) ** 2
        )
        assert_allclose(bases[2][image : image + size], found, rtol=1e-9, atol=scale)
    residual = bases[2][look.residual : look.residual + R.size].reshape(R.shape)
    assert_allclose(residual, R, rtol=1e-9, atol=1e-10 * (1 + np.abs(R).max()))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_one_look(dtype):
    """Norms, vectors and the longest step against plain NumPy; lanes that are not asked for stay as they are."""
    sizes, rng = (4, 3, 2), np.random.default_rng(0)
    vectors = [np.ascontiguousarray(rng.standard_normal((n, LANES)), dtype) for n in sizes]
    images = [np.ascontiguousarray(rng.standard_normal((n, LANES)), dtype) for n in sizes]
    images[2][:, 3] = 0.0  # no norm: the vector is kept
    before = [v.copy() for v in vectors]
    numbers = np.concatenate([general(n) for n in sizes]).astype(dtype)
    offsets = np.cumsum([0, *sizes[:-1]]) * numbers.itemsize
    # the first norm is a pair with the second, the third stands alone
    table = np.array(
        [(v.ctypes.data, x.ctypes.data, n, o, first, last)
         for v, x, n, o, (first, last) in zip(vectors, images, sizes, offsets, ((1, 0), (0, 1), (1, 1)), strict=True)],
        np.int64,
    )  # fmt: skip
    ctl = np.zeros((control.CONTROL_ROWS, LANES))
    ctl[control.EXCESS2], ctl[control.LONGEST], ctl[control.LOOKS] = np.inf, 7.0, [0, 1, 0, 3]
    ctl[control.EXCESS2, 1] = 0.01
    mask = np.array([0, 0, 1, 0], dtype)
    par = np.array(list((PAR | {"growth_cap": 0.5, "growth_share": 1.5, "growth_doubt": 2.0}).values()))
    call("renew_growth", dtype, LANES, ctl, par, table, len(table), numbers, mask)
    close = {"rtol": 1e-12 if dtype == np.float64 else 1e-5}
    for l in range(LANES):
        norms = [float(np.linalg.norm(x[:, l].astype(float))) for x in images]
        if mask[l]:
            assert ctl[control.LONGEST, l] == 7.0
            assert ctl[control.LOOKS, l] == 0
            assert all(np.array_equal(v[:, l], w[:, l]) for v, w in zip(vectors, before, strict=True))
            continue
        square = 1.5 * (norms[0] * norms[1] + norms[2]) * min(1.0, ctl[control.EXCESS2, l] / norms[0])
        looks = [1, 2, 0, 4][l]
        assert ctl[control.LOOKS, l] == looks
        assert_allclose(ctl[control.LONGEST, l], 0.5 / math.sqrt(square) / (1 + 2.0 / looks**2), **close)
        for v, w, x, o, norm in zip(vectors, before, images, offsets // numbers.itemsize, norms, strict=True):
            expected = x[:, l] / norm + TRACE * numbers[o : o + len(x)] if norm else w[:, l]
            assert_allclose(v[:, l], expected, rtol=1e-12 if dtype == np.float64 else 1e-5)


@given(networks, st.integers(0, 10))
def test_the_rate_bounds_the_growing_part_of_the_hessian(net, seed):
    """-H without the part that damps is at most ||T||_2, and that at most the Frobenius norm that is taken."""
    h = net.depth
    if h == 1:
        return
    weights, loss = random_problem(net, False, seed)
    R = -loss.grad(product(weights))
    norm = lambda M: 1.0 if M is None else float(np.linalg.norm(M, 2))  # noqa: E731
    T, values = np.zeros((h, h)), iter([norm(a) * norm(b) for a, b in operators(weights, R)])
    for i in range(h, 1, -1):
        for j in range(1, i):
            T[i - 1, j - 1] = T[j - 1, i - 1] = next(values)
    rate = float(np.linalg.norm(T, 2))
    grows = -float(np.linalg.eigvalsh(th.hessian.matrix(weights, loss))[0])
    assert grows <= rate * (1 + 1e-9) + 1e-9
    share = math.sqrt(2 * (1 - 1 / h) * np.square(np.tril(T)).sum())
    assert rate <= share * (1 + 1e-12)


# ---- what a method follows


@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("method", EXPLICIT.values(), ids=EXPLICIT)
def test_growth_is_followed_up_to_the_limit(method, rtol):
    """One step of length z multiplies y of y' = y by e^(z (1 + 5 rtol)) at the most."""
    z, _ = growth_limits(method, rtol)
    slopes = []
    for row in method.rows[: method.stages]:
        slopes.append(1 + z * sum(a * k for a, k in zip(row, slopes, strict=False)))
    end = 1 + z * sum(b * k for b, k in zip(method.b, slopes, strict=False))
    allowed = FOLLOWED.get(method.order, 5) * rtol
    assert abs(math.log(end) / z - 1) <= allowed * (1 + 1e-6) + 1e-13
    longer = followed(stability_polynomial(method), method.order, 1.1 * rtol)
    assert longer >= z  # and so much only


def test_stabilized_methods_follow_growth_in_every_degree():
    rtol = 1e-6
    z, second = growth_limits(ROCK, rtol)
    for method in rock4.degrees()[::5]:
        g = [1.0, 1.0 + z * method.mu[0]]
        for mu, kappa in zip(method.mu[1:], method.kappa[1:], strict=True):
            g.append(z * mu * g[-1] + (1 + kappa) * g[-1] - kappa * g[-2])
        a, k = method.a, [z * g[-1]]
        k.append(z * (g[-1] + a[0] * k[0]))
        k.append(z * (g[-1] + a[1] * k[0] + a[2] * k[1]))
        k.append(z * (g[-1] + a[3] * k[0] + a[4] * k[1] + a[5] * k[2]))
        end = g[-1] + float(np.dot(method.b, k))
        assert abs(math.log(end) / z - 1) <= FOLLOWED[4] * rtol * 1.01
    assert growth_limits(RKC2, rtol) == (second, second)
    for s in (4, 7, 30, 111):
        w0, w1, *_ = rkc2.coefficients(s)
        T = np.polynomial.Chebyshev.basis(s)
        b = T.deriv(2)(w0) / T.deriv()(w0) ** 2
        end = 1 - b * T(w0) + b * T(w0 + w1 * second)
        assert abs(math.log(end) / second - 1) <= FOLLOWED[2] * rtol * 1.01


# ---- flows


ALLOWED = {"bs3": 30, "rkc2": 30}
METHOD_NAMES = ("tsit5", "bs3", "dp5", "dop853", "rock", "rkc2", "auto")


def error(weights, target, time, rtol=1e-6, **options):
    """Of the learning time of the hidden mode, in units of rtol."""
    sol = dln.flow(weights, dln.Quadratic(target), (0.0, 3 * time), rtol=rtol, record=("learning_times",), **options)
    return abs(float(sol.learning_times[0]) - time) / time / rtol


@pytest.mark.parametrize("rng", [None, 1, 2], ids=["diagonal", "rotated", "rotated otherwise"])
@pytest.mark.parametrize("depth", [2, 3, 4, 6])
@pytest.mark.parametrize("method", METHOD_NAMES)
def test_learning_times_of_hidden_modes(method, depth, rng):
    for small in (1e-6, 1e-10, 1e-12):
        weights, target = network(depth, small, rng)
        rounding = 1e-16 / small / 1e-6
        assert error(weights, target, learning_time(depth, small), method=method) <= ALLOWED.get(method, 10) + rounding


@pytest.mark.parametrize(("engine", "width"), [("lanes", 8), ("dense", 32), ("wide", 32), ("reduced", 32)])
@pytest.mark.parametrize("depth", [3, 4])
def test_every_engine_follows_hidden_growth(engine, width, depth):
    small = 1e-10
    weights, target = network(depth, small, 3, width)
    time = learning_time(depth, small)
    for method, rtol in (("tsit5", 1e-6), ("tsit5", 1e-3), ("dop853", 1e-6)):
        assert error(weights, target, time, rtol, method=method, engine=engine) <= 10


def test_coupled_blocks():
    """What a hidden block of a wide network does to the weights: within ten units of the tolerance."""
    rng = np.random.default_rng(5)
    widths, m, eps = (2, 90, 91, 88, 5), 12, 1e-8
    weights = [0.8 * rng.standard_normal((b, a)) / np.sqrt(a) for a, b in itertools.pairwise(widths)]
    for i, W in enumerate(weights):
        if i > 0:
            W[:, m:] *= eps if i == 3 else 1.0
        if i < 3:
            W[m:] *= eps if i == 0 else 1.0
        if 0 < i < 3:
            W[m:, :m] = W[m:, :m] * eps
            W[:m, m:] = W[:m, m:] * eps
            W[m:, m:] *= 2.0
    loss = dln.Quadratic.from_singular_values((2.5, 1.0), shape=(5, 2), rng=0)
    exact = dln.flow(weights, loss, (0.0, 3.0), engine="dense", method="dop853", rtol=1e-11)
    for engine, method in (("dense", "tsit5"), ("wide", "tsit5"), ("lanes", "dp5")):
        sol = dln.flow(weights, loss, (0.0, 3.0), engine=engine, method=method)
        for V, W in zip(sol.final, exact.final, strict=True):
            assert np.linalg.norm(V - W) <= 10 * 1e-6 * np.linalg.norm(W)


def test_bottlenecks_are_spared():
    """Modes that the widths cannot hold grow nowhere: near the minimum they do not limit steps."""
    loss = dln.Quadratic(np.diag([4.0, 3.0, 2.0]))
    weights = dln.inits.gaussian(Network((3, 1, 3)), 0.5, rng=0)
    whole, part = (dln.flow(weights, loss, (0.0, t), rtol=1e-9) for t in (200.0, 20.0))
    stability = 3.3 / (2 * 4.0)  # the longest steps of tsit5 by the sharpness of a balanced minimum
    assert whole.n_accepted - part.n_accepted <= 1.6 * 180 / stability


def test_the_rate_is_that_of_the_trajectory_alone():
    """Looks are taken at the trajectory's own attempts, whatever its neighbours do."""
    loss = dln.Quadratic(np.diag([1.0, SIGMA[0]]))
    starts = [network(3, 10.0**-k)[0] for k in range(3, 12)]
    batch = tuple(np.stack([np.flip(w[i], axis=(0, 1)) for w in starts]) for i in range(3))
    together = dln.flow(batch, loss, (0.0, 60.0), record=("learning_times",))
    for k in range(len(starts)):
        alone = dln.flow(tuple(W[k] for W in batch), loss, (0.0, 60.0), record=("learning_times",), engine="lanes")
        assert alone.n_accepted == together.n_accepted[k]
        assert np.array_equal(alone.learning_times, together.learning_times[k], equal_nan=True)
        assert all(np.array_equal(V, W[k]) for V, W in zip(alone.final, together.final, strict=True))


@pytest.mark.parametrize("engine", ["lanes", "dense"])
def test_vectors_that_are_nearly_at_right_angles_to_what_grows(engine):
    """One round of a power iteration can miss what grows: bases in which the general vector sees a tenth of it."""
    small, time = 1e-10, learning_time(3, 1e-10)
    for angle in np.linspace(0.0, math.pi, 16, endpoint=False):
        Q = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        weights, target = network(3, small)
        weights = (weights[0] @ Q.T, weights[1], Q @ weights[2])
        assert error(weights, Q @ target @ Q.T, time, engine=engine) <= 10


@pytest.mark.parametrize("engine", ["lanes", "dense", "wide"])
def test_the_longest_step_is_renewed(engine):
    """A rate that grows on the way: the hidden mode waits for a larger one to be learned, whose layers are its own."""
    # three layers; the middle one carries the first mode from small to large, and is what the second one grows by
    loss = dln.Quadratic(np.diag([8.0, 6.0]))
    start = (np.diag([0.1, 1e-9]), np.diag([0.1, 0.05]), np.diag([0.1, 1e-9]))
    mixed = np.array([[0.8, -0.6], [0.6, 0.8]])
    weights = (mixed @ start[0], mixed @ start[1] @ mixed.T, start[2] @ mixed.T)
    sol = dln.flow(weights, loss, (0.0, 40.0), engine=engine, history=True)
    times = np.union1d([0.0], sol.history()[0])
    way = dln.flow(weights, loss, (0.0, 40.0), times, "dop853", rtol=1e-10, record=("weights",), engine="dense")
    z, _ = growth_limits(EXPLICIT["tsit5"], 1e-6)
    rates = []
    for k in range(len(times)):
        now = [W[k] for W in way.weights]
        R = -loss.grad(product(tuple(now)))
        pairs = [np.linalg.norm(a, 2) * (1.0 if b is None else np.linalg.norm(b, 2)) for a, b in operators(now, R)]
        rates.append(math.sqrt(np.square(pairs).sum()))  # at most ||T||_2 of three layers
    # a look is at most a few attempts old
    recent = [max(rates[max(k - 8, 0) : k + 1]) for k in range(len(rates) - 1)]
    least = [min(rates[max(k - 8, 0) : k + 1]) for k in range(len(rates) - 1)]
    steps = np.diff(times)
    assert max(recent) > 3 * rates[0]
    assert (steps * np.array(least) <= z * (1 + 1e-6)).all()
