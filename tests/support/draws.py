"""Random weights and losses of a network, from a seed."""

from __future__ import annotations

import numpy as np

from fastdln.losses import (
    Exponential,
    Huber,
    Logistic,
    Masked,
    Power,
    PseudoHuber,
    Quadratic,
    Regression,
    Sensing,
    SoftmaxCrossEntropy,
)


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


def mapped_losses(net, samples=9, targets=0, seed=1):
    """All that are not quadratic, by name; one of them with so many targets if there are any."""
    rng = np.random.default_rng(seed)
    d_0, d_h = net.widths[0], net.widths[-1]
    sigma, X = rng.standard_normal((d_h, d_0)), rng.standard_normal((d_0, samples)) / np.sqrt(d_0)
    Y, labels = rng.choice((-1.0, 1.0), (d_h, samples)), rng.integers(d_h, size=samples)
    found = {
        "power 4": Power(sigma, 4.0),
        "power 2": Power(sigma, 2.0),
        "power 1.5": Power(sigma, 1.5),
        "huber": Huber(sigma, 0.7),
        "pseudo-huber": PseudoHuber(sigma, 0.7),
        "logistic": Logistic(X, Y),
        "exponential": Exponential(X, Y),
        "softmax": SoftmaxCrossEntropy(X, labels, n_classes=d_h),
        "masked": Masked(sigma, rng.uniform(0.0, 2.0, sigma.shape) * (rng.uniform(size=sigma.shape) < 0.7)),
        "sensing": Sensing(rng.standard_normal((samples, d_h, d_0)), rng.standard_normal(samples)),
    }
    return found | ({"targets": PseudoHuber(rng.standard_normal((targets, d_h, d_0)), 0.7)} if targets else {})
