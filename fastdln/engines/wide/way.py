"""The length of the way of one trajectory, as in `fastdln.kernels.lockstep.way`; norms are had from factors.

States of a step are told by the weights of the slopes whose sum leads to them from its beginning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.base import Problem
from fastdln.engines.wide.layers import Layer
from fastdln.engines.wide.terms import Mix, Terms
from fastdln.integrate.law import joined, length_of_step

Weights = NDArray[np.float64]


class Way:
    """The way of trajectory number k.

    Attributes
    ----------
    length : float
        Its length up to the beginning of the step.
    """

    def __init__(self, problem: Problem, k: int, slopes: int, terms: Terms, layers: Sequence[Layer]) -> None:
        self._terms, self._layers, self._direction = terms, layers, problem.direction
        self._decay = problem.options.weight_decay
        self.length = 0.0 if problem.length is None else float(problem.length[k])
        self._still = 0.0 if problem.still is None else float(problem.still[k])
        self._speeds, self._falls = np.zeros(slopes), np.zeros(slopes)
        self._step = 0.0

    def note(self, l: int, weights: Weights) -> None:
        """Slope number l was evaluated, where these weights lead."""
        self._falls[l] = -self._decay * self._still_at(weights)
        self._speeds[l] = math.hypot(self._norm(self._terms.slope(l)), self._falls[l])

    def reach(self, weights: Weights, after: Mix, errors: list[Weights]) -> None:
        """Measure a step to its end, with the weights of the estimates of its error, where these are good."""
        doubt = joined(self._sum(errors[0]), sum(map(self._sum, errors[1:]))) if errors else 0.0
        self._step = self._since(weights, after, doubt)

    def at(self, weights: Weights, stage: Mix) -> float:
        """The length up to a state within the step that was measured."""
        return self.length + min(self._since(weights, stage, 0.0), self._step)

    def go_on(self, weights: Weights, last: int) -> None:
        """Go on from the end of the step, where the slope is slope number ``last``."""
        self.length, self._still, self._step = self.length + self._step, self._still_at(weights), 0.0
        self._speeds[0], self._falls[0] = self._speeds[last], self._falls[last]

    def _since(self, weights: Weights, stage: Mix, doubt: float) -> float:
        change = stage.copy()
        change[0] -= 1.0
        chord = math.hypot(self._norm(change), self._still_at(weights) - self._still)
        return length_of_step(self._direction * self._sum(weights), chord, doubt)

    def _sum(self, weights: Weights) -> float:
        return float(weights @ self._speeds[: len(weights)])

    def _norm(self, mix: Mix) -> float:
        return math.hypot(*(layer.length(mix) for layer in self._layers))

    def _still_at(self, weights: Weights) -> float:
        return self._still + float(weights @ self._falls[: len(weights)])
