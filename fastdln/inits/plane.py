"""A grid of starts in a plane through the space of weights, for slices of the loss and basins of what ends where."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from fastdln.checked import checked
from fastdln.checks import sequence
from fastdln.network import Weights, check_weights
from fastdln.resources import require_memory

__all__ = ["plane"]


@checked
def plane(
    weights: Sequence[ArrayLike],
    direction_1: Sequence[ArrayLike],
    direction_2: Sequence[ArrayLike],
    grid_1: ArrayLike,
    grid_2: ArrayLike,
) -> Weights:
    """Lay out the starts  weights + a direction_1 + b direction_2  for all a of one grid and b of another.

    What comes back is a batch as all flows take it, in the order of ``numpy.meshgrid(..., indexing="ij")``: an
    outcome ``x`` of its n_1 n_2 trajectories is a picture of the plane as ``x.reshape(n_1, n_2)``.  Each start is
    the same, bit for bit, whatever the rest of the grids.

    Parameters
    ----------
    weights : tuple of h arrays, shape (d_i, d_{i-1})
        The weights where both coordinates are 0, of one network.
    direction_1, direction_2 : tuples of h arrays, shape (d_i, d_{i-1})
        What spans the plane.
    grid_1, grid_2 : array_like, shape (n_1,) and (n_2,)
        The coordinates along each.

    Returns
    -------
    tuple of h ndarrays, shape (n_1 n_2, d_i, d_{i-1})
        The starts, in the dtype of the weights and directions.

    Raises
    ------
    ValueError
        If a direction does not have the shapes of the weights, anything has batch axes, or a grid is no sequence of
        finite numbers.
    MemoryError
        If the starts would not fit into memory.

    Examples
    --------
    >>> zero, one = (np.zeros((1, 1)),) * 2, np.ones((1, 1))
    >>> W_1, W_2 = plane(zero, (one, 0 * one), (0 * one, one), [0.1, 0.2], [-1.0, 0.0, 1.0])
    >>> W_1.reshape(2, 3)
    array([[0.1, 0.1, 0.1],
           [0.2, 0.2, 0.2]])
    """
    net, start = check_weights(weights)
    if start[0].ndim > 2:
        raise ValueError(f"weights must be those of one network, but have the batch {start[0].shape[:-2]}")
    spanning = []
    for name, direction in (("direction_1", direction_1), ("direction_2", direction_2)):
        try:
            found = check_weights(direction, net)[1]
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name} must have the shapes of the weights: {error}") from None
        if found[0].ndim > 2:
            raise ValueError(f"{name} must be one direction, but has the batch {found[0].shape[:-2]}")
        spanning.append(found)
    grids = []
    for name, values in (("grid_1", grid_1), ("grid_2", grid_2)):
        grid = sequence(name, values)
        if grid.ndim != 1 or grid.size == 0 or not np.isfinite(grid).all():
            raise ValueError(f"{name} must be a sequence of finite numbers, not of shape {grid.shape} or with others")
        grids.append(grid)
    dtype = np.result_type(start[0], *(direction[0] for direction in spanning))
    n = grids[0].size * grids[1].size
    require_memory(2 * n * net.n_parameters * dtype.itemsize, f"{n} starts in a plane")
    a, b = (grid.astype(dtype).reshape(-1, 1, 1) for grid in grids)
    with np.errstate(over="ignore", invalid="ignore"):
        return tuple(
            ((W + a * V)[:, None] + b * U).reshape(n, *W.shape) for W, V, U in zip(start, *spanning, strict=True)
        )
