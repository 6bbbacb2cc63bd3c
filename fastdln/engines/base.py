"""What an engine is asked, a batch in plain arrays that `fastdln.flow` has checked, and what it answers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdln.integrate.descent import Descent
from fastdln.integrate.methods import Method
from fastdln.integrate.tableau import Tableau
from fastdln.losses import Loss, QuadraticForm, quadratic_of
from fastdln.network import Network
from fastdln.observables import RAW
from fastdln.resources import Report

LINE = 64  # bytes of a cache line


@dataclass(frozen=True)
class Options:
    """How a flow or a descent was integrated: with `Course`, all that is needed to go on in the same way.

    A descent takes steps of length 1, without tolerances; its momenta and decays are those of its course.
    """

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
    modified: float = 0.0  # the learning rate of a modified flow; 0: the flow itself


@dataclass(frozen=True)
class Course:
    """What the trajectories of a descent have of their own, and how far they have come."""

    done: int  # updates
    every: int  # updates from record to record
    record_from: int  # update of the first record
    rate: NDArray[np.float64]  # (n,), that the factors of the schedule multiply
    momentum: NDArray[np.float64]  # (n,)
    decay: NDArray[np.float64]  # (n,)
    bound: NDArray[np.float64]  # (n,)
    stream: NDArray[np.int64]  # (n,), their numbers in the draws of batches
    velocity: NDArray[Any]  # (n, parameters), or (n, 0) where none has momentum

    def __getitem__(self, rows: Any) -> Course:
        """Select trajectories."""
        return replace(self, **{name: getattr(self, name)[rows] for name in PER_TRAJECTORY})


PER_TRAJECTORY = ("rate", "momentum", "decay", "bound", "stream", "velocity")


@dataclass(frozen=True)
class Problem:
    """Flows of n networks over one span; time is counted from its start, forwards, as s = |t - t_0|.

    Or descents: then time counts updates.
    """

    network: Network
    loss: Loss
    options: Options
    start: NDArray[Any]  # (n, parameters), in the working precision
    origin: NDArray[Any]  # (n, parameters), where the flow began: before the start, if it goes on
    atol: NDArray[np.float64]  # (n,)
    duration: float
    direction: float  # +1, or -1 for the flow backwards in time
    times: NDArray[np.float64]  # (n_t,) increasing
    raw: tuple[str, ...]  # what a record holds, of `fastdln.observables.RAW`
    learning: bool
    layer_sizes: tuple[int, ...]  # entries of the layers that are certified: of the wide ones where these are narrow
    threads: int = 1
    overwrite: bool = False  # final weights are written where the starts lie
    course: Course | None = None  # of a descent
    length: NDArray[np.float64] | None = None  # (n,), of the way before the start; None: 0
    still: NDArray[np.float64] | None = None  # (n,), norm at the start of weights left out that only decay; None: 0

    def with_options(self, **changes: Any) -> Problem:
        """The same with other options."""
        return replace(self, options=replace(self.options, **changes))

    @property
    def tableau(self) -> Tableau:
        """The method, for an engine that has explicit ones only."""
        if not isinstance(self.options.method, Tableau):
            raise TypeError(f"method {self.options.method.name!r} is not an explicit one")
        return self.options.method

    @property
    def descent(self) -> Descent | None:
        """The method, where it is a descent."""
        return self.options.method if isinstance(self.options.method, Descent) else None

    @property
    def quadratic(self) -> QuadraticForm:
        """The quadratic form of the loss, for an engine that takes no other."""
        return quadratic_of(self.loss, f"this flow (engine={self.options.engine!r})")

    @property
    def n(self) -> int:
        """Number of trajectories."""
        return len(self.start)

    @property
    def watched(self) -> int:
        """How many modes are watched."""
        return self.loss.n_modes if self.learning or "strengths" in self.raw else 0

    @property
    def measured(self) -> bool:
        """Whether the length of the way is recorded."""
        return "length" in self.raw

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
    velocity : ndarray, shape (n, parameters) or (n, 0)
        Of descents with momentum.
    length : ndarray, shape (n,) or (0,)
        Of the way up to the end, where that is recorded.
    """

    rows: slice | NDArray[np.intp]
    records: NDArray[Any]
    final: NDArray[Any]
    reached: NDArray[np.float64]
    status: NDArray[np.int64]
    counts: NDArray[np.int64]
    learned: NDArray[np.float64]
    certified: NDArray[np.int64]
    widths: NDArray[np.int64]
    enlargements: NDArray[np.int64]
    history: NDArray[np.float64]
    velocity: NDArray[Any]
    length: NDArray[np.float64]

    def __init__(self, problem: Problem, rows: slice) -> None:
        self.rows = rows
        for name, (shape, dtype, value) in results_layout(problem, rows.stop - rows.start).items():
            setattr(self, name, _empty(shape, np.dtype(dtype)) if value is None else np.full(shape, value, dtype))
        self.widths[:] = problem.network.widths
        if problem.course is not None:
            self.velocity[:] = problem.course.velocity[rows]
        if problem.measured and problem.length is not None:
            self.length[:] = problem.length[rows]
        if problem.overwrite:
            self.final = problem.start[rows]


def results_layout(problem: Problem, n: int) -> dict[str, tuple[tuple[int, ...], DTypeLike, float | None]]:
    """The arrays of the results of n trajectories: shape, dtype, and with what they begin; None where all is written.

    Final weights that lie where the starts do take no memory.
    """
    network, options, dtype = problem.network, problem.options, problem.start.dtype
    return {
        "records": ((n, len(problem.times), problem.n_columns), dtype, np.nan),
        "final": ((n, 0 if problem.overwrite else network.n_parameters), dtype, None),
        "reached": ((n,), np.float64, 0),
        "status": ((n,), np.int64, 0),
        "counts": ((n, 3), np.int64, 0),
        "learned": ((n, problem.watched), np.float64, np.nan),
        "certified": ((n,), np.int64, 0),
        "widths": ((n, network.depth + 1), np.int64, 0),
        "enlargements": ((n,), np.int64, 0),
        "velocity": ((n, 0 if problem.course is None else problem.course.velocity.shape[1]), dtype, None),
        "length": ((n if problem.measured else 0,), np.float64, 0),
        "history": ((n, options.max_steps if options.history else 0), np.float64, None),
    }


def _empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Memory that begins with a cache line: the wide engine works on the weights where they lie."""
    size = math.prod(shape)
    memory = np.empty(size + LINE // dtype.itemsize, dtype)
    first = -memory.ctypes.data % LINE // dtype.itemsize
    return memory[first : first + size].reshape(shape)


class Engine(Protocol):
    """What integrates a problem."""

    def memory(self, problem: Problem) -> int:
        """Bytes that the engine takes at most at a time, its results included."""

    def run(self, problem: Problem, progress: Report | None = None) -> Iterator[Results]:
        """Integrate the trajectories some at a time; ``progress`` hears how many are done and failed, and of all."""
