"""Starts down to 1e-60: learning times, gradients and tolerances where squares underflow."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastdln as dln
from fastdln import theory as th

SIGMA = np.array([4.0, 1.0, 0.25])
TINY = 1e-60
ENGINES = ("lanes", "dense", "wide", "reduced")
engines = pytest.mark.parametrize("engine", ENGINES)
METHODS = {"tsit5": 10, "dp5": 10, "dop853": 10, "bs3": 30, "rock": 10, "rkc2": 30, "auto": 10}  # of rtol
RTOL = 1e-6


def half(sigma, start, depth):
    """When the strength of a balanced mode reaches sigma/2."""
    return float(th.exact.mode_time((sigma / 2) ** (1 / depth), start, sigma, depth))


def flow(w0, loss, t, method="tsit5", engine="auto", **options):
    return dln.flow(w0, loss, (0.0, t), options.pop("t_eval", []), method, RTOL, engine=engine, **options)


# ---- two layers: any start, all modes


@pytest.mark.parametrize("start", [1e-12, 1e-30, TINY])
@pytest.mark.parametrize("method", METHODS)
def test_all_modes_of_two_layers_are_learned_in_time(method, start):
    loss = dln.Quadratic.from_singular_values(SIGMA, shape=(3, 3))
    times = np.array([half(s, start, 2) for s in SIGMA])
    for engine in ENGINES if method == "tsit5" else ("lanes", "dense"):
        w0 = dln.inits.decoupled(dln.Network((3, 4, 3)), loss, start, rng=3)
        sol = flow(w0, loss, times[-1] + 20, method, engine, record=("learning_times", "loss"), t_eval=[0.0])
        assert sol.success
        assert_allclose(sol.learning_times, times, rtol=METHODS[method] * RTOL)
        assert sol.n_accepted < 30_000


@pytest.mark.parametrize("method", ["tsit5", "bs3", "rock", "rkc2"])
def test_single_precision_learns_from_1e_20(method):
    loss = dln.Quadratic.from_singular_values(SIGMA, shape=(3, 3))
    times = np.array([half(s, 1e-20, 2) for s in SIGMA])
    w0 = tuple(W.astype(np.float32) for W in dln.inits.decoupled(dln.Network((3, 4, 3)), loss, 1e-20, rng=3))
    for engine in ("lanes", "dense"):
        options = {"method": method, "rtol": 1e-4, "engine": engine, "record": ("learning_times",)}
        sol = dln.flow(w0, loss, (0.0, times[-1] + 20), [], **options)
        assert_allclose(sol.learning_times, times, rtol=METHODS[method] * 1e-4)


@pytest.mark.parametrize("method", ["tsit5", "dop853", "auto"])
def test_a_general_balanced_start_of_two_layers_against_the_closed_form(method):
    """No mode is apart from the others: W_2 = W_1' of random entries, and the Riccati equation of its Gram matrix."""
    loss = dln.Quadratic(np.diag(SIGMA))
    W = TINY * np.random.default_rng(5).standard_normal((4, 3))
    sol = flow((W, W.T.copy()), loss, 750.0, method, record=("learning_times",))
    exact = th.exact.two_layer(sol.learning_times, (W, W.T.copy()), loss)
    strengths = np.einsum("jii->ji", exact.product).diagonal()
    # a time that is wrong by t rtol moves a strength by 2 sigma t rtol of itself, or half that at sigma/2
    assert_allclose(strengths, SIGMA / 2, rtol=1e-6 + 10 * RTOL * (SIGMA * sol.learning_times).max())
    assert (np.abs(strengths / SIGMA * 2 - 1) < 10 * RTOL * SIGMA * sol.learning_times).all()


@pytest.mark.parametrize("method", ["tsit5", "dop853", "bs3"])
@engines
def test_two_layers_do_not_see_the_scale_of_a_small_start(engine, method):
    """While the product is below rounding the flow is linear: a power of two changes no digit, and no step."""
    net = dln.Network((3, 20, 20) if engine == "wide" else (3, 4, 3))
    loss = dln.Quadratic(np.diag(SIGMA) if net.widths[-1] == 3 else np.eye(20, 3))
    start = dln.inits.gaussian(net, 1.0, size=2, rng=0)
    record = ("grad_norm", "drift", "imbalance", "weights")
    scaled = [flow(tuple(2.0**-k * W for W in start), loss, 3.0, method, engine, t_eval=[0.0, 1.3, 3.0], record=record)
              for k in (60, 200)]  # fmt: skip
    unit, tiny = scaled
    same = {"rtol": 0, "atol": 0} if engine != "wide" else {"rtol": 1e-10, "atol": 1e-12 * 2.0**-60}  # BLAS
    assert_array_equal(unit.n_rhs, tiny.n_rhs)
    assert_allclose(unit.grad_norm, 2.0**140 * tiny.grad_norm, **same)
    assert_allclose(unit.imbalance, 2.0**280 * tiny.imbalance, rtol=1e-10)
    assert (unit.imbalance > 0).all()
    assert_allclose(unit.drift, 2.0**280 * tiny.drift, rtol=1e-4 if engine == "wide" else 0)
    assert (unit.drift[:, 1:] > 0).all()
    for a, b in zip(unit.weights, tiny.weights, strict=True):
        assert_allclose(a, 2.0**140 * b, **same)


# ---- more layers


