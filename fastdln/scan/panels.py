"""How the grid of a scan is spread over a picture: one axis inside every panel, the others make the panels."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar

import matplotlib as mpl
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fastdln.text import plain

__all__ = [
    "CATEGORIES",
    "FAILURE",
    "INK",
    "MAX_CURVES",
    "MAX_ENTRIES",
    "NEGLIGIBLE",
    "Choice",
    "Grid",
    "literal",
    "thinned",
]

T = TypeVar("T")
Choice = dict[str, int]
"""A place on some axes of the grid."""

MAX_COLUMNS, MAX_ROWS, MAX_ENTRIES = 6, 4, 12
MAX_CURVES = 48
# Modes below this part of the largest are noise of the target.
NEGLIGIBLE = 1e-8

INK, FAILURE = "#262626", "#c8102e"
# Okabe & Ito's colours, which colour-blind people tell apart.
CATEGORIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")


@dataclass(frozen=True)
class Grid:
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
    def of(cls, results: xr.Dataset) -> Grid:
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
        drawn = results.isel({inner: thinned(list(range(results.sizes[inner])), MAX_CURVES)}) if inner else results
        return cls(results, drawn, inner, columns, _choices(results, outer[1:], MAX_ROWS), modes)

    @property
    def inner_size(self) -> int:
        return self.results.sizes[self.inner] if self.inner else 1

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
        return "\n".join(f"{dim} {shown(self.results[dim].values[i])}" for dim, i in choice.items())

    def inner_labels(self) -> list[str]:
        return [shown(value) for value in self.results[self.inner].values] if self.inner else [""]

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


def _choices(results: xr.Dataset, dims: list[str], most: int) -> list[Choice]:
    """Return the places on some axes."""
    places = [dict(zip(dims, place, strict=True)) for place in product(*(range(results.sizes[dim]) for dim in dims))]
    return thinned(places, most)


def thinned(items: list[T], most: int) -> list[T]:
    """Leave out items evenly, where there are more than can be shown."""
    if len(items) <= most:
        return items
    return [items[i] for i in np.linspace(0, len(items) - 1, most).round().astype(int)]


def shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float | np.floating) else literal(str(value))


def literal(text: str) -> str:
    """Text from a file: printable, and with dollars that begin no formula."""
    return plain(text).replace("$", r"\$")
