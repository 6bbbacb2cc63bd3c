"""How products are executed: side by side in the lanes of the machine's vectors, or one network a thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdln.kernels.machine.lanes import lane_count
from fastdln.kernels.products import gemm, tiles
from fastdln.kernels.products.rows import Product


@dataclass(frozen=True)
class Executor:
    """Over how many lanes products are executed, and by which code."""

    lanes: int
    encode: Callable[[tuple[Product, ...], int], NDArray[np.int64]]
    buffer: Callable[[tuple[Product, ...], int], int] = lambda products, entry_bytes: 0  # entries of its buffer

    def unit(self, dtype: DTypeLike) -> int:
        """Entries that loops over a state take at once, to which every matrix is padded."""
        return 1 if self.lanes > 1 else 64 // np.dtype(dtype).itemsize


def lanes(dtype: DTypeLike) -> Executor:
    """Many small networks, one in each lane; products by register tiles."""
    return Executor(lane_count(dtype), tiles.encode)


def dense(dtype: DTypeLike) -> Executor:
    """Medium networks, one a thread; products by panels and register tiles."""
    return Executor(1, gemm.encode, gemm.buffer)
