"""Scans of descents: the numbers are those of `descend`, whatever the units and crashes; what is refused."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr

import fastdln as dln
from fastdln.integrate import schedules
from fastdln.scan import SpecError, scan
from fastdln.scan.cell import Cell
from fastdln.scan.journal import check_records
from fastdln.scan.layout import Layout
from fastdln.scan.picture import scan_figure
from fastdln.scan.plan import load_plan
from fastdln.scan.prepare import estimate, prepare
from fastdln.scan.store import StoreError, open_store
from tests.support.scans import assert_same_bits, program, resume, write_spec

FLOW = "[flow]\nt_end = 5.0"
WIDTHS = ("[[2, 2], [2, 3, 2], [3, 2, 4, 3]]", "[2, 3, 2]")
INIT = ('kind = "gaussian"\nscale = [0.1, 0.5]', 'kind = "gaussian"\nscale = 0.5')
RATES = "learning_rate = [0.05, 0.1, 0.2, 2.0]\nmomentum = [0.0, 0.9]\nweight_decay = 0.01"
LOSS_ALONE = ('["loss", "strengths", "learning_times"]', '["loss"]')
DATA = ('kind = "singular_values"\nvalues = [2.0, 1.0]', 'kind = "data"\npath = "data.npz"')
X = np.random.default_rng(0).standard_normal((2, 20))
LABELS = np.arange(20) % 2


def descents(folder, updates=RATES, *changes, steps=30, times="{every = 7}", schedule=""):
    """Write the small scan as one of descents."""
    table = f'{schedule}\n[updates]\nkind = "descent"\nsteps = {steps}\n{updates}'
    return write_spec(folder, (FLOW, table), ("times = 4", f"times = {times}"), WIDTHS, INIT, *changes)


def of_softmax(folder, updates, *changes, **options):
    np.savez(folder / "data.npz", X=X, Y=LABELS)
    softmax = ("[init]", '[loss]\nkind = "softmax"\n[init]')
    return descents(folder, updates, DATA, LOSS_ALONE, softmax, *changes, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A scan of descents, run at once."""
    folder = tmp_path_factory.mktemp("whole")
    return scan(descents(folder), folder / "x.zarr").load()


def test_numbers_are_those_of_descend(whole):
    net, loss = dln.Network((2, 3, 2)), dln.Quadratic.from_singular_values((2, 1), shape=(2, 2))
    assert whole["loss"].dims == ("momentum", "learning_rate", "trajectory", "time")
    for index, (momentum, rate) in enumerate((m, r) for m in (0.0, 0.9) for r in (0.05, 0.1, 0.2, 2.0)):
        w0 = dln.inits.gaussian(net, 0.5, size=10, rng=np.random.SeedSequence(3, spawn_key=(index,)))
        record = ("loss", "strengths", "learning_times")
        sol = dln.descend(
            w0, loss, rate, 30, momentum=momentum, weight_decay=0.01, record_every=7, record=record
        )  # fmt: skip
        cell = whole.sel(momentum=momentum, learning_rate=rate)
        np.testing.assert_array_equal(whole["steps"], sol.steps)
        for name in ("t", "loss", "strengths", "learning_times", "status", "t_final", "n_accepted", "n_rhs"):
            np.testing.assert_array_equal(cell[name], getattr(sol, name))
    assert (whole["status"].sel(learning_rate=2.0) == dln.Status.DIVERGED).any()
    assert whole["steps"].attrs["units"] == "updates"
    assert "DIVERGED" in whole["status"].attrs["flag_meanings"].split()


@pytest.mark.parametrize(("chunk", "units"), [(1, 80), (7, 16), (10, 8), (30, 4), (45, 2), (1000, 1)])
def test_bits_depend_on_no_unit(tmp_path, whole, chunk, units):
    """Units are parts of cells, cells, rows of cells, and several rows."""
    results = scan(descents(tmp_path), tmp_path / "x.zarr", chunk=chunk, threads=2)
    assert len(open_store(tmp_path / "x.zarr").units()) == units
    assert_same_bits(results.load(), whole)


