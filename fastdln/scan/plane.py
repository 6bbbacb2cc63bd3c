"""Starts of a scan in a plane through the space of weights: from a file, or along two modes of the target."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from fastdln import inits
from fastdln.losses import Loss
from fastdln.network import Network, Weights, check_weights
from fastdln.scan import data, kinds
from fastdln.scan.spec import SpecError

__all__ = ["start"]

Files = tuple[tuple[str, str], ...]


def start(table: kinds.Plane, network: Network, loss: Loss, size: int, folder: Path, files: Files) -> Weights:
    """Return the start at one point of a plane, for all trajectories.

    Parameters
    ----------
    table : Plane
        What the scan file says.
    network : Network
        The network.
    loss : Loss
        The loss of the trajectories, whose modes may span the plane.
    size : int
        The number of trajectories.
    folder : Path
        The folder of the scan file.
    files : tuple of pairs of str
        The SHA-256 of each data file of the scan, by its name.

    Returns
    -------
    tuple of h ndarrays, shape (size, d_i, d_{i-1})
        The weights.
    """
    if (table.path is None) == (table.modes is None):
        raise SpecError("init: of the keys path and modes a plane has one")
    if table.path is not None:
        place, first_way, second_way = _spanned(table.path, table.allow_outside, network.depth, folder, files)
        found, one = check_weights(inits.plane(place, first_way, second_way, [table.a], [table.b]))
        if found != network:
            raise SpecError(f"init.path: {table.path} has weights of {found}; expected {network}")
        return tuple(np.broadcast_to(W, (size, *W.shape[1:])) for W in one)
    assert table.modes is not None
    first, second = table.modes
    if first == second or max(first, second) >= network.rank:
        raise SpecError(f"init.modes = {list(table.modes)}: expected two modes, from 0 to {network.rank - 1}")
    values = np.zeros(network.rank)
    values[first], values[second] = table.a, table.b
    return inits.decoupled(network, loss, values, size=size)


@lru_cache(maxsize=4)
def _spanned(
    path: str, allow_outside: bool, depth: int, folder: Path, files: Files
) -> tuple[Weights, Weights, Weights]:  # fmt: skip
    table = kinds.Plane(path=path, allow_outside=allow_outside, a=0.0, b=0.0)
    spanned = data.load_plane(table, depth, folder)
    data.check_unchanged(table, folder, files)
    return spanned
