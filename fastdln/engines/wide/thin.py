"""Products of large matrices with thin ones, in parts that threads share.

Thin matrices are held transposed, each of their columns contiguous.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy.linalg import get_lapack_funcs

from fastdln.engines.wide.workers import Workers
from fastdln.kernels.products import skinny

Matrix = NDArray[np.floating]

PARTS, LEAST_ROWS = 8, 256  # into how many parts a product falls at most, and how many rows each has at least
ALONE = 1 << 20  # entries below which a product is not worth sharing
# Bytes modulo STAGGER_FROM by which columns are apart: they must neither fall into the same sets of a cache nor lie at
# distances of 4096 bytes, at which processors take loads and stores for the same.
STAGGER, STAGGER_FROM = 448, 1024


def thin(columns: int, length: int, dtype: DTypeLike) -> Matrix:
    """Memory for a thin matrix, transposed: aligned to vectors, its columns staggered."""
    item = np.dtype(dtype).itemsize
    row = -(-length * item // skinny.VECTOR_BYTES) * skinny.VECTOR_BYTES
    if row >= STAGGER_FROM:
        row += (STAGGER - row) % STAGGER_FROM
    memory = np.empty(columns * row // item + skinny.VECTOR_BYTES // item, dtype)
    first = -memory.ctypes.data % skinny.VECTOR_BYTES // item
    return memory[first : first + columns * row // item].reshape(columns, row // item)[:, :length]


def triangle(columns: Matrix) -> Matrix:
    """R of columns = Q R, in f64; LAPACK given its workspace is up to twice as fast as `numpy.linalg.qr`."""
    n, rank = columns.shape[1], min(columns.shape)
    (factorize,) = get_lapack_funcs(("geqrf",), (columns,))
    triangle: Matrix = np.triu(factorize(columns, lwork=64 * max(n, 1))[0][:rank]).astype(np.float64)
    return triangle


class Multiplication:
    """Y = W F, and Z = W' G over some rows of W, in scratch ``sums``; addresses are taken once for all parts."""

    def __init__(
        self, tiles: NDArray[np.int64], W: Matrix, f: Matrix, g: Matrix, y: Matrix, z: Matrix, sums: Matrix
    ) -> None:  # fmt: skip
        self._arrays = W, f, g, y, z, sums
        self._places = [x.ctypes.data for x in self._arrays]
        self._tiles, self._item = tiles, W.itemsize
        self._vectors = len(f) * skinny.VECTOR_BYTES

    def run(self, rows: slice, first: int = 0) -> None:
        """Do these rows; Z is written from its column number ``first`` on."""
        W, f, g, y, z, _ = self._arrays
        w_at, f_at, g_at, y_at, z_at, sums_at = self._places
        at = rows.start * self._item
        z[first : first + len(g)] = 0
        skinny.multiply(
            self._tiles, self._item, w_at + rows.start * W.strides[0], W.strides[0], rows.stop - rows.start, W.shape[1],
            f_at, f.strides[0], len(f), sums_at + rows.start * self._vectors, y_at + at, y.strides[0],
            g_at + at, g.strides[0], len(g), z_at + first * z.strides[0], z.strides[0],
        )  # fmt: skip


def part_count(rows: int) -> int:
    return max(1, min(PARTS, rows // LEAST_ROWS))


class Large:
    """A layer that products read as it lies, in parts that threads share."""

    def __init__(self, weights: Matrix, workers: Workers) -> None:
        self._weights, self._workers = weights, workers
        dtype, rows = weights.dtype, len(weights)
        self._tiles = np.array(skinny.library(dtype), np.int64)
        self._vector = skinny.VECTOR_BYTES // dtype.itemsize
        parts = part_count(rows)
        edges = [skinny.ROWS * (rows * p // (parts * skinny.ROWS)) for p in range(parts)]
        self._parts = [slice(a, b) for a, b in zip(edges, [*edges[1:], rows], strict=True)]
        self._kept: dict[str, Matrix] = {}

    def _through(
        self, W: Matrix, f: Matrix, g: Matrix, tasks: Sequence[Callable[[], None]] = (), name: str = ""
    ) -> tuple[Matrix, Matrix]:  # fmt: skip
        """W F and W' G for W of the shape of the weights, beside other tasks."""
        rows, columns = W.shape
        y = self._memory(name + "y", len(f), rows)
        z = self._memory(name + "z", len(self._parts) * len(g), columns)
        sums = self._memory("sums", len(f), rows * self._vector)
        task = Multiplication(self._tiles, W, f, g, y, z, sums)
        own = [partial(task.run, part, p * len(g)) for p, part in enumerate(self._parts)]
        return y, self._summed([*tasks, *own], z, len(g))

    def _summed(self, tasks: Sequence[Callable[[], None]], z: Matrix, count: int) -> Matrix:
        """Do all tasks, and sum what each part has written into its ``count`` columns of z."""
        self._workers.each(tasks, alone=self._weights.size < ALONE)
        total = z[:count]
        np.add.reduce(z.reshape(len(self._parts), count, z.shape[1]), axis=0, out=total)
        return total

    def _memory(self, name: str, columns: int, length: int) -> Matrix:
        """A thin matrix whose memory is kept for the next call: what a step asks for anew comes in pages to be cleared.

        So products are overwritten by the next ones of the same layer.
        """
        kept = self._kept.get(name)
        if kept is None or len(kept) < columns or kept.shape[1] != length:
            kept = self._kept[name] = thin(columns, length, self._weights.dtype)
        return kept[:columns]
