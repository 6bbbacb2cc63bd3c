"""Learning times against the closed form of a balanced mode, in random bases, for every method and engine.

A mode of singular value sigma passes half its strength when the common singular value s of the layers passes
(sigma/2)^(1/h).  A small start in random bases is itself known only to rounding, which the mode amplifies, hence the
second term of the tolerance.  (A. Saxe, J. McClelland & S. Ganguli, ICLR 2014, for the modes.)
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import brentq

import fastdln as dln
from fastdln.theory import exact

METHODS = ("bs3", "dp5", "tsit5", "dop853", "rock", "auto")
EPS = np.finfo(float).eps


def balanced_start(loss, s0, depth, rng):
    """Draw layers O_i s_0 O_{i-1}' with random orthogonal O_i, the bases of the modes at both ends."""
    d = loss.shape[0]
    frames = [np.linalg.qr(rng.standard_normal((d, d)))[0] for _ in range(depth - 1)]
    U, _, V = loss.modes
    bases = [V, *frames, U]
    return tuple(s0 * above @ below.T for below, above in pairwise(bases))


def check(times, sigma, s0, depth, rtol):
    expected = exact.mode_time((np.asarray(sigma) / 2) ** (1 / depth), s0, sigma, depth)
    tolerance = 10 * rtol + EPS / (s0 * np.asarray(sigma) * expected)
    error = np.abs(times / expected - 1)
    assert (error <= tolerance).all(), (s0, error / tolerance)


@pytest.mark.parametrize("engine", ["lanes", "dense"])
@pytest.mark.parametrize("rtol", [1e-4, 1e-6, 1e-8])
@pytest.mark.parametrize("method", METHODS)
def test_two_layers_from_any_scale(method, rtol, engine):
    rng = np.random.default_rng(5)
    sigma = (4.0, 1.0, 0.25)
    loss = dln.Quadratic.from_singular_values(sigma, shape=(3, 3), rng=rng)
    scales = (1e-2, 1e-4, 1e-8, 1e-12)
    w0 = tuple(np.stack(layers) for layers in zip(*(balanced_start(loss, s0, 2, rng) for s0 in scales), strict=True))
    sol = dln.flow(w0, loss, (0.0, 130.0), [], method=method, rtol=rtol, record="learning_times", engine=engine)
    assert sol.success.all()
    for one, s0 in zip(sol, scales, strict=True):
        check(one.learning_times, sigma, s0, 2, rtol)


@pytest.mark.parametrize("engine", ["lanes", "dense"])
@pytest.mark.parametrize("method", METHODS)
def test_rates_and_inputs_that_only_scale_time(method, engine):
    """Equal rates, and inputs with X X'/m = c I, make the flow so many times faster."""
    rng = np.random.default_rng(8)
    sigma, s0, rtol, c = (4.0, 1.0), 1e-10, 1e-6, 3.0
    plain = dln.Quadratic.from_singular_values(sigma, shape=(2, 2), rng=rng)
    X = np.sqrt(5 * c) * np.linalg.qr(rng.standard_normal((5, 2)))[0].T
    for loss, rates in ((plain, (c, c)), (dln.Regression(X, plain.target @ X), None)):
        w0 = balanced_start(loss, s0, 2, rng)
        sol = dln.flow(
            w0, loss, (0.0, 20.0), [], method, rtol, layer_rates=rates, record="learning_times", engine=engine
        )  # fmt: skip
        check(sol.learning_times * c, sigma, s0, 2, rtol)


@pytest.mark.parametrize("engine", ["lanes", "dense"])
@pytest.mark.parametrize(("depth", "s0"), [(1, 1e-6), (3, 0.05), (4, 0.1), (5, 0.2)])
@pytest.mark.parametrize("method", METHODS)
def test_other_depths(method, depth, s0, engine):
    rng = np.random.default_rng(depth)
    sigma = (4.0, 1.0)
    loss = dln.Quadratic.from_singular_values(sigma, shape=(2, 2), rng=rng)
    for rtol in (1e-4, 1e-7):
        w0 = balanced_start(loss, s0, depth, rng)
        sol = dln.flow(w0, loss, (0.0, 300.0), [], method=method, rtol=rtol, record="learning_times", engine=engine)
        check(sol.learning_times, sigma, s0, depth, rtol)


@pytest.mark.parametrize(("depth", "method"), [(3, "tsit5"), (3, "bs3"), (4, "dop853"), (3, "rock"), (4, "auto")])
def test_deep_networks_from_small_starts(depth, method):
    rng = np.random.default_rng(2)
    sigma, s0, rtol = (4.0, 1.0), 1e-3 if depth == 3 else 0.02, 1e-6
    loss = dln.Quadratic.from_singular_values(sigma, shape=(2, 2), rng=rng)
    t_end = float(1.1 * exact.mode_time(0.9, s0, 1.0, depth))
    sol = dln.flow(
        balanced_start(loss, s0, depth, rng), loss, (0.0, t_end), [], method=method, rtol=rtol, record="learning_times"
    )
    check(sol.learning_times, sigma, s0, depth, rtol)


