"""The picture of a scan: loss curves, the rise of the modes, and learning times over the grid; of descents also what
they end with, and of starts in a plane only that.

One axis of the grid, the last that holds numbers, is drawn inside every panel; the others make the panels.
Figures are drawn on Agg canvases without pyplot, so that the settings and the windows of a session stay as
they are.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fastdln.scan.basins import MOST_PANELS, PLANE, draw_map
from fastdln.scan.panels import INK, MAX_ENTRIES, Grid, literal, thinned
from fastdln.scan.rows import KINDS, ends_of, outcomes

__all__ = ["FORMATS", "save_scan", "scan_figure"]

FORMATS = tuple(FigureCanvasAgg.get_supported_filetypes())
"""The formats in which pictures can be saved."""

MAX_TRAJECTORIES = 2000
FAINT = "#e6e6e6"


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
    grid = Grid.of(_drawn(results))
    kinds = [kind for kind in KINDS if kind.seen_in(grid)]
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
    draw_map(figure, results, ends_of(results, "loss"), outcomes(results)[1])
    return figure


def _style(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(INK)
    ax.tick_params(colors=INK, labelsize=8, width=0.8, length=3, which="major")
    ax.tick_params(width=0.5, length=1.5, which="minor")
    ax.grid(color=FAINT, lw=0.6)
    ax.set_axisbelow(True)


def _legend(ax: Axes, title: str, labels: list[str], colours: list[Any]) -> None:
    entries = list(zip(labels, colours, strict=False))
    handles = [Line2D([], [], color=c, lw=2.5, label=label) for label, c in thinned(entries, MAX_ENTRIES)]
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
    names = ["t", "steps", "sigma", "n_modes", "status", *(kind.variable for kind in KINDS)]
    some = results.isel(trajectory=slice(MAX_TRAJECTORIES))
    return some[[name for name in dict.fromkeys(names) if name in results]].load()


def _title(results: xr.Dataset, shown: str) -> str:
    status = results["status"].values
    done = int((status >= 0).sum())
    count = f"{done:,}" if done == status.size else f"{done:,} of {status.size:,}"
    drawn = f", {MAX_TRAJECTORIES} of each cell drawn" if results.sizes["trajectory"] > MAX_TRAJECTORIES else ""
    return f"{literal(results.attrs['title'])}: {count} trajectories{drawn}; {shown}"
