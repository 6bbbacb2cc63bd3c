"""What is read of a store for the page: the numbers that xarray has, and no more files than are shown."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from fastdln.integrate.status import Status
from fastdln.scan.errors import StoreError
from fastdln.scan.store import JOURNAL, open_store
from fastdln.theory.itinerary.result import KINDS
from fastdln.view.course import Course, course
from fastdln.view.crowd import MOST_CURVES, crowd
from fastdln.view.graph import MOST_EDGES, graph
from fastdln.view.maps import ENOUGH, NONE, Map, Plane, first_plane
from fastdln.view.quantities import curves, quantities
from fastdln.view.reading import Reader
from tests.support.scans import tree
from tests.support.views import ONE, RATES, SMALL, WORDS, chunk_file, damage, go_on, half_done, made, million

FOREVER = 1e9
N_CELLS, CHUNK = 12, 4


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grid of 3 x 2 x 2 cells, three units each, in which some trajectories fail."""
    return made(SMALL, tmp_path_factory.mktemp("small"), chunk=CHUNK)


@pytest.fixture(scope="module")
def rates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(RATES, tmp_path_factory.mktemp("rates"))


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return million(tmp_path_factory.mktemp("big"))


def full(reader: Reader, name: str, plane: Plane | None = None, choice: int = 0, statistic: str = "median") -> Map:
    drawn = Map(reader, plane or first_plane(reader), quantities(reader)[name], choice, statistic)
    assert drawn.advance(FOREVER)
    return drawn


def succeeded(results: xr.Dataset) -> xr.DataArray:
    return results["status"] <= Status.STOPPED


# ---- maps


def test_the_store_has_failures(store: Path):
    status = xr.open_zarr(store)["status"].values
    assert 0 < np.count_nonzero(status == Status.MAX_STEPS) < status.size


STATISTICS = {"median": "median", "mean": "mean", "minimum": "min", "maximum": "max"}


@pytest.mark.parametrize(
    ("axes", "statistic"),
    [*((axes, "median") for axes in permutations(range(3), 2)), *(((2, 0), name) for name in STATISTICS)],
)
def test_numbers_are_those_of_xarray(store: Path, axes: tuple[int, int], statistic: str):
    results = xr.open_zarr(store)[["n_modes", "loss", "status"]].load()
    place = (2, 1, 1)
    drawn = full(Reader(store), "end:loss", Plane(*axes, place), statistic=statistic)
    dims = results["n_modes"].dims
    left = next(i for i in range(3) if i not in axes)
    ends = results["loss"].isel(time=-1).where(succeeded(results)).isel({dims[left]: place[left]})
    expected = getattr(ends, STATISTICS[statistic])("trajectory").transpose(dims[axes[1]], dims[axes[0]])
    np.testing.assert_array_equal(drawn.values, expected.values)
    assert (drawn.done == 1).all()


def test_what_a_map_can_show(store: Path):
    reader, results = Reader(store), xr.open_zarr(store).load()
    good = succeeded(results)
    two = {"max_steps": 0}

    def hold(name: str, expected: xr.DataArray, choice: int = 0, statistic: str = "mean") -> None:
        axes = [axis.name for axis in reader.plan.axes]
        across, up = axes.index("scale"), axes.index("weight_decay")
        drawn = full(reader, name, Plane(across, up, (0, 0, 0)), choice, statistic)
        np.testing.assert_allclose(
            drawn.values, expected.isel(two).transpose("weight_decay", "scale").values, rtol=1e-12
        )

    hold("share:MAX_STEPS", (results["status"] == Status.MAX_STEPS).mean("trajectory"))
    hold("learned", np.isfinite(results["learning_times"]).sum("mode").where(good).mean("trajectory"))
    times = results["learning_times"].isel(mode=1)
    later = times.where(times.notnull(), np.inf).where(good).median("trajectory")
    hold("learning_times", later.where(np.isfinite(later)), choice=1, statistic="median")
    hold("end:strengths", results["strengths"].isel(time=-1, mode=1).where(good).mean("trajectory"), choice=1)
    hold("end:layer_alignment", results["layer_alignment"].isel(time=-1, interface=0).where(good).mean("trajectory"))
    hold("n_rejected", results["n_rejected"].where(good).mean("trajectory"))
    hold("sequential", results["sequential"].mean("trajectory"))


