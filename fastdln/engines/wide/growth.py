"""How fast what no error norm sees may grow: the rate of `fastdln.kernels.lockstep.growth`, from thin factors.

A slope of layer i is P_i Q_i' with P_i = W_{>i}' R and Q_i = W_{<i}', or with R on the other side, so that
W_{<j} R' W_{>i} = Q_j P_i': those norms read no large layer.  The layers between two others are read twice for their
norm, as they change slowly in every fourth look only.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.base import Problem
from fastdln.engines.limits import growth_caps, least_losses, numbers
from fastdln.engines.wide.field import Field
from fastdln.engines.wide.layers import Layer
from fastdln.engines.wide.thin import Matrix, thin
from fastdln.kernels.lockstep.growth import EVERY, TRACE, general
from fastdln.kernels.lockstep.slopes import LEAST_EXCESS

FIRST_ROUNDS, FIRST_ROUNDS_BETWEEN = 10, 4  # of the power iterations, at the beginning
EVERY_BETWEEN = 4  # looks


class _Norm:
    """A power iteration: the vector, and the norm that it has led to."""

    def __init__(self, size: int) -> None:
        self._general = general(size)
        self.vector, self.norm = self._general, 0.0

    def take(self, image: NDArray[np.float64]) -> None:
        """Go on from M'M v."""
        norm = float(np.sqrt(np.square(image).sum()))
        if 1e-140 < norm <= 1e150:
            self.vector, self.norm = image / norm + TRACE * self._general, norm
        else:
            self.norm = 0.0


class Growth:
    """The rate of hidden growth of one trajectory on its way."""

    def __init__(self, problem: Problem, target: int, field: Field[Layer]) -> None:
        network = problem.network
        self._cap, _ = growth_caps(problem)
        self._field, self._share = field, numbers(problem)["growth_share"]
        form = problem.loss.quadratic
        self._least, self._scale = float(least_losses(problem)[target]), 1.0 if form is None else form.input_norm**2
        d, h = network.widths, network.depth
        self._pairs = [(i, j) for i in range(2, h + 1) for j in range(1, i)]
        self._outer = {(i, j): _Norm(d[i]) for i, j in self._pairs}
        self._inner = {(i, j): _Norm(d[j]) for i, j in self._pairs if i - j > 1}
        self._looks = 0

    def longest_step(self, loss_square: Callable[[], float]) -> float:
        """Look again, where the slope was evaluated last; ``loss_square`` tells 2 (L - floor) there."""
        first = self._looks == 0
        for _ in range(FIRST_ROUNDS if first else 1):
            for (i, j), norm in self._outer.items():
                norm.take(self._through_residual(i, j, norm.vector))
        if self._inner and self._looks % EVERY_BETWEEN == 0:
            for _ in range(FIRST_ROUNDS_BETWEEN if first else 1):
                for (i, j), norm in self._inner.items():
                    norm.take(self._between(i, j, norm.vector))
        self._looks += 1
        total = sum(
            norm.norm * (self._inner[pair].norm if pair in self._inner else 1.0) for pair, norm in self._outer.items()
        )
        if self._least > 0:
            excess = self._scale * max(loss_square() - self._least, LEAST_EXCESS * self._least)
            total *= min(1.0, excess / max(self._outer[self._pairs[-1][0], 1].norm, 1e-300))
        return self._cap / math.sqrt(self._share * total) if total > 0 else math.inf

    def _through_residual(self, i: int, j: int, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """M'M v with M = Q_j P_i'; thin matrices are given transposed."""
        left, right = self._field.factors(i)[0], self._field.factors(j)[1]
        return ((right.T @ (left @ v)) @ right.T) @ left

    def _between(self, i: int, j: int, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """K'K v with K = W_{i-1} ... W_{j+1}."""
        layers = self._field.layers[j : i - 1]
        for layer in layers:
            v = layer.product(_row(v, self._field.dtype), None)[0][0]
        for layer in reversed(layers):
            v = layer.product(None, _row(v, self._field.dtype))[1][0]
        return v.astype(np.float64)


def due(attempts: int) -> bool:
    """Whether it is time to look again."""
    return attempts % EVERY == 0


def _row(v: NDArray[np.floating], dtype: np.dtype[np.floating]) -> Matrix:
    row = thin(1, len(v), dtype)
    row[0] = v
    return row
