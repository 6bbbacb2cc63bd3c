"""The certified finish: sound against long integrations, closed forms and the singular values that NumPy finds."""

from __future__ import annotations

import numba
import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal

import fastdln as dln
from fastdln.engines.wide.certificate import least_value as wide_least_value
from fastdln.kernels.lockstep import certificate
from fastdln.kernels.machine.lanes import LANES_VARIABLE
from fastdln.network import Network
from fastdln.scan import scan
from fastdln.theory.rates import remaining_path
from tests.support.observables import ALL, STEADY

engines = pytest.mark.parametrize("engine", ["lanes", "dense"])


def tolerance(sol, weights=None):
    """What the remaining path may be at the weights, by default the final ones."""
    sizes = [np.sqrt(np.mean(np.square(W, dtype=float), axis=(-2, -1))) for W in weights or sol.final]
    return sol._atol + sol.options.rtol * np.min(sizes, axis=0)


def distance(a, b):
    """Frobenius norm of the difference over all layers."""
    return np.sqrt(sum(np.square(V - W).sum(axis=(-2, -1)) for V, W in zip(a, b, strict=True)))


def random_problem(seed, n):
    """Return starts and targets of a random network that can learn them, and rates."""
    rng = np.random.default_rng(seed)
    depth = 1 + seed % 4
    d_0, d_h = rng.integers(1, 5, 2)
    # before some layer all are as wide as the input, behind it as the output
    layer = rng.integers(1, depth + 1)
    hidden = [(d_0 if i < layer else d_h) + rng.integers(0, 3) for i in range(1, depth)]
    net = dln.Network((int(d_0), *map(int, hidden), int(d_h)))
    w0 = dln.inits.gaussian(net, rng.uniform(0.5, 1.2), size=n, rng=seed)
    rates = rng.uniform(0.5, 2.0, depth) if seed % 3 else None
    return w0, dln.Quadratic(rng.standard_normal((n, d_h, d_0))), rates


@pytest.mark.parametrize("seed", range(16))
def test_no_trajectory_moves_further_than_its_tolerance(seed):
    n, rtol = 16, (1e-4, 1e-6, 1e-8)[seed % 3]
    w0, loss, rates = random_problem(seed, n)
    options = {"layer_rates": rates, "rtol": rtol}
    sol = dln.flow(w0, loss, (0.0, 300.0), certify=True, **options)
    assert sol.success.all()
    assert sol.certified.sum() >= n // 2
    ended = sol[sol.certified]
    delta = tolerance(ended)
    assert (remaining_path(ended.final, ended.loss_function, rates) <= delta).all()
    times = np.geomspace(1e-2, 300.0, 12)
    later = dln.flow(
        ended.final, ended.loss_function, (0.0, 300.0), times, "dop853", 1e-12, layer_rates=rates, record="weights"
    )
    assert later.success.all()
    moved = distance(later.weights, tuple(W[:, None] for W in ended.final))
    assert (moved <= (delta + 1e-11)[:, None]).all()
    whole = dln.flow(w0, loss, (0.0, 300.0), **options)[sol.certified]
    assert (distance(ended.final, whole.final) <= 30 * delta).all()  # both have errors of their own
    assert (ended.t_final == 300.0).all()
    assert (ended.n_rhs <= whole.n_rhs + 50).all()


@pytest.mark.parametrize("rates", [None, (0.5, 3.0, 1.0)])
@pytest.mark.parametrize("widths", [(3, 3, 3, 3), (4, 6, 2, 2), (2, 2, 4, 5)], ids=str)
def test_the_decision_at_the_start_is_that_of_singular_values(widths, rates):
    """Starts whose path is between a third and three times the tolerance, so near that it can be known."""
    n, rtol = 300, 1e-6
    rng = np.random.default_rng(7)
    net = Network(widths)
    w0 = tuple(rng.standard_normal((n, *shape)) for shape in net.shapes)
    product = w0[2] @ w0[1] @ w0[0]
    off = rng.standard_normal(product.shape)
    path = remaining_path(w0, dln.Quadratic(product + 1e-9 * off), rates) / 1e-9
    usable = np.isfinite(path)
    assert usable.sum() > n // 2
    sizes = np.min([np.sqrt(np.mean(W**2, axis=(1, 2))) for W in w0], axis=0)
    wanted = rtol * sizes * np.geomspace(1 / 3, 3, n) / path
    off *= np.where(usable, wanted, 1.0)[:, None, None]
    loss = dln.Quadratic(product + off)
    sol = dln.flow(w0, loss, (0.0, 1e-9), [], rtol=rtol, atol=0.0, layer_rates=rates, certify=True)
    length = remaining_path(w0, loss, rates) / tolerance(sol, w0)
    assert (length[sol.certified] <= 1.0).all()
    assert sol.certified[length <= 0.8].all()
    assert 50 < sol.certified.sum() < n - 50
    assert (sol.n_accepted[sol.certified] == 0).all()