def test_a_mode_that_was_not_learned_counts_as_later_than_all(store: Path):
    reader = Reader(store)
    quantity = quantities(reader)["learning_times"]
    block = np.array([[1.0, 3.0], [1.0, np.nan], [2.0, np.nan]])
    first, second = (quantity.of(reader, 0, block, mode) for mode in (0, 1))
    assert quantity.reduced(first, "median") == 1
    assert quantity.reduced(second, "minimum") == 3
    assert np.isnan(quantity.reduced(second, "median"))


def test_learned_modes_follow_from_strengths_too(rates: Path):
    reader, results = Reader(rates), xr.open_zarr(rates).load()
    ends = results["strengths"].isel(time=-1) >= 0.5 * results["sigma"]
    expected = ends.sum("mode").where(succeeded(results)).median("trajectory")
    np.testing.assert_array_equal(full(reader, "learned").values[0], expected.values)


def test_grids_of_one_axis_and_units_of_several_cells(rates: Path):
    reader, results = Reader(rates), xr.open_zarr(rates).load()
    assert reader.layout.cells > 1
    assert first_plane(reader) == Plane(0, NONE, (0,))
    last = results["loss"].isel(time=-1).where(succeeded(results)).median("trajectory")
    np.testing.assert_array_equal(full(reader, "end:loss").values[0], last.values)
    assert np.isnan(last.values).any()  # the largest rates diverge
    assert reader.traffic.files == 2 * reader.layout.n_units
    np.testing.assert_array_equal(reader.clock(5), results["steps"].values)


def test_a_grid_of_one_cell(tmp_path: Path):
    reader = Reader(made(ONE, tmp_path))
    drawn = full(reader, "end:loss")
    assert first_plane(reader) == Plane(NONE, NONE, ())
    assert drawn.values.shape == (1, 1)
    assert np.isfinite(drawn.values).all()


def test_axes_of_words_and_widths(tmp_path: Path):
    reader = Reader(made(WORDS, tmp_path))
    results = xr.open_zarr(reader.store.path).load()
    assert {axis.name for axis in reader.plan.axes} == {"widths", "kind"}
    drawn = full(reader, "end:loss", Plane(0, 1, (0, 0)))
    expected = results["loss"].isel(time=-1).median("trajectory").transpose("kind", "widths")
    np.testing.assert_array_equal(drawn.values, expected.values)


# ---- a scan that is still running


def test_units_that_the_journal_does_not_name_are_not_there(store: Path, tmp_path: Path):
    path = half_done(store, tmp_path / "x.zarr", units=8)  # two cells and two thirds of the third
    reader = Reader(path)
    plane = Plane(2, 1, (0, 0, 0))  # the first cells of the grid, in their order
    drawn = full(reader, "end:loss", plane)
    assert drawn.done.ravel().tolist() == [1, 1, 2 * CHUNK / 10, 0]
    whole = full(Reader(store), "end:loss", plane)
    np.testing.assert_array_equal(drawn.values.ravel()[:2], whole.values.ravel()[:2])
    assert np.isnan(drawn.values.ravel()[3])
    assert not reader.finished
    assert course(reader, 3, 0) is None
    assert crowd(reader, 2, list(Status), curves(reader)["loss"], 0).n_done == 2 * CHUNK

    go_on(store, path, units=9)
    files = reader.traffic.files
    assert reader.refresh()
    drawn.again()
    assert drawn.advance(FOREVER)
    np.testing.assert_array_equal(drawn.values.ravel()[:3], whole.values.ravel()[:3])
    assert reader.traffic.files == files + 2  # loss and status of the new unit
    assert not reader.refresh()

    go_on(store, path, units=3 * N_CELLS)
    assert reader.refresh()
    drawn.again()
    assert drawn.advance(FOREVER)
    np.testing.assert_array_equal(drawn.values, whole.values)
    assert reader.finished


def test_the_writer_is_neither_locked_out_nor_looked_at(store: Path):
    before = tree(store)
    with open_store(store).writer():
        reader = Reader(store)
        full(reader, "end:loss")
        reader.refresh()
    reader = Reader(store)
    with open_store(store).writer():  # as a reader goes on
        assert not reader.refresh()
    assert tree(store) == before


def test_a_unit_that_is_done_again_is_read_again(store: Path, tmp_path: Path):
    path = half_done(store, tmp_path / "x.zarr", units=1)
    go_on(store, path, units=3)
    reader = Reader(path)
    drawn = full(reader, "end:loss")
    files = reader.traffic.files
    with (path / JOURNAL).open("ab") as journal, (path / JOURNAL).open("rb") as again:
        journal.write(again.readline())
    assert reader.refresh()
    drawn.again()
    drawn.advance(FOREVER)
    assert reader.traffic.files == files + 2
    assert reader.n_done == 10


