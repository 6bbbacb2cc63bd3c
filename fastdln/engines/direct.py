"""Which engine takes a problem as it is; whether it is reduced before, `fastdln.engines.choose` says.

The choice depends on widths, loss, method and precision alone, never on the batch or the machine: nor do results.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import DTypeLike

from fastdln.engines.base import Engine, Problem
from fastdln.engines.lockstep import executors
from fastdln.engines.lockstep.arena import arena_bytes
from fastdln.engines.lockstep.batch import Batch
from fastdln.engines.lockstep.methods import vectors
from fastdln.engines.wide import Wide
from fastdln.integrate.methods import Method
from fastdln.kernels.products.gemm import VECTOR_BYTES
from fastdln.kernels.products.program import program
from fastdln.kernels.products.rows import Program
from fastdln.losses import Loss
from fastdln.network import Network

DIRECT: dict[str, Callable[[Problem], Engine]] = {
    "lanes": lambda problem: Batch(executors.lanes(problem.start.dtype)),
    "dense": lambda problem: Batch(executors.dense(problem.start.dtype)),
    "wide": lambda problem: Wide(),
}

# What lanes work on (`lanes_bytes`) lies in the second-level cache.  Up to LANES_BYTES they are as fast as dense or
# faster; beyond, as fast with tsit5 and 15 to 30 % slower with methods of more stages, and from width 32 on 10 to 20 %
# slower with all.  But dense works along rows in vectors of VECTOR_BYTES and loses what it leaves unused of them: where
# the products fill less than FULL, lanes are as fast or up to 25 % faster up to SPARSE_BYTES.  With stabilized methods
# lanes wait for the one with most stages: there they are taken only where dense leaves vectors unused.
LANES_BYTES, SPARSE_BYTES = 320 << 10, 4 << 20
FULL = 0.93

# Factors pay from this side of a layer on, its lesser one, and so much more for each rank r of a slope: a step forms no
# slope then, but works on some 7 r columns.  Where two layers are large they pay earlier.  Measured against dense in
# one thread, one large layer: as fast at side 570 with r = 8, 900 with 16, 1000 to 1200 with 24 and 32; twice as fast
# at 1024 with r = 10.
WIDE_FROM, PER_RANK, SEVERAL = 400, 24, 0.8


def direct(problem: Problem) -> Engine:
    """The engine that suits a batch as it is."""
    name = best(problem.network, problem.loss, problem.options.method, problem.start.dtype)
    if problem.options.modified and name == "wide":  # which has no products with the Hessian
        name = "dense"
    return DIRECT[name](problem)


def alone(problem: Problem) -> Engine:
    """The engine that suits one trajectory: lanes would leave most of a vector empty."""
    name = best(problem.network, problem.loss, problem.options.method, problem.start.dtype)
    return DIRECT["dense" if name == "lanes" else name](problem)


def best(network: Network, loss: Loss, method: Method, dtype: DTypeLike) -> str:
    """The engine that suits a network as it is."""
    plan = program(network.widths, **loss.form._asdict())
    stabilized = not method.explicit
    most = SPARSE_BYTES if _filled(plan, dtype) < FULL else 0 if stabilized else LANES_BYTES
    if lanes_bytes(network, loss, method, dtype) <= most:
        return "lanes"
    if stabilized:  # the wide engine has explicit methods only
        return "dense"
    rank = min(network.widths[0], network.widths[-1])
    largest, second, *_ = sorted([*map(min, network.shapes), 0], reverse=True)
    side = max(largest, second / SEVERAL)
    return "wide" if side >= WIDE_FROM + PER_RANK * rank else "dense"


def lanes_bytes(network: Network, loss: Loss, method: Method, dtype: DTypeLike) -> int:
    """Bytes that the lanes engine works on, for four networks in f64 or as many bytes of f32."""
    plan = program(network.widths, **loss.form._asdict())
    return arena_bytes(plan.layers[-1], vectors(method), plan.n_scratch, 4 * np.dtype(dtype).itemsize)


def _filled(plan: Program, dtype: DTypeLike) -> float:
    """The part of the rows that dense works on, in whole vectors, that the products of a right-hand side fill.

    Where it has none, nothing is left unused.
    """
    entries = VECTOR_BYTES // np.dtype(dtype).itemsize
    whole = sum(p.m * p.k * -(-p.n // entries) * entries for p in plan.products)
    return sum(p.m * p.k * p.n for p in plan.products) / whole if whole else 1.0
