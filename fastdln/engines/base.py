"""What an engine is asked, a batch in plain arrays that `fastdln.flow` has checked, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastdln.integrate.methods import Method
from fastdln.integrate.stabilized import Stabilized
from fastdln.integrate.tableau import Tableau
from fastdln.losses import Loss
from fastdln.network import Network

LINE = 64  # bytes of a cache line

# Numbers that each raw observable takes in a record; engines write these and no others.
RAW: dict[str, Callable[[Network, Loss], int]] = {
    "square_distance": lambda network, loss: 1,  # 2 (L - floor)
    "square_gradient": lambda network, loss: 1,  # ||grad L||_F^2
    "strengths": lambda network, loss: loss.n_modes,
    "product": lambda network, loss: loss.shape[0] * loss.shape[1],
    "weights": lambda network, loss: network.n_parameters,
}


@dataclass(frozen=True)
class Options:
    """How a flow was integrated: all that is needed to go on in the same way."""

    method: Method
    rtol: float
    max_steps: int
    record: tuple[str, ...]
    stop_gradient: float | None = None
    stop_loss: float | None = None
    weight_decay: float = 0.0
    layer_rates: tuple[float, ...] | None = None
    step: float | None = None
    history: bool = False
    certify: bool = False
    engine: str = "auto"


@dataclass(frozen=True)
class Problem:
    """Flows of n networks over one span; time is counted from its start, forwards, as s = |t - t_0|."""

    network: Network
    loss: Loss
    options: Options
    start: NDArray[Any]  # (n, parameters), in the working precision
    origin: NDArray[Any]  # (n, parameters), where the flow began: before the start, if it goes on
    atol: NDArray[np.float64]  # (n,)
    duration: float
    direction: float  # +1, or -1 for the flow backwards in time
    times: NDArray[np.float64]  # (n_t,) increasing
    raw: tuple[str, ...]  # what a record holds, of RAW
    learning: bool
    layer_sizes: tuple[int, ...]  # entries of the layers that are certified: of the wide ones where these are narrow
    threads: int = 1
    overwrite: bool = False  # final weights are written where the starts lie

    def with_options(self, **changes: Any) -> Problem:
        """The same with other options."""
        return replace(self, options=replace(self.options, **changes))

    @property
    def tableau(self) -> Tableau:
        """The method, for an engine that has explicit ones only."""
        if isinstance(self.options.method, Stabilized):
            raise TypeError(f"method {self.options.method.name!r} is not an explicit one")
        return self.options.method

    @property
    def n(self) -> int:
        """Number of trajectories."""
        return len(self.start)

    @property
    def watched(self) -> int:
        """How many modes are watched."""
        return self.loss.n_modes if self.learning or "strengths" in self.raw else 0

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


class Results:
    """What became of the trajectories ``rows``.

    Attributes
    ----------
    records : ndarray, shape (n, n_t, columns)
        NaN where a trajectory did not come.
    final : ndarray, shape (n, parameters)
    reached : ndarray, shape (n,)
        Time of the end, from the start of the span.
    status : ndarray, shape (n,)
    counts : ndarray, shape (n, 3)
        Right-hand sides, steps accepted and rejected.
    learned : ndarray, shape (n, modes)
        Learning times from the start of the span, or NaN.
    certified : ndarray, shape (n,)
        Whether a certificate ended them.
    widths : ndarray, shape (n, h+1)
        Widths of the networks that were integrated.
    enlargements : ndarray, shape (n,)
        How often these were enlarged on the way.
    history : ndarray, shape (n, max_steps) or (n, 0)
        Times of accepted steps; as many as were accepted are written.
    """

    rows: slice | NDArray[np.intp]

    def __init__(self, problem: Problem, rows: slice) -> None:
        n, dtype, options = rows.stop - rows.start, problem.start.dtype, problem.options
        self.rows = rows
        self.records = np.full((n, len(problem.times), problem.n_columns), np.nan, dtype)
        in_place = problem.overwrite
        self.final = problem.start[rows] if in_place else _aligned(n, problem.network.n_parameters, dtype)
        self.reached = np.zeros(n)
        self.status = np.zeros(n, np.int64)
        self.counts = np.zeros((n, 3), np.int64)
        self.learned = np.full((n, problem.watched), np.nan)
        self.certified = np.zeros(n, np.int64)
        self.widths = np.tile(problem.network.widths, (n, 1))
        self.enlargements = np.zeros(n, np.int64)
        self.history = np.empty((n, options.max_steps if options.history else 0))


class Engine(Protocol):
    """What integrates a problem."""

    def memory(self, problem: Problem) -> int:
        """Bytes that the engine takes at most at a time, its results included."""

    def run(self, problem: Problem, progress: Callable[[int, int, int], None] | None = None) -> Iterator[Results]:
        """Integrate the trajectories some at a time; ``progress`` hears how many are done and failed, and of all."""


def _aligned(rows: int, columns: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Memory that begins with a cache line: the wide engine works on the weights where they lie."""
    memory = np.empty(rows * columns + LINE // dtype.itemsize, dtype)
    first = -memory.ctypes.data % LINE // dtype.itemsize
    return memory[first : first + rows * columns].reshape(rows, columns)
