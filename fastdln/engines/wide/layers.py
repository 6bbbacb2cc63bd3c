"""The layers of one network: small ones as matrices, large ones as a matrix and thin factors of what is added to it.

A slope of layer i is  T = eta P Q',  P = W_{>i}' R and Q = W_{<i}',  or with R on the other side: of rank
r <= min(d_0, d_h).  Thin matrices are held transposed, each of their columns contiguous.
"""

from __future__ import annotations

from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdln.engines.wide.terms import START, Mix
from fastdln.engines.wide.workers import Workers
from fastdln.kernels import skinny

Matrix = NDArray[np.floating]

PARTS, LEAST_ROWS = 8, 256  # into how many parts a product falls at most, and how many rows each has at least
ALONE = 1 << 18  # entries up to which a product is not worth sharing
MOST_SPREAD = 1e3
TINY = 1e-300, 1e-37  # the least error scale, f64 and f32, as in the lanes
STAGGER = 448  # bytes modulo a page by which columns are apart, lest all of them fall into the same sets of a cache


def thin(columns: int, length: int, dtype: DTypeLike) -> Matrix:
    """Memory for a thin matrix, transposed: aligned to vectors, its columns staggered."""
    item = np.dtype(dtype).itemsize
    row = -(-length * item // skinny.VECTOR_BYTES) * skinny.VECTOR_BYTES
    if row > 2048:
        row += (STAGGER - row) % 4096
    memory = np.empty(columns * row // item + skinny.VECTOR_BYTES // item, dtype)
    first = -memory.ctypes.data % skinny.VECTOR_BYTES // item
    return memory[first : first + columns * row // item].reshape(columns, row // item)[:, :length]


class Layer(Protocol):
    """A layer at a stage of a step; ``slopes`` are numbered, `Mix` says what a stage is made of."""

    def at(self, stage: Mix) -> None:
        """Go to a stage."""

    def product(self, right: Matrix | None, left: Matrix | None) -> tuple[Matrix, Matrix]:
        """W F and W' G at the stage, for F = ``right`` and G = ``left``; nothing of what is not given."""

    def keep(self, l: int, left: Matrix, right: Matrix) -> None:
        """Slope l is eta P Q' with P = ``left`` and Q = ``right``."""

    def gradient_square(self, l: int) -> float:
        """||P Q'||_F^2 of slope l."""

    def size(self) -> float:
        """Mean square of the weights relative to their tolerance."""

    def errors(self, after: Mix, errors: list[Mix]) -> list[float]:
        """Mean squares of errors relative to the tolerance, of a step that ends at ``after``."""

    def form(self, stage: Mix, out: Matrix) -> None:
        """Write the weights at a stage to ``out``."""

    def advance(self, after: Mix, last: int) -> None:
        """End the step: go on from ``after``, where the slope is slope number ``last``."""


class Formed:
    """A layer whose slopes are formed, and whose error norm is that of the other engines."""

    def __init__(self, weights: Matrix, slopes: int, rate: float, rtol: float, atol: float) -> None:
        self._weights, self._rate, self._rtol, self._atol = weights, rate, rtol, atol
        self._slopes = np.empty((slopes, *weights.shape), weights.dtype)
        self._tiny = TINY[weights.dtype == np.float32]
        self._stage = weights

    def at(self, stage: Mix) -> None:
        self._stage = self._mix(stage)

    def product(self, right: Matrix | None, left: Matrix | None) -> tuple[Matrix, Matrix]:
        images = [thin(0 if x is None else len(x), n, self._weights.dtype)
                  for x, n in zip((right, left), self._weights.shape, strict=True)]  # fmt: skip
        if right is not None:
            np.matmul(right, self._stage.T, out=images[0])
        if left is not None:
            np.matmul(left, self._stage, out=images[1])
        return images[0], images[1]

    def keep(self, l: int, left: Matrix, right: Matrix) -> None:
        np.matmul(left.T, right, out=self._slopes[l])

    def gradient_square(self, l: int) -> float:
        return float(np.square(self._slopes[l]).sum(dtype=np.float64))

    def size(self) -> float:
        return self._mean_square(self._weights, np.abs(self._weights))

    def errors(self, after: Mix, errors: list[Mix]) -> list[float]:
        size = np.maximum(np.abs(self._weights), np.abs(self._mix(after)))
        return [self._mean_square(self._mix(error), size) for error in errors]

    def form(self, stage: Mix, out: Matrix) -> None:
        out[...] = self._mix(stage)

    def advance(self, after: Mix, last: int) -> None:
        self._weights[...] = self._mix(after)
        self._slopes[0] = self._slopes[last]

    def _mix(self, mix: Mix) -> Matrix:
        factors = (self._rate * mix[1:]).astype(self._weights.dtype)
        mixed: Matrix = self._weights * self._weights.dtype.type(mix[0])
        slopes = self._slopes.reshape(len(self._slopes), -1)[: len(factors)]
        mixed += (factors @ slopes).reshape(mixed.shape)
        return mixed

    def _mean_square(self, error: Matrix, size: Matrix) -> float:
        return float(np.square(error / np.maximum(self._atol + self._rtol * size, self._tiny)).mean(dtype=np.float64))


class Factored:
    """A layer that is read, and written only when a step is accepted; its slopes are factors.

    The error norm is  s ||E||_F/(sqrt(n) atol + rtol max(||W||_F, ||W_new||_F)),  n = d_i d_{i-1}, had from triangular
    factors of all P and Q: Gram matrices would lose errors below 1e-8 of the slopes.  The spread of the entries' sizes,
    s = rms(1/(atol + rtol |w|)) (atol + rtol rms(w)) >= 1, makes it the norm of the other engines where errors do not
    depend on the size of the entries; it is 28 for gaussian weights and the default atol.
    """

    def __init__(
        self, weights: Matrix, slopes: int, rank: int, rate: float, rtol: float, atol: float, narrow_input: bool,
        workers: Workers,
    ) -> None:  # fmt: skip
        self._weights, self._rank, self._rate, self._rtol, self._atol = weights, rank, rate, rtol, atol
        self._narrow_input, self._workers = narrow_input, workers
        dtype, (rows, columns) = weights.dtype, weights.shape
        self._tiles = np.array(skinny.library(dtype), np.int64)
        self._vector = skinny.VECTOR_BYTES // dtype.itemsize
        self._left, self._right = (thin(slopes * rank, n, dtype) for n in (rows, columns))
        parts = max(1, min(PARTS, rows // LEAST_ROWS))
        edges = [skinny.ROWS * (rows * p // (parts * skinny.ROWS)) for p in range(parts)]
        self._parts = [slice(a, b) for a, b in zip(edges, [*edges[1:], rows], strict=True)]
        self._inner, self._inner_at_stage = np.zeros(slopes), np.zeros(slopes)  # <W, P Q'>
        self._images: list[tuple[Matrix, Matrix]] = [(weights, weights)] * 2
        self._stage = START
        self._norm = np.float64(np.linalg.norm(weights))
        self._norm, self._spread = self._update(weights, START)

    def at(self, stage: Mix) -> None:
        self._stage = stage

    def product(self, right: Matrix | None, left: Matrix | None) -> tuple[Matrix, Matrix]:
        W, dtype = self._weights, self._weights.dtype
        f, g = (thin(0, n, dtype) if x is None else x for x, n in zip((right, left), W.shape[::-1], strict=True))
        none = thin(0, 0, dtype)
        y, z = thin(len(f), W.shape[0], dtype), [thin(len(g), W.shape[1], dtype) for _ in self._parts]
        more: list[Matrix | None] = [None, None]
        found = [y, z[0]]

        def multiply(part: slice, z: Matrix) -> None:
            self._multiply(W[part], f, g[:, part], y[:, part], z)

        def correct(side: int, x: Matrix, near: Matrix, far: Matrix) -> None:
            factors = self._factors(self._stage)
            inner, addition = thin(len(x), len(factors), dtype), thin(len(x), far.shape[1], dtype)
            self._multiply(near[: len(factors)], x, none, inner, none)
            inner *= factors
            self._multiply(far[: len(factors)], none, inner, none, addition)
            more[side] = addition

        tasks = [partial(multiply, part, zp) for part, zp in zip(self._parts, z, strict=True)]
        if len(self._stage) > 1:
            if right is not None:
                tasks.append(partial(correct, 0, f, self._right, self._left))
            if left is not None:
                tasks.append(partial(correct, 1, g, self._left, self._right))
        self._workers.each(tasks, alone=W.size < ALONE)
        for zp in z[1:]:
            z[0] += zp
        for side, (image, addition) in enumerate(zip((y, z[0]), more, strict=True)):
            at_stage = thin(len(image), image.shape[1], dtype)
            np.multiply(image, dtype.type(self._stage[0]), out=at_stage)
            if addition is not None:
                at_stage += addition
            if len(image):
                self._images[side] = image, at_stage
            found[side] = at_stage
        return found[0], found[1]

    def _multiply(self, W: Matrix, f: Matrix, g: Matrix, y: Matrix, z: Matrix) -> None:
        """Y = W F and Z = W' G."""
        sums = np.empty(len(W) * len(f) * self._vector, W.dtype)
        z[...] = 0
        skinny.multiply(
            self._tiles, W.itemsize, W.ctypes.data, W.strides[0], *W.shape, f.ctypes.data, f.strides[0], len(f),
            sums.ctypes.data, y.ctypes.data, y.strides[0],
            g.ctypes.data, g.strides[0], len(g), z.ctypes.data, z.strides[0],
        )  # fmt: skip

    def keep(self, l: int, left: Matrix, right: Matrix) -> None:
        place = slice(l * self._rank, (l + 1) * self._rank)
        self._left[place], self._right[place] = left, right
        side, other = (0, left) if self._narrow_input else (1, right)
        for inner, image in zip((self._inner, self._inner_at_stage), self._images[side], strict=True):
            inner[l] = np.einsum("ij,ij", image, other)

    def gradient_square(self, l: int) -> float:
        place = slice(l * self._rank, (l + 1) * self._rank)
        triangle = np.linalg.qr(self._right[place].T, mode="r")
        return float(np.square(triangle @ self._left[place]).sum(dtype=np.float64))

    def size(self) -> float:
        return float((self._norm / self._scale(self._norm)) ** 2)

    def errors(self, after: Mix, errors: list[Mix]) -> list[float]:
        count = self._rank * max(len(mix) - 1 for mix in (after, *errors))
        triangles: list[Matrix] = [self._left, self._right]

        def triangle(side: int) -> None:
            triangles[side] = np.asarray(np.linalg.qr(triangles[side][:count].T, mode="r"), np.float64)

        self._workers.each([partial(triangle, side) for side in (0, 1)], alone=self._weights.size < ALONE)

        def square(mix: Mix) -> np.float64:
            factors = self._factors(mix)
            left, right = (x[:, : len(factors)] for x in triangles)
            across = 2 * self._rate * (mix[1:] @ self._inner[: len(mix) - 1])
            total = mix[0] * (mix[0] * self._norm**2 + across) + np.square((left * factors) @ right.T).sum()
            return np.float64(np.maximum(total, 0.0))  # NaN stays

        scale = self._scale(max(self._norm, np.sqrt(square(after)))) / self._spread
        return [float((np.sqrt(square(error)) / scale) ** 2) for error in errors]

    def form(self, stage: Mix, out: Matrix) -> None:
        self._update(out, stage)

    def advance(self, after: Mix, last: int) -> None:
        self._norm, self._spread = self._update(self._weights, after)
        r = self._rank
        for stack in (self._left, self._right):
            stack[:r] = stack[last * r : (last + 1) * r]
        self._inner[0] = self._inner_at_stage[last]

    def _factors(self, mix: Mix) -> Matrix:
        """Factors of the columns of P or Q."""
        factors: Matrix = np.repeat(self._rate * mix[1:], self._rank).astype(self._weights.dtype)
        return factors

    def _update(self, out: Matrix, stage: Mix) -> tuple[np.float64, np.float64]:
        """Write the weights at a stage to ``out``; their norm and spread."""
        W, dtype = self._weights, self._weights.dtype
        factors = self._factors(stage)
        used = np.flatnonzero(factors)
        p, q = (thin(len(used), n, dtype) for n in W.shape)
        np.multiply(self._left[used], factors[used, None], out=p)
        q[...] = self._right[used]
        typical = self._atol + self._rtol * self._norm / W.size**0.5 or 1.0
        tolerance = (np.array([self._rtol, self._atol]) / typical).astype(dtype)
        scale = np.array([stage[0]], dtype)
        sums = np.zeros((len(self._parts), 2, self._vector), dtype)

        def update(part: slice, sums: Matrix) -> None:
            skinny.update(
                self._tiles, dtype.itemsize, out[part].ctypes.data, out.strides[0], W[part].ctypes.data, W.strides[0],
                scale.ctypes.data, part.stop - part.start, W.shape[1], p[:, part].ctypes.data, p.strides[0],
                q.ctypes.data, q.strides[0], len(used), tolerance.ctypes.data, sums.ctypes.data,
            )  # fmt: skip

        tasks = [partial(update, part, own) for part, own in zip(self._parts, sums, strict=True)]
        self._workers.each(tasks, alone=W.size < ALONE)
        squares, inverse_squares = sums.sum(axis=(0, 2), dtype=np.float64) / W.size
        spread = inverse_squares**0.5 * (self._atol + self._rtol * squares**0.5) / typical
        return (squares * W.size) ** 0.5, spread if spread <= MOST_SPREAD else np.float64(MOST_SPREAD)

    def _scale(self, norm: np.float64) -> np.float64:
        """What an error of the layer is compared with."""
        tiny = TINY[self._weights.dtype == np.float32]
        return np.float64(np.maximum(self._weights.size**0.5 * self._atol + self._rtol * norm, tiny))
