"""A part of the batch: what the loop reads of it and what it writes."""

from __future__ import annotations

import numpy as np

from fastdln.engines.base import PER_TRAJECTORY, Results
from fastdln.engines.lockstep.arena import Arena
from fastdln.engines.lockstep.recipe import Recipe
from fastdln.kernels.lockstep.queue import SAVED
from fastdln.kernels.lockstep.workspace import COURSE, HANDED_OVER


class Chunk(Results):
    """Starts and results of the trajectories ``rows``; the kernels find the arrays by their addresses.

    Attributes
    ----------
    queue : ndarray
        Numbers of the trajectories to be integrated.
    saved : ndarray, shape (n, SAVED) or (n, 0)
        Control of those that one method has handed over to another.
    still : ndarray, shape (n,) or (0,)
        Norms of the weights left out that only decay, where lengths are recorded.
    """

    def __init__(self, recipe: Recipe, rows: slice, hands_over: bool) -> None:
        super().__init__(recipe.plan.problem, rows)
        self._recipe, self._rows, self._resumed = recipe, rows, False
        self.queue = np.arange(len(self.status))
        self.still = np.zeros(len(self.length))
        if recipe.plan.problem.still is not None:
            self.still[:] = recipe.plan.problem.still[rows]
        self.saved = np.empty((len(self.status), SAVED if hands_over else 0))

    def hand_over(self) -> bool:
        """Queue the trajectories that another method is to go on with; returns whether there are any."""
        self.queue, self._resumed = np.flatnonzero(self.status == HANDED_OVER), True
        return len(self.queue) > 0

    def attach(self, arena: Arena) -> None:
        """Tell a thread's loop where everything lies."""
        recipe, rows, problem = self._recipe, self._rows, self._recipe.plan.problem
        written = (
            "records", "final", "reached", "status", "counts", "learned", "length", "still", "certified", "history",
        )  # fmt: skip
        arena.tell(
            "batch",
            {
                "n": len(self.queue),
                "queue": self.queue,
                "start": self.final if self._resumed else problem.start[rows],
                "constants": recipe.constants,
                "goals": recipe.goals,
                "least": recipe.least,
                "target_row": np.arange(rows.start, rows.stop) * (len(recipe.constants) > 1),
                "atol": problem.atol[rows],
                **{name: getattr(self, name) for name in written},
                "most_steps": problem.options.max_steps,
                "saved": self.saved,
                "resumed": self._resumed,
            },
        )
        course = problem.course
        arena.tell(
            "course",
            dict.fromkeys(COURSE.names, 0)
            if course is None
            else {
                **{name: getattr(course, name)[rows] for name in PER_TRAJECTORY},
                "last_velocity": self.velocity,
            },
        )