def lowered(value, sizes, delta):
    """What moving layers of these Frobenius norms by at most delta leaves of a singular value of their product.

    Each change D_i has norm delta at most, and  prod (W_i + D_i) - prod W_i  has no more than all the products of norms
    with at least one change among them.
    """
    return np.maximum(value - (np.prod(sizes + delta, axis=0) - np.prod(sizes, axis=0)), 0.0)


def steepness(w0, delta, share=1.0):
    """Bound mu of three square layers below in the ball of radius delta, from such a share of the singular values."""
    least = lambda matrices: share * np.linalg.svd(matrices, compute_uv=False)[..., -1]  # noqa: E731
    sizes = np.array([np.linalg.norm(W, axis=(1, 2)) for W in w0])
    sides = (
        (1.0, lowered(least(w0[2] @ w0[1]), sizes[1:], delta)),
        (lowered(least(w0[0]), sizes[:1], delta), lowered(least(w0[2]), sizes[2:], delta)),
        (lowered(least(w0[1] @ w0[0]), sizes[:2], delta), 1.0),
    )
    return sum(np.square(below * above) for below, above in sides)


@pytest.mark.parametrize("engine", ["lanes", "dense", "wide"])
def test_large_tolerances_are_weighed_by_the_ball_that_they_allow(engine):
    """Where the tolerance is a good part of the weights, how it is made up counts, and every product of changes."""
    n, rtol, atol = 400, 0.08, 0.05
    rng = np.random.default_rng(5)
    w0 = tuple(
        size * np.linalg.qr(rng.standard_normal((n, 2, 2)))[0] + 0.15 * rng.standard_normal((n, 2, 2))
        for size in (0.7, 1.1, 1.5)
    )
    delta = atol + rtol * np.min([np.sqrt(np.mean(W**2, axis=(1, 2))) for W in w0], axis=0)
    mu = steepness(w0, delta)
    excess = delta**2 * mu / 2 * np.geomspace(0.3, 3.0, n)[rng.permutation(n)]
    off = rng.standard_normal((n, 2, 2))
    off *= np.sqrt(2 * excess)[:, None, None] / np.linalg.norm(off, axis=(1, 2), keepdims=True)
    loss = dln.Quadratic(w0[2] @ w0[1] @ w0[0] + off)
    sol = dln.flow(w0, loss, (0.0, 1e-9), [], rtol=rtol, atol=atol, certify=True, engine=engine)
    certified = sol.certified & (sol.n_accepted == 0)
    path = np.sqrt(2 * excess / mu)
    assert (path[certified] <= delta[certified]).all()
    # the least eigenvalues that are found are at least 1/1.2 of the true ones
    known = 2 * excess < 0.999 * delta**2 * steepness(w0, delta, 1.2**-0.5)
    assert certified[known].all()
    assert known.sum() > 20
    assert 50 < certified.sum() < n - 50


def test_a_singular_value_is_lowered_by_all_that_moving_the_layers_can_take():
    """Of the layers from ``first`` on; in scalar networks whose weights grow the bound is reached."""

    @numba.njit(error_model="numpy")
    def lower(task, value, first, last, delta):
        return certificate.lowered(certificate.task_at(task), value, first, last, delta)

    rng = np.random.default_rng(0)
    for depth in (1, 2, 3, 6):
        sizes, task = rng.uniform(0.1, 2.0, depth), np.zeros(1, certificate.TASK)
        task["norms"], task["rounding"] = sizes.ctypes.data, 1e-13
        for delta in (1e-9, 1e-3, 0.3, 2.0):
            for first in range(depth):
                own = sizes[first:]
                taken = np.prod(own + delta) - np.prod(own)
                found = lower(task.ctypes.data, 1e4, first, depth, delta)
                assert 1e4 - found >= taken * (1 - 1e-6) - 1e-11
                assert 1e4 - found == pytest.approx(taken, rel=1e-6, abs=1e-11)
                assert lower(task.ctypes.data, 0.999 * taken, first, depth, delta) == 0.0
        # rounding is taken off as well
        assert 1.0 - lower(task.ctypes.data, 1.0, 0, depth, 0.0) == pytest.approx(1e-13 * np.prod(sizes), rel=1e-2)


