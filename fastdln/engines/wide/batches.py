"""The batches of samples of one trajectory: those of the other engines."""

from __future__ import annotations

import numpy as np

from fastdln.engines.base import Problem
from fastdln.engines.wide.thin import Matrix
from fastdln.kernels.lockstep.samples import shuffle_alone


class Batches:
    """What -dL/dW is for the batch of one update after another, of trajectory number k."""

    def __init__(self, problem: Problem, k: int) -> None:
        method, course = problem.descent, problem.course
        assert method is not None
        assert course is not None
        self._loss, self._size, self._key = problem.loss, method.samples, method.key
        self._stream, self._epoch = int(course.stream[k]), -1
        self._order = np.zeros(problem.loss.n_samples, np.int64)

    def residual(self, update: int, product: Matrix) -> Matrix:
        """-dL/dW of the batch of an update, which is counted from the first one of all."""
        per_epoch = -(-len(self._order) // self._size)
        epoch, number = divmod(update, per_epoch)
        if epoch != self._epoch:
            shuffle_alone(self._order.ctypes.data, len(self._order), self._stream, epoch, *self._key)
            self._epoch = epoch
        samples = self._order[number * self._size : (number + 1) * self._size]
        return np.ascontiguousarray(-self._loss.grad_of(product, samples))
