"""A large layer times thin matrices from both sides, in one pass.

Thin matrices are held transposed, each of their columns contiguous. A pass falls into parts of rows that do not depend
on who does them, so neither do the bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.kernels.products import skinny

__all__ = ["Each", "images", "in_turn"]

Matrix = NDArray[np.floating]
Each = Callable[[Iterable[Callable[[], None]]], None]  # does all of some tasks, in any order

PARTS, LEAST_ROWS = 8, 256  # into how many parts a pass falls at most, and how many rows each has at least


def in_turn(tasks: Iterable[Callable[[], None]]) -> None:
    """Do tasks one after another.

    Parameters
    ----------
    tasks : iterable of callables
        What is to be done.
    """
    for task in tasks:
        task()


def images(W: Matrix, right: Matrix, left: Matrix, each: Each = in_turn) -> tuple[Matrix, Matrix]:
    """Multiply a layer by thin matrices from both sides, reading it once.

    Parameters
    ----------
    W : ndarray, shape (m, n)
        The layer, its rows contiguous.
    right : ndarray, shape (a, n)
        Thin matrix F', which W is multiplied by.
    left : ndarray, shape (b, m)
        Thin matrix G', which W' is multiplied by.
    each : callable
        What does the parts.

    Returns
    -------
    ndarray, shape (a, m), and ndarray, shape (b, n)
        (W F)' and (W' G)'.
    """
    right, left = (np.ascontiguousarray(x, W.dtype) for x in (right, left))
    parts = _parts(len(W))
    forward = np.empty((len(right), W.shape[0]), W.dtype)
    backward = np.zeros((len(parts), len(left), W.shape[1]), W.dtype)
    tiles = _tiles(W)

    def multiply(part: slice, z: Matrix) -> None:
        rows, y, g = W[part], forward[:, part], left[:, part]
        sums = np.empty(len(rows) * len(right) * _vector(W), W.dtype)
        skinny.multiply(
            tiles, W.itemsize, rows.ctypes.data, rows.strides[0], *rows.shape,
            right.ctypes.data, right.strides[0], len(right), sums.ctypes.data, y.ctypes.data, y.strides[0],
            g.ctypes.data, g.strides[0], len(left), z.ctypes.data, z.strides[0],
        )  # fmt: skip

    each([partial(multiply, part, z) for part, z in zip(parts, backward, strict=True)])
    for z in backward[1:]:
        backward[0] += z
    return forward, backward[0]


def _parts(rows: int) -> list[slice]:
    count = max(1, min(PARTS, rows // LEAST_ROWS))
    edges = [skinny.ROWS * (rows * p // (count * skinny.ROWS)) for p in range(count)]
    return [slice(a, b) for a, b in zip(edges, [*edges[1:], rows], strict=True)]


def _tiles(W: Matrix) -> NDArray[Any]:
    return np.array(skinny.library(W.dtype), np.int64)


def _vector(W: Matrix) -> int:
    return skinny.VECTOR_BYTES // W.itemsize
