"""What the check of the certified finish (`fastdln.kernels.lockstep.certificate`) is told, for one thread."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.base import Problem
from fastdln.engines.limits import reachable, tightest
from fastdln.engines.lockstep.recipe import Plan
from fastdln.integrate.certificate import REACH, UNIT
from fastdln.kernels.lockstep.certificate import ARGUMENTS, TASK, check
from fastdln.kernels.machine.compile import address_of


class Certificate:
    """A task, the memory that it points to, and the address of the routine that works on it.

    The arrays are attributes: the task holds addresses only, and an array must live as long as its address does.
    """

    def __init__(self, plan: Plan, problem: Problem, usable: NDArray[np.int64]) -> None:
        widths, shapes, h = problem.network.widths, problem.network.shapes, problem.network.depth
        d_0, d_h, largest = widths[0], widths[-1], max(widths[0], widths[-1]) ** 2
        rates = np.array(problem.options.layer_rates or (1.0,) * h)
        self._weights = [np.empty(shape) for shape in shapes]
        self._products = [np.empty(d * d_0) for d in widths[2:]], [np.empty(d * d_h) for d in widths[1:-1]]
        prefixes, suffixes = self._products
        self._tables: dict[str, NDArray[Any]] = {
            "widths": np.array(widths, np.int64),
            "offsets": np.array(plan.program.layers, np.int64),
            "usable": usable,
            "rates": rates,
            "sizes": np.array(problem.layer_sizes, float),
            "targets": np.ascontiguousarray(problem.quadratic.cross, np.float64),
            "norms": np.empty(h),
            "weights": _addresses(self._weights),
            "prefixes": _addresses([np.empty(0), self._weights[0], *prefixes]),
            "suffixes": _addresses([np.empty(0), *suffixes]),
            "gram": np.empty(largest),
            "factor": np.empty(largest),
        }
        eps = float(np.finfo(plan.dtype).eps)
        inner = sum(widths) + 2 * h
        self.task = np.zeros(1, TASK)
        for name, value in {
            "rtol": problem.options.rtol,
            "fastest": rates.max(),
            "tight": tightest(problem),
            "reach2": REACH**2 * problem.network.n_parameters,
            "noise": eps * inner,
            "rounding": 2 * UNIT * inner,
            "layers": h,
            "item": plan.dtype.itemsize,
            "entry": plan.entry,
            **{name: table.ctypes.data for name, table in self._tables.items()},
        }.items():
            self.task[name] = value
        self.routine = address_of(check, ARGUMENTS)


def certificate(plan: Plan, problem: Problem) -> Certificate | None:
    """The certificate, where it is wanted and the widths do not rule it out."""
    if not problem.options.certify:
        return None
    usable = reachable(problem.network.widths)
    return Certificate(plan, problem, usable) if usable.any() else None


def _addresses(arrays: list[NDArray[np.float64]]) -> NDArray[np.int64]:
    return np.array([array.ctypes.data for array in arrays], np.int64)
