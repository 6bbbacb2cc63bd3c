"""Large layers of a flow: a matrix, and thin factors of what is added to it.

What is added goes into the matrix at every accepted step.  To let the factors of several steps wait was tried and does
not pay: adding them is bound by arithmetic, not by memory, and products must be corrected by all that wait, which at
width 4096 costs what is saved (4 steps: 5 to 8 of 150 ms a step), below more (``python -m bench.wide --deferred``).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from fastdln.engines.wide.layers import TINY
from fastdln.engines.wide.terms import START, Mix
from fastdln.engines.wide.thin import ALONE, Large, Matrix, Multiplication, thin, triangle
from fastdln.engines.wide.workers import Workers
from fastdln.kernels.products import skinny
from fastdln.linalg import frobenius

MOST_SPREAD = 1e3


def _unit(columns: Matrix) -> float:
    """The power of two that columns are to be divided by, so that products with small ones do not underflow."""
    return float(np.ldexp(1.0, np.frexp(np.abs(columns).max(initial=0.0))[1]))


class Factored(Large):
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
        super().__init__(weights, workers)
        self._rank, self._rate, self._rtol, self._atol = rank, rate, rtol, atol
        self._narrow_input = narrow_input
        dtype, (rows, columns) = weights.dtype, weights.shape
        self._lost = float(np.finfo(dtype).tiny) ** 0.75  # products of this size may have lost entries to underflow
        self._left, self._right = (thin(slopes * rank, n, dtype) for n in (rows, columns))
        self._inner, self._inner_at_stage = np.zeros(slopes), np.zeros(slopes)  # <W, P Q'>
        self._images: list[tuple[Matrix, Matrix]] = [(weights, weights)] * 2
        self.tight = 1.0
        self._stage = START
        self._norm = np.float64(np.linalg.norm(weights))
        self._norm, self._spread = self._update(weights, START)

    def at(self, stage: Mix) -> None:
        self._stage = stage

    def product(self, right: Matrix | None, left: Matrix | None) -> tuple[Matrix, Matrix]:
        W, none = self._weights, thin(0, 0, self._weights.dtype)
        f, g = (none if x is None else x for x in (right, left))
        more: list[Matrix | None] = [None, None]

        def correct(side: int, x: Matrix, near: Matrix, far: Matrix) -> None:
            factors = self._factors(self._stage)
            inner = self._memory(f"inner{side}", len(x), len(near))[:, : len(factors)]
            addition = more[side] = self._memory(f"addition{side}", len(x), far.shape[1])
            sums = self._memory(f"sums{side}", len(x), len(near) * self._vector)
            every, unit = slice(0, len(factors)), 1.0
            Multiplication(self._tiles, near, x, none, inner, none, sums).run(every)
            if abs(inner[0, 0]) < self._lost and np.abs(inner).max() < self._lost:  # mostly one number tells
                unit = _unit(x)
                scaled = np.divide(x, unit, out=self._memory(f"scaled{side}", len(x), x.shape[1]), dtype=x.dtype)
                Multiplication(self._tiles, near, scaled, none, inner, none, sums).run(every)
            inner *= factors
            Multiplication(self._tiles, far, none, inner, none, addition, none).run(every)
            if unit != 1.0:
                addition *= unit

        tasks = []
        if len(self._stage) > 1:
            if right is not None:
                tasks.append(partial(correct, 0, f, self._right, self._left))
            if left is not None:
                tasks.append(partial(correct, 1, g, self._left, self._right))
        found = []
        for side, (image, addition) in enumerate(zip(self._through(W, f, g, tasks), more, strict=True)):
            at_stage = self._memory(f"at stage{side}", len(image), image.shape[1])
            np.multiply(image, W.dtype.type(self._stage[0]), out=at_stage)
            if addition is not None:
                at_stage += addition
            if len(image):
                self._images[side] = image, at_stage
            found.append(at_stage)
        return found[0], found[1]

    def keep(self, l: int, left: Matrix, right: Matrix) -> None:
        place = slice(l * self._rank, (l + 1) * self._rank)
        self._left[place], self._right[place] = left, right
        side, other = (0, left) if self._narrow_input else (1, right)
        for inner, image in zip((self._inner, self._inner_at_stage), self._images[side], strict=True):
            inner[l] = np.einsum("ij,ij", image, other)

    def gradient_norm(self, l: int) -> float:
        place = slice(l * self._rank, (l + 1) * self._rank)
        return float(frobenius(triangle(self._right[place].T) @ self._left[place]))

    def norm(self) -> float:
        return float(self._norm)

    def size(self) -> float:
        return float((self._norm / self._scale(self._norm)) ** 2)

    def length(self, mix: Mix) -> float:
        numbers = np.flatnonzero(mix[1:])
        if not len(numbers):
            return float(abs(mix[0]) * self._norm)
        first, last = int(numbers[0]) * self._rank, int(numbers[-1] + 1) * self._rank
        left, right = self._triangles(first, last)
        moved = float(frobenius((left * self._factors(mix)[first:last]) @ right.T))
        return moved if mix[0] == 0 else float(np.sqrt(self._square(mix, moved**2)))

    def errors(self, after: Mix, errors: list[Mix]) -> list[float]:
        triangles = self._triangles(0, self._rank * max(len(mix) - 1 for mix in (after, *errors)))

        def square(mix: Mix) -> np.float64:
            factors = self._factors(mix)
            left, right = (x[:, : len(factors)] for x in triangles)
            return self._square(mix, np.square((left * factors) @ right.T).sum())

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

    def _triangles(self, first: int, last: int) -> list[Matrix]:
        """Triangular factors of some columns of all P, and of all Q."""
        triangles: list[Matrix] = [self._left, self._right]

        def factorize(side: int) -> None:
            triangles[side] = triangle(triangles[side][first:last].T)

        self._workers.each([partial(factorize, side) for side in (0, 1)], alone=self._weights.size < ALONE)
        return triangles

    def _square(self, mix: Mix, moved: float) -> np.float64:
        """||c W + sum_l b_l T_l||_F^2, where that of the sum alone is known."""
        across = 2 * self._rate * (mix[1:] @ self._inner[: len(mix) - 1])
        total = mix[0] * (mix[0] * self._norm**2 + across) + moved
        return np.float64(np.maximum(total, 0.0))  # NaN stays

    def _factors(self, mix: Mix) -> Matrix:
        """Factors of the columns of P or Q."""
        factors: Matrix = np.repeat(self._rate * mix[1:], self._rank).astype(self._weights.dtype)
        return factors

    def _update(self, out: Matrix, stage: Mix) -> tuple[np.float64, np.float64]:
        """Write the weights at a stage to ``out``; their norm and spread."""
        W, dtype = self._weights, self._weights.dtype
        factors = self._factors(stage)
        numbers = np.flatnonzero(factors)
        count = len(numbers)
        together = count > 0 and numbers[-1] - numbers[0] < count
        used = slice(numbers[0], numbers[-1] + 1) if together else numbers  # of a slice nothing is copied
        p, q = self._memory("p", count, W.shape[0]), self._right[used]
        np.multiply(self._left[used], factors[used, None], out=p)
        typical = self._atol + self._rtol * self._norm / W.size**0.5 or 1.0
        tolerance = (np.array([self._rtol, self._atol]) / typical).astype(dtype)
        scale = np.array([stage[0]], dtype)
        sums = np.zeros((len(self._parts), 2, self._vector), dtype)

        def update(part: slice, sums: Matrix) -> None:
            skinny.update(
                self._tiles, dtype.itemsize, out[part].ctypes.data, out.strides[0], W[part].ctypes.data, W.strides[0],
                scale.ctypes.data, part.stop - part.start, W.shape[1], p[:, part].ctypes.data, p.strides[0],
                q.ctypes.data, q.strides[0], count, tolerance.ctypes.data, sums.ctypes.data,
            )  # fmt: skip

        tasks = [partial(update, part, own) for part, own in zip(self._parts, sums, strict=True)]
        self._workers.each(tasks, alone=W.size < ALONE)
        squares, inverse_squares = sums.sum(axis=(0, 2), dtype=np.float64) / W.size
        spread = inverse_squares**0.5 * (self._atol + self._rtol * squares**0.5) / typical
        return (squares * W.size) ** 0.5, spread if spread <= MOST_SPREAD else np.float64(MOST_SPREAD)

    def _scale(self, norm: np.float64) -> np.float64:
        """What an error of the layer is compared with."""
        tiny = TINY[self._weights.dtype == np.float32]
        return np.float64(np.maximum(self.tight * (self._weights.size**0.5 * self._atol + self._rtol * norm), tiny))
