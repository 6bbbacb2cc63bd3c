"""Random instances that the claims are checked on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from fastdln.gradient_flow import flow
from fastdln.linalg import Floats
from fastdln.losses import Loss, Quadratic
from fastdln.network import Network, Weights

__all__ = ["distinct_values", "networks", "target", "trajectory", "weights"]


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


def trajectory(
    start: Weights, loss: Loss, t: Floats, rtol: float = 1e-10, layer_rates: Sequence[float] | None = None
) -> Weights:
    """Follow the flow from t = 0, and return the weights at times, which are the batch axis."""
    sol = flow(start, loss, (0.0, float(t[-1])), t, rtol=rtol, layer_rates=layer_rates, record=("weights",))
    return tuple(sol.weights)
