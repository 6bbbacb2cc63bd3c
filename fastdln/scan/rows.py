"""The rows of panels in the picture of a scan: curves over time, and what trajectories end with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, NullLocator
from numpy.typing import NDArray

from fastdln.scan.ends import last_of
from fastdln.scan.panels import CATEGORIES, FAILURE, INK, MAX_CURVES, MAX_ENTRIES, NEGLIGIBLE, Choice, Grid

__all__ = ["KINDS", "Kind", "ends_of", "outcomes"]

Floats = NDArray[np.float64]

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
# Losses below this part of the largest are cut off: nothing is learned there but the last digits.
FLOOR = 1e-4


def _loss(ax: Axes, grid: Grid, choice: Choice) -> None:
    bottom, top = _heights(grid.results)
    if top > 0:
        ax.set_yscale("log")
        ax.set_ylim(bottom, top)
    n_failed = 0
    for cell, colour in zip(grid.cells(choice), grid.colours(), strict=True):
        t, loss = _clock(cell), cell["loss"].values
        finished, failed = outcomes(cell)
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
        losses = np.append(starts, _above_zero(np.fmin(last_of(curves), starts.max(initial=0.0))))
    if not losses.size:
        return 0.0, 0.0
    return max(FLOOR * losses.max(), 0.5 * losses.min()), 1.6 * losses.max()


def _strengths(ax: Axes, grid: Grid, choice: Choice) -> None:
    cell = grid.cells(choice)[0]
    finished, _ = outcomes(cell)
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


def _learning_times(ax: Axes, grid: Grid, choice: Choice) -> None:
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
        _, failed = outcomes(cell)
        if failed.any():
            text = f"× {failed.sum()} failed"
            ax.text(place, 0.03, text, transform=ax.get_xaxis_transform(), ha="center", fontsize=7, color=FAILURE)
    times = _above_zero(grid.results["learning_times"].values)
    if times.size:
        ax.set_yscale("log")
        # A few modes are learned at the very start, by chance: they must not stretch the axis.
        ax.set_ylim(0.7 * np.quantile(times, 0.02), 1.5 * times.max())


def _at_end(variable: str) -> Callable[[Axes, Grid, Choice], None]:
    """Draw what trajectories end with along the inner axis, all of it; failures stand below."""

    def draw(ax: Axes, grid: Grid, choice: Choice) -> None:
        panel = grid.whole.isel(choice).transpose(grid.inner, ...)
        x = panel[grid.inner].values.astype(np.float64)
        ends = ends_of(panel, variable)
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
            least = _above_zero(ends_of(grid.whole, variable)).min()
            ax.set_ylim(0.5 * least, max(10 * _heights(grid.whole)[1], least))
        ax.set_xlim(x.min(), x.max())
        ax.set_xlabel(grid.inner or "", fontsize=9, color=INK)

    return draw


def _orbits(ax: Axes, grid: Grid, choice: Choice) -> None:
    """Draw all that was recorded of the strengths along the inner axis, each over its singular value."""
    panel = grid.whole.isel(choice).transpose(grid.inner, "trajectory", "time", "mode", ...)
    x, strengths = panel[grid.inner].values.astype(np.float64), panel["strengths"].values
    sigma = np.broadcast_to(panel["sigma"].values, (len(x), panel.sizes["mode"]))
    for j, colour in reversed(list(zip(grid.modes, grid.mode_colours(), strict=False))):
        heights = (strengths[..., j] / sigma[:, j, None, None]).reshape(len(x), -1)
        ax.plot(np.repeat(x, heights.shape[1]), heights.ravel(), ",", color=colour, rasterized=True)
    ax.set_xlim(x.min(), x.max())
    ax.set_xlabel(grid.inner or "", fontsize=9, color=INK)


def ends_of(results: xr.Dataset, variable: str) -> Floats:
    """Return what trajectories end with; NaN where they failed."""
    succeeded, values = np.isin(results["status"].values, _successes(results)), results[variable]
    return np.where(succeeded, last_of(values.values) if "time" in values.dims else values.values, np.nan)


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
    finished, _ = outcomes(cell)
    times = cell["learning_times"].values[finished, mode]
    if not times.size:
        return np.full(3, np.nan)
    later = np.where(np.isnan(times), np.inf, times)
    quartiles = np.quantile(later, [0.25, 0.5, 0.75], method="inverted_cdf")
    if np.isinf(quartiles[1]):
        return np.full(3, np.nan)
    capped: Floats = np.minimum(quartiles, np.nanmax(cell["t"].values))
    return capped


def outcomes(cell: xr.Dataset) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
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


def _positions(ax: Axes, grid: Grid) -> Floats:
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
    finished, _ = outcomes(cell)
    if "loss" not in cell or not finished.any():
        return float(t[0])
    low = np.quantile(cell["loss"].values[finished], QUANTILES[0], axis=0)
    return float(t[np.argmax(low < 0.98 * low[0])])


def _above_zero(values: Floats) -> Floats:
    return values[np.isfinite(values) & (values > 0)]


@dataclass(frozen=True)
class Kind:
    """A row of panels."""

    variable: str
    """What has to have been recorded for it."""
    label: str
    height: float
    by_mode: bool
    needs_sigma: bool
    draw: Callable[[Axes, Grid, Choice], None]
    at_end: bool = False
    """It shows what descents end with."""
    after_burn_in: bool = False
    """And is worth while only where the first updates were not recorded."""
    before_burn_in: bool = False
    """It is worth while only where they were."""

    def seen_in(self, grid: Grid) -> bool:
        """Tell whether there is anything to see of it."""
        if self.variable not in grid.results:
            return False
        if self.at_end:
            return grid.descends and grid.inner_is_number and (grid.burnt_in or not self.after_burn_in)
        if self.before_burn_in and grid.burnt_in:
            return False
        if not self.needs_sigma:
            return True
        return len(grid.rows) == 1 and bool(np.isfinite(grid.results["sigma"].values).any())


KINDS = (
    Kind("loss", "loss", 2.5, False, False, _loss),
    Kind("strengths", "strength / σ", 2.1, True, True, _strengths, before_burn_in=True),
    Kind("learning_times", "learning time", 2.1, True, False, _learning_times),
    Kind("strengths", "orbits / σ", 3.2, True, True, _orbits, at_end=True, after_burn_in=True),
    Kind("lyapunov", "exponent / update", 1.8, False, False, _at_end("lyapunov"), at_end=True),
    Kind("loss", "loss at the end", 1.8, False, False, _at_end("loss"), at_end=True),
    Kind("accuracy", "accuracy at the end", 1.8, False, False, _at_end("accuracy"), at_end=True),
)
