"""The vector kernels of the loop as one library of machine code."""

from __future__ import annotations

import functools
from collections.abc import Callable

from numba import types
from numba.extending import intrinsic
from numpy.typing import DTypeLike

from fastdln.kernels.lockstep import control, growth, norms, stages
from fastdln.kernels.machine.compile import emitted
from fastdln.kernels.machine.library import addresses, emit_all

KERNELS: tuple[Callable[..., None], ...] = (
    stages.execute,
    stages.combine,
    stages.combine_pair,
    stages.scale_factors,
    stages.dense_factors,
    stages.error_sum,
    stages.error_sum_pair,
    stages.error_sum_output,
    stages.square_sum,
    norms.norm,
    norms.quick_norm,
    norms.distance,
    stages.square_distance,
    stages.column_dots,
    stages.rescale,
    stages.blend,
    stages.put_lane,
    stages.take_lane,
    control.begin_step,
    control.end_step,
    control.output_theta,
    control.passed,
    growth.renew_growth,
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
