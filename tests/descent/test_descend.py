"""What `descend` promises beside its updates: bits, records, ends, going on, files, and what it refuses."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastdln as dln
from fastdln import integration
from fastdln.integrate.draws import below, philox
from fastdln.kernels.machine.lanes import LANES_VARIABLE, lane_count
from tests.support import descents
from tests.support.observables import ALL

ENGINES = ("lanes", "dense", "wide")
engines = pytest.mark.parametrize("engine", ENGINES)
N, STEPS = 11, 30
ENDS = ("final", "t_final", "status", "n_rhs", "n_accepted")
NAMES = (*ALL, *ENDS)
rng = np.random.default_rng(6)
X, Y = rng.standard_normal((3, 7)), rng.standard_normal((4, 7))
LABELS = rng.integers(4, size=7)
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "decay": {"weight_decay": 0.1},
    "heavy ball": {"momentum": 0.9, "weight_decay": 0.1},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "layer rates": {"layer_rates": (1.0, 2.0, 0.5), "momentum": 0.5},
    "batches": {"batch_size": 3, "rng": 1, "momentum": 0.5},
    "stop": {"stop": dln.Stop(grad_norm=0.3, loss=0.2)},
}
ways = pytest.mark.parametrize("way", WAYS)


def problem(dtype: Any = np.float64) -> tuple[tuple[Any, ...], dln.Regression]:
    """Return starts over many sizes, some of which diverge, so that trajectories end at different times."""
    net = dln.Network((3, 5, 2, 4))
    sizes = np.logspace(-2, 0.8, N)[np.random.default_rng(3).permutation(N), None, None]
    draw = np.random.default_rng(4)
    w0 = tuple((sizes * draw.standard_normal((N, *shape)) / np.sqrt(max(shape))).astype(dtype) for shape in net.shapes)
    return w0, dln.Regression(X, Y)


def run(w0: Any, loss: Any, steps: int = STEPS, **options: Any) -> dln.Trajectories:
    options = {"record": ALL, "record_every": 7, "record_from": 3, "threads": 1} | options
    return dln.descend(w0, loss, options.pop("learning_rate", 0.05), steps, **options)


def contents(sol: dln.Trajectories, rows: Any = ..., names: tuple[str, ...] = NAMES) -> list[bytes]:
    """Every number of some trajectories; NaN has no sign."""
    found = (getattr(sol, name) for name in names)
    arrays = [a for x in found if x is not None for a in (x if isinstance(x, tuple) else (x,))]
    numbers = (np.asarray(a, np.float64)[rows] for a in arrays)
    return [np.where(np.isnan(a), np.nan, a).tobytes() for a in numbers]


@ways
@engines
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_order_and_subset(dtype: Any, engine: str, way: str) -> None:
    w0, loss = problem(dtype)
    sol = run(w0, loss, engine=engine, **WAYS[way])
    assert len(set(sol.status)) > 1 or way == "stop", "not all are to end alike"
    for rows in (np.arange(N)[::-1], np.array([4, 9, 4]), np.arange(N) % 3 == 0):
        if way == "batches":  # whose draws belong to places: compared are those of the same
            rows = np.arange(N) < 5
        assert contents(run(tuple(W[rows] for W in w0), loss, engine=engine, **WAYS[way])) == contents(sol, rows)
    if way != "batches":
        for k in (0, 7):
            assert contents(run(tuple(W[k] for W in w0), loss, engine=engine, **WAYS[way])) == contents(sol, k)


@ways
def test_engines_and_lanes_and_threads(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    w0, loss = problem()
    sol = run(w0, loss, engine="lanes", **WAYS[way])
    dense = run(w0, loss, engine="dense", **WAYS[way])
    states = (*ENDS, "weights")  # losses and norms are summed up in another order
    assert contents(dense, names=states) == contents(sol, names=states)
    assert contents(run(w0, loss, engine="lanes", threads=3, **WAYS[way])) == contents(sol)
    for lanes in (2, 4, 8):
        if lanes <= lane_count():
            monkeypatch.setenv(LANES_VARIABLE, str(lanes))
            assert contents(run(w0, loss, engine="lanes", **WAYS[way])) == contents(sol)


@engines
def test_chunks(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    w0, loss = problem()
    sol = run(w0, loss, engine=engine, **WAYS["heavy ball"])
    monkeypatch.setattr("fastdln.engines.lockstep.batch.CHUNK_BYTES", 1)
    monkeypatch.setattr("fastdln.engines.lockstep.batch.chunk_size", lambda problem, lanes: 3)
    assert contents(run(w0, loss, engine=engine, **WAYS["heavy ball"])) == contents(sol)


@engines
def test_neighbours_with_momentum_and_decay_change_nothing(engine: str) -> None:
    w0, loss = problem()
    plain = run(w0, loss, engine=engine)
    own = np.arange(N) % 2 == 0
    for nesterov in (False, True):
        beta, mu = np.where(own, 0.0, 0.9), np.where(own, 0.0, 0.3)
        mixed = run(w0, loss, engine=engine, momentum=beta, weight_decay=mu, nesterov=nesterov)
        assert contents(mixed, own) == contents(plain, own)
        alone = run(w0, loss, engine=engine, momentum=0.9, weight_decay=0.3, nesterov=nesterov)
        assert contents(mixed, ~own) == contents(alone, ~own)


@pytest.mark.parametrize("engine", ["lanes", "dense"])
def test_zeros_keep_their_signs_beside_momentum(engine: str) -> None:
    """A gradient that is -0 leaves a weight that is -0 as it is, with and without neighbours that move."""
    zeros = np.full((2, 2), -0.0)
    sol = dln.descend((zeros,), dln.Quadratic(zeros), 0.1, 3, momentum=[0.0, 0.5], record=(), engine=engine)
    alone = dln.descend((zeros,), dln.Quadratic(zeros), 0.1, 3, record=(), engine=engine)
    assert np.signbit(alone.final[0]).all()
    assert np.signbit(sol.final[0][0]).all()


def test_rates_of_one_are_none() -> None:
    w0, loss = problem()
    assert contents(run(w0, loss, layer_rates=(1, 1, 1))) == contents(run(w0, loss))


@engines
def test_what_is_recorded_changes_nothing(engine: str) -> None:
    w0, loss = problem()
    sol = run(w0, loss, engine=engine)
    for options in ({"record": ()}, {"record_every": 1, "record_from": 0}, {"record": ("learning_times",)}):
        assert contents(run(w0, loss, engine=engine, **options), names=ENDS) == contents(sol, names=ENDS)


def test_records_are_at_the_updates_that_were_asked_for() -> None:
    w0, loss = problem()
    sol = dln.descend(w0, loss, 0.01, 20, record_every=6, record_from=2, record=("weights", "loss", "grad_norm"))
    assert sol.steps is not None
    assert sol.steps.tolist() == [2, 8, 14, 20]
    assert_allclose(sol.t, 0.01 * sol.steps, rtol=1e-15)
    every = dln.descend(w0, loss, 0.01, 20, record=("weights", "loss"))
    for W, V in zip(sol.weights, every.weights, strict=True):
        assert_array_equal(W, V[:, sol.steps])
    assert_array_equal(every.weights[0][:, 0], w0[0])
    whole = tuple(W[:, -1] for W in sol.weights)
    good = sol.success
    assert_allclose(sol.loss[good, -1], dln.value(whole, loss)[good], rtol=1e-12)
    assert_allclose(sol.grad_norm[good, -1], dln.gradient_norm(whole, loss)[good], rtol=1e-12)


@engines
@pytest.mark.parametrize("size", [None, 3])
def test_stops_at_the_first_update_where_it_holds(engine: str, size: int | None) -> None:
    w0, loss = problem()
    options: dict[str, Any] = {"batch_size": size, "rng": 0, "engine": engine}
    way = dln.descend(w0, loss, 0.05, 400, record=("loss", "grad_norm"), **options)
    low, small = (float(np.nanmedian(np.nanmin(x, axis=1))) * (1 + 1e-9) for x in (way.loss, way.grad_norm))
    for stop, values in ((dln.Stop(loss=low), way.loss <= low), (dln.Stop(grad_norm=small), way.grad_norm <= small)):
        sol = dln.descend(w0, loss, 0.05, 400, stop=stop, record=(), **options)
        holds = values.any(axis=1)
        assert holds.sum() > 2
        assert (sol.status[holds] == dln.Status.STOPPED).all()
        assert_array_equal(sol.n_accepted[holds], values.argmax(axis=1)[holds])
        assert not (sol.status[~holds] == dln.Status.STOPPED).any()
        assert_array_equal(sol.n_rhs, sol.n_accepted)


@engines
@pytest.mark.parametrize("way", [way for way in WAYS if way != "stop"])
def test_what_is_stopped_on_changes_no_update(way: str, engine: str) -> None:
    """The gradient of the state that a stop condition asks for is that of the next update only where it fits."""
    w0, loss = problem()
    sol = run(w0, loss, engine=engine, stop=dln.Stop(grad_norm=1e-300, loss=1e-300), **WAYS[way])
    plain = run(w0, loss, engine=engine, **WAYS[way])
    assert contents(sol, names=(*ENDS, "weights")) == contents(plain, names=(*ENDS, "weights"))


@engines
def test_a_start_where_the_stop_holds_takes_no_update(engine: str) -> None:
    w0, loss = problem()
    first = dln.descend(w0, loss, 0.05, 1, record=("loss", "grad_norm")).loss[:, 0]
    low = float(np.sort(first)[3]) * (1 + 1e-9)
    sol = dln.descend(w0, loss, 0.05, 20, stop=dln.Stop(loss=low), record=(), engine=engine)
    assert (first <= low).sum() >= 4
    assert_array_equal(sol.n_accepted[first <= low], 0)
    assert (sol.status[first <= low] == dln.Status.STOPPED).all()
    assert (sol.n_accepted[first > low] > 0).all()
    for W, V in zip(sol.final, w0, strict=True):
        assert_array_equal(W[first <= low], V[first <= low])


@engines
def test_learning_times_are_those_of_the_first_update(engine: str) -> None:
    loss = dln.Quadratic(np.stack([np.diag([3.0, 2.0, 1e-20]), np.diag([2.0, 1.5, 1.0])]))
    w0 = dln.inits.gaussian(dln.Network((3, 4, 3)), 0.3, size=2, rng=0)
    sol = dln.descend(w0, loss, [0.02, 0.05], 60, record=("strengths", "learning_times"), engine=engine)
    alone = dln.descend(w0, loss, [0.02, 0.05], 60, record=("learning_times",), record_from=60, engine=engine)
    sigma = np.diagonal(loss.target, axis1=1, axis2=2)
    above = sol.strengths >= sigma[:, None] / 2
    expected = np.where(above.any(axis=1), np.array([[0.02], [0.05]]) * above.argmax(axis=1), np.nan)
    expected[0, 2] = np.nan
    assert np.isfinite(expected).sum() >= 3
    assert_array_equal(sol.learning_times, expected)
    assert_array_equal(alone.learning_times, expected)
    begun = dln.descend(tuple(W[1] for W in sol.final), loss[1], 0.05, 1, record=("learning_times",), engine=engine)
    assert begun.learning_times[0] == 0


# ---- batches of samples


def test_the_generator_is_that_of_its_authors() -> None:
    """Known answers of Random123."""
    assert philox(0, 0, 0, 0, 0, 0) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    ones = 0xFFFFFFFF
    assert philox(ones, ones, ones, ones, ones, ones) == (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)


def test_draws_below_favour_none() -> None:
    """All words that are taken fall into parts of the same size, here of a generator of words of 2^32."""
    n = 3 << 30  # a quarter of the words is refused
    assert below(0, 3) == -1 or below(1, 3) >= 0
    words = np.random.default_rng(0).integers(1 << 32, size=4000)
    taken = [below(int(word), 1_500_000_000) for word in words]
    refused = sum(j < 0 for j in taken) / len(taken)
    assert_allclose(refused, (2**32 % 1_500_000_000) / 2**32, atol=0.03)
    assert n > 0


def test_every_sample_is_used_once_in_an_epoch() -> None:
    orders = [descents.order(10, (1, 2), stream, epoch) for stream in range(200) for epoch in range(10)]
    assert all(sorted(order) == list(range(10)) for order in orders)
    counts = np.array([[sum(order[place] == k for order in orders) for place in range(10)] for k in range(10)])
    chi2 = ((counts - 200) ** 2 / 200).sum()  # 81 degrees of freedom
    assert 40 < chi2 < 140


@engines
def test_the_steps_of_an_epoch_are_unbiased(engine: str) -> None:
    """Over all batches of an epoch, from the same state, the mean step is the step of all samples."""
    draw = np.random.default_rng(0)
    loss = dln.Regression(draw.standard_normal((3, 12)), draw.standard_normal((2, 12)))
    w0 = dln.inits.gaussian(dln.Network((3, 4, 2)), 0.5, rng=0)
    full = dln.descend(w0, loss, 0.1, 1, record=())
    many = tuple(np.repeat(W[None], 6000, axis=0) for W in w0)
    few = dln.descend(many, loss, 0.1, 1, batch_size=4, rng=0, record=(), engine=engine)
    for W, all_of_it, some in zip(w0, full.final, few.final, strict=True):
        steps = some - W
        noise = steps.std(axis=0) / np.sqrt(6000)
        assert (np.abs(steps.mean(axis=0) - (all_of_it - W)) < 5 * noise).all()
    # one epoch is three batches, whose gradients at one state sum up to that of all
    parts = [
        dln.rhs(w0, dln.Regression(loss.samples.X[:, k], loss.samples.Y[:, k]))  # type: ignore[union-attr]
        for k in np.split(np.array(descents.order(12, (5, 6), 0, 0)), 3)
    ]
    for i, slope in enumerate(dln.rhs(w0, loss)):
        assert_allclose(np.mean([part[i] for part in parts], axis=0), slope, atol=1e-14)


# ---- going on, and files


@ways
@engines
@pytest.mark.parametrize("through_a_file", [False, True])
def test_going_on_is_one_run(engine: str, way: str, through_a_file: bool, tmp_path: Path) -> None:
    w0, loss = problem()
    options = {"learning_rate": dln.schedules.cycle((0.05, 0.02, 0.03)), "engine": engine} | WAYS[way]
    whole = run(w0, loss, 31, **options)
    part = run(w0, loss, 17, **options)
    if through_a_file:
        part.save(tmp_path / "part.npz")
        part = dln.load(tmp_path / "part.npz")
    sol = part.extend(14)
    assert sol.steps is not None
    assert sol.steps.tolist() == [3, 10, 17, 24, 31]
    assert contents(sol) == contents(whole)
    assert_allclose(sol.t, whole.t, rtol=1e-15)
    some = np.flatnonzero(part.status == dln.Status.FINISHED)[1:3]
    assert contents(part[some].extend(14)) == contents(whole, some)


@pytest.mark.parametrize("kind", ["varied", "softmax", "single", "one target each"])
def test_files_hold_it_all(kind: str, tmp_path: Path) -> None:
    w0, loss = problem()
    options: dict[str, Any] = {"momentum": 0.5}
    if kind == "varied":
        options = {"learning_rate": np.linspace(0.01, 0.1, N), "momentum": np.linspace(0.0, 0.9, N)}
    elif kind == "softmax":
        loss = dln.SoftmaxCrossEntropy(X, LABELS, 4)  # type: ignore[assignment]
        options = {"batch_size": 2, "rng": np.random.default_rng(0), "record": ("loss",)}
    elif kind == "single":
        w0 = tuple(W[np.abs(w0[0]).max(axis=(1, 2)).argmin()] for W in w0)
    else:
        loss = dln.Quadratic(np.random.default_rng(0).standard_normal((N, 4, 3)))  # type: ignore[assignment]
    sol = run(w0, loss, **options)
    sol.save(tmp_path / "sol.npz")
    again = dln.load(tmp_path / "sol.npz")
    assert contents(again) == contents(sol)
    assert_array_equal(again.t, sol.t)
    assert_array_equal(again.steps, sol.steps)
    assert contents(again.extend(5)) == contents(sol.extend(5))
    assert repr(again) == repr(sol)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"done": 0}, "done must be at least 1"),
        ({"key": [0, -1]}, "not two words of 32 bits"),
        ({"samples": 100}, "samples = 100 is not from 0 to 7"),
        ({"after": 7}, "out of range"),
        ({"nesterov": 1}, "nesterov must be True or False"),
        ({"every": "x"}, "every must be an integer"),
        ({"more": 1}, "does not tell the options of a descent"),
        ({"descent/momentum": np.ones(N)}, "must be below 1"),
        ({"descent/rate": np.full(N, np.nan)}, "must be finite"),
        ({"descent/velocity": np.ones((N, 3))}, "has shape"),
        ({"descent/factors": np.ones(0)}, "is empty"),
        ({"updates": np.arange(6)[::-1].copy()}, "increasing"),
        ({"t": np.zeros(2)}, "does not fit"),
    ],
)
def test_forged_files_are_refused(change: dict[str, Any], match: str, tmp_path: Path) -> None:
    import json

    w0, loss = problem()
    run(w0, loss, batch_size=3, rng=0, momentum=0.5).save(tmp_path / "sol.npz")
    with np.load(tmp_path / "sol.npz") as file:
        arrays = dict(file)
    header = json.loads(str(arrays.pop("header")))
    for name, value in change.items():
        (arrays if name in arrays else header["descent"])[name] = value
    np.savez(tmp_path / "x.npz", header=np.array(json.dumps(header)), **arrays)
    with pytest.raises(ValueError, match=match):
        dln.load(tmp_path / "x.npz")


def test_a_regression_loaded_without_its_data_says_so(tmp_path: Path) -> None:
    w0, loss = problem()
    dln.flow(w0, loss, (0.0, 0.1)).save(tmp_path / "sol.npz")
    bare = dln.load(tmp_path / "sol.npz").loss_function
    with pytest.raises(ValueError, match="batch_size needs a loss that holds its samples"):
        dln.descend(w0, bare, 0.1, 3, batch_size=2)
    assert contents(run(w0, bare)) == contents(run(w0, loss))


def test_datasets() -> None:
    pytest.importorskip("xarray")
    w0, loss = problem()
    data = run(w0, loss).to_dataset()
    assert_array_equal(data["time"], [3, 10, 17, 24, 30])
    assert_allclose(data["t"], 0.05 * data["time"])
    varied = run(w0, loss, learning_rate=np.linspace(0.01, 0.1, N)).to_dataset()
    assert varied["t"].dims == ("trajectory", "time")


def test_selection_and_shapes() -> None:
    w0, loss = problem()
    rates = np.linspace(0.01, 0.1, N)
    sol = run(w0, loss, learning_rate=rates)
    assert sol.t.shape == (N, 5)
    assert_allclose(sol[3].t, rates[3] * sol.steps)
    assert sol[[1, 2]].t.shape == (2, 5)
    one = run(tuple(W[0] for W in w0), loss)
    assert one.single
    assert one.loss.shape == (5,)
    many = run(tuple(W[0] for W in w0), loss, weight_decay=[0.1, 0.2])
    assert len(many) == 2
    assert many.t.shape == (5,)


# ---- memory, and what is refused


@pytest.mark.parametrize(
    ("widths", "n", "options"),
    [
        ((4, 4, 4, 4), 4000, {"record_every": 1}),
        ((4, 4, 4, 4), 6000, {"momentum": 0.5, "record": ("drift",), "weight_decay": 0.1}),
        ((4, 4, 4, 4), 4000, {"learning_rate": np.linspace(0.01, 0.1, 4000), "nesterov": True, "momentum": 0.5}),
        ((4, 4, 4, 4), 2000, {"batch_size": 5, "rng": 0, "record": ("weights",), "record_every": 5}),
        ((30, 60, 20), 200, {"momentum": 0.5, "record_every": 20}),
    ],
)
def test_what_a_descent_says_it_takes_is_what_it_takes(
    widths: tuple[int, ...], n: int, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, said = np.random.default_rng(0), []
    loss = dln.Regression(draw.standard_normal((widths[0], 5000)), draw.standard_normal((widths[-1], 5000)))
    w0 = dln.inits.gaussian(dln.Network(widths), 0.3, size=n, rng=0)
    monkeypatch.setattr(integration, "require_memory", lambda n_bytes, what: said.append((n_bytes, what)))
    given = {"learning_rate": 0.01, "record": ("loss",), "threads": 1} | options
    dln.descend(w0, loss, steps=20, **given)  # compiles
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        dln.descend(w0, loss, steps=20, **given)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert said[-1][1] == "this descent"
    assert peak / 1.3 < said[-1][0] < 1.3 * peak


W0 = tuple(W[0] for W in problem()[0])
W2 = tuple(W[:2] for W in problem()[0])


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"learning_rate": -1.0}, "learning_rate must be positive"),
        ({"learning_rate": np.nan}, "learning_rate must be positive and finite"),
        ({"learning_rate": [[0.1]]}, "learning_rate must be a number or an array"),
        ({"learning_rate": [0.1, 0.2, 0.3], "w0": W2}, r"learning_rate has shape \(3,\)"),
        ({"learning_rate": [0.1, 0.2], "momentum": [0.1, 0.2, 0.3]}, r"momentum has shape \(3,\)"),
        ({"learning_rate": dln.schedules.linear(0.1, 5), "steps": 6}, "schedule of 5 updates, fewer than steps = 6"),
        ({"momentum": 1.0}, "momentum must be from 0 to below 1"),
        ({"momentum": -0.1}, "momentum must be finite and not negative"),
        ({"momentum": np.nan}, "momentum must be finite"),
        ({"weight_decay": -0.1}, "weight_decay must be finite and not negative"),
        ({"weight_decay": [0.1, np.inf]}, "weight_decay must be finite"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"batch_size": 0}, "batch_size must be from 1 to the number of samples 7"),
        ({"batch_size": 8}, "batch_size must be from 1 to the number of samples 7"),
        ({"batch_size": 2, "loss": dln.Quadratic(np.ones((4, 3)))}, "batch_size needs a loss that holds its samples"),
        ({"batch_size": 2, "rng": -1}, "rng must be at least 0"),
        ({"record_every": 0}, "record_every must be at least 1"),
        ({"record_from": 11}, "record_from must be from 0 to steps = 10"),
        ({"record_from": -1}, "record_from must be from 0 to steps = 10"),
        ({"record": ("nothing",)}, "record must be one of"),
        ({"record": ("strengths",), "loss": dln.Huber(np.ones((4, 3)), 1.0)}, "has no target with modes"),
        ({"layer_rates": (1.0, 2.0)}, "layer_rates"),
        ({"bound": 0.0}, "bound must be positive"),
        ({"engine": "reduced"}, "engine='reduced' does not descend"),
        ({"loss": dln.Quadratic(np.ones((3, 3)))}, "the loss expects"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: dict[str, Any], match: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integration, "choose", lambda problem: pytest.fail("something is computed"))
    given = {"w0": W0, "loss": problem()[1], "learning_rate": 0.1, "steps": 10} | arguments
    with pytest.raises(ValueError, match=match):
        dln.descend(**given)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"nesterov": 1}, "nesterov must be True or False"),
        ({"stop": 0.1}, "stop must be a Stop"),
        ({"steps": 2.5}, "steps must be an integer"),
        ({"batch_size": True}, "batch_size must be an integer"),
        ({"rng": "x"}, "rng must be a Generator"),
        ({"progress": 3}, "progress must be"),
    ],
)
def test_what_is_of_the_wrong_type_is_refused(arguments: dict[str, Any], match: str) -> None:
    given = {"w0": W0, "loss": problem()[1], "learning_rate": 0.1, "steps": 10, "batch_size": 2} | arguments
    with pytest.raises(TypeError, match=match):
        dln.descend(**given)


def test_what_does_not_go_on_is_refused() -> None:
    loss = problem()[1]
    sol = dln.descend(W0, loss, dln.schedules.linear(0.01, 10), 10)
    with pytest.raises(ValueError, match="schedule of 10 updates"):
        sol.extend(1)
    sol = dln.descend(W0, loss, 0.01, 10)
    with pytest.raises(ValueError, match="t_eval is for flows"):
        sol.extend(1, [2.0])
    with pytest.raises(TypeError, match="steps must be an integer"):
        sol.extend(1.5)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: dln.schedules.cosine(0.0, 5), "peak must be positive"),
        (lambda: dln.schedules.cosine(0.1, 5, warmup=5), "warmup must be from 0 to steps - 1"),
        (lambda: dln.schedules.cosine(0.1, 5, least=2.0), "least must be from 0 to 1"),
        (lambda: dln.schedules.linear(0.1, 0), "steps must be at least 1"),
        (lambda: dln.schedules.steps(0.1, [], 0.5), "at must be increasing"),
        (lambda: dln.schedules.steps(0.1, [3, 3], 0.5), "at must be increasing"),
        (lambda: dln.schedules.steps(0.1, [3], -0.5), "factor must not be negative"),
        (lambda: dln.schedules.cycle([0.1, -0.1]), "values must be finite and at least 0"),
        (lambda: dln.schedules.values([]), "values must be a sequence"),
    ],
)
def test_schedules_that_are_none_are_refused(make: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make()
