"""The certified finish of one wide network: what `fastdln.kernels.lockstep.certificate` decides, by thin products.

The least singular values are those of products of the first and of the last layers, which are thin where the ends are
narrow: of no large layer is more needed than its Frobenius norm.  Where one end is wide only the term of the layer
beside it is taken, whose other factor is thin: the bound of mu is smaller then, and the end is certified later.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.base import Problem
from fastdln.engines.limits import reachable, tightest
from fastdln.engines.wide.field import Field
from fastdln.engines.wide.layers import Layer
from fastdln.engines.wide.thin import Matrix
from fastdln.integrate import certificate
from fastdln.integrate.certificate import BELOW, REACH, SMALL, UNIT

NARROW, PER_RANK = 64, 8  # an end is narrow up to this width, or PER_RANK times that of the other end


class Certificate:
    """Checks of one trajectory at the beginning of a step."""

    def __init__(self, problem: Problem, target: int, atol: float, field: Field[Layer]) -> None:
        self._field, self._rtol, self._atol = field, problem.options.rtol, atol
        widths, eps = problem.network.widths, float(np.finfo(problem.start.dtype).eps)
        self._target = problem.quadratic.cross.reshape(-1, widths[-1], widths[0])[target].astype(np.float64)
        self._rates = np.array(problem.options.layer_rates or (1.0,) * problem.network.depth)
        self._sizes = np.array(problem.layer_sizes, float)
        # what the sums of squares may lose
        self._upper = 1.0 + eps * np.array([math.prod(shape) + 4 for shape in problem.network.shapes])
        inner = sum(widths) + 2 * problem.network.depth
        self._noise, self._rounding = eps * inner, eps * inner
        narrow = max(NARROW, PER_RANK * min(widths[0], widths[-1]))
        self._narrow = widths[0] <= narrow, widths[-1] <= narrow
        self._usable = reachable(widths)
        if not self._narrow[0]:
            self._usable[1:] = 0
        if not self._narrow[1]:
            self._usable[:-1] = 0
        self._reach2, self._tight = REACH**2 * problem.network.n_parameters, tightest(problem)
        self._retry_fall = self._retry_step = 0.0

    def check(self, accepted: int, unlearned: int) -> tuple[bool, float]:
        """Whether the path that is left is within the tolerance, and how to scale that of steps till then."""
        if unlearned > 0 or not self._usable.any():
            return False, 1.0
        rates, layers, fastest = self._rates, self._field.layers, float(self._rates.max())
        fall = float(rates @ [layer.gradient_norm(0) ** 2 for layer in layers])
        if certificate.waits(accepted, fall, self._retry_step, self._retry_fall):
            return False, self._tight
        norms = self._upper * [layer.norm() for layer in layers]
        tolerance = float(self._atol + self._rtol * (norms / np.sqrt(self._sizes)).min())
        steep = float(sum(rate * np.prod(np.delete(norms, i)) ** 2 for i, rate in enumerate(rates)))
        square, size = tolerance * tolerance, float(np.prod(norms))
        if certificate.moves_fast(fastest, fall, self._reach2, square, steep):
            return False, 1.0
        below = self._field.below() if self._narrow[0] else []
        above = self._field.above() if self._narrow[1] else []
        product = below[-1].T if below else above[0]
        twice = float(np.square(self._target - product).sum())
        short = certificate.shortfall(fastest, twice, square, fall, steep, self._noise * size)
        if not short <= self._reach2:
            return False, 1.0
        settled = False
        if short <= 1.0:
            distance = certificate.residual_bound(twice, product.size, self._rounding * size)
            most = certificate.allowed(square, self._constant(norms, tolerance, below, above), fastest)
            settled, short = certificate.settled(distance, most), certificate.excess(distance, most)
        self._retry_fall = certificate.retry_fall(fall, short)
        self._retry_step = certificate.retry_step(accepted)
        return settled, self._tight

    def _constant(self, norms: NDArray[np.float64], delta: float, below: list[Matrix], above: list[Matrix]) -> float:
        """A lower bound of mu in the ball of radius delta."""
        total, last = 0.0, len(norms)
        for i in np.flatnonzero(self._usable):
            value = 1.0
            if i > 0:
                value *= self._lowered(least_value(below[i]), norms[:i], delta)
            if i < last - 1:
                value *= self._lowered(least_value(above[i + 1]), norms[i + 1 :], delta)
            total += float(self._rates[i]) * value * value
        return total * BELOW

    def _lowered(self, value: float, norms: NDArray[np.float64], delta: float) -> float:
        """A singular value of the product of layers, less what rounding and moving them by delta can take from it."""
        size, shift = 1.0, 0.0
        for norm in norms.tolist():
            shift = certificate.shifted(size, shift, norm, delta)
            size *= norm
        return certificate.lowered(value, shift, self._rounding * size)


def least_value(columns: Matrix) -> float:
    """A lower bound of the least singular value of a thin matrix, given transposed, over all its columns.

    It is rigorous: where a Cholesky factorization of G - s I is found, the least eigenvalue of G is at least s, but for
    its rounding and that of the Gram matrix G (S. Rump, BIT Numer. Math. 46 (2006) 433-452).
    """
    x = columns.astype(np.float64)
    gram = x @ x.T
    if not np.isfinite(gram).all():
        return 0.0
    slack = 4.0 * UNIT * (sum(x.shape) + 8) * np.trace(gram)
    guess = np.linalg.eigvalsh(gram)[0]
    for steps in (1, 4, 16):
        shift = guess - steps * slack
        if not shift - slack > SMALL:
            break
        try:
            np.linalg.cholesky(gram - shift * np.eye(len(gram)))
        except np.linalg.LinAlgError:
            continue
        return math.sqrt(shift - slack) * BELOW
    return 0.0