def test_cells_that_cannot_be_computed_at_once_are_units_of_their_own(tmp_path):
    random_target = ('kind = "singular_values"\nvalues = [2.0, 1.0]', 'kind = "random"')
    for name, write in {
        "rates alone": lambda: descents(tmp_path),
        "batches": lambda: of_softmax(tmp_path, RATES + "\nbatch_size = 5"),
        "targets": lambda: descents(tmp_path, RATES, random_target),
        "nesterov": lambda: descents(tmp_path, "learning_rate = 0.1\nnesterov = [true, false]"),
    }.items():
        layout = Layout.of(load_plan(write()))
        assert (layout.cells, layout.n_units) == ((8, 1) if name == "rates alone" else (1, layout.plan.n_cells)), name


def test_the_last_unit_may_have_fewer_cells(tmp_path, whole):
    layout = Layout.of(load_plan(descents(tmp_path)), 30)
    assert layout.span == (1, 3)
    units = [layout.unit(i) for i in range(layout.n_units)]
    assert [list(unit.cells) for unit in units] == [[0, 1, 2], [3], [4, 5, 6], [7]]
    assert [layout.place(unit) for unit in units] == [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0)]
    assert sum(unit.trajectories for unit in units) == 80


def test_killed_scan_goes_on(tmp_path):
    """Processes are killed at random moments until one finishes; the result is that of a single run."""
    moments = random.Random(0)
    spec = of_softmax(
        tmp_path, "batch_size = 3\nmomentum = 0.5\nlearning_rate = {start = 0.01, stop = 1.0, count = 40}"
    )
    out, journal = tmp_path / "x.zarr", tmp_path / "x.zarr" / "journal.jsonl"
    single = scan(spec, tmp_path / "whole.zarr")
    command = [sys.executable, "-c", f"from fastdln.scan import scan; scan({str(spec)!r}, {str(out)!r}, chunk=3)"]

    def lines():
        return journal.read_bytes().count(b"\n") if journal.exists() else 0

    for _ in range(2):
        enough, deadline = lines() + moments.randint(1, 12), time.monotonic() + 60
        process = subprocess.Popen(command)
        while lines() < enough and process.poll() is None:
            assert time.monotonic() < deadline, "the scan does not go on"
            time.sleep(1e-3)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert 0 < lines() < 160
    assert_same_bits(scan(spec, out, chunk=3), single)


def test_units_of_several_cells_go_on_and_are_mended(tmp_path, whole, monkeypatch):
    spec, out = descents(tmp_path), tmp_path / "x.zarr"
    integrate, calls = Cell.integrate, []

    def impatient(cell, first, size, **options):
        calls.append(size > 1)
        if sum(calls) == 3:
            raise KeyboardInterrupt
        return integrate(cell, first, size, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Cell, "integrate", impatient)
        with pytest.raises(KeyboardInterrupt):
            scan(spec, out, chunk=30)
    assert sorted(open_store(out).units()) == [0, 1]
    told = program("summary", out)
    assert [line.split()[2:4] for line in told.out.splitlines()[2:]][3:5] == [["10", "10"], ["0", "0"]]
    assert "40 of 80" in program("status", out).out
    resume(out, threads=1)
    assert_same_bits(xr.open_zarr(out), whole)
    file = out / "loss" / "c.0.0.0.0"
    file.write_bytes(file.read_bytes()[:-1])
    assert sorted(open_store(out).damaged()) == [0]
    resume(out)
    assert_same_bits(xr.open_zarr(out), whole)
    with pytest.raises(SpecError, match="was made with units of 30 trajectories"):
        scan(spec, out, chunk=10)
    journal = out / "journal.jsonl"
    assert b'"cells": 3' in journal.read_bytes()


