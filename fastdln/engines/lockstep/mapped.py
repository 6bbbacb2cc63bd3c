"""What a recipe holds for a loss that is not quadratic: scripts of its programs with maps, and its constants."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.base import Problem
from fastdln.kernels.machine.assemble import Code
from fastdln.kernels.products import maps
from fastdln.kernels.products.rows import Map, Product, Program
from fastdln.losses.form import Mapped

Encode = Callable[[tuple[Product, ...], int], NDArray[np.int64]]


class Scripted(NamedTuple):
    """Scripts by the name of their program, and the functions of the map."""

    scripts: dict[str, maps.Script]
    code: Code

    def routines(self) -> dict[str, int]:
        """The routines that execute programs with maps."""
        return {f"execute_{name}": self.code.addresses["run"] for name in self.scripts}

    def kernels(self) -> dict[str, int]:
        """What takes the place of kernels of the library: the value is a result of the program, and read as it is."""
        return {"square_distance": self.code.addresses["take"]}


def scripted(
    map: str, programs: dict[str, tuple[Product | Map, ...]], encode: Encode, entry: int, dtype: np.dtype[Any],
    execute: int,
) -> Scripted:  # fmt: skip
    """The scripts of the programs that have maps; products are executed by what lies at an address."""
    lanes = entry // dtype.itemsize
    code = maps.compiled(map, 8 * dtype.itemsize, lanes)
    having = {name: some for name, some in programs.items() if any(isinstance(p, Map) for p in some)}
    return Scripted({name: maps.script(some, encode, entry, execute, code) for name, some in having.items()}, code)


def constants(mapped: Mapped, problem: Problem, products: Program) -> NDArray[Any]:
    """Constants of the loss where the program expects them, one row for each target; samples are padded with zeros."""
    named = {"mapped": mapped.target, "parameter": np.array([[mapped.parameter]])}
    if mapped.inputs is not None:
        named["inputs"] = mapped.inputs
    values = np.zeros((math.prod(problem.loss.batch_shape), products.n_constants), problem.start.dtype)
    for name, (offset, rows, columns) in products.constants.items():
        matrices = named[name].reshape(-1, rows, named[name].shape[-1])
        place = values[:, offset : offset + rows * columns].reshape(-1, rows, columns)
        place[..., : matrices.shape[-1]] = matrices
        values[:, offset : offset + rows * columns] = place.reshape(len(values), -1)
    return values