def test_a_bound_of_a_singular_value_that_is_zero_is_zero():
    """Of integer matrices whose columns are dependent, of any size: the Gram matrix is exact, elimination is not."""

    @numba.njit(error_model="numpy")
    def bound(task, matrix, rows, columns):
        return certificate.least_value(certificate.task_at(task), matrix, rows, columns)

    rng = np.random.default_rng(0)
    gram, factor, task = np.empty(64), np.empty(64), np.zeros(1, certificate.TASK)
    task["gram"], task["factor"] = gram.ctypes.data, factor.ctypes.data
    for k in range(600):
        columns = 2 + k % 7
        rows, rank = columns + k % 3, int(rng.integers(1, columns))
        low, high = rng.integers(-9, 10, (rows, rank)), rng.integers(-9, 10, (rank, columns))
        matrix = np.ascontiguousarray(low @ high, float) * 2.0 ** (k % 40 - 20)
        found = bound(task.ctypes.data, matrix.ctypes.data, rows, columns)
        assert found == 0.0
        assert wide_least_value(np.ascontiguousarray(matrix.T)) == 0.0
        # beside it, where the columns are independent, most of the value is found
        matrix[:columns] += np.diag(np.full(columns, 0.5 * np.linalg.norm(matrix) + 1.0))
        least = np.linalg.svd(matrix, compute_uv=False)[-1]
        for found in (bound(task.ctypes.data, matrix.ctypes.data, rows, columns), wide_least_value(matrix.T.copy())):
            assert found <= least * (1 + 1e-9)
            assert found >= 0.9 * least or least < 1e-6 * np.linalg.norm(matrix)


@engines
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_the_end_is_that_of_the_closed_form(depth, engine):
    """Balanced modes end at layers of sigma^(1/h) in the same bases."""
    net = dln.Network((3,) * (depth + 1))
    sigma = np.array([3.0, 2.0, 1.0])
    loss = dln.Quadratic.from_singular_values(sigma, shape=(3, 3), rng=1)
    starts = dln.inits.decoupled(net, loss, 0.3, size=6, rng=2)
    ends = dln.inits.decoupled(net, loss, tuple(sigma ** (1 / depth)), size=6, rng=2)
    for t_end in (1e6, 1e9):
        sol = dln.flow(starts, loss, (0.0, t_end), rtol=1e-9, certify=True, engine=engine)
        assert sol.certified.all()
        assert (distance(sol.final, ends) <= 5 * tolerance(sol)).all()
        assert (sol.n_accepted < 2000).all()
        assert (sol.t_final == t_end).all()


@engines
def test_records_hold_the_state_and_learning_times_are_those_of_the_plain_flow(engine):
    loss = dln.Quadratic.from_singular_values((4.0, 2.0, 1.0), shape=(3, 4), rng=0)
    w0 = dln.inits.gaussian(dln.Network((4, 5, 3, 3)), 0.5, size=12, rng=0)
    times = np.concatenate([[0.0], np.linspace(0.5, 300.0, 40)])
    plain, sol = (
        dln.flow(w0, loss, (0.0, 300.0), times, record=ALL, engine=engine, certify=certify) for certify in (False, True)
    )
    assert sol.certified.sum() >= 10
    assert not plain.certified.any()
    assert_array_equal(sol.learning_times, plain.learning_times)
    for name in STEADY:
        assert_array_equal(getattr(sol, name)[:, 0], getattr(plain, name)[:, 0])
        assert_allclose(getattr(sol, name), getattr(plain, name), atol=1e-4)
    delta = tolerance(sol)[:, None]
    assert (distance(sol.weights, plain.weights)[:, -20:] <= 30 * delta).all()
    for k in np.flatnonzero(sol.certified):
        for W, last in zip(sol.weights, sol.final, strict=True):
            assert_array_equal(W[k, -1], last[k])
            assert_array_equal(W[k, -20], last[k])
        # what is recorded of it is that of the state
        state = tuple(W[k] for W in sol.final)
        assert_allclose(sol.loss[k, -1], dln.value(state, loss), rtol=1e-6)
        assert_allclose(sol.grad_norm[k, -1], dln.gradient_norm(state, loss), rtol=1e-6)
        assert len(set(sol.loss[k, -20:])) == 1


