"""Running scans: the numbers are those of `flow`, whatever the units, the threads, the crashes between."""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.integrate import quad

import fastdln as dln
from fastdln import resources
from fastdln.scan import SpecError, disk, scan
from fastdln.scan import run as running
from fastdln.scan.cell import Cell
from fastdln.scan.layout import Layout
from fastdln.scan.plan import Plan, load_plan
from fastdln.scan.prepare import estimate, prepare
from fastdln.scan.reading import read
from fastdln.scan.store import open_store
from fastdln.theory import itinerary, tangent
from fastdln.theory.hessian import top
from tests.support.observables import ALL, NUMBERS
from tests.support.scans import N_CELLS, SPEC, assert_same_bits, resume, tree, write_spec

WIDTHS = "[[2, 2], [2, 3, 2], [3, 2, 4, 3]]"
VALUES = 'kind = "singular_values"\nvalues = [2.0, 1.0]'
INIT = 'kind = "gaussian"\nscale = [0.1, 0.5]'


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    """The small scan, run at once."""
    folder = tmp_path_factory.mktemp("whole")
    return scan(write_spec(folder), folder / "x.zarr").load()


def test_numbers_are_those_of_flow(whole: xr.Dataset):
    cells = itertools.product([(2, 2), (2, 3, 2), (3, 2, 4, 3)], [0.1, 0.5])
    for index, (widths, scale) in enumerate(cells):
        net = dln.Network(widths)
        loss = dln.Quadratic.from_singular_values((2, 1), shape=(widths[-1], widths[0]))
        rng = np.random.SeedSequence(3, spawn_key=(index,))
        w0 = dln.inits.gaussian(net, scale, size=10, rng=rng)
        record = ("loss", "strengths", "learning_times")
        sol = dln.flow(w0, loss, (0.0, 5.0), t_eval=np.linspace(0, 5, 4), record=record)
        cell = whole.isel(widths=index // 2, scale=index % 2)
        np.testing.assert_array_equal(cell["t"], sol.t)
        for name in ("loss", "status", "t_final", "n_rhs", "n_accepted", "n_rejected"):
            np.testing.assert_array_equal(cell[name], getattr(sol, name))
        modes = int(cell["n_modes"])
        np.testing.assert_array_equal(cell["strengths"][..., :modes], sol.strengths)
        np.testing.assert_array_equal(cell["learning_times"][:, :modes], sol.learning_times)


@pytest.mark.parametrize(("chunk", "threads"), [(1, 1), (3, 2), (7, 1), (1000, 3)])
def test_bits_depend_on_no_unit_and_no_thread(tmp_path: Path, whole: xr.Dataset, chunk: int, threads: int):
    results = scan(write_spec(tmp_path), tmp_path / "x.zarr", chunk=chunk, threads=threads)
    assert_same_bits(results, whole)


def test_trajectories_do_not_depend_on_their_number(tmp_path: Path, whole: xr.Dataset):
    fewer = scan(write_spec(tmp_path, ("trajectories = 10", "trajectories = 4")), tmp_path / "x.zarr")
    assert_same_bits(fewer, whole.isel(trajectory=slice(4)))


def test_interrupted_scan_goes_on(tmp_path: Path, whole: xr.Dataset, monkeypatch: pytest.MonkeyPatch):
    spec, out = write_spec(tmp_path), tmp_path / "x.zarr"
    integrate, calls = Cell.integrate, []

    def impatient(cell: Cell, first: int, size: int, **options: Any) -> Any:
        calls.append(size > 1)
        if sum(calls) == 5:
            raise KeyboardInterrupt
        return integrate(cell, first, size, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Cell, "integrate", impatient)
        with pytest.raises(KeyboardInterrupt):
            scan(spec, out, chunk=6)
    assert sorted(open_store(out).units()) == [0, 1, 2, 3]
    unfinished = xr.open_zarr(out)
    assert (unfinished["status"] == -1).sum() == 10 * (N_CELLS - 2)
    resume(out, threads=1)
    assert_same_bits(xr.open_zarr(out), whole)


def journal_lines(store: Path) -> int:
    journal = store / "journal.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_scan_goes_on(tmp_path: Path, seed: int):
    """Processes are killed at random moments until one finishes; the result is that of a single run."""
    moments = random.Random(seed)
    spec, out = write_spec(tmp_path, ("trajectories = 10", "trajectories = 40")), tmp_path / "x.zarr"
    whole = scan(spec, tmp_path / "whole.zarr")
    command = [
        sys.executable,
        "-c",
        f"from fastdln.scan import scan; scan({str(spec)!r}, {str(out)!r}, chunk=2)",
    ]
    n_units, killed = N_CELLS * 20, 0
    for _ in range(20):
        enough, deadline = journal_lines(out) + moments.randint(0, 12), time.monotonic() + 60
        process = subprocess.Popen(command)
        while journal_lines(out) < enough and process.poll() is None:
            assert time.monotonic() < deadline, "the scan does not go on"
            time.sleep(1e-3)
        time.sleep(moments.uniform(0, 0.03))
        process.kill()
        killed += process.wait() == -signal.SIGKILL
        assert journal_lines(out) < n_units, "the scan was too quick to be killed"
        if killed == 3:
            break
    assert killed == 3
    before = journal_lines(out)
    assert before > 0
    assert_same_bits(scan(spec, out, chunk=2), whole)
    assert len(open_store(out).units()) == n_units


def test_two_processes_cannot_write(tmp_path: Path):
    spec, out = write_spec(tmp_path), tmp_path / "x.zarr"
    store = running.open_or_create(load_plan(spec), out)
    with store.writer():
        before = tree(out)
        command = [sys.executable, "-c", f"from fastdln.scan import scan; scan({str(spec)!r}, {str(out)!r})"]
        other = subprocess.run(command, capture_output=True, text=True, check=False)
        assert other.returncode == 1
        assert "is being written by another process" in other.stderr
        assert tree(out) == before


def test_failures_are_kept_apart(tmp_path: Path, whole: xr.Dataset):
    results = scan(write_spec(tmp_path, ("t_end = 5.0", "t_end = 5.0\nmax_steps = 30")), tmp_path / "x.zarr")
    failed = (results["status"] == dln.Status.MAX_STEPS).values
    assert failed.any()
    assert not failed.all()
    assert (results["t_final"].values[failed] < 5).all()
    assert np.isnan(results["loss"].values[failed][:, -1]).all()
    np.testing.assert_array_equal(results["loss"].values[~failed], whole["loss"].values[~failed])
    told = sum(record["failures"]["MAX_STEPS"] for record in open_store(tmp_path / "x.zarr").units().values()
               if record["failures"])  # fmt: skip
    assert told == failed.sum()


def test_every_observable(tmp_path: Path):
    spec = write_spec(
        tmp_path,
        (WIDTHS, "[2, 3, 2]"),
        ('["loss", "strengths", "learning_times"]', str(list(ALL)).replace("'", '"')),
    )
    results = scan(spec, tmp_path / "x.zarr", chunk=3)
    net, loss = dln.Network((2, 3, 2)), dln.Quadratic.from_singular_values((2, 1), shape=(2, 2))
    w0 = dln.inits.gaussian(net, 0.5, size=10, rng=np.random.SeedSequence(3, spawn_key=(1,)))
    sol = dln.flow(w0, loss, (0.0, 5.0), t_eval=np.linspace(0, 5, 4), record=ALL)
    cell = results.sel(scale=0.5)
    for name in (*NUMBERS, "learning_times"):
        np.testing.assert_array_equal(cell[name], getattr(sol, name))
    np.testing.assert_array_equal(cell["W1"], sol.weights[0])
    np.testing.assert_array_equal(cell["W2"], sol.weights[1])
    assert cell["W2"].dims == ("trajectory", "time", "layer2", "layer1")


DERIVED = '["itinerary", "tangent_drift", "tangent_alignment", "sharpness", "layer_alignment"]'
ASKED = '["loss", "strengths", "learning_times"]'


def test_derived_observables_are_those_of_the_theory(tmp_path: Path):
    results = scan(write_spec(tmp_path, (ASKED, DERIVED), ("times = 4", "times = 40")), tmp_path / "x.zarr")
    assert not {"loss", "strengths", "grad_norm", "learning_times", "W1"} & set(results.variables)
    assert results.sizes["plateau"] == 7  # three modes at most
    cells = itertools.product([(2, 2), (2, 3, 2), (3, 2, 4, 3)], [0.1, 0.5])
    for index, (widths, scale) in enumerate(cells):
        net = dln.Network(widths)
        loss = dln.Quadratic.from_singular_values((2, 1), shape=(widths[-1], widths[0]))
        rng = np.random.SeedSequence(3, spawn_key=(index,))
        w0 = dln.inits.gaussian(net, scale, size=10, rng=rng)
        record = ("loss", "strengths", "grad_norm", "learning_times", "weights")
        sol = dln.flow(w0, loss, (0.0, 5.0), t_eval=np.linspace(0, 5, 40), record=record)
        cell, way = results.isel(widths=index // 2, scale=index % 2), itinerary.itinerary(sol)
        most, modes = way.value.shape[1], int(cell["n_modes"])
        np.testing.assert_array_equal(cell["n_plateaus"], way.n_plateaus)
        for name in ("value", "entry", "exit", "distance", "grad_norm"):
            values = cell[f"plateau_{name}"].values
            np.testing.assert_array_equal(values[:, :most], getattr(way, name))
            assert np.isnan(values[:, most:]).all()
        np.testing.assert_array_equal(cell["plateau_learned"][:, :most, :modes], way.counts)
        kinds = np.array(["global_minimum", "strict_saddle", "saddle", ""])
        np.testing.assert_array_equal(kinds[cell["plateau_kind"].values[:, :most]], way.kind)
        np.testing.assert_array_equal(cell["learning_order"][:, :modes], way.order)
        np.testing.assert_array_equal(cell["sequential"], way.sequential)
        np.testing.assert_array_equal(cell["tangent_drift"], tangent.drift(sol))
        near = cell["layer_alignment"].values
        assert near.shape == (10, 40, 2)
        assert np.isnan(near[..., len(widths) - 2 :]).all()
        assert np.isfinite(near[..., : len(widths) - 2]).all()
        np.testing.assert_allclose(cell["sharpness"][:, 7], top(tuple(W[:, 7] for W in sol.weights), loss)[:, 0])
        for i in range(40):
            aligned = tangent.alignment(tuple(W[:, i] for W in sol.weights), loss)
            np.testing.assert_array_equal(cell["tangent_alignment"][:, i], aligned)
    assert results["plateau_kind"].attrs["flag_meanings"] == "NONE GLOBAL_MINIMUM STRICT_SADDLE SADDLE"


@pytest.mark.parametrize("target", [VALUES, 'kind = "random"'])
def test_bits_of_derived_observables_depend_on_no_unit(tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch):
    few = ("trajectories = 10", "trajectories = 4")
    changes = ((ASKED, DERIVED), ("times = 4", "times = 30"), (VALUES, target), few)
    spec, out = write_spec(tmp_path, *changes), tmp_path / "x.zarr"
    whole = scan(spec, tmp_path / "whole.zarr").load()
    assert (whole["n_plateaus"] >= 0).all()
    assert (whole["n_plateaus"] > 0).any()
    assert_same_bits(scan(spec, tmp_path / "ones.zarr", chunk=1, threads=2), whole)
    calls = []

    def impatient(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return results(*arguments)

    results = running.results
    with monkeypatch.context() as patch:
        patch.setattr(running, "results", impatient)
        with pytest.raises(KeyboardInterrupt):
            scan(spec, out, chunk=2)
    assert 0 < len(open_store(out).units()) < N_CELLS * 2
    resume(out, threads=1)
    assert_same_bits(xr.open_zarr(out), whole)


def test_itinerary_of_the_regression_loss(tmp_path: Path):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2, 30)) * [[3], [1]]
    np.savez(tmp_path / "d.npz", X=X, Y=rng.standard_normal((2, 2)) @ X + 0.1)
    data = 'kind = "data"\npath = "d.npz"\nform = "regression"'
    changes = [(VALUES, data), (WIDTHS, "[2, 3, 2]"), (ASKED, '["itinerary"]'), ("times = 4", "times = 50")]
    changes += [("t_end = 5.0", "t_end = 30.0")]
    results = scan(write_spec(tmp_path, *changes), tmp_path / "x.zarr")
    least = dln.Regression(X, np.load(tmp_path / "d.npz")["Y"]).floor
    assert (results["n_plateaus"] > 0).all()
    np.testing.assert_allclose(results["plateau_value"].min("plateau"), least)
    assert "W1" not in results


def test_weights_that_are_held_make_units_smaller(tmp_path: Path):
    changes = (("trajectories = 10", "trajectories = 100_000"), ("times = 4", "times = 1000"))
    plain = prepare(load_plan(write_spec(tmp_path, *changes)))[0]
    np.savez(tmp_path / "d.npz", X=np.eye(2), Y=np.eye(2))
    data = (VALUES, 'kind = "data"\npath = "d.npz"\nform = "regression"')
    square = (WIDTHS, "[2, 13, 2]")
    held = prepare(load_plan(write_spec(tmp_path, *changes, data, square, (ASKED, '["itinerary"]'))))[0]
    assert held.chunk * 1000 * 52 <= 2**20 < plain.chunk * 1000 * 26


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("gaussian", "scale = 0.2"),
        ("uniform", "scale = 0.2"),
        ("identity", "scale = 0.2"),
        ("balanced", "scale = 0.2"),
        ("orthogonal", "gain = 0.2"),
        ("delta_balanced", "delta = 0.2"),
        ("lambda_balanced", "lambdas = [0.1, 0.2]\nscale = 0.2"),
        ("aligned", "layer_values = [0.1, 0.2]"),
        ("decoupled", "layer_values = [[[0.1, 0.2], [0.2, 0.3], [0.3, 0.4]]]"),
    ],
)
def test_every_start(kind: str, keys: str):
    text = SPEC.replace(WIDTHS, "[2, 2, 2, 2]").replace(INIT, f'kind = "{kind}"\n{keys}')
    cell = Cell.of(Plan(read(text), Path()), 0)
    assert cell.point.init.__struct_config__.tag == kind
    for part, whole in zip(cell.start(3, 4), cell.start(0, 10), strict=True):
        assert part.shape == (4, 2, 2)
        np.testing.assert_array_equal(part, whole[3:7])
        assert np.abs(whole).max() > 0


