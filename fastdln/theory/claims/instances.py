"""Random instances that the claims are checked on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastdln.linalg import Floats
from fastdln.losses import Quadratic
from fastdln.network import Network, Weights

__all__ = ["distinct_values", "networks", "target", "weights"]


def networks(
    rng: np.random.Generator, count: int, *, depths: tuple[int, int] = (2, 4), widths: tuple[int, int] = (1, 5)
) -> Iterator[Network]:
    """Yield networks of random depth and widths, both ranges inclusive."""
    for _ in range(count):
        depth = int(rng.integers(depths[0], depths[1], endpoint=True))
        yield Network(rng.integers(widths[0], widths[1], size=depth + 1, endpoint=True))


def weights(rng: np.random.Generator, net: Network, scale: float = 1.0, size: int | None = None) -> Weights:
    """Draw weights with standard deviation scale / sqrt(fan-in)."""
    batch = () if size is None else (size,)
    return tuple(scale / np.sqrt(shape[1]) * rng.standard_normal((*batch, *shape)) for shape in net.shapes)


def target(rng: np.random.Generator, net: Network, values: Floats | None = None) -> Quadratic:
    """Draw a target in random bases, with given singular values or `distinct_values`."""
    shape = (net.widths[-1], net.widths[0])
    return Quadratic.from_singular_values(
        distinct_values(rng, min(shape)) if values is None else values, shape, rng=rng
    )


def distinct_values(rng: np.random.Generator, count: int) -> Floats:
    """Draw singular values, the largest first, between 0.5 and about 0.5 + count, at least 0.25 apart."""
    return np.asarray(0.5 + np.cumsum(0.25 + 0.75 * rng.random(count))[::-1] - 0.25)
