"""Medium networks, one a thread, products by BLAS.

Bits depend on the BLAS library and on the processor it dispatches to, but not on the batch or on threads: every
product runs in one thread.
"""

from __future__ import annotations

from numpy.typing import DTypeLike

from fastdln.engines.recipe import Executor
from fastdln.kernels.gemm import encode, gemm_address


def executor(dtype: DTypeLike) -> Executor:
    """BLAS, one network at a time."""
    return Executor(1, encode, gemm_address(dtype))
