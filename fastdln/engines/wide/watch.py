"""What is asked of the product of one trajectory, and how it is recorded."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.base import Problem, Results
from fastdln.engines.wide.field import Field
from fastdln.engines.wide.terms import Mix
from fastdln.losses import modes_of


class Watch:
    """Observables of trajectory number k, of the product that its field has at hand."""

    def __init__(self, problem: Problem, k: int, field: Field[Any], results: Results) -> None:
        self._problem, self._field, self._results = problem, field, results
        self._loss = problem.loss[k] if problem.loss.batch_shape else problem.loss
        self._modes: list[NDArray[np.floating]] = []
        if problem.watched:
            U, _, V = modes_of(self._loss, "strengths")
            self._modes = [x.astype(problem.start.dtype) for x in (U, V)]

    def square_distance(self) -> float:
        """2 (L - floor)."""
        form, product = self._loss.quadratic, self._field.product
        if form is None:
            return 2 * float(self._loss.value(product))
        compared = product if form.input_root is None else product @ form.input_root.astype(product.dtype)
        return float(np.square(form.whitened.astype(product.dtype) - compared).sum(dtype=np.float64))

    def strengths(self) -> NDArray[np.floating]:
        """u_j' W v_j, where they are wanted."""
        if not self._modes:
            return np.zeros(0)
        U, V = self._modes
        strengths: NDArray[np.floating] = np.einsum("ij,ij->j", U, self._field.product @ V)
        return strengths

    def write(self, number: int, stage: Mix, gradient: float, length: float) -> None:
        """Write a record of the state ``stage``; the norm of its gradient and the length are known where wanted."""
        field, columns, record = self._field, self._problem.columns, self._results.records[0, number]
        if "gradient" in columns:
            record[columns["gradient"]] = gradient
        if "length" in columns:
            record[columns["length"]] = length
        if "square_distance" in columns:
            record[columns["square_distance"]] = self.square_distance()
        if "strengths" in columns:
            record[columns["strengths"]] = self.strengths()
        if "product" in columns:
            record[columns["product"]] = field.product.ravel()
        if "weights" in columns:
            field.form(stage, record[columns["weights"]], self._problem.network)
