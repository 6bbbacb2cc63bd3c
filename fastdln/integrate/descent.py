"""Gradient descent as a method: what holds for all trajectories of a descent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastdln.integrate.schedules import Schedule

NO_KEY = (0, 0)


def updates_recorded(first: int, every: int, last: int) -> NDArray[np.int64]:
    """The updates first, first + every, ... below the last, and the last."""
    return np.append(np.arange(first, last, every), last)


@dataclass(frozen=True, eq=False)
class Descent:
    """Gradient descent, with or without momentum, on all samples or on batches of them.

    Parameters
    ----------
    schedule : Schedule
        The learning rates over the updates, in units of the trajectories' own.
    moves : bool
        Whether there is momentum, in some trajectory: then there is a velocity.
    nesterov : bool
        Whether the gradient is taken ahead of the state.
    decays : bool
        Whether there is weight decay, in some trajectory.
    samples : int
        Of how many samples a batch is; 0: of all.
    key : (int, int)
        Words of the key from which batches are drawn.
    """

    schedule: Schedule
    moves: bool = False
    nesterov: bool = False
    decays: bool = False
    samples: int = 0
    key: tuple[int, int] = NO_KEY

    @property
    def name(self) -> str:
        """What files and datasets call it."""
        return "nesterov" if self.nesterov else "momentum" if self.moves else "descent"

    @property
    def explicit(self) -> bool:
        """Whether stages are few and fixed: an update is one gradient."""
        return True

    def times(
        self, updates: NDArray[np.int64], rate: NDArray[np.float64], momentum: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The time of the flow that updates stand for, sum of eta_k / (1 - beta); rate and momentum broadcast."""
        return rate * self.schedule.sums(updates) / (1.0 - momentum)
