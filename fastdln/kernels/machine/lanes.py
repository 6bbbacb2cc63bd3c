"""How many networks a vector of this machine holds side by side."""

from __future__ import annotations

import functools
import os

import numpy as np
from llvmlite import binding
from numba.core import config
from numpy.typing import DTypeLike

LANES_VARIABLE = "FASTDLN_LANES"


@functools.cache
def cpu_features() -> frozenset[str]:
    """Features of the processor that code is made for: this one's, or what ``NUMBA_CPU_FEATURES`` says."""
    if config.CPU_FEATURES is None:
        return frozenset(name for name, there in binding.get_host_cpu_features().items() if there)
    return frozenset(name[1:] for name in config.CPU_FEATURES.split(",") if name.startswith("+"))


def _native_lanes() -> int:
    """f64 numbers in a vector of this machine."""
    features = cpu_features()
    return 8 if "avx512f" in features else 4 if "avx" in features else 2


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