def test_batches_are_drawn_by_cell_and_trajectory(tmp_path):
    spec = of_softmax(tmp_path, "batch_size = [3, 6, 20]\nlearning_rate = 0.1")
    results = scan(spec, tmp_path / "x.zarr", chunk=4)
    w0 = Cell.of(load_plan(spec), 1).start(0, 10)
    loss, rng = dln.SoftmaxCrossEntropy(X, LABELS), np.random.SeedSequence(3, spawn_key=(1, 3))
    sol = dln.descend(w0, loss, 0.1, 30, batch_size=6, rng=rng, record_every=7)
    np.testing.assert_array_equal(results["loss"].sel(batch_size=6), sol.loss)
    # from one start, every trajectory and cell goes its own way
    layer_values = (INIT[1], 'kind = "identity"\nscale = 0.5')
    alike = of_softmax(tmp_path, "batch_size = 3\nlearning_rate = [0.1, 0.10000001]", layer_values)
    ends = scan(alike, tmp_path / "y.zarr")["loss"].values[..., -1].ravel()
    assert np.ptp(ends) > 1e-4
    assert len(np.unique(ends.round(7))) == ends.size


def test_first_numbers_the_draws_of_batches():
    net, loss = dln.Network((2, 3, 2)), dln.SoftmaxCrossEntropy(X, LABELS)
    w0 = dln.inits.gaussian(net, size=6, rng=0)
    whole = dln.descend(w0, loss, 0.1, 20, batch_size=3, rng=1)
    part = dln.descend(tuple(W[4:] for W in w0), loss, 0.1, 20, batch_size=3, rng=1, first=4)
    np.testing.assert_array_equal(part.loss, whole.loss[4:])
    with pytest.raises(ValueError, match="first must be from 0"):
        dln.descend(w0, loss, 0.1, 20, first=-1)


@pytest.mark.parametrize(
    ("table", "made"),
    [
        ('kind = "cosine"\nwarmup = 5\nleast = 0.1', lambda rate: schedules.cosine(rate, 30, 5, 0.1)),
        ('kind = "linear"', lambda rate: schedules.linear(rate, 30)),
        ('kind = "steps"\nat = [10, 20]\nfactor = 0.5', lambda rate: schedules.steps(rate, [10, 20], 0.5)),
        ('kind = "cycle"\nfactors = [1.0, 0.5]', lambda rate: schedules.cycle([rate, 0.5 * rate])),
        ('kind = "constant"', lambda rate: rate),
    ],
)
def test_schedules(tmp_path, table, made):
    spec = descents(tmp_path, "learning_rate = [0.05, 0.25]", schedule=f"[schedule]\n{table}")
    results = scan(spec, tmp_path / "x.zarr")
    plan = load_plan(spec)
    for index, rate in enumerate((0.05, 0.25)):
        cell = Cell.of(plan, index)
        sol = dln.descend(cell.start(0, 10), cell.loss(0, 10), made(rate), 30, record_every=7)
        np.testing.assert_allclose(results["loss"][index], sol.loss, rtol=1e-12)
        np.testing.assert_allclose(results["t"][index], sol.t, rtol=1e-15)


def test_kinds_and_numbers_of_schedules_are_axes(tmp_path):
    schedule = '[schedule]\nkind = ["cosine", "steps"]\nwarmup = [0, 5]\nat = [[5], [5, 10]]\nfactor = 0.5'
    results = scan(descents(tmp_path, "learning_rate = 0.1", schedule=schedule), tmp_path / "x.zarr")
    assert results["loss"].dims == ("kind", "warmup", "at", "trajectory", "time")


def test_cells_of_fewer_records_are_padded(tmp_path):
    spec = descents(tmp_path, "learning_rate = 0.1", ("steps = 30", "steps = [14, 30]"))
    results = scan(spec, tmp_path / "x.zarr").load()
    assert results["steps"].values.tolist() == [[0, 7, 14, -1, -1, -1], [0, 7, 14, 21, 28, 30]]
    assert np.isnan(results["t"][0, 3:]).all()
    assert np.isfinite(results["loss"].values[0, :, :3]).all()
    assert np.isnan(results["loss"].values[0, :, 3:]).all()
    assert np.isfinite(results["loss"].values[1]).all()
    told = program("summary", tmp_path / "x.zarr").out.splitlines()
    ends = [float(line.split()[5]) for line in told[2:]]
    np.testing.assert_allclose(ends, np.median([results["loss"][0, :, 2], results["loss"][1, :, 5]], 1), rtol=5e-3)
    assert program("plot", tmp_path / "x.zarr").code == 0


