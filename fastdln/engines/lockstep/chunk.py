"""A part of the batch: what the loop reads of it and what it writes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.base import Results
from fastdln.engines.lockstep.arena import Arena
from fastdln.engines.lockstep.recipe import Recipe
from fastdln.integrate.stabilized import Stabilized
from fastdln.kernels.lockstep.stiffness import SAVED
from fastdln.kernels.lockstep.workspace import STIFF


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
        self.saved = np.empty((len(self.status), SAVED if isinstance(problem.options.method, Stabilized) else 0))

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
