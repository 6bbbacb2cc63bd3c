"""Many small networks, one in each lane of the machine's vectors; products by register tiles."""

from __future__ import annotations

from numpy.typing import DTypeLike

from fastdln.engines.recipe import Executor
from fastdln.kernels.lanes import lane_count
from fastdln.kernels.tiles import encode


def executor(dtype: DTypeLike) -> Executor:
    """The register tiles, over the lanes of this machine."""
    return Executor(lane_count(dtype), encode)
