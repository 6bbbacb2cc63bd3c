"""Which engine advances a batch as it is; whether it is narrowed before, `fastdln.engines.reduced` says.

The choice depends on widths, loss, method and precision alone, never on the batch or the machine: nor do results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import DTypeLike

from fastdln.engines import dense, lanes
from fastdln.engines.arena import arena_bytes
from fastdln.engines.batch import Batch
from fastdln.engines.chunk import Results
from fastdln.engines.methods import vectors
from fastdln.engines.problem import Problem
from fastdln.engines.wide import Wide
from fastdln.integrate.stabilized import Stabilized
from fastdln.integrate.tableau import Tableau
from fastdln.kernels.program import program
from fastdln.losses import Loss
from fastdln.network import Network


class Engine(Protocol):
    """What integrates a problem."""

    def memory(self, problem: Problem, recorded: dict[str, tuple[int, ...]]) -> int:
        """Bytes that a call takes at most, with what is recorded."""

    def run(self, problem: Problem, progress: Callable[[int, int, int], None] | None = None) -> Iterator[Results]:
        """Integrate the trajectories some at a time; ``progress`` hears how many are done and failed, and of all."""


ENGINES: dict[str, Callable[[DTypeLike], Engine]] = {
    "lanes": lambda dtype: Batch(lanes.executor(dtype)),
    "dense": lambda dtype: Batch(dense.executor(dtype)),
    "wide": lambda dtype: Wide(),
}

# Working set of four networks in f64, states and slopes of the method and the scratch, up to which lanes are taken: it
# stays in a second-level cache of 1 to 2 MB.  Near this size dense is as fast (from width 32 on up to 10 % faster with
# AVX-512), but its error sums are those of one network: results would differ in the last bits from those of lanes.
LANES_BYTES = 2 << 20


# Factors pay from this width on, in a layer with both sides at least as wide and PER_RANK times the rank of a slope: a
# step forms no slope then, but works on some 7 r columns.  Measured against dense in one thread: 1.1 to 1.5 times as
# fast at width 512 with r = 2 to 10, as fast at 1024 with r = 32, slower at 1024 with r = 64.
WIDE_FROM, PER_RANK = 512, 32


def choose(name: str, network: Network, loss: Loss, method: Tableau | Stabilized, dtype: DTypeLike) -> Engine:
    """The engine ``name``, or the one that suits the network where it is ``auto``."""
    return ENGINES[best(network, loss, method, dtype) if name == "auto" else name](dtype)


def best(network: Network, loss: Loss, method: Tableau | Stabilized, dtype: DTypeLike) -> str:
    """The engine that suits a network which is not narrowed."""
    if lanes_bytes(network, loss, method, dtype) <= LANES_BYTES:
        return "lanes"
    if isinstance(method, Stabilized):  # the wide engine has explicit methods only
        return "dense"
    rank = min(network.widths[0], network.widths[-1])
    side = max(min(shape) for shape in network.shapes)
    return "wide" if side >= max(WIDE_FROM, PER_RANK * rank) else "dense"


def lanes_bytes(network: Network, loss: Loss, method: Tableau | Stabilized, dtype: DTypeLike) -> int:
    """Bytes that the lanes engine works on, for four networks in f64 or as many bytes of f32."""
    plan = program(network.widths, loss.input_gram is not None)
    return arena_bytes(plan.layers[-1], vectors(method), plan.n_scratch, 4 * np.dtype(dtype).itemsize)
