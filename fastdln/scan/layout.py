"""The arrays of a store: names, dimensions, sizes, meaning; and how the trajectories are cut into units."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil, prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdln.network import Network
from fastdln.observables import OBSERVABLES, OUTCOMES, Meaning
from fastdln.scan.derived import DERIVED, most_plateaus
from fastdln.scan.plan import Plan
from fastdln.scan.spec import SpecError

__all__ = ["NOT_RUN", "Layout", "Unit", "Variable"]

NOT_RUN = -1
"""The status, and the counts, of a trajectory that has not been integrated yet."""

# A unit should be small enough to lose to a crash, and large enough for all cores: about this many weights.
_WEIGHTS_PER_UNIT = 2**20
_MAX_CHUNK = 2**14
_MOST_BYTES = 2**31 - 2**16  # in a chunk of an array: what its compressor takes

_FLOAT = np.dtype(np.float64)


class Variable(NamedTuple):
    """An array whose first dimensions are those of the grid."""

    name: str
    dims: tuple[str, ...]
    """The dimensions after those of the grid; the first is the trajectory."""
    shape: tuple[int, ...]
    """Their sizes."""
    dtype: np.dtype[Any]
    units: str
    long_name: str

    @property
    def fill_value(self) -> float | int:
        """What stands where nothing has been computed, or where a cell has fewer modes than another."""
        return float("nan") if self.dtype.kind == "f" else NOT_RUN

    def pad(self, block: NDArray[Any]) -> NDArray[Any]:
        """Bring the results of a unit to the dtype and the number of modes of the array.

        Parameters
        ----------
        block : ndarray, shape (size, ...)
            The results.

        Returns
        -------
        ndarray
            The results in that shape; what is missing holds the fill value.
        """
        padded = np.full((len(block), *self.shape[1:]), self.fill_value, self.dtype)
        place = padded[tuple(slice(n) for n in block.shape)]
        place[...] = block
        if self.dtype.kind == "f":
            # The sign of a NaN that was computed depends on the vectors its trajectory was computed in.
            place[np.isnan(place)] = np.nan
        return padded


@dataclass(frozen=True)
class Unit:
    """The work that is done, stored and recorded at once: a block of the trajectories of one cell, or of several."""

    index: int
    cell: int
    """The first of its cells."""
    block: int
    first: int
    size: int
    """Trajectories of each of its cells."""
    extent: tuple[int, ...]
    """Its cells along each axis of the grid; together they are consecutive ones."""

    @property
    def cells(self) -> range:
        """The cells."""
        return range(self.cell, self.cell + prod(self.extent))

    @property
    def trajectories(self) -> int:
        """The number of trajectories in all its cells."""
        return self.size * len(self.cells)


@dataclass(frozen=True)
class Layout:
    """The arrays of a scan, and its units: one chunk of every array each.

    Parameters
    ----------
    plan : Plan
        The scan.
    chunk : int
        Trajectories of a cell in a unit.
    together : int
        The most cells in a unit. There are several only where they can be computed at once, and then whole ones.
    """

    plan: Plan
    chunk: int
    together: int = 1

    @classmethod
    def of(cls, plan: Plan, chunk: int | None = None) -> Layout:
        """Choose the size of the units.

        Parameters
        ----------
        plan : Plan
            The scan.
        chunk : int, optional
            Trajectories in a unit, if it is not to be chosen. Results do not depend on it.

        Returns
        -------
        Layout
            With units that one crash can cost and that keep all cores busy.
        """
        n = plan.document.trajectories
        if chunk is None:
            whole = cls(plan, n)
            largest = whole.n_parameters
            if _holds_weights(plan):
                largest *= plan.n_times
            widest = max(v.dtype.itemsize * prod(v.shape[1:]) for v in whole.variables)
            if widest > _MOST_BYTES:
                raise SpecError(
                    f"record: one trajectory takes {widest:,} bytes in one array, more than the {_MOST_BYTES:,} of a "
                    f"chunk: record fewer times"
                )
            most = min(max(_WEIGHTS_PER_UNIT // largest, 1), _MAX_CHUNK, _MOST_BYTES // widest)
            blocks = ceil(n / most)
            return cls(plan, ceil(n / blocks), max(most // n, 1))
        if chunk < 1:
            raise SpecError(f"chunk = {chunk}: expected the number of trajectories in a unit, at least 1")
        return cls(plan, min(chunk, n), max(chunk // n, 1))

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        """The arrays that the units fill."""
        record = self.plan.document.record
        sizes = {
            "trajectory": self.plan.document.trajectories,
            "time": self.plan.n_times,
            "mode": self.n_modes,
            "interface": self.n_interfaces,
            "plateau": most_plateaus(self.n_modes),
            **{f"layer{i}": width for i, width in enumerate(_widths(self.plan)[0])},
        }
        table = dict(OUTCOMES)
        if (
            self.plan.document.descends or self.plan.document.tables["flow"]["certify"] is False
        ):  # not true, and no axis
            del table["certified"]
        for name in record.observables:
            table |= self._meanings(name)
        return tuple(
            Variable(name, dims, tuple(sizes[dim] for dim in dims), _stored(dtype), units, long_name)
            for name, (dims, dtype, units, long_name) in table.items()
        )

    @cached_property
    def n_modes(self) -> int:
        """The number of modes of the cell that has most."""
        return max(min(widths[0], widths[-1]) for widths in _widths(self.plan))

    @cached_property
    def n_interfaces(self) -> int:
        """The number of pairs of successive layers of the cell that has most."""
        return max(len(widths) for widths in _widths(self.plan)) - 2

    @cached_property
    def n_parameters(self) -> int:
        """The number of weights of the largest network."""
        return max(Network(widths).n_parameters for widths in _widths(self.plan))

    @cached_property
    def largest_target(self) -> int:
        """The number of entries of the largest target."""
        return max(widths[0] * widths[-1] for widths in _widths(self.plan))

    @property
    def blocks(self) -> int:
        """The number of units in each cell."""
        return ceil(self.plan.document.trajectories / self.chunk)

    @cached_property
    def span(self) -> tuple[int, ...]:
        """The cells of a unit along each axis of the grid; those at its end may have fewer."""
        left, spans = self.together if self.chunk == self.plan.document.trajectories else 1, []
        for axis in reversed(self.plan.axes):
            if not self.plan.varies_within_batches(axis):
                left = 1
            spans.append(min(axis.size, left))
            left = max(left // axis.size, 1)
        return tuple(reversed(spans))

    @cached_property
    def _spread(self) -> tuple[int, ...]:
        """The numbers of units along each axis of the grid."""
        return tuple(ceil(size / span) for size, span in zip(self.plan.shape, self.span, strict=True))

    @property
    def cells(self) -> int:
        """The number of cells in a unit."""
        return prod(self.span)

    @property
    def n_units(self) -> int:
        """The number of units of the scan."""
        return prod(self._spread) * self.blocks

    @property
    def bytes_per_trajectory(self) -> int:
        """The bytes of the results of one trajectory, before compression."""
        return sum(v.dtype.itemsize * prod(v.shape[1:]) for v in self.variables)

    @property
    def n_bytes(self) -> int:
        """The bytes of all results, before compression."""
        return self.bytes_per_trajectory * self.plan.document.trajectories * self.plan.n_cells

    def form(self, variable: Variable) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the shape of an array, and that of its chunks.

        Parameters
        ----------
        variable : Variable
            The array.

        Returns
        -------
        shape : tuple of int
            The shape of the whole array.
        chunk : tuple of int
            The shape of its chunks: one unit each.
        """
        grid = self.plan.shape
        return (*grid, *variable.shape), (*self.span, self.chunk, *variable.shape[1:])

    def unit(self, index: int) -> Unit:
        """Return a unit.

        Parameters
        ----------
        index : int
            Its number.

        Returns
        -------
        Unit
            Its cell and its trajectories.
        """
        number, block = divmod(index, self.blocks)
        corner = [int(k) * span for k, span in zip(np.unravel_index(number, self._spread), self.span, strict=True)]
        extent = tuple(min(span, n - k) for k, span, n in zip(corner, self.span, self.plan.shape, strict=True))
        first = block * self.chunk
        size = min(self.chunk, self.plan.document.trajectories - first)
        return Unit(index, self.plan.index(corner), block, first, size, extent)

    def covering(self, cell: int) -> range:
        """Return the units that hold a cell.

        Parameters
        ----------
        cell : int
            Its number.

        Returns
        -------
        range
            Their numbers: one for each block of its trajectories.
        """
        corner = [k // span for k, span in zip(self.plan.position(cell), self.span, strict=True)]
        number = int(np.ravel_multi_index(corner, self._spread)) if corner else 0
        return range(number * self.blocks, (number + 1) * self.blocks)

    def place(self, unit: Unit) -> tuple[int, ...]:
        """Tell where in the grid of chunks a unit stands.

        Parameters
        ----------
        unit : Unit
            The unit.

        Returns
        -------
        tuple of int
            Its number along each axis of the grid, and along the trajectories.
        """
        corner = self.plan.position(unit.cell)
        return (*(k // span for k, span in zip(corner, self.span, strict=True)), unit.block)

    def region(self, unit: Unit) -> tuple[slice, ...]:
        """Tell what part of an array a unit fills.

        Parameters
        ----------
        unit : Unit
            The unit.

        Returns
        -------
        tuple of slice
            Along the axes of the grid, and along the trajectories.
        """
        corner = self.plan.position(unit.cell)
        cells = (slice(k, k + n) for k, n in zip(corner, unit.extent, strict=True))
        return (*cells, slice(unit.first, unit.first + unit.size))

    def _meanings(self, name: str) -> dict[str, Meaning]:
        """The arrays of an observable."""
        if name in DERIVED:
            return DERIVED[name].meanings
        row, widths = OBSERVABLES[name], _widths(self.plan)
        if row.by_layer and len(widths) > 1:
            raise SpecError(
                f'record.observables: "{name}" can be recorded only where the widths do not vary, but '
                "network.widths is an axis"
            )
        if "interface" in row.dims and not self.n_interfaces:
            raise SpecError(f'record.observables: "{name}" is of two layers or more, but network.widths has one layer')
        return row.meanings(Network(widths[0]), _FLOAT)


def _stored(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """A dtype that has room for `NOT_RUN`."""
    return np.dtype(np.int8) if dtype.kind == "b" else dtype


def _holds_weights(plan: Plan) -> bool:
    """Whether a unit holds weights at all times to derive observables from them."""
    tables = plan.document.tables
    kinds = (tables["loss"]["kind"], tables["target"].get("form"))
    return "itinerary" in plan.document.record.observables and any("regression" in (kind or ()) for kind in kinds)


def _widths(plan: Plan) -> list[tuple[int, ...]]:
    widths = plan.document.tables["network"]["widths"]
    return widths if isinstance(widths, list) else [widths]
