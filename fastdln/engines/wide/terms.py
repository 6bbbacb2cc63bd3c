"""What the stages of a step are made of, without the matrices themselves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mix = NDArray[np.float64]  # (c, b_0, b_1, ...): the weights c W + sum_l b_l T_l
START: Mix = np.ones(1)  # W itself


class Terms:
    """The slopes of a step in terms of the weights W at its beginning and of T_l = eta W_{>i}' R W_{<i}' at its stages.

    Slope l is T_l - mu (weights of stage l), so with weight decay slopes and stages mix W and all T before them; the
    numbers are the same for all layers.
    """

    def __init__(self, slopes: int, decay: float) -> None:
        self._decay = decay
        self._slopes = np.zeros((slopes, slopes + 1))

    def note(self, l: int, stage: Mix) -> None:
        """Slope l is that at the weights ``stage``."""
        self._slopes[l] = 0.0
        self._slopes[l, : len(stage)] = -self._decay * stage
        self._slopes[l, l + 1] += 1.0

    def slope(self, l: int) -> Mix:
        """Slope number l, of those that were noted."""
        return self._slopes[l, : l + 2]

    def sum(self, weights: NDArray[np.float64]) -> Mix:
        """A sum over the first slopes."""
        count = len(weights)
        mix: Mix = weights @ self._slopes[:count, : count + 1]
        return mix

    def stage(self, weights: NDArray[np.float64]) -> Mix:
        """The weights at the beginning of the step plus a sum over the first slopes."""
        mix = self.sum(weights)
        mix[0] += 1.0
        return mix
