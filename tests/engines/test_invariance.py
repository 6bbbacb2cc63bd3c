"""The same bits for a trajectory whatever the batch, its order, the threads and the number of lanes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastdln as dln
from fastdln.engines.lockstep import batch, recipe
from fastdln.kernels.lockstep import straight
from fastdln.kernels.machine.lanes import LANES_VARIABLE, lane_count
from tests.support.observables import ALL

engines = pytest.mark.parametrize("engine", ["lanes", "dense", "wide"])
TIMES = [0.0, 0.7, 3.0]
STOP = dln.Stop(grad_norm=0.1)


def contents(sol, rows=...):
    """Every number of a flow, of some of its trajectories."""
    numbers = [getattr(sol, name) for name in (*ALL, "final", "t_final", "status", "n_rhs", "n_accepted")]
    arrays = [a for x in numbers for a in (x if isinstance(x, tuple) else (x,))]
    return [np.asarray(a, np.float64)[rows].tobytes() for a in arrays]


def problem(widths=(3, 5, 2, 4), kind="quadratic", n=11, dtype=np.float64):
    """Return starts over many sizes, so that trajectories end at different times in their lanes."""
    rng = np.random.default_rng(6)
    net = dln.Network(widths)
    sizes = np.logspace(-2, 0.1, n)[rng.permutation(n), None, None]
    w0 = tuple((sizes * rng.standard_normal((n, *shape)) / np.sqrt(max(shape))).astype(dtype) for shape in net.shapes)
    d_0, d_h = widths[0], widths[-1]
    if kind == "regression":
        return w0, dln.Regression(rng.standard_normal((d_0, 9)), rng.standard_normal((d_h, 9)))
    return w0, dln.Quadratic(rng.standard_normal(((n,) if kind == "targets" else ()) + (d_h, d_0)))


def run(w0, loss, **options):
    options = {"rtol": 1e-5, "record": ALL, "threads": 1} | options
    return dln.flow(w0, loss, (0.0, 3.0), TIMES, **options)


def part(w0, loss, rows):
    return tuple(W[rows] for W in w0), loss[rows] if loss.batch_shape else loss


@engines
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kind", ["quadratic", "regression", "targets"])
def test_order_subset_and_batch_of_one(kind, dtype, engine):
    w0, loss = problem(kind=kind, dtype=dtype)
    sol = run(w0, loss, engine=engine)
    for rows in (np.arange(11)[::-1], np.array([4, 9, 4]), np.arange(11) % 3 == 0):
        assert contents(run(*part(w0, loss, rows), engine=engine)) == contents(sol, rows)
    for k in (0, 7):
        assert contents(run(*part(w0, loss, k), engine=engine)) == contents(sol, k)


@engines
@pytest.mark.parametrize("threads", [2, 3])
def test_threads(threads, engine):
    w0, loss = problem(n=40)
    assert contents(run(w0, loss, engine=engine, threads=threads)) == contents(run(w0, loss, engine=engine))


@engines
def test_chunks_of_records(engine, monkeypatch):
    w0, loss = problem(kind="targets", n=40)
    whole = run(w0, loss, engine=engine)
    monkeypatch.setattr(batch, "CHUNK_BYTES", 1)
    assert contents(run(w0, loss, engine=engine)) == contents(whole)


@engines
def test_earlier_calls_leave_no_trace(engine):
    w0, loss = problem()
    before = run(w0, loss, engine=engine)
    spoiled = tuple(W * np.array([1e200, np.nan] + 9 * [1.0])[:, None, None] for W in w0)
    run(spoiled, loss, engine=engine)
    assert contents(run(w0, loss, engine=engine)) == contents(before)


@pytest.mark.parametrize(
    ("kind", "method"),
    [("quadratic", "tsit5"), ("regression", "dop853"), ("targets", "bs3"), ("targets", "rock"), ("quadratic", "rkc2")],
)
def test_number_of_lanes(kind, method, monkeypatch):
    w0, loss = problem(kind=kind)
    found = {}
    for lanes in ("2", "4", "8"):
        monkeypatch.setenv(LANES_VARIABLE, lanes)
        assert lane_count() == int(lanes)
        found[lanes] = contents(run(w0, loss, method=method, engine="lanes"))
    assert found["2"] == found["4"] == found["8"]


@pytest.mark.parametrize("engine", ["lanes", "dense"])
@pytest.mark.parametrize("method", ["rock", "auto"])
def test_stiff_trajectories(method, engine, monkeypatch):
    """Each has its own spectral radius and number of stages, and its own time to be handed over to another loop."""
    w0, _ = problem((4, 5, 3, 4), n=13)
    loss = dln.Quadratic.from_singular_values(
        np.geomspace(3, 300, 13)[:, None] * [1.0, 0.5, 0.1, 0.01], shape=(4, 4), rng=0
    )
    options = {"method": method, "engine": engine, "stop": dln.Stop(grad_norm=1e-3)}
    sol = run(w0, loss, **options)
    assert sol.success.all()
    for rows in (np.arange(13)[::-1], np.array([4, 9, 4]), np.array([6])):
        assert contents(run(*part(w0, loss, rows), **options), rows=...) == contents(sol, rows)
    assert contents(run(w0, loss, threads=3, **options)) == contents(sol)
    if engine == "lanes":
        monkeypatch.setenv(LANES_VARIABLE, "2")
        assert contents(run(w0, loss, **options)) == contents(sol)
    monkeypatch.setattr(batch, "CHUNK_BYTES", 1)
    assert contents(run(w0, loss, **options)) == contents(sol)


@pytest.mark.parametrize("widths", [(1, 1), (1, 1, 1), (2, 2, 2, 2), (5, 3, 5), (3, 5, 2, 4), (4, 1, 2, 1, 3)])
@pytest.mark.parametrize(
    "options",
    [{}, {"method": "dop853"}, {"method": "bs3"}, {"method": "rock"}, {"weight_decay": 0.1}, {"stop": STOP}],
    ids=str,
)
def test_straight_line_code(widths, options, monkeypatch):
    """The interpreter of programs and code written out for one network: which of them runs depends on the batch."""
    for kind, dtype in (("quadratic", np.float64), ("regression", np.float64), ("targets", np.float32)):
        w0, loss = problem(widths, kind, dtype=dtype)
        options = {"rtol": 1e-4} | options
        monkeypatch.setattr(recipe, "STRAIGHT_FROM", 1000)
        interpreted = run(w0, loss, engine="lanes", **options)
        monkeypatch.setattr(recipe, "STRAIGHT_FROM", 1)
        straight.compiled.cache_clear()
        written_out = run(w0, loss, engine="lanes", **options)
        assert straight.compiled.cache_info().misses == 1
        assert contents(written_out) == contents(interpreted)


def test_number_of_lanes_in_single_precision(monkeypatch):
    w0, loss = problem(dtype=np.float32)
    monkeypatch.setenv(LANES_VARIABLE, "4")
    some = contents(run(w0, loss, engine="lanes"))
    monkeypatch.setenv(LANES_VARIABLE, "8")
    assert contents(run(w0, loss, engine="lanes")) == some


@given(
    widths=st.lists(st.integers(1, 9), min_size=2, max_size=6).map(tuple),
    kind=st.sampled_from(["quadratic", "regression", "targets"]),
    options=st.fixed_dictionaries(
        {
            "method": st.sampled_from(["bs3", "dp5", "tsit5", "dop853", "rock", "rkc2", "auto"]),
            "weight_decay": st.sampled_from([0.0, 0.1]),
            "stop": st.sampled_from([None, dln.Stop(loss=0.5)]),
        }
    ),
)
def test_any_network_in_any_lanes_and_order(widths, kind, options):
    w0, loss = problem(widths, kind, n=5)
    order = np.array([3, 0, 4, 1, 2])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(LANES_VARIABLE, "8")
        sol = run(w0, loss, engine="lanes", **options)
        patch.setenv(LANES_VARIABLE, "4")
        mixed = run(*part(w0, loss, order), engine="lanes", threads=2, **options)
    assert contents(mixed) == contents(sol, order)


def test_the_engine_depends_on_the_network_alone():
    for widths, engine in (((3, 2), "lanes"), ((32, 24, 10, 32), "lanes"), ((300, 300, 300), "dense")):
        for n in (1, 3):
            w0, loss = problem(widths, n=n)
            options = {"record": (), "max_steps": 3}
            auto = dln.flow(w0, loss, (0.0, 1.0), [], engine="auto", **options)
            named = dln.flow(w0, loss, (0.0, 1.0), [], engine=engine, **options)
            assert all(np.array_equal(a, b) for a, b in zip(auto.final, named.final, strict=True))


def test_a_wrong_number_of_lanes_is_refused(monkeypatch):
    monkeypatch.setenv(LANES_VARIABLE, "3")
    with pytest.raises(ValueError, match=f"{LANES_VARIABLE} must be 2, 4 or 8, not '3'"):
        run(*problem())
