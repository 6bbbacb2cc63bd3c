"""The picture of a scan: loss curves, the rise of the modes, and learning times over the grid; of descents also what
they end with, and of starts in a plane only that.

One axis of the grid, the last that holds numbers, is drawn inside every panel; the others make the panels.
Figures are drawn on Agg canvases without pyplot, so that the settings and the windows of a session stay as
they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, NullLocator
from numpy.typing import NDArray

from fastdln.scan.basins import MOST_PANELS, PLANE, draw_map
from fastdln.text import plain

__all__ = ["FORMATS", "save_scan", "scan_figure"]

FORMATS = tuple(FigureCanvasAgg.get_supported_filetypes())
"""The formats in which pictures can be saved."""

Floats = NDArray[np.float64]
T = TypeVar("T")
Choice = dict[str, int]
"""A place on some axes of the grid."""

MAX_COLUMNS, MAX_ROWS, MAX_ENTRIES = 6, 4, 12
MAX_CURVES = 48
MAX_TRAJECTORIES = 2000
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
# Losses below this part of the largest are cut off: nothing is learned there but the last digits.
FLOOR = 1e-4
# Modes below this part of the largest are noise of the target.
NEGLIGIBLE = 1e-8

INK, FAINT, FAILURE = "#262626", "#e6e6e6", "#c8102e"
# Okabe & Ito's colours, which colour-blind people tell apart.
CATEGORIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")


def save_scan(results: xr.Dataset, path: Path, *, dpi: int = 160) -> None:
    """Draw a scan into a file.

    Parameters
    ----------
    results : xarray.Dataset
        What `xarray.open_zarr` reads from the scan's store.
    path : Path
        Where to; its suffix tells the format, as in ".png", ".pdf" or ".svg".
    dpi : int
        Dots per inch of a PNG.
    """
    scan_figure(results).savefig(path, dpi=dpi)


def scan_figure(results: xr.Dataset) -> Figure:
    """Draw a scan.

    Curves are medians over the trajectories of a cell, dark bands reach from quartile to quartile, light ones
    from 10 to 90 %. Trajectories that failed are left out of them, and marked.

    Parameters
    ----------
    results : xarray.Dataset
        What `xarray.open_zarr` reads from the scan's store; it may be unfinished.

    Returns
    -------
    matplotlib.figure.Figure
        The figure, with a canvas of its own.
    """
    if "loss" in results and all(results["status"].sizes.get(dim, 1) > 1 for dim in PLANE):
        return _map(_drawn(results), _title(results, "medians"))
    title = _title(results, "median, quartiles, 10 to 90 %")
    grid = _Grid.of(_drawn(results))
    kinds = [kind for kind in _KINDS if kind.variable in results and grid.offers(kind)]
    heights = [kind.height for kind in kinds] * len(grid.rows)
    titles = 0.16 * len(grid.rows) * len(grid.rows[0] | grid.columns[0])
    size = (2.2 + max(2.9 * len(grid.columns), 4.4), max(0.9 + sum(heights) + titles, 2.5))
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=11)
    if not kinds:
        figure.text(0.5, 0.5, "nothing that can be drawn was recorded", ha="center", color=INK)
        return figure
    axes = figure.subplots(
        len(heights), len(grid.columns), squeeze=False, sharey="row", gridspec_kw={"height_ratios": heights}
    )
    for place, (row, kind) in enumerate(product(grid.rows, kinds)):
        for column, ax in zip(grid.columns, axes[place], strict=True):
            _style(ax)
            kind.draw(ax, grid, row | column)
            if kind is kinds[0]:
                ax.set_title(grid.label(row | column), loc="left", fontsize=9, color=INK)
        axes[place, 0].set_ylabel(kind.label, fontsize=9, color=INK)
    _legend(axes[0, -1], grid.inner or "", grid.inner_labels() if grid.inner else [], grid.colours())
    if by_mode := [place for place, kind in enumerate(kinds) if kind.by_mode]:
        _legend(axes[by_mode[0], -1], *grid.mode_labels(), grid.mode_colours())
    return figure


def _map(results: xr.Dataset, title: str) -> Figure:
    others = [size for dim, size in results["status"].sizes.items() if dim not in (*PLANE, "trajectory")]
    figure = Figure(figsize=(1.6 + 3.6 * min(int(np.prod(others)), MOST_PANELS), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=11)
    draw_map(figure, results, _ends(results, "loss"), _outcomes(results)[1])
    return figure


@dataclass(frozen=True)
class _Grid:
    """How the grid is spread over the figure; of very long axes some points are left out."""

    whole: xr.Dataset
    """All points."""
    results: xr.Dataset
    """Those whose curves are drawn."""
    inner: str | None
    """The axis inside each panel."""
    columns: list[Choice]
    rows: list[Choice]
    modes: NDArray[np.intp]
    """The modes of which a cell has more than noise."""

    @classmethod
    def of(cls, results: xr.Dataset) -> _Grid:
        dims = [str(dim) for dim in results["n_modes"].dims]
        long = [dim for dim in dims if results.sizes[dim] > 1]
        numbers = [dim for dim in long if results[dim].dtype.kind in "fi"]
        inner = (numbers or long)[-1] if long else None
        outer = sorted((dim for dim in dims if dim != inner), key=lambda dim: -results.sizes[dim])
        sigma = results["sigma"].values.reshape(-1, results.sizes["mode"])
        # Where each trajectory has a target of its own, sigma is not known, and all modes count.
        negligible = sigma <= NEGLIGIBLE * np.fmax.reduce(sigma, axis=1, keepdims=True)
        modes = np.flatnonzero((~negligible & (np.isfinite(sigma) | np.isnan(sigma[:, :1]))).any(axis=0))
        columns = _choices(results, outer[:1], MAX_COLUMNS)
        drawn = results.isel({inner: _thinned(list(range(results.sizes[inner])), MAX_CURVES)}) if inner else results
        return cls(results, drawn, inner, columns, _choices(results, outer[1:], MAX_ROWS), modes)

    @property
    def inner_size(self) -> int:
        return self.results.sizes[self.inner] if self.inner else 1

    def offers(self, kind: _Kind) -> bool:
        """Tell whether there is anything to see in a row."""
        if kind.at_end:
            return self.descends and self.inner_is_number and (self.burnt_in or not kind.after_burn_in)
        if kind.before_burn_in and self.burnt_in:
            return False
        return not kind.needs_sigma or (len(self.rows) == 1 and bool(np.isfinite(self.results["sigma"].values).any()))

    @property
    def inner_is_number(self) -> bool:
        return self.inner is not None and self.results[self.inner].dtype.kind in "fi"

    @property
    def burnt_in(self) -> bool:
        """Tell whether nothing was recorded before some updates were done."""
        return self.descends and bool((self.results["steps"].values[..., 0] > 0).all())

    @property
    def descends(self) -> bool:
        """Tell whether these are descents."""
        return "steps" in self.results

    def cells(self, choice: Choice) -> list[xr.Dataset]:
        """Return the cells of a panel, in the order of its inner axis."""
        panel = self.results.isel(choice)
        return [panel.isel({self.inner: i}) for i in range(self.inner_size)] if self.inner else [panel]

    def label(self, choice: Choice) -> str:
        return "\n".join(f"{dim} {_value(self.results[dim].values[i])}" for dim, i in choice.items())

    def inner_labels(self) -> list[str]:
        return [_value(value) for value in self.results[self.inner].values] if self.inner else [""]

    def colours(self) -> list[Any]:
        """Return the colours of the inner axis."""
        n = self.inner_size
        return list(CATEGORIES[:n]) if n <= len(CATEGORIES) else list(mpl.colormaps["viridis"](np.linspace(0, 0.9, n)))

    def mode_labels(self) -> tuple[str, list[str]]:
        """Name the modes, by their singular values too where all cells have the same."""
        sigma = self.results["sigma"].values.reshape(-1, self.results.sizes["mode"])
        if (sigma == sigma[:1]).all(axis=0)[self.modes].all():
            return "mode, its σ", [f"{mode}   {sigma[0, mode]:.3g}" for mode in self.modes]
        return "mode", [f"{mode}" for mode in self.modes]

    def mode_colours(self) -> list[Any]:
        """Return the colours of the modes."""
        return list(mpl.colormaps["viridis"](np.linspace(0, 0.88, max(len(self.modes), 2))))


def _loss(ax: Axes, grid: _Grid, choice: Choice) -> None:
    bottom, top = _heights(grid.results)
    if top > 0:
        ax.set_yscale("log")
        ax.set_ylim(bottom, top)
    n_failed = 0
    for cell, colour in zip(grid.cells(choice), grid.colours(), strict=True):
        t, loss = _clock(cell), cell["loss"].values
        finished, failed = _outcomes(cell)
        if finished.any():
            _bands(ax, t, loss[finished], colour, crowd=grid.inner_size)
        n_failed += int(failed.sum())
        for curve in loss[failed]:
            known = np.flatnonzero(np.isfinite(curve))
            if known.size:
                last = t[known[-1]], min(max(curve[known[-1]], bottom), top)
                ax.plot(*last, "x", color=FAILURE, ms=5, mew=1.2, zorder=5, clip_on=False)
    if n_failed:
        text = f"× {n_failed} failed"
        ax.text(0.97, 0.93, text, transform=ax.transAxes, ha="right", fontsize=8, color=FAILURE)
    _time_axis(ax, grid.cells(choice))


def _heights(results: xr.Dataset) -> tuple[float, float]:
    """Return the least and the largest loss to show; of descents, which may climb far, none above all starts."""
    losses = _above_zero(results["loss"].values)
    if "steps" in results:
        succeeded = np.isin(results["status"].values, _successes(results))
        curves = results["loss"].values[succeeded]
        starts = _above_zero(curves[:, 0])
        losses = np.append(starts, _above_zero(np.fmin(_last(curves), starts.max(initial=0.0))))
    if not losses.size:
        return 0.0, 0.0
    return max(FLOOR * losses.max(), 0.5 * losses.min()), 1.6 * losses.max()


def _strengths(ax: Axes, grid: _Grid, choice: Choice) -> None:
    cell = grid.cells(choice)[0]
    finished, _ = _outcomes(cell)
    sigma = cell["sigma"].values
    for mode, colour in zip(grid.modes, grid.mode_colours(), strict=False):
        if finished.any() and sigma[mode] > NEGLIGIBLE * sigma[0]:
            _bands(ax, _clock(cell), cell["strengths"].values[finished][..., mode] / sigma[mode], colour)
    if grid.inner:
        text = f"{grid.inner} {grid.inner_labels()[0]}"
        ax.text(0.03, 0.94, text, transform=ax.transAxes, va="top", fontsize=8, color=INK)
    ax.set_ylim(-0.08, 1.2)
    ax.set_yticks([0, 0.5, 1])
    ax.axhline(0.5, color=INK, lw=0.6, ls=(0, (1, 3)), zorder=0)
    _time_axis(ax, grid.cells(choice))


def _learning_times(ax: Axes, grid: _Grid, choice: Choice) -> None:
    cells = grid.cells(choice)
    x = _positions(ax, grid)
    for mode, colour in zip(grid.modes, grid.mode_colours(), strict=False):
        spread = np.array([_spread(cell, mode) for cell in cells])
        low, middle, high = spread.T
        known = np.isfinite(middle)
        if grid.inner_is_number:
            ax.plot(x[known], middle[known], "-", color=colour, lw=1.1, alpha=0.7)
        ax.plot(x[known], middle[known], "o", color=colour, ms=4.2, mec="white", mew=0.6, zorder=4)
        ax.vlines(x[known], low[known], high[known], color=colour, lw=2.2, alpha=0.55, zorder=3)
    for place, cell in zip(x, cells, strict=True):
        _, failed = _outcomes(cell)
        if failed.any():
            text = f"× {failed.sum()} failed"
            ax.text(place, 0.03, text, transform=ax.get_xaxis_transform(), ha="center", fontsize=7, color=FAILURE)
    times = _above_zero(grid.results["learning_times"].values)
    if times.size:
        ax.set_yscale("log")
        # A few modes are learned at the very start, by chance: they must not stretch the axis.
        ax.set_ylim(0.7 * np.quantile(times, 0.02), 1.5 * times.max())


def _at_end(variable: str) -> Callable[[Axes, _Grid, Choice], None]:
    """Draw what trajectories end with along the inner axis, all of it; failures stand below."""

    def draw(ax: Axes, grid: _Grid, choice: Choice) -> None:
        panel = grid.whole.isel(choice).transpose(grid.inner, ...)
        x = panel[grid.inner].values.astype(np.float64)
        ends = _ends(panel, variable)
        known = np.isfinite(ends).any(axis=1)
        low, middle, high = np.nanquantile(ends[known], QUANTILES[1:4], axis=1)
        ax.fill_between(x[known], low, high, color=CATEGORIES[0], alpha=0.2, lw=0)
        few = len(x) <= MAX_CURVES
        ax.plot(x[known], middle, "o-" if few else ".", color=CATEGORIES[0], ms=3.5 if few else 1.5, lw=1.1)
        if not known.all():
            below = np.zeros(np.count_nonzero(~known))
            size, place = 4 if few else 2, ax.get_xaxis_transform()
            ax.plot(x[~known], below, "x", transform=place, color=FAILURE, ms=size, clip_on=False, zorder=5)
        if x.min() > 0 and x.max() / x.min() >= 20:
            ax.set_xscale("log")
            ax.xaxis.set_minor_formatter(NullFormatter())
        if variable == "loss" and known.any() and (middle > 0).all():
            ax.set_yscale("log")
            ax.yaxis.set_minor_formatter(NullFormatter())
            least = _above_zero(_ends(grid.whole, variable)).min()
            ax.set_ylim(0.5 * least, max(10 * _heights(grid.whole)[1], least))
        ax.set_xlim(x.min(), x.max())
        ax.set_xlabel(grid.inner or "", fontsize=9, color=INK)

    return draw


def _orbits(ax: Axes, grid: _Grid, choice: Choice) -> None:
    """Draw all that was recorded of the strengths along the inner axis, each over its singular value."""
    panel = grid.whole.isel(choice).transpose(grid.inner, "trajectory", "time", "mode", ...)
    x, strengths = panel[grid.inner].values.astype(np.float64), panel["strengths"].values
    sigma = np.broadcast_to(panel["sigma"].values, (len(x), panel.sizes["mode"]))
    for j, colour in reversed(list(zip(grid.modes, grid.mode_colours(), strict=False))):
        heights = (strengths[..., j] / sigma[:, j, None, None]).reshape(len(x), -1)
        ax.plot(np.repeat(x, heights.shape[1]), heights.ravel(), ",", color=colour, rasterized=True)
    ax.set_xlim(x.min(), x.max())
    ax.set_xlabel(grid.inner or "", fontsize=9, color=INK)


def _ends(results: xr.Dataset, variable: str) -> Floats:
    """Return what trajectories end with; NaN where they failed."""
    succeeded, values = np.isin(results["status"].values, _successes(results)), results[variable]
    return np.where(succeeded, _last(values.values) if "time" in values.dims else values.values, np.nan)


def _last(curves: Floats) -> Floats:
    """Return the last number of each curve: that of its last record, as cells may have fewer than others."""
    there = np.isfinite(curves)
    last = curves.shape[-1] - 1 - there[..., ::-1].argmax(axis=-1)
    found: Floats = np.take_along_axis(curves, last[..., None], axis=-1)[..., 0]
    return found


def _clock(cell: xr.Dataset) -> Floats:
    """Return what curves are drawn over: times, or updates."""
    if "steps" not in cell:
        times: Floats = cell["t"].values
        return times
    steps = cell["steps"].values
    return np.where(steps < 0, np.nan, steps)


def _bands(ax: Axes, t: Floats, curves: Floats, colour: Any, crowd: int = 1) -> None:
    """Draw the median of some curves, and how they are spread; less of it in a crowd of such."""
    outer_low, low, middle, high, outer_high = np.quantile(curves, QUANTILES, axis=0)
    if crowd <= 4:
        ax.fill_between(t, outer_low, outer_high, color=colour, alpha=0.13, lw=0)
    ax.fill_between(t, low, high, color=colour, alpha=0.25 if crowd <= 4 else 0.12, lw=0)
    ax.plot(t, middle, color=colour, lw=1.6)


def _spread(cell: xr.Dataset, mode: np.intp) -> Floats:
    """Return quartiles and median of a learning time; a mode not learned yet counts as later than all."""
    finished, _ = _outcomes(cell)
    times = cell["learning_times"].values[finished, mode]
    if not times.size:
        return np.full(3, np.nan)
    later = np.where(np.isnan(times), np.inf, times)
    quartiles = np.quantile(later, [0.25, 0.5, 0.75], method="inverted_cdf")
    if np.isinf(quartiles[1]):
        return np.full(3, np.nan)
    capped: Floats = np.minimum(quartiles, np.nanmax(cell["t"].values))
    return capped


def _outcomes(cell: xr.Dataset) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell which trajectories have succeeded and which have failed; the others have not been run."""
    status = cell["status"].values
    finished = np.isin(status, _successes(cell))
    return finished, ~finished & (status != _codes(cell)["NOT_RUN"])


