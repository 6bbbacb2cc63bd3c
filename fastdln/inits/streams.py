"""Random numbers that belong to a trajectory, and the batch axis of what is made of them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.checks import seed, shown
from fastdln.linalg import Floats
from fastdln.network import Weights
from fastdln.resources import require_memory

__all__ = ["Rng", "batch_size", "check_scale", "draw", "trajectories", "unbatch"]

Rng = np.random.Generator | np.random.SeedSequence | int | None


def draw(
    shapes: Sequence[tuple[int, ...]],
    size: int | None,
    rng: Rng,
    first: int,
    distribution: Callable[..., Any] = np.random.Generator.standard_normal,
) -> list[Floats]:
    """Draw arrays of the given shapes for each trajectory.

    One Philox generator serves the batch: its key comes from `rng`, and for trajectory k the highest of the
    four words of its counter is set to k, which keeps the streams 2^192 blocks apart. (A generator for each
    trajectory would cost as much as integrating a small network.)

    Parameters
    ----------
    shapes : sequence of tuple of int
        The shapes, in the order in which the stream fills them.
    size : int or None
        The number of trajectories; None draws one.
    rng : Generator, SeedSequence, int or None
        The source of the key.
    first : int
        The index of the first trajectory.
    distribution : callable
        The unbound method of `numpy.random.Generator` that fills an array.

    Returns
    -------
    list of ndarrays, shape (size, *shape)
        The draws; the first axis is there also for one trajectory.
    """
    count = trajectories(size, first)
    lengths = [prod(shape) for shape in shapes]
    require_memory(8 * count * sum(lengths), f"the weights of {count} networks", "draw fewer, or smaller ones")
    rows = np.empty((count, sum(lengths)))
    philox = np.random.Philox(key=_key(rng))
    generator = np.random.Generator(philox)
    state: Any = philox.state
    counter = state["state"]["counter"]
    for k, row in enumerate(rows, start=first):
        counter[3] = k
        philox.state = state
        distribution(generator, out=row)
    bounds = np.cumsum([0, *lengths]).tolist()
    return [
        # Contiguous, so that what follows runs through the same code for every size of the batch.
        np.ascontiguousarray(rows[:, start:stop]).reshape(count, *shape)
        for (start, stop), shape in zip(pairwise(bounds), shapes, strict=True)
    ]


def trajectories(size: int | None, first: int) -> int:
    """Validate the range of trajectories asked for.

    Parameters
    ----------
    size : int or None
        The number of trajectories; None stands for one without a batch axis.
    first : int
        The index of the first.

    Returns
    -------
    int
        The number of trajectories to make.
    """
    count = 1 if size is None else operator.index(size)
    if count < 1:
        raise ValueError(f"size must be at least 1, or None for one network, not {shown(size)}")
    if not 0 <= operator.index(first) <= 2**64 - count:  # which fit into a word of the counter
        raise ValueError(f"first must be the index of a trajectory, at least 0, not {shown(first)}")
    return count


def batch_size(name: str, batch: tuple[int, ...], size: int | None) -> int | None:
    """Reconcile a batch that is given with the size asked for.

    Parameters
    ----------
    name : str
        The argument that holds the batch.
    batch : tuple of int
        Its batch axes: none or one.
    size : int or None
        The number of trajectories asked for.

    Returns
    -------
    int or None
        The size of the result.
    """
    if len(batch) > 1:
        raise ValueError(f"{name} has the batch axes {batch}; expected none or one")
    if not batch:
        return size
    if size is not None and size != batch[0]:
        raise ValueError(f"size is {size}, but {name} holds a batch of {batch[0]}")
    return batch[0]


@np.errstate(over="ignore", invalid="ignore")  # what is made here, and has overflowed, is refused
def unbatch(weights: Iterable[Floats], size: int | None) -> Weights:
    """Remove the batch axis where one network was asked for, and refuse weights that have overflowed.

    Parameters
    ----------
    weights : iterable of h ndarrays, shape (n, d_i, d_{i-1})
        The weights.
    size : int or None
        None removes the axis.

    Returns
    -------
    tuple of h ndarrays
        The weights.
    """
    layers = tuple(W[0] if size is None else W for W in weights)
    for i, W in enumerate(layers, start=1):
        if not np.isfinite(W).all():
            raise ValueError(f"W_{i} would overflow: start from something smaller")
    return layers


def check_scale(name: str, value: float) -> None:
    """Refuse a size of weights that is negative or not finite.

    Parameters
    ----------
    name : str
        The argument.
    value : float
        Its value.
    """
    if not 0 <= value < np.inf:
        raise ValueError(f"{name} must be at least 0 and finite, not {shown(value)}")


def _key(rng: Rng) -> NDArray[Any]:
    source = seed("rng", rng)
    if isinstance(source, np.random.Generator):
        return source.integers(2**64, size=2, dtype=np.uint64)
    return source.generate_state(2, np.uint64)
