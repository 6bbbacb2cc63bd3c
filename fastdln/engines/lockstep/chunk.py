"""A part of the batch: what the loop reads of it and what it writes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.base import Problem
from fastdln.engines.lockstep.arena import Arena
from fastdln.engines.lockstep.recipe import Recipe, watched
from fastdln.integrate.stabilized import Stabilized
from fastdln.kernels.lockstep.stiffness import SAVED
from fastdln.kernels.lockstep.workspace import STIFF

LINE = 64  # bytes


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
        n, dtype = rows.stop - rows.start, problem.start.dtype
        self.rows = rows
        self.records = np.full((n, len(problem.times), problem.n_columns), np.nan, dtype)
        in_place = problem.overwrite
        self.final = problem.start[rows] if in_place else _aligned(n, problem.network.n_parameters, dtype)
        self.reached = np.zeros(n)
        self.status = np.zeros(n, np.int64)
        self.counts = np.zeros((n, 3), np.int64)
        self.learned = np.full((n, watched(problem)), np.nan)
        self.certified = np.zeros(n, np.int64)
        self.widths = np.tile(problem.network.widths, (n, 1))
        self.enlargements = np.zeros(n, np.int64)
        self.history = np.empty((n, problem.max_steps if problem.history else 0))


class Chunk(Results):
    """Starts and results of the trajectories ``rows``; the kernels find the arrays by their addresses.

    Attributes
    ----------
    queue : ndarray
        Numbers of the trajectories to be integrated.
    saved : ndarray, shape (n, SAVED) or (n, 0)
        Control of those that one loop has handed over to another.
    """

    def __init__(self, recipe: Recipe, rows: slice) -> None:
        problem = recipe.problem
        super().__init__(problem, rows)
        self._read: dict[str, NDArray[Any]] = {
            "start": problem.start[rows],
            "constants": recipe.constants,
            "goals": recipe.goals,
            "least": recipe.least,
            "target_row": np.arange(rows.start, rows.stop) * (len(recipe.constants) > 1),
            "atol": problem.atol[rows],
            "times": problem.times,
        }
        self.queue = np.arange(len(self.status))
        self.saved = np.empty((len(self.status), SAVED if isinstance(problem.method, Stabilized) else 0))

    def hand_over(self) -> bool:
        """Queue the trajectories that a stabilized method is to go on with; returns whether there are any."""
        self.queue = np.flatnonzero(self.status == STIFF)
        return len(self.queue) > 0

    def attach(self, arena: Arena, resumed: bool = False) -> None:
        """Tell a thread's loop where everything lies, and whether it goes on with what another one handed over."""
        arena.chunk = self
        w = arena.workspace[0]
        w["n"] = len(self.queue)
        w["resumed"] = resumed
        for name, array in self._read.items():
            w[f"{name}_at"] = array.ctypes.data
        written = ("records", "final", "reached", "status", "counts", "learned", "certified", "history")
        for name in (*written, "queue", "saved"):
            w[f"{name}_at"] = getattr(self, name).ctypes.data


def _aligned(rows: int, columns: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Memory that begins with a cache line: the wide engine works on the weights where they lie."""
    memory = np.empty(rows * columns + LINE // dtype.itemsize, dtype)
    first = -memory.ctypes.data % LINE // dtype.itemsize
    return memory[first : first + rows * columns].reshape(rows, columns)