def _successes(results: xr.Dataset) -> list[int]:
    codes = _codes(results)
    return [codes["FINISHED"], codes["STOPPED"]]


def _codes(results: xr.Dataset) -> dict[str, int]:
    attributes = results["status"].attrs
    return dict(zip(attributes["flag_meanings"].split(), attributes["flag_values"], strict=True))


def _positions(ax: Axes, grid: _Grid) -> Floats:
    """Place the inner axis horizontally: numbers to scale, anything else side by side."""
    labels = grid.inner_labels()
    if grid.inner_is_number:
        values: Floats = grid.results[grid.inner].values.astype(np.float64)
        if values.min() > 0 and values.max() / values.min() >= 5:
            ax.set_xscale("log")
        # Invisible, so that cells in which nothing was learned have their place too.
        ax.plot(values, np.ones(len(values)), alpha=0)
        ax.margins(x=0.12)
    else:
        values = np.arange(len(labels), dtype=np.float64)
        ax.set_xlim(-0.5, len(labels) - 0.5)
    if len(labels) <= MAX_ENTRIES or not grid.inner_is_number:
        ax.set_xticks(values, labels)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel(grid.inner or "", fontsize=9, color=INK)
    return values


def _time_axis(ax: Axes, cells: list[xr.Dataset]) -> None:
    """Show the times of a panel; logarithmic ones from shortly before anything happens."""
    t = np.array([_clock(cell) for cell in cells])
    start, end = float(np.nanmin(t)), float(np.nanmax(t))
    ax.set_xlabel("updates" if "steps" in cells[0] else "time", fontsize=9, color=INK)
    if "steps" in cells[0]:
        ax.set_xlim(start if start < end else 0.0, end)
        return
    # Times that were recorded at equal ratios are looked at so.
    if t.shape[1] > 2 and start > 0 and np.ptp(np.diff(np.log(t), 2)) < 1e-6:
        ax.set_xscale("log")
        start = max(start, min(map(_first_change, cells)) / 4)
    ax.set_xlim(min(start, 0.5 * end), end)


