"""Random weights and losses of a network, from a seed."""

from __future__ import annotations

import numpy as np

from fastdln.losses import Quadratic, Regression


def random_weights(net, batch=(), seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    return tuple(scale * rng.standard_normal((*batch, *shape)) for shape in net.shapes)


def random_losses(net, seed=1):
    """One with a target, and one with data."""
    rng = np.random.default_rng(seed)
    d_0, d_h = net.widths[0], net.widths[-1]
    return [
        Quadratic(rng.standard_normal((d_h, d_0))),
        Regression(rng.standard_normal((d_0, 9)), rng.standard_normal((d_h, 9))),
    ]
