"""What the check of the certified finish (`fastdln.kernels.lockstep.certificate`) is told, for one thread."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.base import Problem
from fastdln.engines.lockstep.recipe import Recipe
from fastdln.integrate.stabilized import Stabilized
from fastdln.kernels.lockstep import certificate
from fastdln.kernels.machine.compile import address_of

# Near the end, within so many times its tolerance for each root of the number of entries, the tolerance of a trajectory
# is scaled by TIGHT, but not to less than so many times the rounding unit; with explicit methods, whose steps stability
# limits there.
REACH, TIGHT, ROUNDING = 16.0, 2.0**-10, 16.0


class Finish:
    """A task, the memory that it points to, and the address of the routine that works on it.

    The arrays are attributes: the task holds addresses only, and an array must live as long as its address does.
    """

    def __init__(self, recipe: Recipe, usable: NDArray[np.int64]) -> None:
        problem = recipe.problem
        widths, shapes, h = problem.network.widths, problem.network.shapes, problem.network.depth
        d_0, d_h, largest = widths[0], widths[-1], max(widths[0], widths[-1]) ** 2
        rates = np.array(problem.options.layer_rates or (1.0,) * h)
        self._weights = [np.empty(shape) for shape in shapes]
        self._products = [np.empty(d * d_0) for d in widths[2:]], [np.empty(d * d_h) for d in widths[1:-1]]
        prefixes, suffixes = self._products
        self._tables: dict[str, NDArray[Any]] = {
            "widths": np.array(widths, np.int64),
            "offsets": np.array(recipe.program.layers, np.int64),
            "usable": usable,
            "rates": rates,
            "sizes": np.array(problem.layer_sizes, float),
            "targets": np.ascontiguousarray(problem.loss.cross, np.float64),
            "norms": np.empty(h),
            "weights": _addresses(self._weights),
            "prefixes": _addresses([np.empty(0), self._weights[0], *prefixes]),
            "suffixes": _addresses([np.empty(0), *suffixes]),
            "gram": np.empty(largest),
            "factor": np.empty(largest),
        }
        eps = float(np.finfo(recipe.dtype).eps)
        inner = sum(widths) + 2 * h
        self.task = np.zeros(1, certificate.TASK)
        for name, value in {
            "rtol": problem.options.rtol,
            "fastest": rates.max(),
            "tight": tightest(problem),
            "reach2": REACH**2 * problem.network.n_parameters,
            "noise": eps * inner,
            "rounding": 2 * certificate.UNIT * inner,
            "layers": h,
            "item": recipe.dtype.itemsize,
            "entry": recipe.sizes["entry"],
            **{name: table.ctypes.data for name, table in self._tables.items()},
        }.items():
            self.task[name] = value
        self.routine = address_of(certificate.check, certificate.ARGUMENTS)


def finish(recipe: Recipe) -> Finish | None:
    """The certified finish, where it is wanted and the widths do not rule it out."""
    if not recipe.problem.options.certify:
        return None
    usable = reachable(recipe.problem.network.widths)
    return Finish(recipe, usable) if usable.any() else None


def reachable(widths: tuple[int, ...]) -> NDArray[np.int64]:
    """Whether the layers below a layer can reach all inputs, and those above it all outputs.

    Nothing bounds the path of a network in which this is true of no layer: it may rest in saddles.
    """
    below = [d >= widths[0] for d in accumulate(widths[:-1], min)]
    above = [d >= widths[-1] for d in accumulate(widths[:0:-1], min)][::-1]
    return np.array([a and b for a, b in zip(below, above, strict=True)], np.int64)


def tightest(problem: Problem) -> float:
    """By what the tolerance of steps is scaled near the end."""
    if isinstance(problem.options.method, Stabilized):
        return 1.0
    return min(1.0, max(TIGHT, ROUNDING * float(np.finfo(problem.start.dtype).eps) / problem.options.rtol))


def _addresses(arrays: list[NDArray[np.float64]]) -> NDArray[np.int64]:
    return np.array([array.ctypes.data for array in arrays], np.int64)