def _first_change(cell: xr.Dataset) -> float:
    """Return when the loss has fallen by 2 %, in the quickest tenth of the trajectories."""
    t = cell["t"].values
    finished, _ = _outcomes(cell)
    if "loss" not in cell or not finished.any():
        return float(t[0])
    low = np.quantile(cell["loss"].values[finished], QUANTILES[0], axis=0)
    return float(t[np.argmax(low < 0.98 * low[0])])


def _style(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(INK)
    ax.tick_params(colors=INK, labelsize=8, width=0.8, length=3, which="major")
    ax.tick_params(width=0.5, length=1.5, which="minor")
    ax.grid(color=FAINT, lw=0.6)
    ax.set_axisbelow(True)


def _legend(ax: Axes, title: str, labels: list[str], colours: list[Any]) -> None:
    entries = list(zip(labels, colours, strict=False))
    handles = [Line2D([], [], color=c, lw=2.5, label=label) for label, c in _thinned(entries, MAX_ENTRIES)]
    if handles:
        legend = ax.legend(
            handles=handles,
            title=title,
            loc="center left",
            bbox_to_anchor=(1.02, 0.5),
            frameon=False,
            fontsize=8,
            title_fontsize=8,
            handlelength=1.2,
            labelcolor=INK,
        )
        legend.get_title().set_color(INK)


def _drawn(results: xr.Dataset) -> xr.Dataset:
    """Read what is drawn; of very many trajectories the first ones, which are as good as any others."""
    names = ["t", "steps", "sigma", "n_modes", "status", *(kind.variable for kind in _KINDS)]
    some = results.isel(trajectory=slice(MAX_TRAJECTORIES))
    return some[[name for name in dict.fromkeys(names) if name in results]].load()


def _title(results: xr.Dataset, shown: str) -> str:
    status = results["status"].values
    done = int((status >= 0).sum())
    count = f"{done:,}" if done == status.size else f"{done:,} of {status.size:,}"
    drawn = f", {MAX_TRAJECTORIES} of each cell drawn" if results.sizes["trajectory"] > MAX_TRAJECTORIES else ""
    return f"{_literal(results.attrs['title'])}: {count} trajectories{drawn}; {shown}"


def _choices(results: xr.Dataset, dims: list[str], most: int) -> list[Choice]:
    """Return the places on some axes."""
    places = [dict(zip(dims, place, strict=True)) for place in product(*(range(results.sizes[dim]) for dim in dims))]
    return _thinned(places, most)


def _thinned(items: list[T], most: int) -> list[T]:
    """Leave out items evenly, where there are more than can be shown."""
    if len(items) <= most:
        return items
    return [items[i] for i in np.linspace(0, len(items) - 1, most).round().astype(int)]


def _above_zero(values: Floats) -> Floats:
    return values[np.isfinite(values) & (values > 0)]


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float | np.floating) else _literal(str(value))


