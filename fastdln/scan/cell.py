"""From a cell of the grid to what `fastdln.flow` or `fastdln.descend` takes: network, loss, starts, times.

Trajectory k of cell c draws from ``SeedSequence(seed, spawn_key=(c,))`` and k alone, whatever part of the
cell is asked for; a random target from the stream beside it, ``spawn_key=(c, 1)``, what is seen or measured of it
from ``spawn_key=(c, 2)``, and the batches of a descent from ``spawn_key=(c, 3)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from fastdln import inits
from fastdln.descent import descend
from fastdln.gradient_flow import flow
from fastdln.losses import Loss, Quadratic, Regression
from fastdln.network import Network, Weights
from fastdln.observables import LYAPUNOV
from fastdln.resources import Report
from fastdln.results.trajectories import Trajectories
from fastdln.scan import kinds, plane, spec, updates
from fastdln.scan.derived import recorded
from fastdln.scan.loss import Landscape
from fastdln.scan.plan import GridPoint, Plan
from fastdln.scan.spec import SpecError
from fastdln.theory.exact import mode_time

__all__ = ["Cell"]

# Modes below this part of the largest are noise of the target: t_end = "auto" does not wait for them.
NEGLIGIBLE = 1e-8


@dataclass(frozen=True)
class Cell:
    """One point of the grid as gradient flows, or as descents."""

    network: Network
    point: GridPoint
    seed: int
    folder: Path
    files: tuple[tuple[str, str], ...]
    """The SHA-256 of each data file of the scan, by its name."""
    record: spec.Record

    @classmethod
    def of(cls, plan: Plan, index: int) -> Self:
        """Make one cell of a scan.

        Parameters
        ----------
        plan : Plan
            The scan.
        index : int
            Its number in C order.

        Returns
        -------
        Cell
            The cell.
        """
        point, document = plan.point(index), plan.document
        files = tuple(plan.identity["files"].items())
        return cls(Network(point.network.widths), point, document.seed, plan.folder, files, document.record)

    def loss(self, first: int, size: int) -> Loss:
        """Return the loss of the trajectories first, ..., first + size - 1.

        Parameters
        ----------
        first : int
            The index of the first trajectory.
        size : int
            Their number.

        Returns
        -------
        Loss
            One target, or `size` of them.
        """
        landscape = Landscape(self.network, self.point, self.seed, self.folder, self.files)
        return landscape.loss(first, size)

    def start(self, first: int, size: int) -> Weights:
        """Draw the starts of the trajectories first, ..., first + size - 1.

        Parameters
        ----------
        first : int
            The index of the first trajectory.
        size : int
            Their number.

        Returns
        -------
        tuple of h ndarrays, shape (size, d_i, d_{i-1})
            The weights.
        """
        return self._start(first, size, self.loss(first, size))

    def _start(self, first: int, size: int, loss: Loss) -> Weights:
        init = self.point.init
        if isinstance(init, kinds.Plane):
            return plane.start(init, self.network, loss, size, self.folder, self.files)
        keys = msgspec.to_builtins(init)
        kind = keys.pop("kind")
        if kind == "decoupled":
            keys["loss"] = loss
        stream = np.random.SeedSequence(self.seed, spawn_key=(self.point.index,))
        weights: Weights = getattr(inits, kind)(self.network, **keys, size=size, rng=stream, first=first)
        return weights

    def integrate(
        self,
        first: int,
        size: int,
        *,
        others: Sequence[Cell] = (),
        threads: int | None = None,
        max_steps: int | None = None,
        progress: Report | bool = False,
    ) -> Trajectories:
        """Integrate the trajectories first, ..., first + size - 1.

        Parameters
        ----------
        first : int
            The index of the first trajectory.
        size : int
            Their number.
        others : sequence of Cell
            Cells that differ in what may vary within a batch alone; their trajectories follow, cell by cell.
        threads : int, optional
            Threads, by default one for each core.
        max_steps : int, optional
            Fewer steps, or updates, than the scan file allows.
        progress : callable or bool
            As in `fastdln.flow`.

        Returns
        -------
        Trajectories
            Their flow, or their descent.
        """
        cells, loss = (self, *others), self.loss(first, size)
        starts = [cell._start(first, size, loss) for cell in cells]
        start = tuple(np.concatenate(layers) for layers in zip(*starts, strict=True)) if others else starts[0]
        record = recorded(self.record.observables, loss)
        common: dict[str, Any] = {"record": record, "threads": threads, "progress": progress}
        if self.point.flow is None:
            if max_steps is not None and LYAPUNOV in record:  # so few updates have no exponent
                updates.check_exponent(self.point, self.record.times)
                common["record"] = tuple(name for name in record if name != LYAPUNOV)
            common |= updates.arguments([cell.point for cell in cells], size, self.record, max_steps)
            if common["batch_size"] is not None:
                draws = np.random.SeedSequence(self.seed, spawn_key=(self.point.index, 3))
                common |= {"rng": draws, "first": first}
            return descend(start, loss, **common)
        options = msgspec.to_builtins(self.point.flow)
        del options["t_end"]
        if max_steps is not None:
            options["max_steps"] = max_steps
        return flow(start, loss, (0.0, self.t_end), t_eval=self.times, **common, **options)

    @property
    def t_end(self) -> float:
        """The end of the flow's span."""
        assert self.point.flow is not None
        t_end = self.point.flow.t_end
        return self._automatic_end() if t_end == "auto" else float(t_end)

    @property
    def times(self) -> NDArray[np.float64]:
        """The times that are recorded."""
        record = self.record.times
        if isinstance(record, spec.Updates):
            return updates.times(self.point, record)
        t_end = self.t_end
        if record.count == 1:
            return np.array([t_end])
        first = record.first
        if first is None:
            first = t_end / 1000 if record.spacing == "log" else 0.0
        if first >= t_end:
            raise SpecError(f"record.times.first = {first:g}: expected a time before t_end = {t_end:g}")
        space = np.geomspace if record.spacing == "log" else np.linspace
        times = space(first, t_end, record.count)
        # The ends exactly, and rounding must not carry a time beyond them.
        times[0], times[-1] = first, t_end
        return np.asarray(times)

    @property
    def steps(self) -> NDArray[np.int64]:
        """The updates of a descent that are recorded."""
        assert isinstance(self.record.times, spec.Updates)
        return updates.recorded(self.point, self.record.times)

    def _automatic_end(self) -> float:
        loss, depth = self.loss(0, 1), self.network.depth
        if isinstance(self.point.target, kinds.Random) and self.point.target.per == "trajectory":
            raise _no_automatic_end('each trajectory has a target of its own; use per = "cell"')
        if not isinstance(loss, Quadratic):
            kind = "regression" if isinstance(loss, Regression) else type(loss).__name__
            raise _no_automatic_end(f"modes have learning times of their own for the quadratic loss, not for {kind}")
        scale = _scale(self.point.init)
        if scale is None or scale <= 0:
            raise _no_automatic_end(f"the start has no positive scale, {self.point.init}")
        sigma = loss.modes.sigma
        learnable = sigma[: self.network.rank]
        learnable = learnable[learnable > NEGLIGIBLE * sigma[0]]
        if not learnable.size:
            raise _no_automatic_end("the target is zero: there is no mode to learn")
        s = learnable[-1] ** (1 / depth)
        t_end = 3 * float(mode_time(0.9 * s, min(scale, 0.1 * s), learnable[-1], depth))
        if not 0 < t_end < np.inf:
            raise _no_automatic_end(f"the least mode, {learnable[-1]:g}, would take the time {t_end:g}")
        return t_end


def _scale(init: kinds.Strict) -> float | None:
    """Return the size of the layers' singular values at the start, where the kind has one number for it."""
    match init:
        case kinds.Scaled():
            return init.scale
        case kinds.Orthogonal():
            return init.gain
        case kinds.LayerValues(layer_values=float() as value):
            return abs(value)
        case _:
            return None


def _no_automatic_end(reason: str) -> SpecError:
    return SpecError(f'flow.t_end = "auto": {reason}; give a time instead')