def test_layer_values_reach_the_start():
    text = SPEC.replace(WIDTHS, "[2, 2, 2]").replace(
        INIT, 'kind = "decoupled"\nlayer_values = [[[0.1, 0.2], [0.3, 0.4]]]'
    )
    cell = Cell.of(Plan(read(text), Path()), 0)
    W1, W2 = cell.start(0, 1)
    np.testing.assert_allclose(np.linalg.svd(W1[0], compute_uv=False), [0.2, 0.1])
    np.testing.assert_allclose(dln.product((W1, W2))[0], np.diag([0.03, 0.08]), atol=1e-15)


def test_random_targets():
    for per, differ in (("trajectory", True), ("cell", False)):
        text = SPEC.replace(VALUES, f'kind = "random"\nper = "{per}"\nscale = 2.0')
        plan = Plan(read(text), Path())
        targets = np.broadcast_to(Cell.of(plan, 4).loss(0, 10).target, (10, 3, 3))
        assert (targets[0] != targets[1]).all() == differ
        np.testing.assert_array_equal(np.broadcast_to(Cell.of(plan, 4).loss(6, 4).target, (4, 3, 3)), targets[6:])
        assert (Cell.of(plan, 5).loss(0, 1).target != targets[0]).all()
    many = Cell.of(Plan(read(text.replace('"cell"', '"trajectory"')), Path()), 4).loss(0, 4000).target
    assert abs(many.std() / (2 / np.sqrt(3)) - 1) < 0.02


