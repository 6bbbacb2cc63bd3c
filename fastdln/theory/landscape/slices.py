"""The loss along lines and in planes through the space of weights."""

from __future__ import annotations

import builtins
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.checked import checked
from fastdln.checks import sequence
from fastdln.evaluation import sweep
from fastdln.kernels.machine.lanes import lane_count
from fastdln.kernels.products.tangent import Evaluation, forward
from fastdln.losses import Loss
from fastdln.network import Network, Weights, check_weights
from fastdln.resources import cores, require_memory
from fastdln.theory import compiled

__all__ = ["slice"]

CHUNK = 1 << 20  # points that are evaluated at a time


@checked
def slice(
    weights: Sequence[ArrayLike],
    directions: Sequence[Sequence[ArrayLike]],
    loss: Loss,
    grids: Sequence[ArrayLike],
) -> NDArray[Any]:
    """Evaluate the loss on a line or in a plane through given weights.

    The points are W + x V, or W + x_1 V_1 + x_2 V_2, with the coordinates on a grid. Along a line a quadratic loss is a
    polynomial of degree 2h in x; it is evaluated at every point as it stands, without cancellation near a minimum.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights in the origin of the slice, W_1 first.
    directions : sequence of one or two tuples of h arrays, shape (..., d_i, d_{i-1})
        The direction of the line, or the two that span the plane.
    loss : Loss
        The loss.
    grids : sequence of as many arrays, shape (n_1,) and (n_2,)
        The coordinates along each direction.

    Returns
    -------
    ndarray, shape (..., n_1) or (..., n_1, n_2)
        The values of L; the batches of weights, directions and targets broadcast.

    Raises
    ------
    ValueError
        If there is not one grid for each of one or two directions, or they do not fit the weights.
    MemoryError
        If the values would not fit into memory.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> weights, direction = (np.zeros((1, 1)),) * 2, (np.ones((1, 1)),) * 2
    >>> slice(weights, [direction], Quadratic([[1.0]]), [[0.0, 1.0, 2.0]])
    array([0.5, 0. , 4.5])
    """
    net, start = check_weights(weights)
    axes, points = _check_grids(directions, grids)
    spanning = [_check_direction(j, direction, net) for j, direction in enumerate(directions)]
    batch = _batch(net, start, spanning, loss)
    dtype = np.result_type(start[0], *(V[0] for V in spanning))
    n, count = math.prod(batch), len(points)
    require_memory(2 * n * count * dtype.itemsize, f"the loss at {count} points for each of {n} networks")
    plan = forward(net.widths, **loss.form._asdict())
    over_lanes = compiled.suits(plan)
    target = np.broadcast_to(np.arange(*loss.batch_shape), batch).ravel() if loss.batch_shape else None
    arrays = (*start, *(V for direction in spanning for V in direction), *compiled.constants(plan, loss))
    inputs = compiled.rows(arrays, batch, dtype)
    values = np.empty((n, count), dtype)
    some = min(count, CHUNK)
    for q in range(0, n, CHUNK // some):
        networks = builtins.slice(q, q + CHUNK // some)
        chosen = [A if len(A) == 1 else A[networks] for A in inputs]
        for k in range(0, count, some):
            piece, x = values[networks, k : k + some], points[k : k + some].astype(dtype)
            if over_lanes:
                piece[...] = _over_lanes(plan, chosen, x, len(piece))
            else:
                own = loss if target is None else loss[target[networks]]
                piece[...] = _by_blas(plan, chosen, x, len(piece), own)
    floor = 0.0 if loss.quadratic is None else loss.quadratic.floor
    with np.errstate(over="ignore"):
        return np.asarray((floor + 0.5 * values).astype(dtype).reshape(*batch, *axes))


def _over_lanes(plan: Evaluation, inputs: list[NDArray[Any]], points: NDArray[Any], n: int) -> NDArray[Any]:
    """Twice the loss above its floor (n, points), the points of a network side by side in lanes."""
    lanes = lane_count(points.dtype)
    blocks = -(-len(points) // lanes)
    # (blocks, directions, lanes); the last point fills up the last block
    padded = points[np.minimum(np.arange(blocks * lanes), len(points) - 1)]
    packed = np.ascontiguousarray(padded.reshape(blocks, lanes, -1).swapaxes(1, 2))
    values = np.empty((n, blocks, lanes), points.dtype)
    sweep(plan, inputs, packed, values, cores())
    return values.reshape(n, -1)[:, : len(points)]


def _by_blas(plan: Evaluation, inputs: list[NDArray[Any]], points: NDArray[Any], n: int, loss: Loss) -> NDArray[Any]:
    """Twice the loss above its floor (n, points), a few points at a time."""
    h, directions = len(plan.weights), points.shape[1]
    layers = [inputs[i : h * (1 + directions) : h] for i in range(h)]
    constants = dict(zip(plan.constants, inputs[h * (1 + directions) :], strict=True))
    some = max(1, CHUNK // (n * sum(plan.sizes)))
    values = np.empty((n, len(points)), points.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(0, len(points), some):
            x = points[k : k + some].T[:, None, :, None, None]
            W = functools.reduce(lambda below, W: W @ below, (_point(x, *layer) for layer in layers))
            if "root" in constants:
                W = W @ constants["root"][:, None]
            if "whitened" in constants:
                values[:, k : k + some] = np.square(constants["whitened"][:, None] - W).sum(axis=(-2, -1))
            else:
                values[:, k : k + some] = 2 * loss.value(W.swapaxes(0, 1)).T
    return values


def _point(x: NDArray[Any], start: NDArray[Any], *directions: NDArray[Any]) -> NDArray[Any]:
    """One layer of start + sum_j x_j direction_j, (n, points, rows, columns)."""
    point = start[:, None]
    for along, V in zip(x, directions, strict=True):
        point = point + along * V[:, None]
    return point


def _check_grids(
    directions: Sequence[Sequence[ArrayLike]], grids: Sequence[ArrayLike]
) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """The number of points on each axis, and the coordinates of all points (points, axes)."""
    if not isinstance(directions, tuple | list):
        raise TypeError(f"directions must be a tuple of one or two directions, not {type(directions).__name__}")
    if len(directions) not in (1, 2):
        raise ValueError(f"directions must hold one or two directions, each a tuple of layers, not {len(directions)}")
    if len(grids) != len(directions):
        raise ValueError(f"grids must hold one array for each direction, {len(directions)}, not {len(grids)}")
    axes = [sequence(f"grids[{j}]", grid) for j, grid in enumerate(grids)]
    for j, axis in enumerate(axes):
        if axis.ndim != 1 or not axis.size or not np.isfinite(axis).all():
            raise ValueError(f"grids[{j}] must be a sequence of finite numbers, not {grids[j]!r}")
    mesh = np.meshgrid(*axes, indexing="ij")
    return tuple(map(len, axes)), np.stack([x.ravel() for x in mesh], axis=1)


def _check_direction(j: int, direction: Sequence[ArrayLike], net: Network) -> Weights:
    try:
        return check_weights(direction, net)[1]
    except (TypeError, ValueError) as error:
        raise type(error)(f"directions[{j}] must have the shapes of the weights: {error}") from None


def _batch(net: Network, start: Weights, directions: list[Weights], loss: Loss) -> tuple[int, ...]:
    """The common batch of weights, directions and targets."""
    loss.check_product((*start[0].shape[:-2], net.widths[-1], net.widths[0]))
    batches = [start[0].shape[:-2], *(V[0].shape[:-2] for V in directions), loss.batch_shape]
    try:
        return np.broadcast_shapes(*batches)
    except ValueError:
        raise ValueError(f"the batches of weights, directions and targets do not broadcast: {batches}") from None
