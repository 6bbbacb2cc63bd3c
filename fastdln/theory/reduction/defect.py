"""What a network lacks that is reduced to a level (`krylov`), measured in one that is reduced to a few levels more.

Let V be the weights of the network reduced to level K, lifted to one reduced to level L: within level K they move, the
rest stands still. In the gradient flow of the wide network a product through the layers leaves level K by at most one
level a layer, so with L >= K + h - 2 everything that V fails to follow lies within level L:

    defect = (velocity of the flow at V) - dV/dt,

computed exactly by narrow networks. The error e of V obeys de/dt = J e + defect to first order. Within level L the
flow itself tells what becomes of it, by comparison. Beyond it, where inner layers stand still, it grows at most at the
rate of `growth`, so that it is bounded by the integral of the defect times what it has grown since.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate as running
from itertools import pairwise

import numpy as np

from fastdln.field import rhs
from fastdln.linalg import Floats, spectral, transpose
from fastdln.losses import Loss
from fastdln.network import Weights

__all__ = ["accumulate", "decay", "defect", "embed", "growth", "needed", "within"]

Levels = Sequence[np.ndarray]


def needed(depth: int) -> int:
    """Count the levels by which the flow leaves weights that stand still beyond a level.

    Parameters
    ----------
    depth : int
        The number of layers h.

    Returns
    -------
    int
        max(1, h - 2).
    """
    return max(1, depth - 2)


def within(levels: Levels, level: int) -> tuple[np.ndarray, ...]:
    """Tell which entries of the layers are within a level.

    Parameters
    ----------
    levels : sequence of h+1 ndarrays of int, shape (k_i,)
        The levels of the nodes.
    level : int
        The last level.

    Returns
    -------
    tuple of h ndarrays of bool, shape (k_i, k_{i-1})
        Whether both ends of an entry are.
    """
    inside = [found <= level for found in levels]
    return tuple(np.logical_and.outer(above, below) for below, above in pairwise(inside))


def embed(weights: Weights, rest: Weights) -> Weights:
    """Complete weights of the first nodes to those of all.

    Parameters
    ----------
    weights : tuple of h ndarrays, shape (k_i, k_{i-1})
        Weights between the first nodes of each layer of nodes.
    rest : tuple of h ndarrays, shape (l_i, l_{i-1}), l_i >= k_i
        Weights between all of them.

    Returns
    -------
    tuple of h ndarrays, shape (l_i, l_{i-1})
        ``rest``, with ``weights`` where they are known.
    """
    whole = tuple(W.copy() for W in rest)
    for W, V in zip(whole, weights, strict=True):
        W[: V.shape[0], : V.shape[1]] = V
    return whole


def defect(
    weights: Weights, inside: tuple[np.ndarray, ...], loss: Loss, layer_rates: tuple[float, ...] | None
) -> Floats:
    """Measure what lifted weights lack.

    Parameters
    ----------
    weights : tuple of h ndarrays, shape (..., k_i, k_{i-1})
        The lifted weights, those that stand still included.
    inside : tuple of h ndarrays of bool, shape (k_i, k_{i-1})
        Which of them move.
    loss : Loss
        The loss.
    layer_rates : tuple of h floats, optional
        Learning rates of the layers.

    Returns
    -------
    ndarray, shape (...,)
        The Frobenius norm of the defect over all layers.
    """
    cut = tuple(np.where(mask, W, 0.0) for W, mask in zip(weights, inside, strict=True))
    there, here = (rhs(W, loss, layer_rates=layer_rates) for W in (weights, cut))
    square = sum(
        np.square(a - np.where(mask, b, 0.0)).sum(axis=(-2, -1)) for a, b, mask in zip(there, here, inside, strict=True)
    )
    return np.sqrt(np.asarray(square, np.float64))


def decay(changes: Weights, levels: Levels) -> float:
    """Estimate by how much changes of weights fall off from level to level.

    Parameters
    ----------
    changes : tuple of h ndarrays, shape (k_i, k_{i-1})
        How far the weights have moved.
    levels : sequence of h+1 ndarrays of int, shape (k_i,)
        The levels of the nodes.

    Returns
    -------
    float
        The rate over the last levels, two of which make a step: layers are reached in turn. 0 where nothing has moved.
    """
    last = max(int(found.max()) for found in levels if len(found))
    sizes = np.zeros(last + 1)
    for W, below, above in zip(changes, levels, levels[1:], strict=False):
        np.add.at(sizes, np.maximum.outer(above, below), np.square(W, dtype=np.float64))
    now, before = sizes[last - 1 :].sum(), sizes[max(last - 3, 0) : last - 1].sum()
    return float((now / before) ** 0.25) if before > 0 else 0.0


def growth(weights: Weights, norms: Sequence[float], loss: Loss, layer_rates: tuple[float, ...] | None) -> Floats:
    """Bound the rate at which errors grow where the inner layers stand still.

    There the flow pairs two layers i < j by a second derivative of the loss: the rate is at most the largest eigenvalue
    of the matrix  ||W_{>j}' R W_{<i}'|| ||W_{j-1}|| ... ||W_{i+1}||,  spectral norms.

    Parameters
    ----------
    weights : tuple of h ndarrays, shape (..., k_i, k_{i-1})
        The narrow weights.
    norms : sequence of h floats
        Spectral norms of the wide layers that stand still; of the inner ones.
    loss : Loss
        The loss.
    layer_rates : tuple of h floats, optional
        Learning rates of the layers.

    Returns
    -------
    ndarray, shape (...,)
        The rate.
    """
    h = len(weights)
    below = [None, *running(weights, lambda product, W: W @ product)]
    above = [None, *running(weights[::-1], lambda product, W: product @ W)]
    residual = -loss.grad(below[h])
    pairs = np.zeros((*residual.shape[:-2], h, h))
    for i in range(h):
        for j in range(i + 1, h):
            left, right = above[h - 1 - j], below[i]
            seen = residual if left is None else transpose(left) @ residual
            seen = seen if right is None else seen @ transpose(right)
            between = np.prod(norms[i + 1 : j]) if j > i + 1 else 1.0
            pairs[..., i, j] = pairs[..., j, i] = spectral(seen) * between
    return np.asarray(np.linalg.eigvalsh(pairs)[..., -1] * max(layer_rates or (1.0,)))


def accumulate(bound: float, times: Floats, defects: Floats, rates: Floats) -> float:
    """Follow the bound  e' = rate e + defect  over some times, by the trapezoidal rule.

    Parameters
    ----------
    bound : float
        The bound at the first time.
    times, defects, rates : ndarray, shape (n,)
        Increasing times; defect and rate at these.

    Returns
    -------
    float
        The bound at the last time.
    """
    for step, d, r in zip(np.diff(times), (defects[1:] + defects[:-1]) / 2, (rates[1:] + rates[:-1]) / 2, strict=True):
        with np.errstate(over="ignore", invalid="ignore"):
            grown = np.exp(r * step)
            bound = bound * grown + d * step * (np.expm1(r * step) / (r * step) if r * step > 0 else 1.0)
    return float(bound)
