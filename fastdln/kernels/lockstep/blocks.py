"""Programs applied to a batch of networks, block by block of as many as there are lanes.

The kernels are a library of their own, with products that add (`tiles`): it is compiled when an evaluation first runs,
and a flow does without it.  What a network gets does not depend on its lane, its neighbours or the batch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import DTypeLike

from fastdln.kernels.lockstep import stages
from fastdln.kernels.machine.compile import emitted, kernel, part
from fastdln.kernels.machine.emit import Emit
from fastdln.kernels.machine.library import addresses, emit_all, invoke
from fastdln.kernels.machine.memory import peek
from fastdln.kernels.products import packing, tiles
from fastdln.kernels.products.packing import STRIDE


def execute(e: Emit, bases: ir.Value, rows: ir.Value, count: ir.Value) -> None:
    """Run a program of products and sums of products."""
    tiles.interpret(e, bases, rows, count, sums=True)


KERNELS: tuple[Callable[..., None], ...] = (
    execute,
    packing.pack,
    packing.unpack,
    stages.combine,
    stages.square_distance,
)

# What the drivers are told, as one record: addresses and sizes.
TASK = np.dtype(
    [
        (name, np.int64)
        for name in (
            "lanes",
            "entry",  # bytes of one number in every lane
            "bases",  # table of the bases
            "rows",  # the program, and how many rows it has
            "count",
            "transfers",  # first the matrices that are read, then those that are written
            "reads",
            "writes",
            # of a sweep alone
            "state",  # where points go, how many entries, and where they start from
            "entries",
            "start",
            "directions",  # how many, a table of them, and 0, 1, ...
            "table",
            "index",
            "points",  # coordinates (blocks, directions, lanes), and how many blocks
            "blocks",
            "target",  # what is compared, over how many entries, and where the square distances go
            "compared",
            "size",
            "values",
        )
    ]
    + [(body.__name__, np.int64) for body in KERNELS]
)


@intrinsic
def _emit_library(context, like, lanes, out):
    def codegen(context, builder, signature, args):
        return emit_all(context, builder, signature, args, KERNELS)

    return types.void(like, lanes, out), codegen


@emitted
def _library(like, lanes, out):
    _emit_library(like, lanes, out)


@functools.cache
def library(dtype: DTypeLike, lanes: int) -> dict[str, int]:
    """Addresses of the kernels."""
    return addresses(_library, KERNELS, dtype, lanes)


@part
def transfer(w, j):
    """Address of transfer j."""
    return w.transfers + 8 * packing.COLUMNS * j


@part
def read(w, first, q, last):
    """Pack matrices for the networks from q on; those that all networks share only where q is the ``first``."""
    for j in range(w.reads):
        if q == first or peek(transfer(w, j), STRIDE) != 0:
            invoke(w.pack, transfer(w, j), q, last)


@kernel
def products(task, first, stop):
    """Run a program on the networks [first, stop): read what it needs, execute, write its results."""
    w = task[0]
    for q in range(first, stop, w.lanes):
        read(w, first, q, stop - 1)
        invoke(w.execute, w.bases, w.rows, w.count)
        for j in range(w.reads, w.reads + w.writes):
            invoke(w.unpack, transfer(w, j), q, stop - 1)


@kernel
def sweep(task, first, stop):
    """Square distances from the target of the networks [first, stop), at points of a line or a plane.

    One network at a time, its points in the lanes: for each block of them the state start + sum_j x_j direction_j, the
    program, and the distance of what it computes.
    """
    w = task[0]
    for q in range(first, stop):
        read(w, first, q, q)
        for block in range(w.blocks):
            x = w.points + block * w.directions * w.entry
            invoke(w.combine, w.state, w.start, w.table, w.index, x, w.directions, w.entries)
            invoke(w.execute, w.bases, w.rows, w.count)
            out = w.values + (q * w.blocks + block) * w.entry
            invoke(w.square_distance, out, w.target, w.compared, w.size)