def draws_of(cell: Cell, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets and starts of a cell, one row a trajectory."""
    weights = np.concatenate([W.reshape(n, -1) for W in cell.start(0, n)], axis=1)
    return np.broadcast_to(cell.loss(0, n).target, (n, 3, 3)).reshape(n, -1), weights


def test_random_targets_know_nothing_of_the_starts():
    """Nor starts and targets of the cells of those of others: correlations are those of independent numbers."""
    n = 4000
    text = SPEC.replace(VALUES, 'kind = "random"\nper = "trajectory"')
    plan = Plan(read(text), Path())
    assert {Cell.of(plan, k).network.widths for k in (4, 5)} == {(3, 2, 4, 3)}
    samples = np.concatenate([x for k in (4, 5) for x in draws_of(Cell.of(plan, k), n)], axis=1)
    samples /= np.sqrt(np.mean(samples**2, axis=0))
    for shift in (0, 1, 2):  # and those of a trajectory of those of the ones before
        found = samples.T @ np.roll(samples, shift, axis=0) / n - (np.eye(samples.shape[1]) if shift == 0 else 0.0)
        assert np.abs(found).max() < 6 / np.sqrt(n)


def test_a_random_target_of_a_cell_is_no_sample_of_its_starts():
    text = SPEC.replace(VALUES, 'kind = "random"\nper = "cell"')
    for index in (4, 5):
        (target, *_), weights = draws_of(Cell.of(Plan(read(text), Path()), index), 50)
        # proportional to the first numbers of a trajectory it would be, were it drawn as the starts are
        cosine = weights[:, :9] @ target / np.linalg.norm(weights[:, :9], axis=1) / np.linalg.norm(target)
        assert np.abs(cosine).max() < 0.99


def test_random_targets_stay_when_the_starts_change():
    plans = [
        Plan(read(SPEC.replace(VALUES, f'kind = "random"\nper = "{per}"').replace(INIT, init)), Path())
        for per in ("trajectory", "cell")
        for init in (
            'kind = "gaussian"\nscale = 0.5',
            'kind = "orthogonal"\ngain = 2.0',
            'kind = "identity"\nscale = 1.0',
        )
    ]
    for same in (plans[:3], plans[3:]):
        for index in range(3):
            targets = [Cell.of(plan, index).loss(0, 7).target for plan in same]
            for target in targets[1:]:
                np.testing.assert_array_equal(target, targets[0])


def test_the_seed_changes_every_start_and_target():
    """Of all cells, every number but the zeros of the identity."""
    for init in (INIT, 'kind = "orthogonal"\ngain = 2.0', 'kind = "balanced"\nscale = 0.5'):
        text = SPEC.replace(VALUES, 'kind = "random"').replace(INIT, init)
        plans = [Plan(read(text.replace("seed = 3", f"seed = {seed}")), Path()) for seed in (3, 4)]
        for index in range(3):
            one, other = (Cell.of(plan, index) for plan in plans)
            assert (one.loss(0, 5).target != other.loss(0, 5).target).all()
            for W, V in zip(one.start(0, 5), other.start(0, 5), strict=True):
                assert (W != V).all()


def test_random_targets_run(tmp_path: Path):
    spec = write_spec(tmp_path, (VALUES, 'kind = "random"'))
    whole = scan(spec, tmp_path / "whole.zarr")
    assert_same_bits(scan(spec, tmp_path / "x.zarr", chunk=3), whole)
    assert np.isnan(whole["sigma"]).all()
    assert (whole["status"] == 0).all()


@pytest.mark.parametrize(("form", "whiten"), [("whitened", True), ("correlation", False), ("regression", None)])
def test_targets_from_data(tmp_path: Path, form: str, whiten: bool | None):
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((3, 20)) + 5, rng.standard_normal((2, 20))
    X[2] = 7  # a constant input
    np.savez(tmp_path / "d.npz", X=X.T, Y=Y.T)
    data = f'kind = "data"\npath = "d.npz"\nform = "{form}"\ncenter = true\nsamples = "rows"'
    spec = write_spec(tmp_path, (VALUES, data), (WIDTHS, "[3, 2]"))
    loss = Cell.of(load_plan(spec), 0).loss(0, 1)
    X, Y = (A - A.mean(axis=1, keepdims=True) for A in (X, Y))
    expected = dln.Regression(X, Y) if whiten is None else dln.Quadratic.from_data(X, Y, whiten=whiten)
    np.testing.assert_allclose(loss.target, expected.target, rtol=1e-10, atol=1e-12)
    assert loss.rank == 2
    results = scan(spec, tmp_path / "x.zarr")
    np.testing.assert_allclose(results["sigma"][0], expected.modes.sigma, atol=1e-12)


def times(text: str) -> np.ndarray:
    return Cell.of(Plan(read(SPEC.replace("times = 4", f"times = {text}")), Path()), 0).times


def test_times():
    np.testing.assert_allclose(times("4"), [0, 5 / 3, 10 / 3, 5])
    np.testing.assert_array_equal(times("1"), [5])
    np.testing.assert_allclose(times("{count = 3, first = 1}"), [1, 3, 5])
    np.testing.assert_allclose(times('{count = 4, spacing = "log"}'), [0.005, 0.05, 0.5, 5])
    log = times('{count = 50, spacing = "log", first = 0.3}')
    np.testing.assert_allclose(np.diff(np.log(log)), np.log(5 / 0.3) / 49)
    assert log[0] == 0.3
    assert log[-1] == 5.0


def automatic(changes: list[tuple[str, str]], index: int = 0) -> float:
    text = SPEC.replace("t_end = 5.0", 't_end = "auto"')
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return Cell.of(Plan(read(text), Path()), index).t_end


@pytest.mark.parametrize(("index", "depth", "scale"), [(0, 1, 0.1), (2, 2, 0.1), (3, 2, 0.5), (4, 3, 0.1)])
def test_automatic_end(index: int, depth: int, scale: float):
    """Three times what ds/dt = s^(h-1) (sigma - s^h) needs from min(scale, s/10) to 0.9 s, sigma = 1 = s."""
    duration, _ = quad(lambda s: s ** (1 - depth) / (1 - s**depth), min(scale, 0.1), 0.9)
    assert automatic([], index) == pytest.approx(3 * duration, rel=1e-9)


def test_automatic_end_waits_for_what_can_be_learned():
    only = [(WIDTHS, "[2, 1, 2]"), ("[0.1, 0.5]", "0.1")]
    leading = 3 * quad(lambda s: 1 / (s * (2 - s**2)), 0.1, 0.9 * np.sqrt(2))[0]
    assert automatic(only) == pytest.approx(leading, rel=1e-9)
    noise = [(WIDTHS, "[2, 2, 2]"), ("[0.1, 0.5]", "0.1"), ("[2.0, 1.0]", "[2.0, 1e-9]")]
    assert automatic(noise) == pytest.approx(leading, rel=1e-9)


REFUSALS: dict[str, tuple[list[tuple[str, str]], str]] = {
    "auto: no mode": ([("t_end = 5.0", 't_end = "auto"'), ("[2.0, 1.0]", "[0.0]")], "the target is zero"),
    "auto: no scale": (
        [("t_end = 5.0", 't_end = "auto"'), (INIT, 'kind = "delta_balanced"\ndelta = 0.1'), (WIDTHS, "[2, 3, 2]")],
        "no positive scale",
    ),
    "auto: at the origin": ([("t_end = 5.0", 't_end = "auto"'), ("[0.1, 0.5]", "0.0")], "no positive scale"),
    "auto: many targets": (
        [("t_end = 5.0", 't_end = "auto"'), (VALUES, 'kind = "random"')],
        "a target of its own",
    ),
    "auto: regression": (
        [("t_end = 5.0", 't_end = "auto"'), (VALUES, 'kind = "data"\npath = "d.npz"\nform = "regression"')],
        "regression",
    ),
    "first after the end": ([("times = 4", "times = {count = 4, first = 6}")], r"first = 6: .* t_end = 5"),
    "target of another shape": (
        [(VALUES, 'kind = "data"\npath = "d.npz"\nform = "whitened"'), (WIDTHS, "[3, 4, 3]")],
        r"target has shape \(2, 2\).*\(3, 3\)",
    ),
    "too many values": ([("[2.0, 1.0]", "[2.0, 1.0, 0.5]")], r"values has shape.*cell 0: widths = 2-2"),
    "rates for another depth": (
        [("t_end = 5.0", "t_end = 5.0\nlayer_rates = [1.0, 2.0]")],
        r"layer_rates has shape \(2,\).*\(1,\).*cell 0",
    ),
    "tolerance below rounding": ([("t_end = 5.0", "t_end = 5.0\nrtol = 1e-18")], r"rtol must be at least"),
    "infeasible balance": (
        [(INIT, 'kind = "lambda_balanced"\nlambdas = [1.0]\nscale = 0.1'), (WIDTHS, "[2, 4, 2]")],
        "lambda",
    ),
    "weights of varying widths": ([('"strengths"', '"weights"')], "weights.*widths do not vary"),
    "values for another rank": (
        [(INIT, 'kind = "aligned"\nlayer_values = [0.1, 0.2, 0.3]')],
        r"layer_values has shape \(3,\).*cell 0",
    ),
    "itinerary of inputs that do not span": (
        [
            (VALUES, 'kind = "data"\npath = "flat.npz"\nform = "regression"'),
            (WIDTHS, "[2, 2]"),
            (ASKED, '["itinerary"]'),
        ],
        "an itinerary needs whitened data.*rank 1",
    ),
    "no such file": ([(VALUES, 'kind = "data"\npath = "no.npz"\nform = "whitened"')], 'no file "no.npz"'),
    "file outside": ([(VALUES, 'kind = "data"\npath = "../d.npz"\nform = "whitened"')], "outside"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSALS.values(), ids=REFUSALS)
def test_refusals_write_nothing(tmp_path: Path, changes: list[tuple[str, str]], message: str):
    np.savez(tmp_path / "d.npz", X=np.eye(2, 5), Y=np.eye(2, 5))
    np.savez(tmp_path / "flat.npz", X=np.ones((2, 5)), Y=np.eye(2, 5))
    spec = write_spec(tmp_path, *changes)
    before = tree(tmp_path)
    with pytest.raises(SpecError, match=message):
        scan(spec, tmp_path / "x.zarr")
    assert tree(tmp_path) == before
    assert not (tmp_path / "x.zarr").exists()


def test_missing_folder_is_refused(tmp_path: Path):
    with pytest.raises(SpecError, match="there is no folder"):
        scan(write_spec(tmp_path), tmp_path / "none" / "x.zarr")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["spec.toml"]


def test_what_does_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    spec = write_spec(tmp_path, ("trajectories = 10", "trajectories = 1_000_000_000_000"))
    with pytest.raises(SpecError, match=r"the results take \d+\.\d PB, but .* are free"):
        scan(spec, tmp_path / "x.zarr")
    monkeypatch.setattr(resources, "free_memory", lambda: 1000)
    with pytest.raises(MemoryError, match="one unit of this scan would take"):
        scan(write_spec(tmp_path), tmp_path / "x.zarr")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["spec.toml"]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ([("[[2, 2], [2, 3, 2], [3, 2, 4, 3]]", "[10_000_000, 7]")], "one unit of this scan"),
        ([("[[2, 2], [2, 3, 2], [3, 2, 4, 3]]", "[100_000, 1, 100_000]")], "one unit of this scan"),
        ([("times = 4", "times = 50_000_000"), ("trajectories = 10", "trajectories = 1")], "one unit of this scan"),
        ([("[0.1, 0.5]", f"{list(range(1, 300_001))}")], "the grid of 900,000 cells"),
    ],
    ids=["weights", "target", "times", "cells"],
)
def test_what_does_not_fit_is_refused_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: list[tuple[str, str]], what: str
):
    monkeypatch.setattr(resources, "free_memory", lambda: 10**9)
    monkeypatch.setattr(Cell, "of", lambda *_: pytest.fail("a cell was built"))
    with pytest.raises(MemoryError, match=f"{what} would take"):
        prepare(load_plan(write_spec(tmp_path, *changes)))


def test_a_unit_is_no_larger_than_a_chunk_may_be(tmp_path: Path):
    changes = ("trajectories = 10", "trajectories = 1000"), ("times = 4", "times = 1_000_000")
    layout = Layout.of(load_plan(write_spec(tmp_path, *changes)))
    assert layout.chunk * 8 * 1_000_000 * 3 < 2**31
    with pytest.raises(SpecError, match="one trajectory takes 24,000,000,000 bytes in one array"):
        Layout.of(load_plan(write_spec(tmp_path, ("times = 4", "times = 1_000_000_000"))))


def test_every_nan_of_a_store_has_the_same_bits(tmp_path: Path):
    """The sign of a NaN that was computed depends on the vectors of the machine and on the size of the chunk."""
    variable = next(v for v in prepare(load_plan(write_spec(tmp_path)))[0].variables if v.name == "strengths")
    block = np.full((2, 4, 2), -np.nan)
    assert len(set(variable.pad(block).view(np.uint64).ravel().tolist())) == 1
    assert np.signbit(block).all()


def test_sizes_in_words():
    assert [disk.in_words(n) for n in (0, 999, 1000, 1.5e9, 3e18)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.5 GB",
        "3000.0 PB",
    ]


def test_a_mapping_is_a_scan_file_too(tmp_path: Path, whole: xr.Dataset):
    document = read(SPEC).normalised()
    assert_same_bits(scan(document, tmp_path / "x.zarr"), whole)


def test_estimate(tmp_path: Path):
    layout, cells = prepare(load_plan(write_spec(tmp_path)), chunk=4)
    cost = estimate(layout, cells)
    assert (cost.cells, cost.trajectories) == (6, 60)
    assert 0 < cost.seconds < 60
    # loss and strengths at 4 times, t_final, learning times, three counts, status; three modes at most
    assert cost.n_bytes == 60 * (8 * (4 + 4 * 3 + 1 + 3 + 3) + 1)