def test_accuracy(tmp_path):
    accuracy = ('["loss"]', '["accuracy"]')
    spec = of_softmax(tmp_path, "learning_rate = [0.5, 3.0]", accuracy)
    results = scan(spec, tmp_path / "x.zarr")
    assert not {"loss", "W1"} & set(results.variables)
    cell = Cell.of(load_plan(spec), 1)
    sol = dln.descend(cell.start(0, 10), cell.loss(0, 10), 3.0, 30, record_every=7, record=["weights"])
    classes = (dln.product(tuple(sol.weights)) @ X).argmax(axis=-2)
    np.testing.assert_array_equal(results["accuracy"][1], (classes == LABELS).mean(axis=-1))
    assert len(np.unique(results["accuracy"])) > 5
    np.savez(tmp_path / "data.npz", X=X, Y=np.where(LABELS, 1.0, -1.0) * [[1], [-1]])
    logistic = (spec.read_text().replace('"softmax"', '"logistic"'),)
    spec.write_text(*logistic)
    results = scan(spec, tmp_path / "y.zarr")
    cell = Cell.of(load_plan(spec), 1)
    sol = dln.descend(cell.start(0, 10), cell.loss(0, 10), 3.0, 30, record_every=7, record=["weights"])
    right = np.sign(dln.product(tuple(sol.weights)) @ X) == np.where(LABELS, 1.0, -1.0) * [[1], [-1]]
    np.testing.assert_array_equal(results["accuracy"][1], right.mean(axis=(-2, -1)))
    with pytest.raises(SpecError, match=r"'accuracy' cannot be recorded: Quadratic.* has no labels"):
        scan(descents(tmp_path, RATES, LOSS_ALONE, accuracy), tmp_path / "z.zarr")


REFUSALS = [
    ("learning_rate = 0.0", {}, r"updates.learning_rate = 0.0: expected float > 0"),
    ("", {}, r"updates.learning_rate is missing"),
    ("learning_rate = 0.1\nmomentum = 1.0", {}, r"updates.momentum = 1.0: expected float < 1"),
    ("learning_rate = 0.1\nbatch_size = 3", {}, "batch_size"),
    ("learning_rate = 0.1\nlayer_rates = [1.0]", {}, "layer_rates"),
    ("learning_rate = 0.1\nrate = 1", {}, r"updates.rate: unknown key"),
    ("learning_rate = 0.1", {"times": "4"}, r"record.times = 4: a descent is recorded at updates"),
    ("learning_rate = 0.1", {"times": "{from = 31}"}, r"record.times.from = 31: expected an update from 0 to .* = 30"),
    ("learning_rate = 0.1", {"times": "{every = 0}"}, r"record.times.every = 0: expected int >= 1"),
    ("learning_rate = 0.1", {"times": "{count = 3}"}, r"record.times.count: unknown key.*every, from"),
    ("learning_rate = 0.1", {"schedule": "[flow]\nt_end = 1.0"}, r"t_end, method, rtol, .* flows alone .*layer_rates"),
    ("learning_rate = 0.1", {"schedule": '[schedule]\nkind = "cosine"\nwarmup = 30'}, "warmup must be from 0 to"),
    ("learning_rate = 0.1", {"schedule": '[schedule]\nkind = "cosin"'}, 'did you mean "cosine"'),
    ("learning_rate = 0.1", {"schedule": '[schedule]\nkind = "steps"\nfactor = 0.5'}, "schedule.at is missing"),
]


@pytest.mark.parametrize(("updates", "options", "message"), REFUSALS)
def test_refusals(tmp_path, updates, options, message):
    with pytest.raises(SpecError, match=message):
        scan(descents(tmp_path, updates, **options), tmp_path / "x.zarr")
    assert not (tmp_path / "x.zarr").exists()


