"""How products are executed: side by side in the lanes of the machine's vectors, or one network a thread."""

from __future__ import annotations

from numpy.typing import DTypeLike

from fastdln.engines.lockstep.recipe import Executor
from fastdln.kernels.machine.lanes import lane_count
from fastdln.kernels.products import gemm, tiles


def lanes(dtype: DTypeLike) -> Executor:
    """Many small networks, one in each lane; products by register tiles."""
    return Executor(lane_count(dtype), tiles.encode)


def dense(dtype: DTypeLike) -> Executor:
    """Medium networks, one a thread; products by panels and register tiles."""
    return Executor(1, gemm.encode, gemm.buffer)
