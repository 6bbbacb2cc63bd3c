"""What the benchmarks of the theory are run on."""

from __future__ import annotations

import numpy as np

import fastdln as dln
from fastdln.theory import itinerary, landscape, quotient


def recorded_trajectories(count: int, times: int) -> dln.Trajectories:
    """So many trajectories with all that an itinerary is read off: 1000 flows of a 4-4-4 network, repeated."""
    loss = dln.Quadratic.from_singular_values((27.0, 9.0, 3.0, 1.0), shape=(4, 4), rng=0)
    starts = dln.inits.gaussian(dln.Network((4, 4, 4)), scale=1e-3, size=1000, rng=0)
    sol = dln.flow(
        starts, loss, (0.0, 20.0), np.geomspace(0.02, 20.0, times), threads=1, record=itinerary.records(loss)
    )
    return sol[np.arange(count) % 1000]


def layer_times(count: int, depth: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Arguments of `mode_time`: values to reach, starts, singular values, depth."""
    rng = np.random.default_rng(0)
    sigma = rng.uniform(0.5, 4.0, count)
    return (0.5 * sigma) ** (1 / depth), 10 ** rng.uniform(-6, -2, count), sigma, depth


def critical_points(count: int) -> tuple[tuple[np.ndarray, ...], dln.Quadratic]:
    """Saddles and minima of a network of width 8, a hundred of each kind of learned set, moved along their fibers."""
    net = dln.Network((8, 8, 8, 8))
    loss = dln.Quadratic.from_singular_values(np.arange(8.0, 0.0, -1.0), shape=(8, 8), rng=0)
    rng = np.random.default_rng(0)
    layers = []
    for k in range(count // 100):
        learned = rng.permutation(8)[: k % 9]
        point = landscape.critical_point(net, loss, learned, rng=rng)
        layers.append(quotient.transform(point, quotient.random_gauges(net, rng, size=100)))
    return tuple(np.concatenate(parts) for parts in zip(*layers, strict=True)), loss