def test_flows_and_descents_are_not_mixed(tmp_path):
    with pytest.raises(SpecError, match=r"updates.kind = .* this is no axis"):
        scan(descents(tmp_path, RATES, ('kind = "descent"', 'kind = ["flow", "descent"]')), tmp_path / "x.zarr")
    with pytest.raises(SpecError, match=r'needs updates.kind = "descent"'):
        load_plan(write_spec(tmp_path, ("[flow]", '[schedule]\nkind = "linear"\n[flow]')))
    with pytest.raises(SpecError, match=r"updates.steps: unknown key"):
        load_plan(write_spec(tmp_path, ("[flow]", '[updates]\nkind = "flow"\nsteps = 3\n[flow]')))
    with pytest.raises(SpecError, match=r"record.times.every: unknown key"):
        load_plan(write_spec(tmp_path, ("times = 4", "times = {every = 3}")))
    with pytest.raises(SpecError, match="the itinerary is one of flows"):
        load_plan(descents(tmp_path, RATES, ('"loss", ', '"itinerary", ')))


def test_tables_of_flows_change_no_digest(tmp_path):
    plain = load_plan(write_spec(tmp_path))
    assert not {"updates", "schedule"} & set(plain.identity["spec"])
    assert load_plan(write_spec(tmp_path, ("[flow]", '[updates]\nkind = "flow"\n[flow]'))).digest == plain.digest
    one = load_plan(descents(tmp_path))
    assert load_plan(descents(tmp_path, schedule='[schedule]\nkind = "constant"')).digest == one.digest
    assert load_plan(descents(tmp_path, times="{every = 7, from = 0}")).digest == one.digest
    assert load_plan(descents(tmp_path, times="{every = 7, from = 1}")).digest != one.digest


def test_many_rates_are_few_calls(tmp_path, monkeypatch):
    rates = "learning_rate = {start = 0.01, stop = 0.5, count = 4096}"
    spec = descents(tmp_path, rates, LOSS_ALONE, ("trajectories = 10", "trajectories = 1"))
    layout, cells = prepare(load_plan(spec))
    assert (layout.n_units, layout.cells) == (1, 4096)
    integrate, calls = Cell.integrate, []
    monkeypatch.setattr(Cell, "integrate", lambda *args, **options: calls.append(1) or integrate(*args, **options))
    estimate(layout, cells)
    assert len(calls) == 1
    results = scan(spec, tmp_path / "x.zarr")
    assert len(calls) == 3  # the trial, and the unit
    assert results.sizes["learning_rate"] == 4096


def test_a_journal_that_tells_of_other_cells_is_not_trusted(tmp_path):
    layout = Layout.of(load_plan(descents(tmp_path)), 30)
    told = {"cell": 0, "first": 0, "size": 10, "failures": {}, "seconds": 1.0, "cells": 3}
    check_records({0: told}, layout, tmp_path)
    with pytest.raises(StoreError, match="this scan has no such unit"):
        check_records({0: told | {"cells": 2}}, layout, tmp_path)


def test_a_store_with_another_number_of_cells_is_refused(tmp_path):
    out = tmp_path / "x.zarr"
    scan(descents(tmp_path), out, chunk=30)
    file = out / "zarr.json"
    file.write_text(file.read_text().replace('"cells": 3', '"cells": 2'))
    with pytest.raises(StoreError, match=r"the array status has the shape .* in chunks of \(1, 3, 10\)"):
        open_store(out)


# ---- starts in a plane

MODES = (INIT[1], 'kind = "plane"\nmodes = [0, 1]\na = {start = -1.0, stop = 1.0, count = 5}\nb = [0.25, 0.5, 2.0]')
RATE = "learning_rate = 0.2"


def test_a_plane_along_two_modes_is_one_unit_of_its_points(tmp_path):
    spec = descents(tmp_path, RATE, MODES, ("trajectories = 10", "trajectories = 1"))
    results = scan(spec, tmp_path / "x.zarr", chunk=6)
    assert results["loss"].dims == ("a", "b", "trajectory", "time")
    assert Layout.of(load_plan(spec), 6).span == (2, 3)
    net, loss = dln.Network((2, 3, 2)), dln.Quadratic.from_singular_values((2, 1), shape=(2, 2))
    for a in (-1.0, 0.5):
        for b in (0.25, 2.0):
            w0 = dln.inits.decoupled(net, loss, [a, b])
            sol = dln.descend(w0, loss, 0.2, 30, record_every=7, record=["loss", "strengths"])
            cell = results.sel(a=a, b=b, trajectory=0)
            np.testing.assert_array_equal(cell["loss"], sol.loss)
            np.testing.assert_allclose(cell["strengths"][0], [a**2, b**2], rtol=1e-14)
    assert_same_bits(scan(spec, tmp_path / "y.zarr", chunk=1).load(), results.load())


