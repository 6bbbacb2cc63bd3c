"""Initial conditions: where trajectories start.

Every sampler takes `size` (None: one network without a batch axis), `rng` (a Generator, SeedSequence or int,
as in SPEC 7) and `first`, the index of the first trajectory. Trajectory k depends on `rng` and on k alone, so
any part of a batch can be drawn by itself: ``gaussian(net, size=10, first=5, rng=0)`` holds the trajectories
5 to 14 of ``gaussian(net, size=100, rng=0)``, bit for bit. Without `rng` the entropy is fresh, except where a
sampler says otherwise.  `plane` draws nothing: it lays out a grid of starts around given weights.
"""

from __future__ import annotations

from fastdln.inits.alignment import aligned, decoupled
from fastdln.inits.balancing import balanced, delta_balanced, lambda_balanced
from fastdln.inits.plain import gaussian, identity, near, orthogonal, uniform
from fastdln.inits.plane import plane

__all__ = [
    "aligned",
    "balanced",
    "decoupled",
    "delta_balanced",
    "gaussian",
    "identity",
    "lambda_balanced",
    "near",
    "orthogonal",
    "plane",
    "uniform",
]
