"""Networks with a mode that is hidden below the tolerance, by layers small at the ends and of order one between."""

from __future__ import annotations

import numpy as np
from scipy.integrate import solve_ivp

from fastdln.linalg import haar

SIGMA = (0.01, 1.0)


def network(depth, small, rng=None, width=2, inner=1.0, learned=None):
    """Weights and target of a network that has learned its mode of SIGMA[0]; that of SIGMA[1] is at ``small``.

    ``rng``: all bases are rotated.  The hidden layers of larger ``width`` are orthogonal on what is added.
    """
    a = SIGMA[0] ** 0.5 if learned is None else learned
    ends, between = np.diag([a, small]), np.diag([1.0, inner])
    first, last = np.zeros((width, 2)), np.zeros((2, width))
    first[:2], last[:, :2] = ends, ends
    hidden = np.eye(width)
    hidden[:2, :2] = between
    layers = [first, *[hidden] * (depth - 2), last] if depth > 2 else [ends if width == 2 else first, last]
    frames = [np.eye(2), *[np.eye(width)] * (depth - 1), np.eye(2)]
    if rng is not None:
        rng = np.random.default_rng(rng)
        frames = [haar(rng.standard_normal(Q.shape)) for Q in frames]
    weights = tuple(frames[i + 1] @ W @ frames[i].T for i, W in enumerate(layers))
    return weights, frames[-1] @ np.diag(SIGMA) @ frames[0].T


def learning_time(depth, small, inner=1.0, sigma=SIGMA[1]):
    """When the hidden mode, h numbers by themselves, is learned: their logarithms, integrated to 1e-12."""
    start = np.log([small, *[inner] * (depth - 2), small])

    def field(t, y):
        w = np.exp(y)
        return (w.prod() / w) * (sigma - w.prod()) / w

    def learned(t, y):
        return y.sum() - np.log(sigma / 2)

    learned.terminal = True
    solution = solve_ivp(field, (0, 1e6), start, "DOP853", rtol=1e-12, atol=1e-12, events=learned)
    return float(solution.t_events[0][0])
