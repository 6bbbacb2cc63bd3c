"""Evaluations of a batch: a block of memory for each thread, and pieces of the batch that threads take in turn."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.kernels.lockstep import blocks
from fastdln.kernels.lockstep.stages import UNROLL
from fastdln.kernels.machine.lanes import lane_count
from fastdln.kernels.products import maps
from fastdln.kernels.products.rows import Map, Product
from fastdln.kernels.products.tangent import Evaluation, Place
from fastdln.kernels.products.tiles import encode
from fastdln.threads import run_in_threads

Array = NDArray[Any]
Work = Callable[[int, int], None]  # on the networks [first, stop)

PAGE = 4096
PIECE_FLOPS = 2e8  # some hundredths of a second: so soon is Ctrl-C heard, and less does not pay a thread


class Block:
    """One thread's memory, page aligned: the bases of an evaluation, further states, and what drivers are told."""

    def __init__(self, evaluation: Evaluation, dtype: np.dtype[Any], further: int = 0) -> None:
        lanes = lane_count(dtype)
        entry = lanes * dtype.itemsize
        sizes = [-(-size // UNROLL) * UNROLL for size in (*evaluation.sizes, *evaluation.sizes[:1] * further)]
        self._memory = np.zeros(sum(sizes) * lanes + PAGE // dtype.itemsize, dtype)
        at = self._memory.ctypes.data
        self.bases = at + -at % PAGE + entry * np.cumsum([0, *sizes[:-1]], dtype=np.int64)
        rows, replaced, self._code = _encoded(evaluation, dtype, lanes)
        self.task = np.zeros(1, blocks.TASK)
        self.tell(
            lanes=lanes, entry=entry, bases=self.bases, rows=rows, count=len(rows), entries=sizes[0],
            **blocks.library(dtype, lanes) | replaced,
        )  # fmt: skip

    def tell(self, **fields: int | Array) -> None:
        """Set fields of the task; of an array its address, and the array is kept alive."""
        for name, value in fields.items():
            self.task[name] = value.ctypes.data if isinstance(value, np.ndarray) else value
        self._kept = (*getattr(self, "_kept", ()), *fields.values())

    def at(self, place: Place) -> int:
        """Address of a matrix."""
        return int(self.bases[place.base] + place.offset * self.task["entry"][0])

    def connect(self, reads: Sequence[tuple[Place, Array]], writes: Sequence[tuple[Place, Array]]) -> None:
        """Say where matrices lie outside: in arrays (n, rows, columns), or (1, rows, columns) for all networks.

        These arrays are kept alive, too.
        """
        rows = [
            (self.at(place), array.ctypes.data, array.strides[0] if len(array) > 1 else 0, place.size)
            for place, array in (*reads, *writes)
        ]
        self.tell(transfers=np.array(rows, np.int64), reads=len(reads), writes=len(writes))
        self._kept = (*self._kept, *(array for _, array in (*reads, *writes)))


@functools.cache
def _encoded(evaluation: Evaluation, dtype: np.dtype[Any], lanes: int) -> tuple[NDArray[np.int64], dict[str, int], Any]:
    """The rows to execute, kernels that take the place of those of the library, and what must be kept for both.

    The value of a loss with a map is a result of the program, and read as it is.
    """
    entry = lanes * dtype.itemsize
    if evaluation.map is None:
        return encode(tuple(p for p in evaluation.products if isinstance(p, Product)), entry), {}, None
    used = {maps.entry(p) for p in evaluation.products if isinstance(p, Map)}
    code = maps.compiled(evaluation.map, 8 * dtype.itemsize, lanes, tuple(used))
    script = maps.script(evaluation.products, encode, entry, blocks.library(dtype, lanes)["execute"], code)
    replaced = {"execute": code.addresses["run"], "square_distance": code.addresses["take"]}
    return script.table, replaced, (script, code)


def run(evaluation: Evaluation, inputs: Sequence[Array], results: Sequence[Array], threads: int) -> None:
    """Apply a program to a batch.

    Parameters
    ----------
    evaluation : the program
    inputs : its weights, directions and constants in this order, (n, rows, columns) or (1, rows, columns), of one
        dtype; each matrix in one piece
    results : what it writes, (n, rows, columns) likewise
    threads : how many may work at once
    """
    dtype = results[0].dtype
    places = (*evaluation.weights, *evaluation.directions, *evaluation.constants.values())

    def worker() -> Work:
        block = Block(evaluation, dtype)
        block.connect(list(zip(places, inputs, strict=True)), list(zip(evaluation.results, results, strict=True)))
        return lambda first, stop: blocks.products(block.task, first, stop)

    _share(worker, len(results[0]), evaluation.flops, lane_count(dtype), threads)


def sweep(evaluation: Evaluation, inputs: Sequence[Array], points: Array, values: Array, threads: int) -> None:
    """Square distances from the target, or twice the values of a map, at points start + sum_j x_j direction_j.

    Parameters
    ----------
    evaluation : a forward program
    inputs : the start, each direction and the constants in this order, layer by layer, as for `run`
    points : the coordinates x, (blocks, directions, lanes)
    values : where the square distances go, (n, blocks, lanes)
    threads : how many may work at once
    """
    n_blocks, directions, lanes = points.shape
    start = len(evaluation.sizes)  # the base of the start; those of the directions follow
    places = [p._replace(base=start + j) for j in range(1 + directions) for p in evaluation.weights]
    places += evaluation.constants.values()

    def worker() -> Work:
        block = Block(evaluation, values.dtype, 1 + directions)
        block.connect(list(zip(places, inputs, strict=True)), [])
        (compared,) = evaluation.results
        block.tell(
            state=int(block.bases[0]), start=int(block.bases[start]), table=block.bases[start + 1 :].copy(),
            directions=directions, index=np.arange(directions), points=points, blocks=n_blocks,
            target=block.at(evaluation.constants.get("whitened", compared)), compared=block.at(compared),
            size=compared.size,
            values=values,
        )  # fmt: skip
        return lambda first, stop: blocks.sweep(block.task, first, stop)

    _share(worker, len(values), evaluation.flops * n_blocks * lanes, 1, threads)


def _share(worker: Callable[[], Work], n: int, flops: int, unit: int, threads: int) -> None:
    """Cut n networks of ``flops`` flops each into pieces of whole units, and let threads take them in turn."""
    size = unit * max(1, int(PIECE_FLOPS / (flops * unit)))
    pieces = [(first, min(first + size, n)) for first in range(0, n, size)]
    threads = min(threads, len(pieces))
    if threads < 2:
        work = worker()
        for piece in pieces:
            work(*piece)
        return
    left = deque(pieces)

    def take(work: Work) -> None:
        while True:
            try:
                piece = left.popleft()
            except IndexError:
                return
            work(*piece)

    run_in_threads([partial(take, worker()) for _ in range(threads)], stop=left.clear, meanwhile=lambda: None)
