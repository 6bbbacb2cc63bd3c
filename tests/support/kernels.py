"""Calling the vector kernels from tests: arrays are passed as addresses."""

from __future__ import annotations

import ctypes

import numpy as np

from fastdln.kernels.lockstep import vectors


def call(name, dtype, lanes, *arguments, library=vectors.library):
    """Run one kernel of a library; integers are passed as they are."""
    values = [x if isinstance(x, int) else x.ctypes.data for x in arguments]
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(values))
    function(library(np.dtype(dtype), lanes)[name])(*values)


def addresses(*arrays):
    """Make the table of the addresses of arrays, which the caller must keep alive."""
    return np.array([a.ctypes.data for a in arrays], np.int64)
