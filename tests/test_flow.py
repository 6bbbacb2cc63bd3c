"""The flow against SciPy's DOP853 at tight tolerance, its observables against NumPy, and the meaning of its options."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp

import fastdln as dln
from fastdln.theory.invariants import balance, imbalance, norm_bound
from tests.support.observables import ALL, NUMBERS, TIMED

WIDTHS = [
    (3, 2),
    (1, 1),
    (3, 3, 3),
    (1, 1, 1, 1),
    (2, 1, 3),
    (5, 2, 6, 4),
    (1, 4, 1),
    (6, 5, 2, 5, 6),
    (3,) * 6,
    (2, 3, 2, 4, 2, 3, 2),
    (2,) * 9,
    (9, 8, 7),
]
ENGINES = ("lanes", "dense")
engines = pytest.mark.parametrize("engine", ENGINES)
widths_ = pytest.mark.parametrize("widths", WIDTHS, ids=str)
TIMES = np.array([0.0, 0.3, 0.31, 1.0, 2.0])


def random_problem(widths, kind="quadratic", n=3, seed=0):
    """Return n random starts of moderate size, and a loss."""
    rng = np.random.default_rng(seed)
    net = dln.Network(widths)
    w0 = tuple(rng.standard_normal((n, *shape)) * 0.9 / np.sqrt(max(shape)) for shape in net.shapes)
    d_0, d_h = widths[0], widths[-1]
    if kind == "regression":
        return w0, dln.Regression(rng.standard_normal((d_0, 12)), rng.standard_normal((d_h, 12)))
    targets = (n,) if kind == "targets" else ()
    return w0, dln.Quadratic(rng.standard_normal((*targets, d_h, d_0)))


def reference(w0, loss, span, times, **options):
    """Weights (n, n_t, d_i, d_{i-1}) at the times, by SciPy, one trajectory at a time."""
    net = dln.Network((w0[0].shape[-1], *(W.shape[-2] for W in w0)))
    flat = []
    for k, start in enumerate(net.pack(w0, np.float64)):
        own = loss[k] if loss.batch_shape else loss
        field = lambda _, y, own=own: net.pack(dln.rhs(net.unpack(y), own, **options))  # noqa: E731
        found = solve_ivp(field, span, start, "DOP853", t_eval=times, rtol=1e-12, atol=1e-14)
        assert found.success
        flat.append(found.y.T)
    return net.unpack(np.array(flat))


def assert_close(weights, expected, atol):
    for W, V in zip(weights, expected, strict=True):
        assert W.shape == V.shape
        assert_allclose(W, V, rtol=0, atol=atol)


@engines
@pytest.mark.parametrize("kind", ["quadratic", "regression", "targets"])
@widths_
def test_trajectories_are_those_of_scipy(widths, kind, engine):
    w0, loss = random_problem(widths, kind)
    sol = dln.flow(w0, loss, (0.0, 2.0), TIMES, rtol=1e-9, record="weights", engine=engine)
    assert sol.success.all()
    expected = reference(w0, loss, (0.0, 2.0), TIMES)
    assert_close(sol.weights, expected, atol=3e-8)
    assert_close(sol.final, [W[:, -1] for W in expected], atol=3e-8)


@engines
@pytest.mark.parametrize("method", ["bs3", "dp5", "tsit5", "dop853", "rock", "rkc2", "auto"])
def test_every_method(method, engine):
    w0, loss = random_problem((3, 4, 2, 3))
    sol = dln.flow(w0, loss, (0.0, 2.0), TIMES, method=method, rtol=1e-8, record="weights", engine=engine)
    assert_close(sol.weights, reference(w0, loss, (0.0, 2.0), TIMES), atol=2e-6 if method in ("bs3", "rkc2") else 1e-7)


@engines
@pytest.mark.parametrize("widths", [(3, 2), (2, 3, 2), (4, 2, 3, 3)], ids=str)
def test_decay_and_rates(widths, engine):
    w0, loss = random_problem(widths, "regression")
    options = {"weight_decay": 0.2, "layer_rates": np.linspace(0.5, 2.0, len(widths) - 1)}
    sol = dln.flow(w0, loss, (0.0, 2.0), TIMES, rtol=1e-9, record=("weights", "drift"), engine=engine, **options)
    assert_close(sol.weights, reference(w0, loss, (0.0, 2.0), TIMES, **options), atol=3e-8)
    assert (sol.drift < 1e-7).all()


@engines
@pytest.mark.parametrize("widths", [(3, 2), (2, 2, 2), (3, 2, 2, 2)], ids=str)
def test_backwards(widths, engine):
    w0, loss = random_problem(widths)
    w0 = tuple(0.5 * W for W in w0)  # a larger start would come from infinity in this time
    times = [1.0, 0.9, 0.75, 0.7]
    sol = dln.flow(w0, loss, (1.0, 0.7), times, rtol=1e-9, record=("weights", "drift"), engine=engine)
    assert sol.success.all()
    assert (sol.t_final == 0.7).all()
    assert_close(sol.weights, reference(w0, loss, (1.0, 0.7), times), atol=3e-8)
    assert (sol.drift < 1e-7).all()
    again = dln.flow(sol.final, loss, (0.7, 1.0), rtol=1e-9, engine=engine)
    assert_close(again.final, w0, atol=1e-7)


@engines
@pytest.mark.parametrize("widths", [(3, 3, 3), (4, 2, 3, 5), (1, 1, 1)], ids=str)
def test_float32(widths, engine):
    w0, loss = random_problem(widths)
    small = tuple(W.astype(np.float32) for W in w0)
    sol = dln.flow(small, loss, (0.0, 2.0), TIMES, rtol=1e-5, record=TIMED, engine=engine)
    assert sol.success.all()
    for name in NUMBERS:
        assert getattr(sol, name).dtype == np.float32
    assert all(W.dtype == np.float32 for W in (*sol.weights, *sol.final))
    assert_close(sol.weights, [W.astype(np.float32) for W in reference(w0, loss, (0.0, 2.0), TIMES)], atol=3e-4)


def test_mixed_precision_is_computed_in_the_higher_one():
    (W1, W2), loss = random_problem((2, 3, 2))
    sol = dln.flow((W1.astype(np.float32), W2), loss, (0.0, 1.0))
    assert all(W.dtype == np.float64 for W in sol.final)
    whole = dln.flow((np.ones((3, 2), int), np.ones((2, 3), int)), loss, (0.0, 1.0))
    assert all(W.dtype == np.float64 for W in whole.final)


@engines
@pytest.mark.parametrize("kind", ["quadratic", "regression", "targets"])
@pytest.mark.parametrize("widths", [(3, 2), (1, 1), (2, 1, 3), (4, 5, 3, 2), (2, 3, 2, 3, 2)], ids=str)
def test_observables_are_those_of_the_recorded_weights(widths, kind, engine):
    w0, loss = random_problem(widths, kind)
    sol = dln.flow(w0, loss, (0.0, 2.0), TIMES, record=TIMED, engine=engine)
    close = {"rtol": 1e-10, "atol": 1e-12}
    own = [loss[k] if loss.batch_shape else loss for k in range(len(sol))]
    for k, one in enumerate(own):
        weights = tuple(W[k] for W in sol.weights)
        W = dln.product(weights)
        assert_allclose(sol.loss[k], dln.value(weights, one), **close)
        assert_allclose(sol.grad_norm[k], dln.gradient_norm(weights, one), **close)
        U, _, V = one.modes
        assert_allclose(sol.strengths[k], np.einsum("ij,tik,kj->tj", U, W, V), **close)
        assert_allclose(sol.singular_values[k], np.linalg.svd(W, compute_uv=False), **close)
        assert_allclose(sol.imbalance[k], imbalance(weights).max(axis=-1, initial=0.0), **close)
        before = balance(tuple(W[k] for W in w0))
        change = [np.linalg.norm(C - C0, axis=(-2, -1)) for C, C0 in zip(balance(weights), before, strict=True)]
        assert_allclose(sol.drift[k], np.max(change, axis=0, initial=0.0), rtol=1e-3, atol=1e-14)


def test_what_is_not_recorded_is_none():
    w0, loss = random_problem((2, 2))
    sol = dln.flow(w0, loss, (0.0, 1.0), record=())
    assert all(getattr(sol, name) is None for name in ALL)
    for name in TIMED:
        only = dln.flow(w0, loss, (0.0, 1.0), TIMES[:3], record=(name,))
        every = dln.flow(w0, loss, (0.0, 1.0), TIMES[:3], record=TIMED)
        x, y = getattr(only, name), getattr(every, name)
        assert np.array_equal(np.array(x), np.array(y)), name  # the same bits, whatever else is recorded


@engines
@widths_
def test_the_loss_falls_the_balance_stays_and_the_weights_are_bounded(widths, engine):
    w0, loss = random_problem(widths, n=8, seed=4)
    times = np.linspace(0, 8, 60)
    for rtol in (1e-4, 1e-8):
        sol = dln.flow(w0, loss, (0.0, 8.0), times, rtol=rtol, record=("loss", "drift", "weights"), engine=engine)
        slack = rtol * sol.loss[:, :1]
        assert (np.diff(sol.loss, axis=1) <= slack).all()
        sizes = max(np.abs(W).max() for W in sol.weights)
        assert sol.drift.max() < 30 * rtol * max(1.0, sizes) ** 2
        bound = norm_bound(w0, loss)
        for i, W in enumerate(sol.weights):
            norms = np.linalg.norm(W, 2, axis=(-2, -1))
            assert (norms <= bound[:, i, None] * (1 + 10 * rtol)).all()


@engines
def test_orthogonal_gauges_commute_with_the_flow(engine):
    widths = (3, 4, 2, 5, 3)
    w0, loss = random_problem(widths)
    rng = np.random.default_rng(1)
    gauges = [np.linalg.qr(rng.standard_normal((d, d)))[0] for d in widths]
    gauges[0], gauges[-1] = np.eye(widths[0]), np.eye(widths[-1])

    def turned(weights):
        return tuple(P @ W @ Q.T for P, W, Q in zip(gauges[1:], weights, gauges, strict=False))

    # Steps of one length, as the error norm is no invariant: the computed flow commutes up to rounding.
    options = {"step": 0.02, "record": ("loss", "strengths"), "engine": engine}
    here = dln.flow(w0, loss, (0.0, 2.0), TIMES, **options)
    there = dln.flow(turned(w0), loss, (0.0, 2.0), TIMES, **options)
    assert_close(there.final, turned(here.final), atol=1e-13)
    assert_allclose(there.loss, here.loss, rtol=1e-11)
    assert_allclose(there.strengths, here.strengths, atol=1e-12)


# ---- the times of the records


@engines
@pytest.mark.parametrize("method", ["bs3", "tsit5", "dop853", "rock", "rkc2"])
def test_recorded_times_change_no_step(method, engine):
    w0, loss = random_problem((3, 2, 3))
    options = {"method": method, "engine": engine, "record": ("loss", "weights"), "history": True}
    few = dln.flow(w0, loss, (0.5, 4.0), **options)
    many = dln.flow(w0, loss, (0.5, 4.0), np.linspace(0.5, 4.0, 1000), **options)
    assert np.array_equal(few.n_accepted, many.n_accepted)
    assert np.array_equal(few.n_rejected, many.n_rejected)
    for k in range(len(few)):
        assert np.array_equal(few.history(k), many.history(k))
    for a, b, start, path in zip(few.final, many.final, w0, many.weights, strict=True):
        assert np.array_equal(a, b)
        assert np.array_equal(path[:, 0], start)  # the start itself, to the bit
        assert_allclose(path[:, -1], b, rtol=0, atol=1e-14)


def test_by_default_only_the_end_is_recorded():
    w0, loss = random_problem((2, 2, 2))
    sol = dln.flow(w0, loss, (1.0, 3.0))
    assert sol.t.tolist() == [3.0]
    assert (sol.t_final == 3.0).all()
    assert_allclose(sol.loss[:, 0], dln.value(sol.final, loss), rtol=1e-12)
    assert dln.flow(w0, loss, (1.0, 3.0), []).loss.shape == (3, 0)


def test_the_origin_of_time_does_not_matter():
    w0, loss = random_problem((2, 3, 2))
    here = dln.flow(w0, loss, (0.0, 2.0), [0.5, 2.0], record=("loss", "learning_times"))
    there = dln.flow(w0, loss, (-8.0, -6.0), [-7.5, -6.0], record=("loss", "learning_times"))
    assert np.array_equal(here.loss, there.loss)
    assert np.array_equal(here.learning_times - 8.0, there.learning_times, equal_nan=True)


# ---- what ends a trajectory


@engines
def test_stop_at_the_end_of_the_first_step_where_it_holds(engine):
    w0, loss = random_problem((3, 3, 3), n=6)
    times = np.linspace(0, 200, 400)
    for stop, observable in ((dln.Stop(grad_norm=1e-4), "grad_norm"), (dln.Stop(loss=1e-3), "loss")):
        sol = dln.flow(
            w0, loss, (0.0, 200.0), times, record=("loss", "grad_norm"), stop=stop, history=True, engine=engine
        )  # fmt: skip
        free = dln.flow(w0, loss, (0.0, 200.0), [], history=True, engine=engine)
        assert (sol.status == dln.Status.STOPPED).all()
        assert sol.success.all()
        limit = getattr(stop, observable)
        measure = {"loss": dln.value, "grad_norm": dln.gradient_norm}[observable]
        assert (measure(sol.final, loss) <= limit).all()
        for k in range(len(sol)):
            steps = sol.history(k)[0]
            assert steps[-1] == sol.t_final[k]
            assert np.array_equal(steps, free.history(k)[0][: len(steps)])
            before = dln.flow(tuple(W[k] for W in w0), loss, (0.0, 200.0), [steps[-2]], record=observable)
            assert getattr(before, observable)[0] > limit
            ended = times > sol.t_final[k]
            assert np.isnan(sol.loss[k, ended]).all()
            assert np.isfinite(sol.loss[k, ~ended]).all()


def test_a_start_that_meets_the_stop_condition_takes_no_step():
    w0, loss = random_problem((2, 2, 2))
    at_rest = tuple(np.zeros_like(W[0]) for W in w0)
    sol = dln.flow(at_rest, loss, (2.0, 5.0), [2.0, 3.0], stop=dln.Stop(grad_norm=0.0))
    assert sol.status == dln.Status.STOPPED
    assert (sol.t_final, sol.n_accepted) == (2.0, 0)
    assert sol.loss[0] == pytest.approx(dln.value(at_rest, loss))
    assert np.isnan(sol.loss[1])


@engines
def test_the_origin_is_a_rest_point_that_is_reached_and_kept(engine):
    w0, loss = random_problem((2, 3, 3, 2))
    sol = dln.flow(tuple(np.zeros_like(W) for W in w0), loss, (0.0, 1e6), engine=engine)
    assert sol.success.all()
    assert all((W == 0).all() for W in sol.final)


def test_max_steps_counts_what_was_tried():
    w0, loss = random_problem((3, 3, 3))
    sol = dln.flow(w0, loss, (0.0, 100.0), np.linspace(0, 100, 50), max_steps=7)
    assert (sol.status == dln.Status.MAX_STEPS).all()
    assert (sol.n_accepted + sol.n_rejected == 7).all()
    free = dln.flow(w0, loss, (0.0, 100.0), history=True)
    for k in range(len(sol)):
        assert sol.t_final[k] == free.history(k)[0][sol.n_accepted[k] - 1]
        assert np.array_equal(np.isnan(sol.loss[k]), sol.t > sol.t_final[k])


@engines
def test_the_absolute_tolerance_follows_each_start(engine):
    """By default it is 1e-3 rtol times the least root mean square of a layer that is not zero, else of the target."""
    (W1, W2, W3), loss = random_problem((2, 3, 4, 2))
    W1[1] *= 1e-3
    W2[2] = 0.0
    sizes = [[np.sqrt(np.square(W[k]).mean()) for W in (W1, W2, W3)] for k in range(3)]
    least = [min(sizes[0]), min(sizes[1]), min(sizes[2][0], sizes[2][2])]
    options = {"rtol": 1e-4, "record": (), "history": True, "engine": engine}
    sol = dln.flow((W1, W2, W3), loss, (0.0, 5.0), **options)
    assert_allclose(sol._atol, 1e-7 * np.array(least), rtol=1e-12)
    for k in range(3):
        one = dln.flow((W1[k], W2[k], W3[k]), loss, (0.0, 5.0), atol=sol._atol[k], **options)
        assert np.array_equal(one.history(), sol.history(k))
    at_rest = dln.flow([np.zeros_like(W) for W in (W1, W2, W3)], loss, (0.0, 5.0), **options)
    assert_allclose(at_rest._atol, 1e-7 * loss.modes.sigma[0] ** (1 / 3), rtol=1e-12)


# ---- steps


def test_history_holds_every_accepted_step():
    w0, loss = random_problem((3, 2, 3))
    for span in ((1.0, 9.0), (1.0, 0.8)):
        sol = dln.flow(w0, loss, span, history=True)
        for k in range(len(sol)):
            t, step = sol.history(k)
            assert len(t) == len(step) == sol.n_accepted[k]
            assert t[-1] == span[1]
            assert_allclose(span[0] + np.cumsum(step), t, rtol=1e-14)
            assert (np.sign(step) == np.sign(span[1] - span[0])).all()
    with pytest.raises(ValueError, match=r"no history was kept: call flow\(\.\.\., history=True\)"):
        dln.flow(w0, loss, (0.0, 1.0)).history(0)


@engines
def test_fixed_steps(engine):
    w0, loss = random_problem((3, 2, 3))
    sol = dln.flow(w0, loss, (0.0, 1.0), step=0.3, history=True, engine=engine, max_steps=4)
    assert_allclose(sol.history(0)[0], [0.3, 0.6, 0.9, 1.0])
    assert_allclose(sol.history(0)[1], [0.3, 0.3, 0.3, 0.1])
    assert (sol.n_rejected == 0).all()
    assert (sol.n_rhs == 1 + 4 * 6).all()


def test_rounding_does_not_add_up_over_many_fixed_steps():
    w0, loss = random_problem((1, 1), n=1)
    euler = dln.Tableau("euler", order=1, a=[[]], b=[1])
    for n, step in ((100_000, 0.07), (99_999, 1 / 30)):
        sol = dln.flow(w0, loss, (0.0, n * step), step=step, method=euler, max_steps=n, history=True)
        assert sol.success.all()
        assert (sol.n_accepted == n).all()
        assert_allclose(sol.history(0)[0], step * np.arange(1, n + 1), rtol=1e-15)


# ---- batches, extension, single networks


@engines
def test_the_drift_of_an_extended_flow_is_that_since_its_first_start(engine):
    """Also where decay shrinks what is conserved: of loose steps it is seen."""
    w0, loss = random_problem((3, 2, 4, 3), n=4)
    rates, mu, t = np.array([0.5, 1.0, 2.0]), 0.1, np.array([1.0, 3.0, 5.0, 9.0])
    options = {"record": ("drift", "weights"), "rtol": 1e-3, "weight_decay": mu, "layer_rates": tuple(rates)}
    sol = dln.flow(w0, loss, (0.0, 3.0), t[:2], engine=engine, **options).extend(9.0, t[2:])

    def conserved(W):
        squares = [np.swapaxes(V, -1, -2) @ V / eta for V, eta in zip(W[1:], rates[1:], strict=True)]
        return [S - V @ np.swapaxes(V, -1, -2) / eta for S, V, eta in zip(squares, W, rates, strict=False)]

    shrink = np.exp(-2 * mu * t)[:, None, None]
    pairs = zip(conserved(sol.weights), conserved([V[:, None] for V in w0]), strict=True)
    expected = np.max([np.linalg.norm(C - shrink * C_0, axis=(-2, -1)) for C, C_0 in pairs], axis=0)
    assert expected.min() > 1e-8
    assert_allclose(sol.drift, expected, rtol=1e-6)


@engines
def test_going_on_is_as_good_as_one_call(engine):
    w0, loss = random_problem((3, 2, 3), n=4)
    record = ("loss", "drift", "learning_times", "weights")
    options = {"record": record, "rtol": 1e-9, "history": True, "engine": engine}
    first = dln.flow(w0, loss, (0.0, 3.0), [1.0, 3.0], **options)
    whole = dln.flow(w0, loss, (0.0, 9.0), [1.0, 3.0, 5.0, 9.0], **options)
    both = first.extend(9.0, [5.0, 9.0])
    assert both.span == (0.0, 9.0)
    assert both.t.tolist() == whole.t.tolist()
    for name in ("loss", "learning_times", "t_final"):
        assert_allclose(getattr(both, name), getattr(whole, name), rtol=1e-6)
    assert_close(both.weights, whole.weights, atol=1e-7)
    assert np.array_equal(both.loss[:, :2], first.loss)
    assert (both.drift < 1e-7).all()
    assert np.array_equal(both.n_accepted, [len(both.history(k)[0]) for k in range(4)])
    assert (np.diff(both.history(1)[0]) > 0).all()


@engines
@pytest.mark.parametrize("widths", [(4, 3, 7, 2, 3), (6, 1, 4, 5, 3), (6, 5, 4, 8, 4, 6), (5, 3, 1)], ids=str)
def test_the_loss_is_that_of_the_weights(widths, engine):
    w0, loss = random_problem(widths, n=2)
    sol = dln.flow(w0, loss, (0.0, 3.0), [0.0, 1.0, 3.0], record=("loss", "weights", "learning_times"), engine=engine)
    products = dln.product(tuple(W.reshape(-1, *W.shape[2:]) for W in sol.weights))
    assert_allclose(sol.loss.ravel(), [loss.value(W) for W in products], rtol=1e-12)


@pytest.mark.parametrize("widths", [(3, 2), (2, 3, 2)], ids=str)
def test_a_single_network_has_no_batch_axis(widths):
    w0, loss = random_problem(widths)
    record = ALL
    batch = dln.flow(w0, loss, (0.0, 2.0), TIMES, record=record, history=True)
    single = dln.flow(tuple(W[1] for W in w0), loss, (0.0, 2.0), TIMES, record=record, history=True)
    for name in (*record, "final", "t_final", "success", "n_rhs", "n_accepted", "n_rejected"):
        one, all_ = getattr(single, name), getattr(batch, name)
        for a, b in zip(*((x if isinstance(x, tuple) else (x,)) for x in (one, all_)), strict=True):
            assert np.array_equal(a, b[1], equal_nan=True), name
    assert single.status is dln.Status.FINISHED
    assert np.array_equal(single.history(), batch.history(1))


def test_one_start_and_n_targets_give_n_trajectories():
    w0, loss = random_problem((2, 3, 2), "targets", n=4)
    one = tuple(W[0] for W in w0)
    sol = dln.flow(one, loss, (0.0, 2.0))
    assert len(sol) == 4
    for k in range(4):
        assert np.array_equal(sol.loss[k], dln.flow(one, loss[k], (0.0, 2.0)).loss)


def test_the_caller_keeps_his_arrays():
    w0, loss = random_problem((2, 3, 2))
    before, times = [W.copy() for W in w0], np.array([0.5, 1.0])
    sol = dln.flow(w0, loss, (0.0, 1.0), times, record="weights")
    assert all(np.array_equal(a, b) for a, b in zip(w0, before, strict=True))
    times[:] = 7.0
    assert sol.t.tolist() == [0.5, 1.0]


def test_progress_reports_until_all_are_done(capsys):
    w0, loss = random_problem((2, 3, 2), n=5)
    seen = []
    dln.flow(w0, loss, (0.0, 1.0), progress=lambda *numbers: seen.append(numbers))
    assert seen[-1] == (5, 0, 5)
    dln.flow(w0, loss, (0.0, 1.0), progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "5/5" in err


@pytest.mark.parametrize("engine", ["lanes", "dense", "wide"])
def test_a_flow_towards_a_huge_target_begins(engine):
    """Its first slope is so far above the tolerance that its square overflows."""
    rng = np.random.default_rng(0)
    start = (rng.standard_normal((3, 2)), rng.standard_normal((2, 3)))
    sol = dln.flow(start, dln.Quadratic(1e150 * np.diag([2.0, 1.0])), (0.0, 1e-150), engine=engine)
    assert sol.success
    # W is far below the target all the time: dW_1/dt = W_2' S, dW_2/dt = S W_1', linear
    S = np.diag([2.0, 1.0])
    A = np.block([[np.zeros((2, 2)), S], [S, np.zeros((2, 2))]])
    values, Q = np.linalg.eigh(A)
    Z = (Q * np.exp(values)) @ Q.T @ np.vstack([start[0].T, start[1]])
    np.testing.assert_allclose(sol.final[0], Z[:2].T, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(sol.final[1], Z[2:], rtol=1e-5, atol=1e-6)