def _literal(text: str) -> str:
    """Text from a file: printable, and with dollars that begin no formula."""
    return plain(text).replace("$", r"\$")


@dataclass(frozen=True)
class _Kind:
    """A row of panels."""

    variable: str
    """What has to have been recorded for it."""
    label: str
    height: float
    by_mode: bool
    needs_sigma: bool
    draw: Callable[[Axes, _Grid, Choice], None]
    at_end: bool = False
    """It shows what descents end with."""
    after_burn_in: bool = False
    """And is worth while only where the first updates were not recorded."""
    before_burn_in: bool = False
    """It is worth while only where they were."""


_KINDS = (
    _Kind("loss", "loss", 2.5, False, False, _loss),
    _Kind("strengths", "strength / σ", 2.1, True, True, _strengths, before_burn_in=True),
    _Kind("learning_times", "learning time", 2.1, True, False, _learning_times),
    _Kind("strengths", "orbits / σ", 3.2, True, True, _orbits, at_end=True, after_burn_in=True),
    _Kind("lyapunov", "exponent / update", 1.8, False, False, _at_end("lyapunov"), at_end=True),
    _Kind("loss", "loss at the end", 1.8, False, False, _at_end("loss"), at_end=True),
    _Kind("accuracy", "accuracy at the end", 1.8, False, False, _at_end("accuracy"), at_end=True),
)
