"""Medium networks, one a thread; products by panels and register tiles."""

from __future__ import annotations

from numpy.typing import DTypeLike

from fastdln.engines.recipe import Executor
from fastdln.kernels.gemm import buffer, encode


def executor(dtype: DTypeLike) -> Executor:
    """The register tiles, one network at a time."""
    return Executor(1, encode, buffer)
