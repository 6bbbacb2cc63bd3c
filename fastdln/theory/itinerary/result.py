"""What an itinerary says, as arrays over trajectories, as text, and as a dataset."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.field import TIME_UNITS
from fastdln.linalg import Floats
from fastdln.resources import optional

__all__ = ["KINDS", "Itinerary"]

KINDS = ("global_minimum", "strict_saddle", "saddle")
"""What a plateau is near, as far as the learned modes tell."""


@dataclass(frozen=True, eq=False, repr=False)
class Itinerary:
    """What trajectories met on their way.

    For a single trajectory the arrays have no trajectory axis. The axis of plateaus has the length of the longest
    itinerary; the rest is padded by NaN, "" (kind), False (learned) and -1 (counts).

    Parameters
    ----------
    n_plateaus : ndarray of int, shape (n,)
        The number of plateaus of each trajectory.
    value : ndarray, shape (n, p)
        The critical value of the loss on each plateau.
    learned : ndarray of bool, shape (n, p, r)
        The modes that are learned there. Of modes with equal singular values all or none: see `counts`.
    counts : ndarray of int, shape (n, p, r)
        For each mode, how many of those with the same singular value are learned: 0 or 1 where it stands alone.
    kind : ndarray of str, shape (n, p)
        "global_minimum", "strict_saddle" or "saddle": see `itinerary`.
    entry, exit : ndarray, shape (n, p)
        When it was entered, the first recorded time where the trajectory began on it; and left, infinite where the
        trajectory was on it when it ended.
    closest : ndarray, shape (n, p)
        The recorded time at which the product is nearest to the critical one.
    distance : ndarray, shape (n, p)
        How near: ||W - W_S||_F there, in whitened inputs.
    grad_norm : ndarray, shape (n, p)
        The least gradient norm recorded on it; NaN if there is none.
    learning_times : ndarray, shape (n, r)
        When each mode was learned; NaN where it was not.
    order : ndarray of int, shape (n, r)
        The modes in the order in which they were learned, then -1.
    windows : ndarray, shape (n, r, 2)
        From when to when each learned mode was under way, between 10 % and 90 % of its singular value; NaN for modes
        that are not learned, or had 90 % from the beginning; the end is infinite where 90 % are not reached.
    sequential : ndarray of bool, shape (n,)
        Whether the trajectory learned, and never two modes at once: no two windows overlap.
    single : bool
        Whether this is one trajectory without a trajectory axis.
    """

    n_plateaus: Any
    value: Floats
    learned: NDArray[np.bool_]
    counts: NDArray[np.int16]
    kind: NDArray[np.str_]
    entry: Floats
    exit: Floats
    closest: Floats
    distance: Floats
    grad_norm: Floats
    learning_times: Floats
    order: NDArray[np.intp]
    windows: Floats
    sequential: Any
    single: bool

    def __len__(self) -> int:
        return 1 if self.single else len(self.n_plateaus)

    def __getitem__(self, index: Any) -> Itinerary:
        """Select trajectories; an integer gives a single one, without its axis."""
        if self.single:
            raise TypeError("a single itinerary has no trajectory axis to select from")
        single = isinstance(index, int | np.integer)
        chosen = {name: getattr(self, name)[index] for name in _dims()}
        return Itinerary(**chosen, single=single)

    def describe(self, k: int = 0) -> str:
        """Tell the way of one trajectory.

        Parameters
        ----------
        k : int
            The trajectory.

        Returns
        -------
        str
            A line for what was learned, and one for each plateau.
        """
        one = self if self.single else self[k]
        order = ", ".join(str(j) for j in one.order if j >= 0)
        manner = "one after another" if one.sequential else "not one after another"
        lines = [f"learned modes {order}, {manner}" if order else "learned no mode"]
        for p in range(int(one.n_plateaus)):
            learned = " ".join(str(j) for j in np.flatnonzero(one.learned[p])) or "none"
            if (partial := (one.counts[p] > 0) & ~one.learned[p]).any():
                learned += f" and some of {' '.join(str(j) for j in np.flatnonzero(partial))}"
            until = f"left at {one.exit[p]:.4g}" if np.isfinite(one.exit[p]) else "not left"
            lines.append(
                f"{one.kind[p].replace('_', ' ')} of value {one.value[p]:.4g}, learned {learned}: entered at "
                f"{one.entry[p]:.4g}, {until}; within {one.distance[p]:.2g} at {one.closest[p]:.4g}"
                + ("" if np.isnan(one.grad_norm[p]) else f", gradient down to {one.grad_norm[p]:.2g}")
            )
        return "\n".join(lines)

    def to_dataset(self) -> Any:
        """The itineraries as an `xarray.Dataset` with named dimensions.

        Returns
        -------
        xarray.Dataset
            Dimensions trajectory, plateau, mode and, for windows, edge.

        Raises
        ------
        ImportError
            If xarray is missing, with the command that installs it.
        """
        xarray = optional("xarray", "scan")
        lead = () if self.single else ("trajectory",)
        variables: dict[str, Any] = {}
        for name, dims in _dims().items():
            units = {"units": TIME_UNITS} if name in _TIMES else {}
            variables[name] = ((*lead, *dims), getattr(self, name), units)
        return xarray.Dataset(variables)

    def __repr__(self) -> str:
        if self.single:
            return f"<Itinerary: {self.describe()}>"
        most = self.value.shape[1]
        return f"<Itinerary: of {len(self)} trajectories, up to {most} plateaus; {np.sum(self.sequential)} sequential>"

    def __str__(self) -> str:
        return self.describe() if self.single else repr(self)


_TIMES = ("entry", "exit", "closest", "learning_times", "windows")
_OF_MODES = {"learning_times": ("mode",), "order": ("mode",), "windows": ("mode", "edge")}
_OF_PLATEAUS = {"learned": ("plateau", "mode"), "counts": ("plateau", "mode")}
_OF_TRAJECTORIES: dict[str, tuple[str, ...]] = {"n_plateaus": (), "sequential": ()}


def _dims() -> dict[str, tuple[str, ...]]:
    """The dimensions of every array, after that of the trajectories."""
    known = _OF_MODES | _OF_PLATEAUS | _OF_TRAJECTORIES
    return {f.name: known.get(f.name, ("plateau",)) for f in dataclasses.fields(Itinerary) if f.name != "single"}