# ---- damage


def test_a_damaged_file_is_named(store: Path, tmp_path: Path):
    path = half_done(store, tmp_path / "x.zarr", units=8)
    damage(path, "loss", 1)
    reader = Reader(path)
    assert reader.chunk("loss", 0).shape == (1, CHUNK, 12)
    with pytest.raises(StoreError, match=r"loss/c\.0\.0\.0\.1\.0 is damaged: .*not what was written.*fastdln resume"):
        reader.chunk("loss", 1)
    chunk_file(path, "loss", 2).unlink()
    with pytest.raises(StoreError, match=r"loss/c\.0\.0\.0\.2\.0 is damaged: .*No such file"):
        reader.chunk("loss", 2)


def test_a_map_goes_on_where_a_cell_is_damaged(store: Path, tmp_path: Path):
    path = half_done(store, tmp_path / "x.zarr", units=9)
    damage(path, "loss", 3)
    plane = Plane(2, 1, (0, 0, 0))
    drawn = full(Reader(path), "end:loss", plane)
    assert list(drawn.damaged) == [1]
    whole = full(Reader(store), "end:loss", plane).values
    whole[0, 1] = whole[1, 1] = np.nan
    np.testing.assert_array_equal(drawn.values, whole)


def test_a_damaged_journal_is_refused(store: Path, tmp_path: Path):
    path = half_done(store, tmp_path / "x.zarr", units=8)
    reader = Reader(path)
    go_on(store, path, units=12)
    journal = path / JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:9], b"{}\n", *lines[10:]]))
    with pytest.raises(StoreError, match="line 10 of 12 is damaged"):
        reader.refresh()
    journal.write_bytes(lines[0])
    with pytest.raises(StoreError, match="shorter"):
        reader.refresh()


def test_what_was_written_first_is_looked_at(store: Path, tmp_path: Path):
    path = half_done(store, tmp_path / "x.zarr", units=1)
    file = next(file for file in (path / "sigma").rglob("*") if file.is_file() and file.name != "zarr.json")
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(StoreError, match=r"sigma.*checksum"):
        Reader(path)
    with pytest.raises(StoreError, match="no store"):
        Reader(tmp_path)


# ---- a million trajectories


def test_of_a_million_only_what_is_shown_is_read(big: Path):
    reader = Reader(big)
    layout = reader.layout
    assert reader.n_done == 10**6
    assert (layout.n_units, layout.blocks) == (64, 16)
    assert reader.traffic.files == 0

    drawn = full(reader, "end:loss")
    per_cell = reader.traffic.bytes / 4
    assert reader.traffic.files == 8  # one unit of each cell, loss and status
    assert ENOUGH <= drawn.counted == layout.chunk < 250_000
    first = xr.open_zarr(big).isel(scale=1, trajectory=slice(layout.chunk))
    assert drawn.values.ravel()[1] == float(first["loss"].isel(time=-1).where(first["status"] == 0).median())

    full(reader, "share:MAX_STEPS")
    assert reader.traffic.files == 8 + 4 * 15  # of statuses the others, a byte for each trajectory
    assert reader.traffic.bytes < 8 * per_cell

    found = crowd(reader, 2, list(Status), curves(reader)["loss"], 0)
    assert reader.traffic.files == 68  # all of it has been read before
    assert (found.n, found.n_matching, len(found.curves)) == (250_000, 250_000, MOST_CURVES)
    assert course(reader, 2, 249_999) is not None
    assert reader.traffic.files == 68 + len(reader.variables) - 1


def test_of_rare_statuses_some_units_are_searched(big: Path):
    reader = Reader(big)
    found = crowd(reader, 0, [Status.MAX_STEPS], curves(reader)["loss"], 0)
    assert found.n_matching == 250
    assert (found.status == Status.MAX_STEPS).all()
    assert (found.trajectories % 1000 == 7).all()
    assert 100 < len(found.trajectories) < MOST_CURVES
    assert reader.traffic.files == 16 + 8  # all statuses, and the losses of as many units as are searched


# ---- one cell, one trajectory


def test_curves_are_those_of_xarray(store: Path):
    reader, results = Reader(store), xr.open_zarr(store).load()
    cell = reader.plan.index((2, 0, 0))
    own = results.isel({axis.name: i for axis, i in zip(reader.plan.axes, (2, 0, 0), strict=True)})
    for status in ([Status.FINISHED], [Status.MAX_STEPS], list(Status), []):
        found = crowd(reader, cell, status, curves(reader)["strengths"], 1)
        expected = np.flatnonzero(np.isin(own["status"], [int(s) for s in status]))
        assert found.trajectories.tolist() == expected.tolist()
        if len(expected):
            np.testing.assert_array_equal(found.curves, own["strengths"].values[expected][..., 1])
        assert (found.n_matching, found.n_done) == (len(expected), 10)
    assert sum(found.counts.values()) == 10
    np.testing.assert_array_equal(found.clock, own["t"].values)


