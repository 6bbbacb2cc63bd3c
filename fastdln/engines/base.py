"""What an engine is asked: a batch of trajectories in plain arrays, checked by `fastdln.flow` before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.integrate.stabilized import Stabilized
from fastdln.integrate.tableau import Tableau
from fastdln.losses import Loss
from fastdln.network import Network
from fastdln.observables import RAW


@dataclass(frozen=True)
class Options:
    """How a flow was integrated: all that is needed to go on in the same way."""

    method: Tableau | Stabilized
    rtol: float
    max_steps: int
    record: tuple[str, ...]
    stop_gradient: float | None
    stop_loss: float | None
    weight_decay: float
    layer_rates: tuple[float, ...] | None
    step: float | None
    history: bool
    certify: bool
    engine: str


@dataclass(frozen=True)
class Problem:
    """Flows of n networks over one span; time is counted from its start, forwards, as s = |t - t_0|."""

    network: Network
    loss: Loss
    start: NDArray[Any]  # (n, parameters), in the working precision
    atol: NDArray[np.float64]  # (n,)
    rtol: float
    duration: float
    direction: float  # +1, or -1 for the flow backwards in time
    times: NDArray[np.float64]  # (n_t,) increasing
    method: Tableau | Stabilized
    raw: tuple[str, ...]  # what a record holds, of `fastdln.observables.RAW`
    learning: bool
    max_steps: int
    step: float | None = None
    history: bool = False
    weight_decay: float = 0.0
    layer_rates: tuple[float, ...] | None = None
    stop_gradient: float | None = None
    stop_loss: float | None = None
    certify: tuple[int, ...] | None = None  # entries of the layers, over which their root mean squares are taken
    threads: int = 1
    overwrite: bool = False  # final weights are written where the starts lie

    @property
    def tableau(self) -> Tableau:
        """The method, for an engine that has explicit ones only."""
        if isinstance(self.method, Stabilized):
            raise TypeError(f"method {self.method.name!r} is not an explicit one")
        return self.method

    @property
    def n(self) -> int:
        """Number of trajectories."""
        return len(self.start)

    @property
    def columns(self) -> dict[str, slice]:
        """Where each raw observable lies in a record."""
        places, at = {}, 0
        for name in self.raw:
            size = RAW[name](self.network, self.loss)
            places[name] = slice(at, at + size)
            at += size
        return places

    @property
    def n_columns(self) -> int:
        """Numbers in a record."""
        return sum(RAW[name](self.network, self.loss) for name in self.raw)
