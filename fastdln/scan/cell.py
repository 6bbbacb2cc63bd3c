"""From a cell of the grid to what `fastdln.flow` takes: network, loss, starts, times.

Trajectory k of cell c draws from ``SeedSequence(seed, spawn_key=(c,))`` and k alone, whatever part of the
cell is asked for; a random target from the stream beside it, ``spawn_key=(c, 1)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from fastdln import inits
from fastdln.gradient_flow import flow
from fastdln.losses import (
    Exponential,
    Huber,
    Logistic,
    Loss,
    Power,
    PseudoHuber,
    Quadratic,
    Regression,
    SoftmaxCrossEntropy,
)
from fastdln.network import Network, Weights
from fastdln.resources import Report
from fastdln.results.trajectories import Trajectories
from fastdln.scan import data, spec
from fastdln.scan.derived import recorded
from fastdln.scan.plan import GridPoint, Plan
from fastdln.scan.spec import SpecError
from fastdln.theory.exact import mode_time

__all__ = ["Cell"]

# Modes below this part of the largest are noise of the target: t_end = "auto" does not wait for them.
NEGLIGIBLE = 1e-8


@dataclass(frozen=True)
class Cell:
    """One point of the grid as gradient flows."""

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
        target, loss = self.point.target, self.point.loss
        if isinstance(loss, spec.Sampled):
            return _sampled(target, loss, self.network.widths[-1], self.folder, self.files)
        whole = self._whole(target, first, size)
        if isinstance(loss, spec.Squared):
            return whole
        if not isinstance(whole, Quadratic):
            raise SpecError('target.form = "regression" says what the loss is: leave [loss] out, or the form')
        match loss:
            case spec.Power():
                return Power(whole.target, loss.p)
            case spec.Huber():
                return Huber(whole.target, loss.delta)
            case spec.PseudoHuber():
                return PseudoHuber(whole.target, loss.delta)
            case _:
                raise AssertionError(f"no loss of the kind {type(loss).__name__}")

    def _whole(self, target: spec.Strict, first: int, size: int) -> Loss:
        """The quadratic loss with the target, or that of the data as they are."""
        shape = (self.network.widths[-1], self.network.widths[0])
        match target:
            case spec.SingularValues():
                return Quadratic.from_singular_values(target.values, shape, rng=target.rng)
            case spec.Identity():
                return Quadratic(target.scale * np.eye(*shape))
            case spec.Data():
                return _data_loss(target, self.folder, self.files)
            case spec.Random():
                # A target with entries of deviation scale/sqrt(d_0) is a Gaussian network of one layer.
                teacher = Network((shape[1], shape[0]))
                stream = np.random.SeedSequence(self.seed, spawn_key=(self.point.index, 1))
                if target.per == "cell":
                    return Quadratic(*inits.gaussian(teacher, target.scale, rng=stream))
                return Quadratic(*inits.gaussian(teacher, target.scale, size=size, rng=stream, first=first))
            case _:
                raise AssertionError(f"no target of the kind {type(target).__name__}")

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
        keys = msgspec.to_builtins(self.point.init)
        kind = keys.pop("kind")
        if kind == "decoupled":
            keys["loss"] = self.loss(first, size)
        stream = np.random.SeedSequence(self.seed, spawn_key=(self.point.index,))
        weights: Weights = getattr(inits, kind)(self.network, **keys, size=size, rng=stream, first=first)
        return weights

    def integrate(
        self,
        first: int,
        size: int,
        *,
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
        threads : int, optional
            Threads, by default one for each core.
        max_steps : int, optional
            Fewer steps than the scan file allows.
        progress : callable or bool
            As in `fastdln.flow`.

        Returns
        -------
        Trajectories
            Their flow.
        """
        options = msgspec.to_builtins(self.point.flow)
        del options["t_end"]
        if max_steps is not None:
            options["max_steps"] = max_steps
        loss = self.loss(first, size)
        return flow(
            self.start(first, size),
            loss,
            (0.0, self.t_end),
            t_eval=self.times,
            record=recorded(self.record.observables, loss),
            threads=threads,
            progress=progress,
            **options,
        )

    @property
    def t_end(self) -> float:
        """The end of the flow's span."""
        t_end = self.point.flow.t_end
        return self._automatic_end() if t_end == "auto" else float(t_end)

    @property
    def times(self) -> NDArray[np.float64]:
        """The times that are recorded."""
        record, t_end = self.record.times, self.t_end
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

    def _automatic_end(self) -> float:
        loss, depth = self.loss(0, 1), self.network.depth
        if isinstance(self.point.target, spec.Random) and self.point.target.per == "trajectory":
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


@lru_cache(maxsize=4)
def _data_loss(target: spec.Data, folder: Path, files: tuple[tuple[str, str], ...]) -> Loss:
    if target.form is None:
        raise SpecError('target.form is missing: expected "whitened", "correlation" or "regression"')
    X, Y = _data(target, folder, files)
    if target.form == "regression":
        return Regression(X, Y)
    return Quadratic.from_data(X, Y, whiten=target.form == "whitened")


@lru_cache(maxsize=4)
def _sampled(
    target: spec.Strict, loss: spec.Sampled, n_outputs: int, folder: Path, files: tuple[tuple[str, str], ...]
) -> Loss:
    if not isinstance(target, spec.Data) or target.form is not None:
        raise SpecError('a loss of data takes [target] kind = "data" without form')
    X, Y = _data(target, folder, files)
    match loss:
        case spec.MeanSquare():
            return Regression(X, Y)
        case spec.Logistic():
            return Logistic(X, Y)
        case spec.Exponential():
            return Exponential(X, Y)
        case _:
            if len(Y) != 1:
                raise SpecError(f"target.Y has {len(Y)} rows: expected one, of labels")
            return SoftmaxCrossEntropy(X, Y[0], n_classes=n_outputs)


def _data(
    target: spec.Data, folder: Path, files: tuple[tuple[str, str], ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # A name may come to mean another file from one scan to the next, and while one runs: what is kept is kept by its
    # fingerprint, and what is read must have it.
    X, Y = data.load(target, folder)
    known = dict(files)
    for name, digest in data.digests(target, folder).items():
        if digest != known[name]:
            raise SpecError(f'target: the file "{name}" in {folder} has changed since the scan was begun')
    return X, Y


def _scale(init: spec.Strict) -> float | None:
    """Return the size of the layers' singular values at the start, where the kind has one number for it."""
    match init:
        case spec.Scaled():
            return init.scale
        case spec.Orthogonal():
            return init.gain
        case spec.LayerValues(layer_values=float() as value):
            return abs(value)
        case _:
            return None


def _no_automatic_end(reason: str) -> SpecError:
    return SpecError(f'flow.t_end = "auto": {reason}; give a time instead')