def contents(sol, rows=...):
    """Every number of a flow, of some of its trajectories."""
    numbers = [getattr(sol, name) for name in (*ALL, "final", "t_final", "status", "certified", "n_rhs")]
    arrays = [a for x in numbers for a in (x if isinstance(x, tuple) else (x,))]
    return [np.asarray(a, np.float64)[rows].tobytes() for a in arrays]


def mixed_problem(dtype=np.float64, n=19):
    """Return starts that are certified early, late and, some, never before the end."""
    rng = np.random.default_rng(3)
    net = dln.Network((3, 4, 4, 3))
    sizes = np.linspace(0.3, 1.2, n)[rng.permutation(n), None, None]
    w0 = tuple((sizes * rng.standard_normal((n, *shape)) / 2).astype(dtype) for shape in net.shapes)
    return w0, dln.Quadratic(rng.standard_normal((n, 3, 3)))


def run(w0, loss, **options):
    settings = {"rtol": 1e-5, "record": ALL, "threads": 1, "certify": True} | options
    return dln.flow(w0, loss, (0.0, 60.0), [0.0, 5.0, 40.0, 60.0], **settings)


@engines
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_bits_depend_on_no_batch_order_or_thread(dtype, engine):
    w0, loss = mixed_problem(dtype)
    sol = run(w0, loss, engine=engine)
    assert 5 < sol.certified.sum() < len(sol)
    for rows in (np.arange(19)[::-1], np.array([4, 9, 4]), np.arange(19) % 3 == 0):
        part = tuple(W[rows] for W in w0)
        assert contents(run(part, loss[rows], engine=engine)) == contents(sol, rows)
    assert contents(run(tuple(W[7] for W in w0), loss[7], engine=engine)) == contents(sol, 7)
    assert contents(run(w0, loss, engine=engine, threads=3)) == contents(sol)


def test_bits_do_not_depend_on_the_number_of_lanes(monkeypatch):
    w0, loss = mixed_problem()
    found = []
    for lanes in ("2", "4", "8"):
        monkeypatch.setenv(LANES_VARIABLE, lanes)
        found.append(contents(run(w0, loss, engine="lanes")))
    assert found[0] == found[1] == found[2]


@engines
def test_trajectories_that_fail_spoil_no_other(engine):
    w0, loss = mixed_problem()
    sol = run(w0, loss, engine=engine)
    spoiled = tuple(
        W * np.where(np.arange(19) == 3, np.nan, np.where(np.arange(19) == 5, 1e200, 1.0))[:, None, None] for W in w0
    )
    others = ~np.isin(np.arange(19), [3, 5])
    again = run(spoiled, loss, engine=engine)
    assert contents(again, others) == contents(sol, others)
    assert not again.certified[[3, 5]].any()
    assert not again.success[[3, 5]].any()


@pytest.mark.parametrize("t_end", [30.0, 1e3])
def test_what_can_still_move_is_not_certified(t_end):
    """Diagonal weights stay diagonal: the origin, a mode at rest, one whose strength ends at zero from below."""
    loss = dln.Quadratic(np.diag([2.0, 1.0, 0.5]))
    first = np.stack([np.zeros((3, 3)), np.diag([1.0, 0.8, 0.0]), np.diag([1.0, 0.8, 0.5])])
    starts = (first, first * np.array([1.0, 1.0, -1.0]))
    sol = dln.flow(starts, loss, (0.0, t_end), certify=True)
    assert sol.success.all()
    assert not sol.certified.any()
    assert (sol.loss[:, -1] > 0.1).all()
    narrow = dln.inits.gaussian(dln.Network((3, 2, 3)), 0.5, size=4, rng=0)
    assert not dln.flow(narrow, loss, (0.0, t_end), certify=True).certified.any()


