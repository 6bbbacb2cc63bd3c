"""The picture of a scan: what is in it, and that it leaves a session's Matplotlib alone."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from fastdln.scan import picture as figures
from fastdln.scan import scan
from fastdln.scan.panels import FAILURE
from fastdln.scan.plan import load_plan
from fastdln.scan.run import open_or_create
from tests.support.scans import write_spec

WIDTHS = "[[2, 2], [2, 3, 2], [3, 2, 4, 3]]"


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for ax in figure.axes for text in (*ax.texts, ax._left_title)]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    """The small scan, at logarithmic times."""
    folder = tmp_path_factory.mktemp("scan")
    spec = write_spec(folder, ("times = 4", 'times = {count = 20, spacing = "log"}'))
    return scan(spec, folder / "x.zarr").load()


def test_one_column_for_each_network_and_one_row_for_each_quantity(results: xr.Dataset):
    figure = figures.scan_figure(results)
    assert len(figure.axes) == 9
    assert [ax._left_title.get_text() for ax in figure.axes[:3]] == ["widths 2-2", "widths 2-3-2", "widths 3-2-4-3"]
    assert [ax.get_ylabel() for ax in figure.axes[::3]] == ["loss", "strength / σ", "learning time"]
    assert figure.axes[0].get_xscale() == figure.axes[0].get_yscale() == "log"
    assert figure.get_suptitle().startswith("small: 60 trajectories")


def test_curves_are_medians_with_bands(results: xr.Dataset):
    figure = figures.scan_figure(results)
    panel, cell = figure.axes[1], results.sel(widths="2-3-2", scale=0.5)
    line = panel.lines[1]
    np.testing.assert_allclose(line.get_ydata(), np.median(cell["loss"], axis=0))
    np.testing.assert_array_equal(line.get_xdata(), cell["t"])
    outer, inner = panel.collections[2:4]
    for band, quantiles in ((outer, (0.1, 0.9)), (inner, (0.25, 0.75))):
        y = band.get_paths()[0].vertices[:, 1]
        low, high = np.quantile(cell["loss"], quantiles, axis=0)
        assert y.min() == pytest.approx(low.min())
        assert y.max() == pytest.approx(high.max())


def test_learning_times_stand_over_the_scanned_parameter(results: xr.Dataset):
    figure = figures.scan_figure(results)
    panel = figure.axes[7]
    median = np.quantile(results.sel(widths="2-3-2")["learning_times"], 0.5, axis=1, method="inverted_cdf")
    dots = [line for line in panel.lines if line.get_marker() == "o"]
    assert len(dots) == 2
    for mode, line in enumerate(dots):
        np.testing.assert_array_equal(line.get_xdata(), [0.1, 0.5])
        np.testing.assert_allclose(line.get_ydata(), median[:, mode])
    assert panel.get_xscale() == "log"


def test_failures_are_marked_and_left_out(tmp_path: Path):
    spec = write_spec(tmp_path, ("t_end = 5.0", "t_end = 5.0\nmax_steps = 30"), ("times = 4", "times = 20"))
    results = scan(spec, tmp_path / "x.zarr").load()
    failed = (results["status"] == 2).sum("trajectory")
    assert 0 < failed.sum() < 60
    figure = figures.scan_figure(results)
    for i, panel in enumerate(figure.axes[:3]):
        expected = int(failed[i].sum())
        crosses = [line for line in panel.lines if line.get_marker() == "x"]
        assert len(crosses) == expected
        assert {to_hex(line.get_color()) for line in crosses} <= {FAILURE}
        assert (f"× {expected} failed" in [t.get_text() for t in panel.texts]) == (expected > 0)
    for cell in failed.values[2]:
        assert not cell or f"× {cell} failed" in [t.get_text() for t in figure.axes[8].texts]
    whole = np.isfinite(figure.axes[0].lines[0].get_ydata())
    assert whole.all()


@pytest.mark.parametrize(
    "changes",
    [
        [(WIDTHS, "[2, 3, 2]"), ("[0.1, 0.5]", "0.1")],
        [("[0.1, 0.5]", "0.1")],
        [('kind = "singular_values"\nvalues = [2.0, 1.0]', 'kind = ["random", "identity"]')],
        [
            (WIDTHS, "[2, 2]"),
            ("[2.0, 1.0]", "[[2.0, 1.0], [1.0]]"),
            ("t_end = 5.0", "t_end = [1.0, 5.0]\nrtol = [1e-4, 1e-6]"),
        ],
        [('["loss", "strengths", "learning_times"]', '["learning_times"]')],
        [('["loss", "strengths", "learning_times"]', '["imbalance"]')],
        [("t_end = 5.0", "t_end = 5.0\nmax_steps = 1")],
        [("t_end = 5.0", "t_end = 1e-3")],
        [("times = 4", "times = 1")],
        [("[2.0, 1.0]", "[0.0]")],
        [("[0.1, 0.5]", f"{np.geomspace(0.1, 1, 15).tolist()}")],
    ],
    ids=["cell", "words", "kinds", "axes", "times", "nothing", "failures", "early", "one time", "zero", "many"],
)
def test_every_scan_has_a_picture(tmp_path: Path, changes: list[tuple[str, str]]):
    results = scan(write_spec(tmp_path, ("trajectories = 10", "trajectories = 3"), *changes), tmp_path / "x.zarr")
    figures.save_scan(results, tmp_path / "x.png", dpi=30)
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["$", "$\\frac{$", "\\$x$", "a\x1b[1mb", "x" * 1000])
def test_text_from_a_file_is_drawn_as_it_is(results: xr.Dataset, tmp_path: Path, name: str):
    named = results.assign_attrs(title=name).assign_coords(widths=[name, "2-3-2", "_"])
    figure = figures.scan_figure(named)
    figure.savefig(tmp_path / "x.png", dpi=30)
    assert len(figure.get_suptitle()) < 200
    assert "$" not in figure.get_suptitle().replace(r"\$", "")


def test_unfinished_scan(tmp_path: Path):
    store = open_or_create(load_plan(write_spec(tmp_path)), tmp_path / "x.zarr")
    figure = figures.scan_figure(store.dataset())
    assert figure.get_suptitle().startswith("small: 0 of 60 trajectories")
    figure.savefig(tmp_path / "x.png", dpi=30)


def test_session_is_left_alone(results: xr.Dataset, tmp_path: Path):
    before, backend = mpl.rcParams.copy(), mpl.get_backend()
    figures.save_scan(results, tmp_path / "x.svg")
    assert dict(mpl.rcParams) == dict(before)
    assert mpl.get_backend() == backend
    assert not plt.get_fignums()
