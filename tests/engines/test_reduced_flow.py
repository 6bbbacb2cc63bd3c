"""flow(engine="reduced") against the direct engines: observables, options, statuses, bits, and when auto takes it."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import fastdln as dln
from fastdln import resources
from fastdln.engines.lockstep import batch
from fastdln.engines.lockstep.batch import Batch
from fastdln.engines.reduced.worth import pays
from fastdln.scan import scan
from fastdln.scan.cell import Cell
from fastdln.theory.reduction import reduce, widths
from tests.engines.test_invariance import contents, part
from tests.support.observables import ALL, NUMBERS, STEADY
from tests.support.scans import assert_same_bits, write_spec

TIMES = np.array([0.0, 0.4, 1.0, 3.0])
STRICT = {"method": "dop853", "rtol": 1e-11, "record": ALL}


def orthogonal(rng, n, d):
    return np.linalg.qr(rng.standard_normal((n, d, d)))[0]


def two_layers(rng, n):
    """Wide enough that each start has its own subspace."""
    return tuple(rng.standard_normal((n, *shape)) / 3 for shape in ((20, 3), (4, 20))), rng.standard_normal((4, 3))


def targets(rng, n):
    return two_layers(rng, n)[0], rng.standard_normal((n, 4, 3))


def regression(rng, n):
    return two_layers(rng, n)[0], (rng.standard_normal((3, 9)), rng.standard_normal((4, 9)))


def few_samples(rng, n):
    """Inputs span 3 of 8 dimensions, and each start sees them and one more."""
    X = rng.standard_normal((8, 3))
    frames = np.linalg.qr(np.concatenate([np.broadcast_to(X, (n, 8, 3)), rng.standard_normal((n, 8, 1))], axis=-1))[0]
    first = rng.standard_normal((n, 6, 4)) @ frames.transpose(0, 2, 1) / 2
    return (first, rng.standard_normal((n, 2, 6)) / 2), (X, rng.standard_normal((2, 3)))


def one_layer(rng, n):
    return (rng.standard_normal((n, 2, 9)) / 3,), rng.standard_normal((2, 9))


def low_rank_targets(rng, n):
    """Each with its own target of rank one or two."""
    weights = tuple(rng.standard_normal((n, *shape)) / 3 for shape in ((3, 12), (3, 3), (10, 3)))
    ranks = 1 + np.arange(n) % 2
    return weights, np.stack([rng.standard_normal((10, r)) @ rng.standard_normal((r, 12)) / 6 for r in ranks])


def equal_modes(rng, n):
    weights = tuple(rng.standard_normal((n, *shape)) / 3 for shape in ((9, 3), (4, 9)))
    return weights, dln.Quadratic.from_singular_values((1.0, 1.0, 1.0), shape=(4, 3), rng=rng).target


def bottlenecks(rng, n):
    shapes = ((9, 2), (2, 9), (8, 2), (3, 8))
    return tuple(rng.standard_normal((n, *shape)) / 2 for shape in shapes), rng.standard_normal((3, 2))


def mixed(rng, n):
    """Orthogonal, balanced, generic and zero starts in turn: of four widths."""
    shapes = ((12, 3), (12, 12), (12, 12), (2, 12))
    layers = [rng.standard_normal((n, *shape)) / np.sqrt(12) for shape in shapes]
    for i in (1, 2):
        layers[i][::4] = orthogonal(rng, len(layers[i][::4]), 12)
    balanced = dln.inits.balanced(dln.Network((3, 12, 12, 12, 2)), 1.0, size=n, rng=rng)
    for W, V in zip(layers, balanced, strict=True):
        W[1::4] = V[1::4]
    layers[0][3::4] = layers[3][3::4] = 0.0
    return tuple(layers), rng.standard_normal((2, 3))


CASES = [
    two_layers, targets, regression, few_samples, one_layer, low_rank_targets, equal_modes, bottlenecks, mixed,
]  # fmt: skip
every = pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
some = pytest.mark.parametrize("make", [regression, low_rank_targets, mixed], ids=lambda make: make.__name__)


def problem(make, n=6, dtype=np.float64, seed=0):
    w0, target = make(np.random.default_rng(seed), n)
    loss = dln.Regression(*target) if isinstance(target, tuple) else dln.Quadratic(target)
    return tuple(W.astype(dtype) for W in w0), loss


def assert_alike(sol, direct, atol):
    """Hold everything that two flows have recorded against each other."""
    assert np.array_equal(sol.status, direct.status)
    for name in (*STEADY, "learning_times", "t_final"):
        a, b = getattr(sol, name), getattr(direct, name)
        assert (a is None) == (b is None)
        if a is not None:
            assert a.shape == b.shape
            assert a.dtype == b.dtype
            assert_allclose(a, b, rtol=0, atol=atol, err_msg=name)
    for a, b in zip((*sol.final, *(sol.weights or ())), (*direct.final, *(direct.weights or ())), strict=True):
        assert a.dtype == b.dtype
        assert_allclose(a, b, rtol=0, atol=atol)


def both(w0, loss, span=(0.0, 3.0), times=TIMES, *, atol, engine="lanes", **options):
    """Flow both ways and compare; returns the reduced one."""
    sol = dln.flow(w0, loss, span, times, engine="reduced", **(STRICT | options))
    assert_alike(sol, dln.flow(w0, loss, span, times, engine=engine, **(STRICT | options)), atol)
    return sol


# ---- observables and options


@every
@pytest.mark.parametrize("engine", ["lanes", "dense"])
def test_every_observable(make, engine):
    w0, loss = problem(make)
    sol = both(w0, loss, engine=engine, atol=1e-9)
    assert sol.success.all()
    assert sol.network == dln.network.check_weights(w0)[0]
    assert sol.loss_function is loss
    assert sol.options.engine == "reduced"
    assert all(np.array_equal(W[:, 0], V) for W, V in zip(sol.weights, w0, strict=True))


@some
def test_narrow_networks_are_integrated(make, monkeypatch):
    """Each trajectory in the widths of its own reduction."""
    ran = []
    monkeypatch.setattr(Batch, "run", lambda *args, run=Batch.run: ran.append(args[1]) or run(*args))
    w0, loss = problem(make, n=8)
    dln.flow(w0, loss, (0.0, 1.0), engine="reduced")
    found = sorted(problem.network.widths for problem in ran for _ in range(problem.n))
    own = [reduce(*part(w0, loss, k)).widths for k in range(8)]
    assert found == sorted(own)


@some
def test_decay_and_rates(make):
    w0, loss = problem(make)
    rates = np.linspace(0.5, 2.0, len(w0))
    both(w0, loss, (1.0, 4.0), TIMES + 1, weight_decay=0.3, layer_rates=rates, atol=1e-9)


@some
def test_backwards(make):
    w0, loss = problem(make)
    w0 = tuple(0.5 * W for W in w0)
    sol = both(w0, loss, (1.0, 0.95), [1.0, 0.98, 0.95], weight_decay=0.2, atol=1e-9)
    assert sol.success.all()


@every
def test_float32(make):
    w0, loss = problem(make, dtype=np.float32)
    sol = dln.flow(w0, loss, (0.0, 3.0), TIMES, rtol=1e-5, record=ALL, engine="reduced")
    direct = dln.flow(w0, loss, (0.0, 3.0), TIMES, rtol=1e-5, record=ALL, engine="lanes")
    assert sol.learning_times.dtype == np.float64
    assert all(getattr(sol, name).dtype == np.float32 for name in NUMBERS)
    for name in STEADY:
        assert_allclose(getattr(sol, name), getattr(direct, name), atol=1e-3, err_msg=name)
    assert_allclose(sol.learning_times, direct.learning_times, atol=1e-3)
    assert all(np.array_equal(W[:, 0], V) for W, V in zip(sol.weights, w0, strict=True))
    assert all(W.dtype == np.float32 for W in sol.final)


@some
@pytest.mark.parametrize("stop", ["grad_norm", "loss"])
def test_stop(make, stop):
    w0, loss = problem(make)
    early = dln.flow(w0, loss, (0.0, 1.0), record=("loss", "grad_norm"), rtol=1e-9, engine="lanes")
    least = loss.floor if stop == "loss" else 0.0
    limit = least + 0.9 * (float(np.median(getattr(early, stop))) - least)
    options = {"stop": dln.Stop(**{stop: limit}), "record": ("loss", "grad_norm"), "history": True, "rtol": 1e-9}
    sol = dln.flow(w0, loss, (0.0, 40.0), engine="reduced", **options)
    lanes = dln.flow(w0, loss, (0.0, 40.0), engine="lanes", **options)
    assert np.array_equal(sol.status, lanes.status)
    assert (sol.status == dln.Status.STOPPED).any()
    value = {"grad_norm": dln.gradient_norm, "loss": dln.value}[stop](sol.final, loss)
    assert (value[sol.status == dln.Status.STOPPED] <= limit * (1 + 1e-12)).all()
    for k in range(len(sol)):
        times, steps = sol.history(k)
        assert len(times) == sol.n_accepted[k]
        assert sol.n_accepted[k] == 0 or times[-1] == sol.t_final[k]
        # it stops at the end of a step: at most one later than where the other engine does
        longest = max([0.0, *steps, *lanes.history(k)[1]])
        assert abs(sol.t_final[k] - lanes.t_final[k]) <= longest


@some
def test_fixed_steps_commute_with_the_reduction(make):
    """A Runge-Kutta step of any length stays within the subspaces: both flows agree to rounding."""
    w0, loss = problem(make)
    options = {"step": 0.05, "method": "tsit5"}
    sol = both(w0, loss, **options, history=True, atol=1e-12)
    assert np.array_equal(sol.history(2), dln.flow(w0, loss, (0.0, 3.0), history=True, **options).history(2))


@some
def test_absolute_tolerance_is_that_of_the_wide_start(make):
    w0, loss = problem(make)
    for atol in (None, 1e-7):
        sols = [dln.flow(w0, loss, (0.0, 1.0), atol=atol, engine=engine) for engine in ("reduced", "lanes")]
        assert np.array_equal(sols[0]._atol, sols[1]._atol)


def test_small_starts_are_learned_when_the_closed_form_says():
    rng = np.random.default_rng(4)
    sigma, s0 = (4.0, 1.0), 1e-8
    loss = dln.Quadratic.from_singular_values(sigma, shape=(3, 2), rng=rng)
    U, _, V = loss.modes
    frame = np.linalg.qr(rng.standard_normal((40, 2)))[0]
    sol = dln.flow((s0 * frame @ V.T, s0 * U @ frame.T), loss, (0.0, 40.0), record="learning_times", engine="reduced")
    expected = dln.theory.exact.mode_time(np.sqrt(np.array(sigma) / 2), s0, np.array(sigma), 2)
    assert_allclose(sol.learning_times, expected, rtol=1e-5)


@some
def test_going_on(make):
    w0, loss = problem(make)
    whole = dln.flow(w0, loss, (0.0, 3.0), TIMES, engine="reduced", weight_decay=0.1, **STRICT)
    half = dln.flow(w0, loss, (0.0, 1.0), TIMES[:3], engine="reduced", weight_decay=0.1, **STRICT)
    assert_alike(half.extend(3.0, TIMES[3:]), whole, atol=1e-9)
    direct = dln.flow(w0, loss, (0.0, 1.0), TIMES[:3], engine="lanes", weight_decay=0.1, **STRICT)
    assert_alike(half.extend(3.0, TIMES[3:]), direct.extend(3.0, TIMES[3:]), atol=1e-9)


def test_going_on_does_not_widen(monkeypatch):
    """The subspaces are those of the start, where the weights later on hold them to rounding only."""
    w0, loss = problem(mixed)
    half = dln.flow(w0, loss, (0.0, 1.0), engine="reduced")
    ran = []
    monkeypatch.setattr(Batch, "run", lambda *args, run=Batch.run: ran.append(args[1].network.widths) or run(*args))
    half.extend(2.0)
    again = list(ran)
    ran.clear()
    dln.flow(w0, loss, (0.0, 1.0), engine="reduced")
    assert again == ran


@some
def test_what_is_saved_comes_back_and_goes_on(make, tmp_path):
    w0, loss = problem(make)
    sol = dln.flow(w0, loss, (0.0, 1.0), TIMES[:3], engine="reduced", record=ALL)
    sol.save(tmp_path / "sol.npz")
    again = dln.load(tmp_path / "sol.npz")
    assert contents(again) == contents(sol)
    assert contents(again.extend(2.0)) == contents(sol.extend(2.0))


def test_trajectories_of_a_narrow_loss_are_not_saved(tmp_path):
    w0, loss = problem(low_rank_targets)
    small = reduce(*part(w0, loss, 0))
    sol = dln.flow(small.weights, small.loss, (0.0, 1.0), record=("strengths", "learning_times"))
    assert sol.strengths.shape == (1, 10)
    assert sol.learning_times.shape == (10,)
    with pytest.raises(TypeError, match=r"Restricted\(.*: of a reduced network save the trajectories of the whole"):
        sol.save(tmp_path / "sol.npz")


@every
def test_a_single_network_and_no_records(make):
    w0, loss = problem(make)
    one = part(w0, loss, 1)
    sol = both(*one, atol=1e-9)
    assert sol.loss.shape == (4,)
    assert sol.final[0].shape == w0[0].shape[1:]
    assert both(*one, times=[], record=(), atol=1e-9).loss is None


def test_generic_deep_networks_are_integrated_as_they_are():
    w0 = dln.inits.gaussian(dln.Network((3, 6, 6, 3)), 0.8, size=5, rng=0)
    loss = dln.Quadratic(np.diag([3.0, 2.0, 1.0]))
    sols = [dln.flow(w0, loss, (0.0, 3.0), TIMES, record=ALL, engine=engine) for engine in ("reduced", "lanes")]
    assert contents(sols[0]) == contents(sols[1])


# ---- what goes wrong stays where it is


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200, 1e30])
def test_bad_starts_fail_alone_and_as_with_the_direct_engine(bad, dtype):
    w0, loss = problem(mixed, n=9, dtype=dtype)
    options = {"record": ALL, "rtol": 1e-5, "max_steps": 400}
    usual = dln.flow(w0, loss, (0.0, 3.0), TIMES, engine="reduced", **options)
    spoiled = tuple(W.copy() for W in w0)
    with np.errstate(over="ignore"):
        bad = dtype(bad)
        square = bad * bad
    spoiled[0][3, 1, 0] = spoiled[1][4, 2, 5] = spoiled[3][8] = bad
    sol = dln.flow(spoiled, loss, (0.0, 3.0), TIMES, engine="reduced", **options)
    direct = dln.flow(spoiled, loss, (0.0, 3.0), TIMES, engine="lanes", **options)
    rows = np.array([3, 4, 8])
    assert np.array_equal(sol.status[rows], direct.status[rows])
    assert not sol.success[rows].any()
    if not np.isfinite(square):
        assert contents(sol, rows) == contents(direct, rows)
    if np.isfinite(bad):
        assert all(np.isfinite(W).all() for W in sol.final)
    others = np.setdiff1d(np.arange(9), rows)
    assert contents(sol, others) == contents(usual, others)


def test_a_backward_flow_that_blows_up_ends_there():
    w0, loss = problem(two_layers)
    w0 = tuple(np.concatenate([6 * W[:1], 0.1 * W[1:]]) for W in w0)
    sol = dln.flow(w0, loss, (0.0, -0.3), [-0.001, -0.3], record=ALL, engine="reduced")
    direct = dln.flow(w0, loss, (0.0, -0.3), [-0.001, -0.3], record=ALL, engine="lanes")
    assert sol.success.tolist() == [False] + 5 * [True]
    assert sol.t_final[0] == pytest.approx(direct.t_final[0], rel=1e-3)
    assert all(np.isfinite(W).all() for W in sol.final)
    assert np.isnan(sol.loss[0, 1])
    assert np.isnan(sol.weights[0][0, 1]).all()


def test_max_steps():
    w0, loss = problem(two_layers)
    sol = dln.flow(w0, loss, (0.0, 100.0), max_steps=9, engine="reduced", history=True)
    assert (sol.status == dln.Status.MAX_STEPS).all()
    assert (sol.n_accepted + sol.n_rejected == 9).all()
    assert all(sol.history(k)[0][-1] == sol.t_final[k] for k in range(6))


def test_what_does_not_fit_is_refused_before_anything_is_computed(monkeypatch):
    w0, loss = problem(two_layers)
    monkeypatch.setattr("fastdln.engines.reduced.run.close", None)
    with pytest.raises(MemoryError, match=r"would take \d+ bytes"):
        dln.flow(w0, loss, (0.0, 1.0), np.linspace(0, 1, 10**7), record=("loss", "weights"), engine="reduced")
    monkeypatch.setattr(resources, "free_memory", lambda: 10_000)
    with pytest.raises(MemoryError, match="are free: record less"):
        dln.flow(w0, loss, (0.0, 1.0), engine="reduced")


def test_progress_counts_all_groups_together():
    w0, loss = problem(mixed, n=40)
    w0[0][5] = np.nan
    seen = []
    dln.flow(w0, loss, (0.0, 1.0), engine="reduced", progress=lambda *now: seen.append(now))
    assert seen[-1] == (40, 1, 40)
    assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in pairwise(seen))


# ---- bits


@every
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_order_subset_and_batch_of_one(make, dtype):
    w0, loss = problem(make, n=9, dtype=dtype)
    run = partial(dln.flow, span=(0.0, 2.0), t_eval=[0.0, 1.0], rtol=1e-5, record=ALL, engine="reduced", threads=1)
    sol = run(w0, loss)
    for rows in (np.arange(9)[::-1], np.array([4, 7, 4]), np.arange(9) % 3 == 0):
        assert contents(run(*part(w0, loss, rows))) == contents(sol, rows)
    for k in (0, 5):
        assert contents(run(*part(w0, loss, k))) == contents(sol, k)


@some
def test_threads_and_blocks(make, monkeypatch):
    w0, loss = problem(make, n=50)
    run = partial(dln.flow, w0, loss, (0.0, 2.0), [0.0, 1.0], record=ALL, engine="reduced")
    whole = contents(run(threads=1))
    assert contents(run(threads=3)) == whole
    monkeypatch.setattr(batch, "CHUNK_BYTES", 1)
    assert contents(run(threads=1)) == whole


@given(
    d=st.lists(st.integers(1, 9), min_size=2, max_size=5).map(tuple),
    kind=st.sampled_from(["quadratic", "regression", "targets"]),
    engine=st.sampled_from(["reduced", "auto"]),
    seed=st.integers(0, 99),
)
def test_any_network_in_any_order(d, kind, engine, seed):
    rng = np.random.default_rng(seed)
    net = dln.Network(d)
    w0 = tuple(rng.standard_normal((5, *shape)) / np.sqrt(max(shape)) for shape in net.shapes)
    w0[0][1] = 0.0
    if kind == "regression":
        loss = dln.Regression(rng.standard_normal((d[0], 9)), rng.standard_normal((d[-1], 9)))
    else:
        loss = dln.Quadratic(rng.standard_normal(((5,) if kind == "targets" else ()) + (d[-1], d[0])))
    order = np.array([3, 0, 4, 1, 2])
    run = partial(dln.flow, span=(0.0, 2.0), t_eval=[0.0, 1.0], record=ALL, engine=engine)
    sol = run(w0, loss)
    assert contents(run(*part(w0, loss, order), threads=2)) == contents(sol, order)
    assert_alike(sol, run(w0, loss, engine="lanes"), atol=1e-3)


# ---- when it is taken


def test_auto_takes_it_by_the_widths_alone(monkeypatch):
    ran = []
    monkeypatch.setattr(Batch, "run", lambda *args, run=Batch.run: ran.append(args[1].network.widths) or run(*args))
    for d, n in (((4, 64, 4), 3), ((3, 64, 3, 64, 3), 1), ((60, 2), 2), ((64, 64, 64, 64), 1), ((4, 8, 4), 3)):
        net, rng = dln.Network(d), np.random.default_rng(0)
        for loss in (dln.Quadratic(rng.standard_normal((d[-1], d[0]))), dln.Quadratic(np.zeros((d[-1], d[0])))):
            for scale in (0.0, 0.1):
                ran.clear()
                w0 = dln.inits.gaussian(net, scale, size=n, rng=0)
                dln.flow(w0, loss, (0.0, 0.1), engine="auto")
                narrow = widths(net, loss)
                gain = d in ((4, 64, 4), (3, 64, 3, 64, 3), (60, 2))
                assert pays(net, loss) is gain
                assert ran == [narrow if gain else d]


def test_auto_agrees_with_the_direct_engines():
    rng = np.random.default_rng(1)
    for d in ((4, 64, 4), (40, 2, 50), (3, 40, 3, 40, 3)):
        w0 = dln.inits.gaussian(dln.Network(d), 0.5, size=3, rng=0)
        for loss in (
            dln.Quadratic(rng.standard_normal((d[-1], d[0]))),
            dln.Regression(rng.standard_normal((d[0], 60)), rng.standard_normal((d[-1], 60))),
        ):
            sols = [dln.flow(w0, loss, (0.0, 1.0), engine=engine, **STRICT) for engine in ("auto", "lanes")]
            assert_alike(*sols, atol=1e-9)


# ---- scans


def test_a_scan_that_was_interrupted_has_the_same_bits(tmp_path, monkeypatch):
    changes = (
        ('t_end = 5.0', 't_end = 5.0\nengine = "reduced"'),
        ("[[2, 2], [2, 3, 2], [3, 2, 4, 3]]", "[[2, 9, 2], [2, 7, 7, 2]]"),
    )  # fmt: skip
    folders = [tmp_path / name for name in ("whole", "torn")]
    for folder in folders:
        folder.mkdir()
    whole = scan(write_spec(folders[0], *changes), folders[0] / "x.zarr").load()
    integrate, calls = Cell.integrate, []

    def impatient(cell, first, size, **options):
        calls.append(size)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return integrate(cell, first, size, **options)

    spec = write_spec(folders[1], *changes)
    monkeypatch.setattr(Cell, "integrate", impatient)
    with pytest.raises(KeyboardInterrupt):
        scan(spec, folders[1] / "x.zarr", chunk=3, threads=2)
    monkeypatch.undo()
    assert_same_bits(scan(spec, folders[1] / "x.zarr", threads=1).load(), whole)
    assert whole["status"].values.max() == 0
