"""How products are executed: side by side in the lanes of the machine's vectors, or one network a thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdln.kernels.lockstep import blocks, vectors
from fastdln.kernels.machine.lanes import lane_count
from fastdln.kernels.products import gemm, tiles
from fastdln.kernels.products.rows import Product


@dataclass(frozen=True)
class Executor:
    """Over how many lanes products are executed, and by which code."""

    lanes: int
    encode: Callable[[tuple[Product, ...], int], NDArray[np.int64]]
    encode_sums: Callable[[tuple[Product, ...], int], NDArray[np.int64]]  # of programs that add products
    execute_sums: Callable[[np.dtype[Any], int], int]  # address of what executes those
    buffer: Callable[[tuple[Product, ...], int], int] = lambda products, entry_bytes: 0  # entries of its buffer

    def unit(self, dtype: DTypeLike) -> int:
        """Entries that loops over a state take at once, to which every matrix is padded."""
        return 1 if self.lanes > 1 else 64 // np.dtype(dtype).itemsize


def lanes(dtype: DTypeLike) -> Executor:
    """Many small networks, one in each lane; products by register tiles."""
    return Executor(
        lane_count(dtype), tiles.encode, tiles.encode, lambda dtype, lanes: blocks.library(dtype, lanes)["execute"]
    )


def dense(dtype: DTypeLike) -> Executor:
    """Medium networks, one a thread; products by panels and register tiles."""
    return Executor(
        1, gemm.encode, partial(gemm.encode, sums=True), lambda dtype, lanes: vectors.library(dtype, lanes)["execute"],
        gemm.buffer,
    )  # fmt: skip