def test_long_curves_are_thinned(rates: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fastdln.view.crowd.MOST_RECORDS", 10)
    found = crowd(Reader(rates), 3, list(Status), curves(Reader(rates))["loss"], 0)
    assert found.every == 4
    assert found.clock[-1] == 60
    assert len(found.clock) == found.curves.shape[1] == 8


def test_one_trajectory(store: Path):
    reader, results = Reader(store), xr.open_zarr(store).load()
    place, k = (1, 1, 1), 7
    own = results.isel({axis.name: i for axis, i in zip(reader.plan.axes, place, strict=True)}).isel(trajectory=k)
    one = course(reader, reader.plan.index(place), k)
    assert one is not None
    for name in ("loss", "strengths", "sharpness", "W1", "learning_times"):
        np.testing.assert_array_equal(one.recorded[name], own[name].values)
    assert one.status == own["status"]
    assert one.sigma.tolist() == [2, 1]
    W1, W2 = own["W1"].values, own["W2"].values
    assert one.layer_values is not None
    np.testing.assert_allclose(one.layer_values[1], np.linalg.svd(W2, compute_uv=False), atol=1e-14)
    np.testing.assert_allclose(one.product_values, np.linalg.svd(W2 @ W1, compute_uv=False), atol=1e-12)
    del one.recorded["singular_values"]
    np.testing.assert_allclose(one.product_values, np.linalg.svd(W2 @ W1, compute_uv=False), atol=1e-14)


def test_an_itinerary_is_the_stored_one_or_follows_from_what_is_there(store: Path):
    reader = Reader(store)
    one = course(reader, reader.plan.index((0, 1, 0)), 3)
    assert one is not None
    words, stops = one.itinerary()
    assert words.startswith("It learned the modes 0, 1")
    assert [stop.kind for stop in stops][-1] == KINDS[0]
    assert stops[-1].learned == (0, 1)
    assert np.isinf(stops[-1].exit)
    bare = {name: values for name, values in one.recorded.items() if "plateau" not in name}
    again = Course(reader, one.cell, one.k, bare)
    assert again.itinerary()[0] == words
    np.testing.assert_allclose([s[3:] for s in again.itinerary()[1]], [s[3:] for s in stops], rtol=1e-9)
    del bare["loss"]
    assert again.itinerary() == (again.itinerary()[0], [])
    assert '"loss" was not recorded' in again.itinerary()[0]


def test_descents_have_an_edge_and_no_itinerary(rates: Path):
    reader = Reader(rates)
    one = course(reader, 0, 0)
    assert one is not None
    assert one.edge == 2 / 0.05
    assert one.itinerary() == ("An itinerary is one of flows, not of descents.", [])
    assert one.layer_values is one.product_values is None


def test_advice_where_it_failed(rates: Path):
    one = course(Reader(rates), 47, 0)
    assert one is not None
    assert one.status == Status.DIVERGED
    assert "smaller learning rate" in one.advice


# ---- the graph


def test_edges_lead_from_layer_to_layer():
    weights = (np.arange(6.0).reshape(1, 3, 2), -np.arange(3.0).reshape(1, 1, 3))
    drawn = graph((2, 3, 1), weights)
    begin, end = drawn.ends()
    assert drawn.weights is not None
    for (layer, row, column), a, b, w in zip(drawn.edges, begin, end, drawn.weights[0], strict=True):
        assert w == weights[layer - 1][0, row, column]
        assert (a[0], b[0]) == (layer - 1, layer)
    assert drawn.largest == 5
    first = drawn.edges[:, 0] == 1
    assert len({tuple(p) for p in begin[first]}) == 2
    assert len({tuple(p) for p in end[first]}) == 3


def test_of_wide_networks_the_largest_weights_are_drawn():
    W = np.zeros((1, 80, 60))
    W[0, 70, 50], W[0, 3, 4] = -2.0, 1.0
    drawn = graph((60, 80), (W,))
    assert (len(drawn.edges), drawn.n_edges) == (MOST_EDGES, 4800)
    assert drawn.edges[-2:].tolist() == [[1, 3, 4], [1, 70, 50]]
    assert len(graph((60, 80), None).edges) == MOST_EDGES