def test_the_map_of_a_plane_shows_what_its_points_end_with(tmp_path):
    several = ("trajectories = 10", "trajectories = 3")
    far = ("[0.25, 0.5, 2.0]", "[0.25, 0.5, 3.0]")
    spec = descents(tmp_path, "learning_rate = [0.2, 0.6]", MODES, far, several, steps=300)
    results = scan(spec, tmp_path / "x.zarr").load()
    figure = scan_figure(results)
    panels = [ax for ax in figure.axes if ax.get_xlabel() == "a"]
    assert [ax.get_title("left") for ax in panels] == ["learning_rate 0.2", "learning_rate 0.6"]
    for i, ax in enumerate(panels):
        own = results.isel(learning_rate=i)
        failed = (own["status"] == dln.Status.DIVERGED).all("trajectory").values
        ends = np.where(failed, np.nan, own["loss"].values[..., 0, -1])
        shown = ax.collections[0].get_array().reshape(3, 5).T
        np.testing.assert_allclose(shown, np.maximum(ends, shown[~failed].min()))
        assert ax.get_title("right") == ("red: failed" if failed.any() else "")
        if failed.any():
            np.testing.assert_array_equal(ax.collections[1].get_array().reshape(3, 5).T == 1.0, failed)
    assert (results["status"] == dln.Status.DIVERGED).any()


def test_pictures_of_descents_show_what_they_end_with(whole):
    figure = scan_figure(whole)
    rows = {ax.get_ylabel(): ax for ax in figure.axes if ax.get_ylabel()}
    assert list(rows) == ["loss", "strength / σ", "learning time", "loss at the end"]
    assert rows["loss"].get_xlabel() == "updates"
    assert rows["loss"].get_xlim() == (0.0, 30.0)
    assert rows["loss"].get_ylim()[1] < 2 * whole["loss"][..., 0].max()  # however far some have gone
    ax = rows["loss at the end"]
    cells = whole.isel(momentum=0)
    finished = (cells["status"] == dln.Status.FINISHED).values
    ends = np.where(finished, cells["loss"].values[..., -1], np.nan)
    (middle, *marks) = ax.lines
    known = finished.any(axis=1)
    np.testing.assert_array_equal(middle.get_xdata(), cells["learning_rate"].values[known])
    np.testing.assert_allclose(middle.get_ydata(), np.nanmedian(ends[known], axis=1))
    assert [list(line.get_xdata()) for line in marks] == ([[2.0]] if not known.all() else [])


def plane_file(folder, rng=0):
    draws = np.random.default_rng(rng)
    plane = [tuple(draws.standard_normal(shape) for shape in ((3, 2), (2, 3))) for _ in range(3)]
    np.savez(folder / "plane.npz", **{f"{x}{i}": W for x, way in zip("WUV", plane, strict=True)
                                      for i, W in enumerate(way, start=1)})  # fmt: skip
    return plane