@pytest.mark.parametrize("widths", [(3, 5, 4), (4, 3, 2, 3), (2, 2, 2)], ids=str)
def test_decoupled_starts_of_the_library(widths):
    net = dln.Network(widths)
    sigma = (3.0, 1.5)
    loss = dln.Quadratic.from_singular_values(sigma, shape=(widths[-1], widths[0]), rng=0)
    w0 = dln.inits.decoupled(net, loss, (0.05, 0.04, 0.03)[: net.rank], size=3, rng=1)
    sol = dln.flow(w0, loss, (0.0, 60.0), [], rtol=1e-8, record="learning_times")
    for j, s0 in enumerate((0.05, 0.04)):
        expected = exact.mode_time((sigma[j] / 2) ** (1 / net.depth), s0, sigma[j], net.depth)
        assert_allclose(sol.learning_times[:, j], expected, rtol=1e-7)
    assert np.isnan(sol.learning_times[:, 2:]).all()  # modes without a singular value


def test_aligned_starts_are_learned_like_a_finer_integration():
    loss = dln.Quadratic.from_singular_values((3.0, 1.5, 1.0), shape=(3, 3), rng=0)
    # two of three modes: half of all square balanced starts have a product of the wrong sign and end at a saddle
    w0 = dln.inits.aligned(dln.Network((3, 3, 3)), 1e-3, size=4, rng=1)
    coarse, fine = (
        dln.flow(w0, loss, (0.0, 40.0), [], rtol=rtol, method=method, record="learning_times")
        for rtol, method in ((1e-6, "tsit5"), (1e-12, "dop853"))
    )
    assert_allclose(coarse.learning_times[:, :2], fine.learning_times[:, :2], rtol=1e-5)


def test_regression_is_learned_when_its_strength_passes_half():
    rng = np.random.default_rng(0)
    loss = dln.Regression(rng.standard_normal((3, 20)), rng.standard_normal((2, 20)))
    w0 = dln.inits.gaussian(dln.Network((3, 4, 2)), 0.1, size=5, rng=1)
    sol = dln.flow(w0, loss, (0.0, 300.0), [], rtol=1e-9, record="learning_times")
    assert np.isfinite(sol.learning_times).all()
    for k in range(5):
        start = tuple(W[k] for W in w0)
        order = np.argsort(sol.learning_times[k])
        at = dln.flow(start, loss, (0.0, 300.0), sol.learning_times[k][order], rtol=1e-9, record="strengths")
        assert_allclose(at.strengths[[0, 1], order], loss.modes.sigma[order] / 2, rtol=1e-6)


@pytest.mark.parametrize("engine", ["lanes", "dense"])
def test_each_trajectory_has_the_modes_of_its_own_target(engine):
    sigma = np.array([[4.0, 1.0], [2.0, 0.5], [3.0, 0.0]])
    loss = dln.Quadratic.from_singular_values(sigma, shape=(2, 2), rng=0)
    w0 = dln.inits.decoupled(dln.Network((2, 2, 2)), loss, 1e-3, rng=0)
    sol = dln.flow(w0, loss, (0.0, 50.0), [], rtol=1e-8, record="learning_times", engine=engine)
    known = sigma > 0
    expected = exact.mode_time(np.sqrt(sigma[known] / 2), 1e-3, sigma[known], 2)
    assert_allclose(sol.learning_times[known], expected, rtol=1e-7)
    assert np.isnan(sol.learning_times[~known]).all()


def test_modes_learned_at_the_start_and_never():
    loss = dln.Quadratic.from_singular_values((4.0, 2.0, 1.0, 0.0), shape=(4, 4), rng=0)
    s = np.array([2.0, 1.5, 0.01, 0.1])
    w0 = dln.inits.decoupled(dln.Network((4, 4, 4)), loss, s, rng=1)
    sol = dln.flow(w0, loss, (3.0, 4.0), [], record="learning_times")
    assert sol.learning_times[:2].tolist() == [3.0, 3.0]  # strengths 4 and 2.25 are more than half
    assert np.isnan(sol.learning_times[2:]).all()  # not yet, and never
    further = sol.extend(20.0, [])
    assert further.learning_times[:2].tolist() == [3.0, 3.0]
    assert further.learning_times[2] == pytest.approx(3 + exact.mode_time(np.sqrt(0.5), 0.01, 1.0, 2), rel=1e-5)
    assert np.isnan(further.learning_times[3])


