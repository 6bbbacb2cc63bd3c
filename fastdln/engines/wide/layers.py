"""The layers of one network: what every engine for wide networks asks of them, and the small ones, held as matrices.

A slope of layer i is  T = eta P Q',  P = W_{>i}' R and Q = W_{<i}',  or with R on the other side: of rank
r <= min(d_0, d_h).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from fastdln.engines.wide.terms import Mix
from fastdln.engines.wide.thin import Matrix, thin
from fastdln.linalg import frobenius

TINY = 1e-300, 1e-37  # the least error scale, f64 and f32, as in the lanes


class Held(Protocol):
    """A layer at a stage of a step; slopes are numbered, `Mix` says what a stage is made of."""

    def at(self, stage: Mix) -> None:
        """Go to a stage."""

    def product(self, right: Matrix | None, left: Matrix | None) -> tuple[Matrix, Matrix]:
        """W F and W' G at the stage, for F = ``right`` and G = ``left``; nothing of what is not given."""

    def keep(self, l: int, left: Matrix, right: Matrix) -> None:
        """Slope l is eta P Q' with P = ``left`` and Q = ``right``."""

    def gradient_norm(self, l: int) -> float:
        """||P Q'||_F of slope l."""

    def form(self, stage: Mix, out: Matrix) -> None:
        """Write the weights at a stage to ``out``."""


class Layer(Held, Protocol):
    """A layer of a flow.

    Attributes
    ----------
    tight : float
        By what its tolerance is scaled.
    """

    tight: float

    def norm(self) -> float:
        """||W||_F at the beginning of the step."""

    def size(self) -> float:
        """Mean square of the weights relative to their tolerance."""

    def length(self, mix: Mix) -> float:
        """||c W + sum_l b_l T_l||_F: how large a slope is, or a change of the weights."""

    def errors(self, after: Mix, errors: list[Mix]) -> list[float]:
        """Mean squares of errors relative to the tolerance, of a step that ends at ``after``."""

    def advance(self, after: Mix, last: int) -> None:
        """End the step: go on from ``after``, where the slope is slope number ``last``."""


class Formed:
    """A layer whose slopes are formed, and whose error norm is that of the other engines."""

    def __init__(self, weights: Matrix, slopes: int, rate: float, rtol: float, atol: float) -> None:
        self._weights, self._rate, self._rtol, self._atol = weights, rate, rtol, atol
        self._slopes = np.empty((slopes, *weights.shape), weights.dtype)
        self._tiny = TINY[weights.dtype == np.float32]
        self._stage = weights
        self.tight = 1.0

    def at(self, stage: Mix) -> None:
        self._stage = self._mix(stage)

    def product(self, right: Matrix | None, left: Matrix | None) -> tuple[Matrix, Matrix]:
        images = [thin(0 if x is None else len(x), n, self._weights.dtype)
                  for x, n in zip((right, left), self._weights.shape, strict=True)]  # fmt: skip
        if right is not None:
            np.matmul(right, self._stage.T, out=images[0])
        if left is not None:
            np.matmul(left, self._stage, out=images[1])
        return images[0], images[1]

    def keep(self, l: int, left: Matrix, right: Matrix) -> None:
        np.matmul(left.T, right, out=self._slopes[l])

    def gradient_norm(self, l: int) -> float:
        return float(frobenius(self._slopes[l].astype(np.float64, copy=False)))

    def norm(self) -> float:
        return float(np.sqrt(np.square(self._weights, dtype=np.float64).sum()))

    def size(self) -> float:
        return self._mean_square(self._weights, np.abs(self._weights))

    def length(self, mix: Mix) -> float:
        return float(frobenius(self._mix(mix).astype(np.float64, copy=False)))

    def errors(self, after: Mix, errors: list[Mix]) -> list[float]:
        size = np.maximum(np.abs(self._weights), np.abs(self._mix(after)))
        return [self._mean_square(self._mix(error), size) for error in errors]

    def form(self, stage: Mix, out: Matrix) -> None:
        out[...] = self._mix(stage)

    def advance(self, after: Mix, last: int) -> None:
        self._weights[...] = self._mix(after)
        self._slopes[0] = self._slopes[last]

    def _mix(self, mix: Mix) -> Matrix:
        factors = (self._rate * mix[1:]).astype(self._weights.dtype)
        mixed: Matrix = self._weights * self._weights.dtype.type(mix[0])
        slopes = self._slopes.reshape(len(self._slopes), -1)[: len(factors)]
        mixed += (factors @ slopes).reshape(mixed.shape)
        return mixed

    def _mean_square(self, error: Matrix, size: Matrix) -> float:
        scale = np.maximum(self.tight * (self._atol + self._rtol * size), self._tiny)
        return float(np.square(error / scale).mean(dtype=np.float64))