@pytest.mark.parametrize("method", ["tsit5", "dop853", "bs3", "rock", "auto"])
@pytest.mark.parametrize("depth", [3, 4, 5])
def test_more_layers_escape_in_time_or_say_that_they_do_not(depth, method):
    """The time to escape is s^(2-h)/((h-2) sigma): up to 1e12 it is met; what time itself cannot hold is refused."""
    loss, net = dln.Quadratic(2.0 * np.eye(2)), dln.Network((2,) * (depth + 1))
    for inverse in np.logspace(3, 18, 11):
        start = inverse ** (-1 / (depth - 2))
        time = half(2.0, start, depth)
        for engine in ("lanes", "dense"):
            w0 = dln.inits.decoupled(net, loss, start, rng=3)
            sol = flow(w0, loss, time * (1 + 1e-5) + 5, method, engine, record=("learning_times",), max_steps=5000)
            learned = np.isfinite(sol.learning_times)
            if inverse < 1e12:
                assert learned.all()
            if learned.any():
                assert_allclose(sol.learning_times[learned], time, rtol=METHODS[method] * RTOL)
            assert learned.all() or sol.status in (dln.Status.STEP_TOO_SMALL, dln.Status.MAX_STEPS)
            if inverse > 1e16:
                assert sol.status == dln.Status.STEP_TOO_SMALL


@engines
def test_five_layers_of_1e_60_move_as_far_as_larger_ones_in_their_own_time(engine):
    """The flow of small weights is homogeneous: of degree 4 in five layers, so that time is scaled by s^-3.

    On the way they grow by a tenth of themselves: the error norm must see that.
    """
    net, loss = dln.Network((2, 12, 12, 12, 12, 2)), dln.Quadratic([[2.0, 0.3], [0.1, 1.0]])
    shape, ends = dln.inits.balanced(net, 1.0, rng=1), []
    fastest = np.linalg.norm(shape[0], 2) ** 3 * np.linalg.norm(loss.target, 2)
    for scale in (2.0**-30, 2.0**-200):
        t = 0.5 / (3 * scale**3 * fastest)
        sol = flow(
            tuple(scale * W for W in shape), loss, t, "tsit5", engine, record=("grad_norm", "loss"), t_eval=[0, t]
        )
        assert sol.success
        assert sol.n_accepted < 250
        ends.append([W / scale for W in sol.final])
        ends[-1].append(sol.grad_norm * (1 / scale) ** 4)
    moved = max(np.abs(W - W_0).max() for W, W_0 in zip(ends[1], shape, strict=False))
    assert moved > 0.05
    for a, b in zip(*ends, strict=True):
        assert_allclose(a, b, rtol=0, atol=20 * RTOL * np.abs(a).max())


# ---- gradients


def gradient_norm_at(shape, target):
    """||grad L|| where the product is nothing beside the target."""
    total = 0.0
    for i in range(len(shape)):
        above, below = np.eye(target.shape[0]), np.eye(target.shape[1])
        for W in reversed(shape[i + 1 :]):
            above = above @ W
        for W in shape[:i]:
            below = W @ below
        total += np.square(above.T @ target @ below.T).sum()
    return total**0.5


@pytest.mark.parametrize(("dtype", "power", "eps"), [(np.float64, 200, 1e-14), (np.float32, 24, 1e-5)])
@pytest.mark.parametrize("depth", [2, 5])
@engines
def test_gradients_whose_squares_underflow_are_recorded_and_stop_what_they_should(engine, depth, dtype, power, eps):
    target = np.array([[2.0, 0.5], [0.1, 1.0]])
    net, loss = dln.Network((2, *(12,) * (depth - 1), 2)), dln.Quadratic(target)
    shape = dln.inits.gaussian(net, 1.0, rng=0)
    w0 = tuple((2.0**-power * W).astype(dtype) for W in shape)
    expected = 2.0 ** (-power * (depth - 1)) * gradient_norm_at(shape, target)
    assert_allclose(dln.gradient_norm(w0, loss), expected, rtol=eps)
    record = ("grad_norm",)
    for method in ("tsit5",) if engine == "wide" else ("tsit5", "rock"):
        options = {"record": record, "t_eval": [0.0], "rtol": 1e-3 if dtype == np.float32 else RTOL}
        for factor, status in ((0.5, dln.Status.FINISHED), (2.0, dln.Status.STOPPED)):
            stop = dln.Stop(grad_norm=factor * expected)
            sol = dln.flow(w0, loss, (0.0, 1e-3), method=method, engine=engine, stop=stop, **options)
            assert sol.status == status
            assert_allclose(sol.grad_norm[0], expected, rtol=eps)


@engines
def test_a_small_start_is_not_certified(engine):
    """It rests at a saddle, with a gradient whose square is 0."""
    net, loss = dln.Network((2, 12, 12, 12, 12, 2)), dln.Quadratic([[2.0, 0.3], [0.1, 1.0]])
    w0 = dln.inits.gaussian(net, TINY, rng=0)
    sol = flow(w0, loss, 1e3, "tsit5", engine, certify=True)
    assert sol.success
    assert not sol.certified


def test_logistic_loss_leaves_a_start_of_1e_60_in_its_time():
    """Two layers grow as exp(|l'(0)| t): to 1e-3 after log(1e57) of these times."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((3, 30))
    Y = np.sign(np.array([[1.0, 2.0, -1.0]]) @ X + 0.1)
    loss = dln.Logistic(X, Y)
    rate = np.linalg.norm(loss.grad(np.zeros((1, 3))))
    w0 = dln.inits.balanced(dln.Network((3, 4, 1)), TINY, rng=2)
    grown = np.log(1e-9 / 1e-60) / rate
    for engine in ("lanes", "dense"):
        sol = flow(w0, loss, grown, "tsit5", engine, record=("weights",), t_eval=[0.0, grown / 2, grown])
        half_way, end = (np.linalg.norm(sol.weights[1][k]) for k in (1, 2))
        assert_allclose(end / half_way, np.exp(rate * grown / 2), rtol=1e-4)
