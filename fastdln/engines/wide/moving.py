"""The layers of a descent: read by products, and moved by thin products in place.

No entry leaves its bound: before an update is made it is known how far it reaches, by norms of its factors, or where
these do not tell by trying it on some rows at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from fastdln.engines.wide.terms import Mix
from fastdln.engines.wide.thin import ALONE, Large, Matrix, thin, triangle
from fastdln.engines.wide.workers import Workers
from fastdln.kernels.products import thin_update
from fastdln.linalg import frobenius

# From how many columns on products are left to BLAS, which reads W twice for both (width 1024 and 2048, f64: as fast at
# 24 columns, 1.2 times at 32, 1.9 times at 64).  Updates are not: at 64 columns it would be slower by a fifth.
BLAS_FROM = 32
FAITHFUL = 1e-270, 1e300  # sums of squares that are right
TRIED = 16  # rows that an update is tried on, or measured, at a time


class Update(NamedTuple):
    """W = own W + eta P Q', or with a velocity v = moved v + own W + eta P Q' and W = W + v."""

    own: float
    moved: float
    eta: float


class Moving(Large):
    """A layer W with a velocity v, or without one; a stage (c, b) is c W + b v."""

    def __init__(self, weights: Matrix, velocity: Matrix | None, rate: float, workers: Workers) -> None:
        super().__init__(weights, workers)
        if weights.size < ALONE:  # which threads do not share
            self._parts = [slice(0, len(weights))]
        self._velocity, self._rate = velocity, rate
        self._tile, self._digits = thin_update.tile(weights.dtype), float(np.finfo(weights.dtype).eps)
        self._left = self._right = thin(0, 0, weights.dtype)
        # what no entry of W and of v is above, now and after the next update
        self._most = self._next_most = largest(weights)
        self._fastest = self._next_fastest = 0.0 if velocity is None else largest(velocity)

    def at(self, stage: Mix) -> None:
        """Go to a stage."""
        self._stage = stage

    def product(self, right: Matrix | None, left: Matrix | None) -> tuple[Matrix, Matrix]:
        """W F and W' G at the stage, for F = ``right`` and G = ``left``; nothing of what is not given."""
        none = thin(0, 0, self._weights.dtype)
        f, g = (none if x is None else x for x in (right, left))
        through = self._by_blas if max(len(f), len(g)) >= BLAS_FROM else self._through
        images = through(self._weights, f, g)
        if len(self._stage) > 1:
            assert self._velocity is not None
            moved = self._weights.dtype.type(self._stage[1])
            for image, more in zip(images, through(self._velocity, f, g, name="v "), strict=True):
                more *= moved
                image += more
        return images

    def _by_blas(self, W: Matrix, f: Matrix, g: Matrix, name: str = "") -> tuple[Matrix, Matrix]:
        """W F and W' G, part by part as `_through` has them."""
        rows, columns = W.shape
        y = self._memory(name + "y", len(f), rows)
        z = self._memory(name + "z", len(self._parts) * len(g), columns)

        def multiply(number: int, part: slice) -> None:
            if len(f):
                np.matmul(f, W[part].T, out=y[:, part])
            if len(g):
                np.matmul(g[:, part], W[part], out=z[number * len(g) : (number + 1) * len(g)])

        tasks = [partial(multiply, number, part) for number, part in enumerate(self._parts)]
        return y, self._summed(tasks, z, len(g))

    def keep(self, l: int, left: Matrix, right: Matrix) -> None:
        """The slope is P Q' with P = ``left`` and Q = ``right``, until the next products."""
        self._left, self._right = left, right

    def gradient_norm(self, l: int) -> float:
        """||P Q'||_F."""
        return float(frobenius(triangle(self._right.T) @ self._left))

    def form(self, stage: Mix, out: Matrix) -> None:
        """Write the weights to ``out``."""
        out[...] = self._weights

    def stays(self, update: Update, bound: float) -> bool:
        """Whether an update leaves all entries within their bound; nothing is changed."""
        P, Q = self._left, self._right
        square = float(np.square(P, dtype=np.float64).sum() * np.square(Q, dtype=np.float64).sum())
        change = abs(update.own) * self._most + abs(update.eta * self._rate) * square**0.5
        rounded = 1.0 + (len(P) + 8) * self._digits
        if self._velocity is not None:
            change += abs(update.moved) * self._fastest
            self._next_fastest = change * rounded
            change += self._most
        self._next_most = change * rounded
        if self._next_most <= bound:
            return True
        self._next_most = self._try(update)
        return self._next_most <= bound

    def move(self, update: Update) -> None:
        """Make the update that was found to stay within."""
        W, v = self._weights, self._velocity
        p = self._scaled(update)
        self._workers.each(
            [partial(self._add, update, W[part], None if v is None else v[part], p[:, part]) for part in self._parts],
            alone=W.size < ALONE,
        )
        self._most, self._fastest = self._next_most, self._next_fastest

    def move_measured(self, update: Update) -> float:
        """The same; tells how far it leads."""
        W, v = self._weights, self._velocity
        p, found = self._scaled(update), np.zeros(len(self._parts))

        def add(number: int, part: slice) -> None:
            for rows in _some_rows(part):
                before = W[rows].copy()
                self._add(update, W[rows], None if v is None else v[rows], p[:, rows])
                before -= W[rows]
                found[number] = math.hypot(found[number], _norm(before.astype(np.float64, copy=False)))

        tasks = [partial(add, number, part) for number, part in enumerate(self._parts)]
        self._workers.each(tasks, alone=W.size < ALONE)
        self._most, self._fastest = self._next_most, self._next_fastest
        return math.hypot(*found)

    def _scaled(self, update: Update) -> Matrix:
        """eta P."""
        p = self._memory("p", len(self._left), len(self._weights))
        return np.multiply(self._left, p.dtype.type(update.eta * self._rate), out=p)

    def _add(self, update: Update, W: Matrix, v: Matrix | None, p: Matrix) -> None:
        """Update some rows, of weights or of copies."""
        q = self._right
        factors = np.array([update.own, update.moved], W.dtype)
        at, row = (0, 0) if v is None else (v.ctypes.data, v.strides[0])
        thin_update.update(
            self._tile, W.itemsize, W.ctypes.data, W.strides[0], at, row, factors.ctypes.data, *W.shape,
            p.ctypes.data, p.strides[0], q.ctypes.data, q.strides[0], len(q),
        )  # fmt: skip

    def _try(self, update: Update) -> float:
        """The largest entry after an update, which is tried on copies of some rows at a time; NaN where one is."""
        p, found = self._scaled(update), np.zeros(len(self._parts))

        def search(number: int, part: slice) -> None:
            for rows in _some_rows(part):
                W = self._weights[rows].copy()
                self._add(update, W, None if self._velocity is None else self._velocity[rows].copy(), p[:, rows])
                found[number] = np.maximum(found[number], np.abs(W, out=W).max())

        tasks = [partial(search, number, part) for number, part in enumerate(self._parts)]
        self._workers.each(tasks, alone=self._weights.size < ALONE)
        return float(found.max())


def _some_rows(part: slice) -> Iterator[slice]:
    """Parts of a part that are copied at a time."""
    for first in range(part.start, part.stop, TRIED):
        yield slice(first, min(first + TRIED, part.stop))


def _norm(matrix: Matrix) -> float:
    """||M||_F, three times as fast as `frobenius` where squares neither underflow nor overflow."""
    square = float(np.einsum("ij,ij", matrix, matrix))
    return math.sqrt(square) if FAITHFUL[0] < square < FAITHFUL[1] else float(frobenius(matrix))


def largest(matrix: Matrix) -> float:
    """The largest absolute value of an entry, without a temporary of the size of the matrix; NaN where there is one."""
    return float(np.maximum(matrix.max(), -matrix.min()))