def test_near_a_saddle_the_flow_goes_on():
    """A mode that starts at 1e-9 rests for long, as in a saddle, and is learned in the end."""
    loss = dln.Quadratic(np.diag([2.0, 1.0]))
    w0 = dln.inits.decoupled(dln.Network((2, 2, 2)), loss, (1.0, 1e-9), size=5, rng=0)
    sol = dln.flow(w0, loss, (0.0, 200.0), record=("loss", "learning_times"), certify=True)
    assert sol.certified.all()
    assert (sol.loss[:, -1] < 1e-12).all()
    assert_allclose(sol.learning_times[:, 1], dln.theory.exact.mode_time(np.sqrt(0.5), 1e-9, 1.0, 2), rtol=1e-5)


def test_modes_below_the_tolerance_are_waited_for_where_learning_times_are_recorded():
    loss = dln.Quadratic(np.diag([1.0, 1e-8]))
    w0 = (np.diag([0.5, 0.3]), np.diag([0.7, -1e-8]))
    kwargs = {"rtol": 1e-4, "certify": True}
    without = dln.flow(w0, loss, (0.0, 1e3), **kwargs)
    recorded = dln.flow(w0, loss, (0.0, 1e3), record=("loss", "learning_times"), **kwargs)
    assert without.certified
    assert recorded.certified
    assert without.n_accepted < recorded.n_accepted
    plain = dln.flow(w0, loss, (0.0, 1e3), rtol=1e-4, record="learning_times")
    assert_array_equal(recorded.learning_times, plain.learning_times)
    assert np.isfinite(recorded.learning_times).all()


@engines
def test_a_start_at_a_minimum_takes_no_step(engine):
    loss = dln.Quadratic(np.diag([2.0, 0.5]))
    w0 = (np.diag([1.0, 0.5]), np.diag([2.0, 1.0]))
    sol = dln.flow(w0, loss, (5.0, 1e7), [5.0, 6.0, 1e7], record=ALL, certify=True, engine=engine)
    assert sol.certified
    assert sol.n_accepted == 0
    assert sol.t_final == 1e7
    assert sol.loss.tolist() == [0.0, 0.0, 0.0]
    assert sol.strengths.tolist() == [[2.0, 0.5]] * 3
    assert sol.learning_times.tolist() == [5.0, 5.0]


@engines
def test_extended_trajectories_stay_certified(engine):
    w0, loss = mixed_problem()
    sol = run(w0, loss, engine=engine)
    long = sol.extend(1e4, [100.0, 1e4])
    held = sol.certified
    assert long.certified[held].all()
    assert_array_equal(long.n_accepted[held], sol.n_accepted[held])
    for name in ("loss", "grad_norm", "strengths", "singular_values"):
        for k in (-1, -2):
            assert_array_equal(getattr(long, name)[held, k], getattr(sol, name)[held, -1])
    for before, after in zip(sol.final, long.final, strict=True):
        assert_array_equal(before[held], after[held])
    assert_array_equal(long.learning_times[held], sol.learning_times[held])
    assert (long.t_final[long.success] == 1e4).all()
    assert long.certified.sum() > held.sum()


@pytest.mark.parametrize("method", ["bs3", "dp5", "dop853", "rock", "rkc2", "auto"])
def test_other_methods(method):
    loss = dln.Quadratic.from_singular_values((20.0, 4.0, 1.0), shape=(3, 3), rng=0)
    w0 = dln.inits.gaussian(dln.Network((3, 3, 3)), 0.8, size=8, rng=1)
    sol = dln.flow(w0, loss, (0.0, 1e5), method=method, rtol=1e-5, certify=True)
    assert sol.certified.all()
    assert (remaining_path(sol.final, loss) <= tolerance(sol)).all()
    mixed = [
        dln.flow(tuple(W[rows] for W in w0), loss, (0.0, 1e5), method=method, rtol=1e-5, certify=True)
        for rows in ([2, 7, 1], [1])
    ]
    for k, part in ((1, mixed[1][0]), (7, mixed[0][1]), (2, mixed[0][0])):
        assert all(np.array_equal(V[k], W) for V, W in zip(sol.final, part.final, strict=True))
        assert sol[k].n_rhs == part.n_rhs


