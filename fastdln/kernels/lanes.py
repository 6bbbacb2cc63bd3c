"""How many networks a vector of this machine holds side by side."""

from __future__ import annotations

import functools
import os

import numpy as np
from llvmlite import binding
from numpy.typing import DTypeLike

LANES_VARIABLE = "FASTDLN_LANES"


@functools.cache
def _native_lanes() -> int:
    """f64 numbers in a vector of this machine."""
    features = binding.get_host_cpu_features()
    return 8 if features.get("avx512f") else 4 if features.get("avx") else 2


def lane_count(dtype: DTypeLike = np.float64) -> int:
    """Networks that are advanced side by side.

    As many as a vector of the machine holds, or, in f64, as the environment variable ``FASTDLN_LANES`` says (2, 4
    or 8; for tests and measurements).  Results do not depend on it.
    """
    lanes = _native_lanes()
    if chosen := os.environ.get(LANES_VARIABLE):
        if chosen not in ("2", "4", "8"):
            raise ValueError(f"the environment variable {LANES_VARIABLE} must be 2, 4 or 8, not {chosen!r}")
        lanes = int(chosen)
    return lanes * 8 // np.dtype(dtype).itemsize
