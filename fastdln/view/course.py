"""One trajectory: all that was recorded of it, and what follows from that."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.base import Options
from fastdln.integrate.methods import METHODS
from fastdln.integrate.status import ADVICE, Status
from fastdln.network import Network
from fastdln.observables import OBSERVABLES
from fastdln.results.trajectories import Trajectories
from fastdln.scan.cell import Cell
from fastdln.scan.spec import Constant, Descent, SpecError
from fastdln.theory.itinerary import Itinerary, itinerary
from fastdln.theory.itinerary.result import KINDS
from fastdln.view.reading import Reader

__all__ = ["Course", "Stop", "course"]

Floats = NDArray[np.float64]


class Stop(NamedTuple):
    """A plateau on the way."""

    kind: str
    value: float
    learned: tuple[int, ...]
    entry: float
    exit: float
    """Infinite where it was not left."""
    distance: float
    grad_norm: float


@dataclass(frozen=True)
class Course:
    """One trajectory of a store.

    Parameters
    ----------
    reader : Reader
        The store.
    cell : int
        The cell.
    k : int
        The trajectory, by its number in the cell.
    recorded : dict of str to ndarray
        What each array has of it, as long as the cell has records.
    """

    reader: Reader
    cell: int
    k: int
    recorded: dict[str, NDArray[Any]]

    @property
    def status(self) -> Status:
        """How it ended."""
        return Status(int(self.recorded["status"]))

    @property
    def advice(self) -> str:
        """What to change where it failed; nothing where it did not."""
        return ADVICE.get(self.status, "")

    @property
    def clock(self) -> Floats:
        """Recorded times, or updates."""
        return self.reader.clock(self.cell)

    @cached_property
    def network(self) -> Network:
        """Its network."""
        return Network(self.reader.plan.point(self.cell).network.widths)

    @cached_property
    def sigma(self) -> Floats:
        """The singular values of its target; NaN where each trajectory has one of its own."""
        n_modes = int(self.reader.fixed("n_modes")[self.cell])
        return np.asarray(self.reader.fixed("sigma")[self.cell][:n_modes], np.float64)

    @property
    def weights(self) -> tuple[Floats, ...] | None:
        """Of each layer, shape (n_t, d_i, d_{i-1}); None where they were not recorded."""
        if "W1" not in self.recorded:
            return None
        return tuple(self.recorded[f"W{i}"] for i in range(1, self.network.depth + 1))

    @property
    def layer_values(self) -> list[Floats] | None:
        """The singular values of each layer, shape (n_t, min(d_i, d_{i-1})), from the weights."""
        return None if self.weights is None else [_singular_values(W) for W in self.weights]

    @property
    def product_values(self) -> Floats | None:
        """The singular values of the product, shape (n_t, r): recorded, or from the weights."""
        if "singular_values" in self.recorded:
            return np.asarray(self.recorded["singular_values"], np.float64)
        if self.weights is None:
            return None
        product = self.weights[0]
        for W in self.weights[1:]:
            product = W @ product
        return _singular_values(product)

    @property
    def edge(self) -> float | None:
        """The sharpness 2 (1 + momentum)/rate above which plain descent is not stable at a minimum."""
        point = self.reader.plan.point(self.cell)
        updates = point.updates
        if not isinstance(updates, Descent) or not isinstance(point.schedule, Constant):
            return None
        if updates.nesterov or updates.layer_rates is not None or updates.batch_size is not None:
            return None
        return 2 * (1 + updates.momentum) / updates.learning_rate - updates.weight_decay

    def itinerary(self) -> tuple[str, list[Stop]]:
        """Tell its plateaus, and in which order it learned the modes: as stored, or from what was recorded.

        Returns
        -------
        words : str
            In which order, or why there is nothing to tell.
        stops : list of Stop
            The plateaus.
        """
        if "n_plateaus" in self.recorded:
            return self._stored()
        point = self.reader.plan.point(self.cell)
        if point.flow is None:
            return "An itinerary is one of flows, not of descents.", []
        try:
            return self._computed()
        except (SpecError, TypeError, ValueError) as error:
            return f"There is no itinerary: {error}", []

    def _stored(self) -> tuple[str, list[Stop]]:
        own = self.recorded
        n, kept = int(own["n_plateaus"]), len(own["plateau_value"])
        stops = []
        for p in range(min(n, kept)):
            learned = tuple(int(j) for j in np.flatnonzero(own["plateau_learned"][p] > 0))
            numbers = (float(own[f"plateau_{name}"][p]) for name in ("entry", "exit", "distance", "grad_norm"))
            stops.append(Stop(KINDS[own["plateau_kind"][p]], float(own["plateau_value"][p]), learned, *numbers))
        more = f" {n - kept} more plateaus were not kept." if n > kept else ""
        return _order(own["learning_order"], bool(own["sequential"] == 1)) + more, stops

    def _computed(self) -> tuple[str, list[Stop]]:
        way: Itinerary = itinerary(self._trajectories())
        stops = [
            Stop(
                str(way.kind[p]), float(way.value[p]), tuple(int(j) for j in np.flatnonzero(way.counts[p] > 0)),
                float(way.entry[p]), float(way.exit[p]), float(way.distance[p]), float(way.grad_norm[p]),
            )
            for p in range(int(way.n_plateaus))
        ]  # fmt: skip
        return _order(way.order, bool(way.sequential)), stops

    def _trajectories(self) -> Trajectories:
        """It, as `fastdln.flow` would return it; of the weights at its ends nothing is known."""
        cell = Cell.of(self.reader.plan, self.cell)
        flow = cell.point.flow
        assert flow is not None
        loss = cell.loss(self.k, 1)
        t = self.reader.fixed("t")[self.cell][: len(self.clock)]
        own: dict[str, NDArray[Any]] = {}
        for name in ("loss", "grad_norm", "strengths", "learning_times"):
            if name in self.recorded:
                values = self.recorded[name][None]
                own[name] = values[..., : loss.n_modes] if OBSERVABLES[name].dims[-1] == "mode" else values
        if self.weights is not None:
            own["weights"] = self.network.pack(tuple(W[None] for W in self.weights))
        options = Options(
            METHODS[flow.method], flow.rtol, flow.max_steps, tuple(own), weight_decay=flow.weight_decay,
            layer_rates=flow.layer_rates,
        )  # fmt: skip
        nothing = np.full((1, self.network.n_parameters), np.nan)
        return Trajectories(
            network=self.network, loss_function=loss[0] if loss.batch_shape else loss, options=options,
            span=(0.0, float(t[-1])), t=t, single=True, _recorded=own, _final=nothing,
            _t_final=self.recorded["t_final"][None], _status=self.recorded["status"][None],
            _counts=np.stack([self.recorded[n] for n in ("n_rhs", "n_accepted", "n_rejected")])[None],
            _atol=np.full(1, np.nan), _origin=nothing, _certified=np.zeros(1, np.bool_),
            _widths=np.array([self.network.widths]), _enlargements=np.zeros(1, np.int64), _steps=None,
        )  # fmt: skip


def course(reader: Reader, cell: int, k: int) -> Course | None:
    """Read one trajectory.

    Parameters
    ----------
    reader : Reader
        The store.
    cell : int
        The cell.
    k : int
        The trajectory, by its number in the cell.

    Returns
    -------
    Course or None
        None where its unit is not finished.
    """
    index, row = reader.where(cell, k)
    if index not in reader.units:
        return None
    n_times = len(reader.clock(cell))
    recorded = {}
    for name, variable in reader.variables.items():
        values = reader.own(name, cell, index)[row]
        recorded[name] = values[:n_times] if variable.dims[1:2] == ("time",) else values
    return Course(reader, cell, k, recorded)


def _singular_values(matrices: Floats) -> Floats:
    """NaN after the end of the trajectory."""
    values = np.full((*matrices.shape[:-2], min(matrices.shape[-2:])), np.nan)
    there = np.isfinite(matrices).all(axis=(-2, -1))
    values[there] = np.linalg.svd(matrices[there], compute_uv=False)
    return values


def _order(order: NDArray[Any], sequential: bool) -> str:
    learned = ", ".join(str(int(j)) for j in order if j >= 0)
    if not learned:
        return "It learned no mode."
    if "," not in learned:
        return f"It learned mode {learned}."
    return f"It learned the modes {learned}, {'one after another' if sequential else 'not one after another'}."
