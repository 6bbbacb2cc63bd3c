"""What a recipe holds for a loss that is not quadratic: scripts of its programs with maps, and its constants."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.base import Problem
from fastdln.kernels.machine.assemble import Code
from fastdln.kernels.machine.foreign import Foreign
from fastdln.kernels.products import maps
from fastdln.kernels.products.rows import CUSTOM, Map, Product, Program
from fastdln.losses.form import Mapped

Encode = Callable[[tuple[Product, ...], int], NDArray[np.int64]]


class Scripted(NamedTuple):
    """Scripts by the name of their program, and the functions of the map."""

    scripts: dict[str, maps.Script]
    code: Code
    foreign: Foreign | None
    size: int  # of a product

    def routines(self) -> dict[str, int]:
        """The routines that execute programs with maps; the value is a result of the program, and read as it is."""
        execute = {f"execute_{name}": self.code.addresses["run"] for name in self.scripts}
        return execute | {"value": self.code.addresses["take"]}

    def called(self) -> NDArray[np.int64]:
        """The record of what the map calls, with matrices of a thread's own after it; empty where it calls nothing."""
        if self.foreign is None:
            return np.zeros(0, np.int64)
        record = np.zeros(maps.FURTHER + 1 + 2 * self.size, np.int64)
        source = record.ctypes.data + 8 * (maps.FURTHER + 1)
        record[maps.VALUE_AT], record[maps.GRAD_AT] = self.foreign.value, self.foreign.grad
        record[maps.SOURCE], record[maps.FILLED] = source, source + 8 * self.size
        record[maps.FURTHER] = self.foreign.table.ctypes.data
        return record


def called_bytes(problem: Problem) -> int:
    """Bytes of the record of what a map calls."""
    return 16 * math.prod(problem.loss.shape) if problem.loss.form.map == CUSTOM else 0


def scripted(
    mapped: Mapped, programs: dict[str, tuple[Product | Map, ...]], encode: Encode, entry: int, dtype: np.dtype[Any],
    execute: int, keys: tuple[str, ...] = (maps.MAP, maps.VALUE),
) -> Scripted:  # fmt: skip
    """The scripts of the programs that have maps, with the functions ``keys`` of these.

    Products are executed by what lies at an address.
    """
    lanes = entry // dtype.itemsize
    code = maps.compiled(mapped.name, 8 * dtype.itemsize, lanes, keys)
    having = {name: some for name, some in programs.items() if any(isinstance(p, Map) for p in some)}
    scripts = {name: maps.script(some, encode, entry, execute, code) for name, some in having.items()}
    return Scripted(scripts, code, mapped.foreign, math.prod(mapped.target.shape[-2:]))


def constants(mapped: Mapped, problem: Problem, products: Program) -> NDArray[Any]:
    """Constants of the loss where the program expects them, one row for each target; samples are padded with zeros."""
    named = mapped.constants()
    values = np.zeros((math.prod(problem.loss.batch_shape), products.n_constants), problem.start.dtype)
    for name, (offset, rows, columns) in products.constants.items():
        matrices = named[name].reshape(-1, rows, named[name].shape[-1])
        place = values[:, offset : offset + rows * columns].reshape(-1, rows, columns)
        place[..., : matrices.shape[-1]] = matrices
        values[:, offset : offset + rows * columns] = place.reshape(len(values), -1)
    return values
