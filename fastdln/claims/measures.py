"""How far things are from each other, as the claims measure it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastdln.linalg import Floats
from fastdln.network import Weights

__all__ = ["deviation", "difference", "distance", "largest", "norm", "relative", "shifted"]

Layers = Sequence[Floats]


def norm(layers: Layers) -> float:
    """The Frobenius norm over all layers."""
    return float(np.sqrt(sum(np.square(M).sum() for M in layers)))


def largest(layers: Layers) -> float:
    """The largest entry of all layers, or 1 where all are zero."""
    return max(float(np.abs(M).max()) for M in layers) or 1.0


def distance(a: Layers, b: Layers) -> float:
    """||a - b||_F over all layers."""
    return norm(tuple(x - y for x, y in zip(a, b, strict=True)))


def difference(a: Layers, b: Layers, scale: float = 1.0) -> float:
    """The largest entry of a - b, relative to a scale."""
    return max(float(np.abs(x - y).max()) for x, y in zip(a, b, strict=True)) / scale


def relative(a: Layers, b: Layers) -> float:
    """The largest entry of a - b, relative to that of b."""
    return difference(a, b, largest(b))


def deviation(found: Floats, expected: Floats) -> float:
    """The largest entry of found - expected, relative to that of expected where this is above 1."""
    return float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))


def shifted(layers: Layers, direction: Layers, step: float = 1.0) -> Weights:
    """The layers after a step in a direction."""
    return tuple(M + step * V for M, V in zip(layers, direction, strict=True))