def test_single_precision():
    loss = dln.Quadratic.from_singular_values((4.0, 2.0, 1.0), shape=(3, 3), rng=0)
    w0 = tuple(W.astype(np.float32) for W in dln.inits.gaussian(dln.Network((3, 4, 3)), 0.8, size=8, rng=1))
    sol = dln.flow(w0, loss, (0.0, 1e5), rtol=1e-4, certify=True)
    assert sol.certified.all()
    assert sol.final[0].dtype == np.float32
    assert (remaining_path(sol.final, loss) <= tolerance(sol) * (1 + 1e-6)).all()


@pytest.mark.parametrize("widths", [(3, 40, 2), (2, 12, 12, 2)], ids=str)
def test_reduced_networks(widths):
    net = dln.Network(widths)
    loss = dln.Quadratic.from_singular_values((2.0, 1.0), shape=(widths[-1], widths[0]), rng=0)
    w0 = dln.inits.balanced(net, 0.5, size=6, rng=0) if len(widths) > 3 else dln.inits.gaussian(net, 0.5, size=6, rng=0)
    sol = dln.flow(w0, loss, (0.0, 200.0), [1.0, 150.0, 200.0], record=ALL, certify=True, engine="reduced")
    # of balanced starts as wide as the target some have a product of the wrong sign, and end at saddles
    assert sol.certified.sum() >= 3
    assert_array_equal(sol.certified, sol.loss[:, -1] < 1e-9)
    ended = sol[sol.certified]
    delta = tolerance(ended)
    later = dln.flow(ended.final, loss, (0.0, 20.0), method="dop853", rtol=1e-11, engine="reduced")
    assert (distance(later.final, ended.final) <= delta + 1e-10).all()
    whole = dln.flow(w0, loss, (0.0, 200.0), rtol=1e-9)[sol.certified]
    assert (distance(ended.final, whole.final) <= 100 * delta).all()
    assert_allclose(ended.loss[:, 1], ended.loss[:, 2], rtol=1e-12)
    longer = sol.extend(1e6)
    assert longer.certified[sol.certified].all()


def test_saved_selected_converted(tmp_path):
    w0, loss = mixed_problem()
    sol = run(w0, loss)
    sol.save(tmp_path / "x.npz")
    again = dln.load(tmp_path / "x.npz")
    assert_array_equal(again.certified, sol.certified)
    assert again.options == sol.options
    assert_array_equal(sol[sol.certified].certified, True)
    assert sol[3].certified == sol.certified[3]
    dataset = sol.to_dataset()
    assert dataset["certified"].dims == ("trajectory",)
    assert_array_equal(dataset["certified"], sol.certified)


def test_scan(tmp_path):
    spec = {
        "trajectories": 5,
        "network": {"widths": [2, 3, 2]},
        "target": {"kind": "singular_values", "values": [2.0, 1.0]},
        "init": {"kind": "gaussian", "scale": 0.7},
        "flow": {"t_end": 1e3, "certify": [True, False]},
        "record": {"times": 3},
    }
    results = scan(spec, tmp_path / "x.zarr").load()
    assert results["certified"].dims == ("certify", "trajectory")
    assert results["certified"].values.tolist() == [[1] * 5, [0] * 5]
    assert (results["n_rhs"][0] < results["n_rhs"][1]).all()
    plain = spec | {"flow": {"t_end": 1e3}}
    assert "certified" not in scan(plain, tmp_path / "y.zarr")
    assert isinstance(results, xr.Dataset)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": dln.Regression(np.eye(2), np.eye(2))}, "loss to be Quadratic, not Regression"),
        ({"span": (1.0, 0.0)}, "span to be an increasing one, not a decreasing one"),
        ({"weight_decay": 0.1}, r"weight_decay to be 0, not 0\.1"),
        ({"stop": dln.Stop(loss=1e-3)}, "stop to be None, not a Stop"),
        ({"stop": dln.Stop(grad_norm=0.0)}, "stop to be None, not a Stop"),
        ({"step": 0.1}, r"step to be None, not 0\.1"),
        ({"history": True}, "history to be False, not True"),
    ],
)
def test_refusals(changes, message):
    arguments = {"loss": dln.Quadratic(np.eye(2)), "span": (0.0, 1.0)} | changes
    with pytest.raises(ValueError, match=f"certify=True needs {message}"):
        dln.flow((np.eye(2), np.eye(2)), certify=True, **arguments)
