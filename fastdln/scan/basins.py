"""The map of a plane of starts: what each of its points ends with."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fastdln.scan.panels import FAILURE, INK

__all__ = ["MOST_PANELS", "PLANE", "draw_map"]

PLANE = ("a", "b")
"""The axes of the grid that span it."""

MOST_PANELS = 12
"""More points of the other axes are left out."""

FLOOR = 1e-12
"""Losses below this part of the largest are shown as if they were it: nothing differs there but rounding."""


def draw_map(figure: Figure, results: xr.Dataset, ends: NDArray[np.float64], failed: NDArray[np.bool_]) -> None:
    """Draw what the starts in a plane end with: a panel for each point of the other axes.

    Parameters
    ----------
    figure : Figure
        What to draw in.
    results : xarray.Dataset
        What `xarray.open_zarr` reads from the scan's store.
    ends : ndarray
        The loss that each trajectory ends with, in the dimensions of ``results["status"]``; NaN where it failed.
    failed : ndarray of bool
        The trajectories that failed.
    """
    status = results["status"]
    loss, lost = (status.copy(data=values).transpose(*PLANE, ..., "trajectory") for values in (ends, failed))
    others = [str(dim) for dim in loss.dims if dim not in (*PLANE, "trajectory")]
    places = [dict(zip(others, at, strict=True)) for at in product(*(range(loss.sizes[dim]) for dim in others))]
    places = places[:MOST_PANELS]
    positive = ends[np.isfinite(ends) & (ends > 0)]
    high = float(positive.max(initial=0.0)) or 1.0
    low = max(float(positive.min(initial=high)), FLOOR * high)
    norm = LogNorm(low, max(high, 1.01 * low))
    panels = figure.subplots(1, len(places), squeeze=False)[0]
    for ax, place in zip(panels, places, strict=True):
        own, gone = loss.isel(place).values, np.asarray(lost.isel(place).values.all(axis=-1))
        there = np.isfinite(own).any(axis=-1)
        middle = np.full(there.shape, np.nan)
        middle[there] = np.nanmedian(own[there], axis=-1)
        shown = ax.pcolormesh(*_corners(results), np.maximum(middle, low).T, norm=norm, cmap="viridis")
        _mark(ax, results, gone)
        ax.set_title("\n".join(f"{dim} {results[dim].values[i]}" for dim, i in place.items()), loc="left", fontsize=9)
        ax.set_xlabel("a", fontsize=9, color=INK)
        ax.set_ylabel("b", fontsize=9, color=INK)
    figure.colorbar(shown, ax=list(panels), label="loss at the end")


def _corners(results: xr.Dataset) -> tuple[Any, Any]:
    return results[PLANE[0]].values, results[PLANE[1]].values


def _mark(ax: Axes, results: xr.Dataset, gone: NDArray[np.bool_]) -> None:
    """Paint points from which all have failed."""
    if gone.any():
        painted = np.where(gone, 1.0, np.nan).T
        ax.pcolormesh(*_corners(results), painted, cmap="Reds", vmin=0.0, vmax=1.4)
        ax.set_title("red: failed", loc="right", fontsize=8, color=FAILURE)
