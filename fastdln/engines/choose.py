"""Which engine advances a batch as it is; whether it is narrowed before, `fastdln.engines.reduced` says.

The choice depends on widths, loss, method and precision alone, never on the batch or the machine: nor do results.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import DTypeLike

from fastdln.engines import dense, lanes
from fastdln.engines.arena import arena_bytes
from fastdln.engines.recipe import Executor
from fastdln.integrate.tableau import Tableau
from fastdln.kernels.program import program
from fastdln.losses import Loss
from fastdln.network import Network

ENGINES: dict[str, Callable[[DTypeLike], Executor]] = {"lanes": lanes.executor, "dense": dense.executor}

# Working set of four networks in f64, states and slopes of the method and the scratch, up to which lanes are taken: it
# stays in a second-level cache of 1 to 2 MB.  Near this size BLAS is as fast (from width 32 on up to 15 % faster with
# AVX-512), but the bits of lanes do not depend on a BLAS.
LANES_BYTES = 2 << 20


def choose(name: str, network: Network, loss: Loss, tableau: Tableau, dtype: DTypeLike) -> Executor:
    """The executor of the engine ``name``, or of the one that suits the network where it is ``auto``."""
    if name == "auto":
        plan = program(network.widths, loss.input_gram is not None)
        entry = 4 * np.dtype(dtype).itemsize
        slopes = tableau.stages + len(tableau.extra)
        name = "lanes" if arena_bytes(plan.layers[-1], slopes, plan.n_scratch, entry) <= LANES_BYTES else "dense"
    return ENGINES[name](dtype)