def test_a_singular_value_of_rounding_is_no_mode():
    loss = dln.Quadratic(np.diag([1.0, 2e-13]))
    w0 = tuple(np.eye(2) for _ in range(2))
    assert np.isnan(dln.flow(w0, loss, (0.0, 1.0), record="learning_times").learning_times[1])


def test_backwards_a_mode_is_learned_where_it_passes_half():
    """Backwards a strength above the singular value grows: learned at once; below it falls and is never learned."""
    loss = dln.Quadratic.from_singular_values((2.0, 1.0), shape=(2, 2))
    w0 = dln.inits.decoupled(dln.Network((2, 2, 2)), loss, (1.1, 0.5), rng=0)
    sol = dln.flow(w0, loss, (0.0, -1.0), [], record="learning_times")
    assert sol.learning_times[0] == 0.0
    assert np.isnan(sol.learning_times[1])


@pytest.mark.parametrize("engine", ["lanes", "dense", "wide"])
@pytest.mark.parametrize(("method", "rtol", "close"), [("tsit5", 1e-4, 1e-3), ("dop853", 1e-6, 1e-5)])
def test_a_strength_that_is_above_its_threshold_within_a_step_only(method, rtol, close, engine):
    """Of one layer the strength is  1 - sum_k a_k e^(-lambda_k t):  here it rises, falls, and rises for good.

    The first summit is hardly above 1/2; where both ends of the step around it are below, that is a passing too.
    """
    rng, n = np.random.default_rng(0), 100
    rates, basis = np.array([0.2, 1.0, 6.0]), np.linalg.qr(rng.standard_normal((3, 3)))[0]
    shares = np.array([0.5, 0.6, 0.62]) / np.linalg.norm([0.5, 0.6, 0.62])
    loss = dln.Regression(np.sqrt(3 * rates) * basis, shares @ basis.T @ (np.sqrt(3 * rates) * basis)[None])
    starts, expected, parts = [], [], []

    def strength(t, a):
        return 1 - np.exp(-np.multiply.outer(t, rates)) @ a

    t = np.linspace(0, 2, 20_001)
    for _ in range(n):
        a = np.array([0.0, -rng.uniform(0.5, 0.7), rng.uniform(0.3, 1.0)])
        height = 0.5 * (1 + np.exp(rng.uniform(np.log(1e-3), np.log(2e-2))))
        # the summit for the part of the slow motion that puts it at that height
        a[0] = brentq(
            lambda x, a=a, height=height: strength(t, np.array([x, *a[1:]])).max() - height, 0.1, 2.0, xtol=1e-15
        )
        expected.append(brentq(lambda s, a=a: strength(s, a) - 0.5, 0.0, t[strength(t, a).argmax()], xtol=1e-15))
        starts.append((shares - a / shares) @ basis.T)
        parts.append(a)
    options = {"record": "learning_times", "engine": engine, "history": True}
    sol = dln.flow((np.array(starts)[:, None, :],), loss, (0.0, 5.0), [], method, rtol, **options)
    assert_allclose(sol.learning_times[:, 0], expected, rtol=0, atol=close)
    ends = [sol.history(k)[0] for k in range(n)]
    after = [x[np.searchsorted(x, passing)] for x, passing in zip(ends, expected, strict=True)]
    assert sum(strength(x, a) < 0.5 for x, a in zip(after, parts, strict=True)) > 5


@pytest.mark.parametrize(("widths", "engine"), [((6, 6, 6), "lanes"), ((6, 5, 7, 6), "dense"), ((6, 24, 6), "wide")])
@pytest.mark.parametrize("rtol", [1e-2, 1e-4, 1e-7])
@pytest.mark.parametrize("method", METHODS)
def test_at_its_learning_time_a_strength_is_at_its_threshold(method, rtol, widths, engine):
    """By the same continuous output, however many modes are learned in one step."""
    if engine == "wide" and method in ("rock", "auto"):
        pytest.skip("the wide engine has explicit methods only")
    loss = dln.Quadratic.from_singular_values(np.linspace(4.0, 1.0, 6), shape=(6, 6), rng=0)
    starts = dln.inits.gaussian(dln.Network(widths), 0.6, size=3 if engine == "wide" else 11, rng=0)
    flow = {"span": (0.0, 20.0), "method": method, "rtol": rtol, "engine": engine}
    sol = dln.flow(starts, loss, t_eval=[], record="learning_times", **flow)
    assert np.isfinite(sol.learning_times).mean() > 0.8
    for k, times in enumerate(sol.learning_times):
        known = np.flatnonzero(np.isfinite(times))
        known = known[np.argsort(times[known])]
        at = dln.flow(tuple(W[k : k + 1] for W in starts), loss, t_eval=times[known], record="strengths", **flow)
        strengths = at.strengths[0, np.arange(len(known)), known]
        assert_allclose(strengths, loss.modes.sigma[known] / 2, rtol=0.1 * rtol)
