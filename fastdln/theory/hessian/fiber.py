"""The directions along which gauges move weights, and the projection on the space across them.

A gauge near the identity moves the weights by Z(X) = (X_i W_i - W_i X_{i-1}), with any d_i x d_i matrices X_i in the
hidden layers and X_0 = X_h = 0, and leaves the product where it is. At a critical point these directions are null
vectors of the Hessian.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.linalg import Floats
from fastdln.network import Network, Weights
from fastdln.theory.quotient.gauges import fiber_directions, gauge_motion

__all__ = ["Fiber"]

CUT = 1e-14  # squares of singular values that count as zero, relative to the largest
MOST_ITERATIONS = 500

Gauges = list[NDArray[Any]]


class Fiber:
    """The gauge directions at one network's weights.

    The projection solves Z'Z X = Z'V by conjugate gradients, preconditioned by the blocks of Z'Z of each layer, the
    Sylvester operators X_i -> X_i W_i W_i' + W_{i+1}' W_{i+1} X_i: then the depth and the sizes of the layers decide
    how many iterations it takes (some 10 to 50), not the smallness of singular values; those of zero take no part.
    """

    def __init__(self, net: Network, weights: Weights) -> None:
        self.net, self.weights = net, weights
        pairs = list(pairwise(weights))
        right, self._right = _eigen([W @ W.T for W, _ in pairs])
        left, self._left = _eigen([above.T @ above for _, above in pairs])
        sums = [b[:, None] + a for a, b in zip(right, left, strict=True)]
        least = CUT * max((s.max(initial=0.0) for s in sums), default=0.0)
        self._inverse = [_ratio(np.ones(()), np.where(s > least, s, 0.0)) for s in sums]

    def along(self) -> Floats:
        """An orthonormal basis of the gauge directions, packed, one a row."""
        return np.asarray(self.net.pack(fiber_directions(self.weights, tol=CUT**0.5)))

    def across(self, directions: Floats) -> Floats:
        """Project directions, packed and one a row, on the orthogonal complement of the gauge directions."""
        if self.net.depth == 1:
            return directions
        V = self.net.unpack(directions)
        residual = self._gather(V)
        X = [np.zeros_like(r) for r in residual]
        step = preconditioned = self._precondition(residual)
        power = start = _dot(residual, preconditioned)
        for _ in range(MOST_ITERATIONS):
            if (power <= 1e-28 * start).all():
                return np.asarray(directions - self.net.pack(self._move(X)))
            image = self._gather(self._move(step))
            curvature = _dot(step, image)
            alpha = _ratio(power, curvature)
            X = [x + alpha * s for x, s in zip(X, step, strict=True)]
            residual = [r - alpha * y for r, y in zip(residual, image, strict=True)]
            preconditioned = self._precondition(residual)
            before, power = power, _dot(residual, preconditioned)
            beta = _ratio(power, before)
            step = [p + beta * s for p, s in zip(preconditioned, step, strict=True)]
        raise RuntimeError(
            f"the gauge directions of these weights are too ill-conditioned to project on after {MOST_ITERATIONS} "
            "iterations: ask for the whole spectrum (k=None)"
        )

    def _move(self, X: Gauges) -> Weights:
        """Z(X), for a batch of gauges."""
        return gauge_motion(self.weights, X)

    def _gather(self, V: Weights) -> Gauges:
        """Z'(V), for a batch of directions."""
        W = self.weights
        return [V[i] @ W[i].T - W[i + 1].T @ V[i + 1] for i in range(self.net.depth - 1)]

    def _precondition(self, X: Gauges) -> Gauges:
        return [
            L @ ((L.T @ x @ R) * inverse) @ R.T
            for x, L, R, inverse in zip(X, self._left, self._right, self._inverse, strict=True)
        ]


def _eigen(matrices: Sequence[Floats]) -> tuple[list[Floats], list[Floats]]:
    decomposed = [np.linalg.eigh(M) for M in matrices]
    return [np.maximum(values, 0) for values, _ in decomposed], [vectors for _, vectors in decomposed]


def _dot(X: Gauges, Y: Gauges) -> Floats:
    total = sum((x * y).sum(axis=(-2, -1), keepdims=True) for x, y in zip(X, Y, strict=True))
    return np.asarray(total)


def _ratio(a: Floats, b: Floats) -> Floats:
    return np.where(b > 0, a / np.where(b > 0, b, 1.0), 0.0)