@pytest.mark.parametrize("flows", [True, False])
def test_a_plane_from_a_file(tmp_path, flows):
    plane = plane_file(tmp_path)
    init = 'kind = "plane"\npath = "plane.npz"\na = [-1.0, 0.0, 0.5]\nb = [0.25, 0.5]'
    few = ("trajectories = 10", "trajectories = 1")
    if flows:
        spec = write_spec(tmp_path, WIDTHS, INIT, (INIT[1], init), few)
    else:
        spec = descents(tmp_path, "learning_rate = 0.02", (INIT[1], init), few)
    results = scan(spec, tmp_path / "x.zarr")
    assert len(open_store(tmp_path / "x.zarr").units()) == 1
    w0 = dln.inits.plane(*plane, [-1.0, 0.0, 0.5], [0.25, 0.5])
    loss = dln.Quadratic.from_singular_values((2, 1), shape=(2, 2))
    if flows:
        sol = dln.flow(w0, loss, (0.0, 5.0), t_eval=np.linspace(0, 5, 4))
    else:
        sol = dln.descend(w0, loss, 0.02, 30, record_every=7)
    np.testing.assert_array_equal(results["loss"], sol.loss.reshape(3, 2, 1, -1))
    assert (results["status"] == 0).all()
    digest = load_plan(spec).digest
    plane_file(tmp_path, rng=1)
    assert load_plan(spec).digest != digest


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("a = 0.0\nb = 0.0", "of the keys path and modes a plane has one"),
        ('path = "plane.npz"\nmodes = [0, 1]\na = 0.0\nb = 0.0', "of the keys path and modes a plane has one"),
        ("modes = [0, 2]\na = 0.0\nb = 0.0", r"init.modes = \[0, 2\]: expected two modes, from 0 to 1"),
        ("modes = [1, 1]\na = 0.0\nb = 0.0", r"init.modes = \[1, 1\]: expected two modes"),
        ("modes = [0, 1]\na = 0.0", "init.b is missing"),
        ('path = "none.npz"\na = 0.0\nb = 0.0', 'init: there is no file "none.npz"'),
        ('path = "../plane.npz"\na = 0.0\nb = 0.0', "init: the file .* lies outside"),
        ('path = "short.npz"\na = 0.0\nb = 0.0', r"init.path: short.npz has no array U1, U2, V1, V2, but W1, W2"),
    ],
)
def test_planes_that_are_refused(tmp_path, keys, message):
    plane_file(tmp_path)
    np.savez(tmp_path / "short.npz", W1=np.eye(2), W2=np.eye(2))
    with pytest.raises(SpecError, match=message):
        scan(descents(tmp_path, RATE, (INIT[1], f'kind = "plane"\n{keys}')), tmp_path / "x.zarr")


def test_a_plane_of_other_widths_is_refused(tmp_path):
    plane_file(tmp_path)
    init = (INIT[1], 'kind = "plane"\npath = "plane.npz"\na = 0.0\nb = 0.0')
    with pytest.raises(SpecError, match=r"plane.npz has weights of Network\(\(2, 3, 2\)\); expected .*4"):
        scan(descents(tmp_path, RATE, init, ("[2, 3, 2]", "[2, 4, 2]")), tmp_path / "x.zarr")


def test_orbits_after_a_burn_in_and_exponents(tmp_path):
    """One mode of two layers, at rest below the limit of stability and with a period of 2 above it."""
    mode = (WIDTHS[1], "[1, 1, 1]"), ("values = [2.0, 1.0]", "values = [1.0]")
    observables = (LOSS_ALONE[0], '["strengths", "lyapunov"]')
    rates = "learning_rate = {start = 0.9, stop = 1.1, count = 3}"
    spec = descents(tmp_path, rates, *mode, observables, steps=2000, times="{every = 1, from = 1900}")
    results = scan(spec, tmp_path / "x.zarr").load()
    below, above = (results["strengths"].isel(learning_rate=i, trajectory=0, mode=0).values for i in (0, 2))
    np.testing.assert_allclose(below, 1.0, rtol=1e-12)
    cycle = next(c for c in dln.theory.descent.cycles(1.1, 1.0, 2, 2) if c.stable)
    np.testing.assert_allclose(np.sort(above[:2]), np.sort(cycle.points**2), rtol=1e-6)
    assert results["lyapunov"].dims == ("learning_rate", "trajectory")
    assert (results["lyapunov"] < 1e-3).all()
    figure = scan_figure(results)
    orbits, exponents = figure.axes
    assert [ax.get_ylabel() for ax in figure.axes] == ["orbits / σ", "exponent / update"]
    points = np.concatenate([line.get_xydata() for line in orbits.lines])
    np.testing.assert_array_equal(np.unique(points[:, 0]), results["learning_rate"])
    drawn = points[points[:, 0] == results["learning_rate"].values[2], 1]
    np.testing.assert_allclose(np.unique(drawn.round(6)), np.sort(cycle.points**2).round(6), atol=2e-6)
    assert exponents.lines
    short = descents(tmp_path, rates, *mode, observables, steps=2000, times="{every = 1, from = 1937}")
    with pytest.raises(SpecError, match=r"record\.times\.from = 1937: 'lyapunov' needs at least 64 updates"):
        scan(short, tmp_path / "y.zarr")
