"""How many levels of Krylov subspaces pay."""

from __future__ import annotations

import functools
import math

from fastdln.kernels.products.program import program
from fastdln.network import Network
from fastdln.theory.reduction.defect import needed
from fastdln.theory.reduction.krylov import widths_by_level

# What a right-hand side costs: its flops, and those of stages and error estimates, STAGE_FLOPS per weight.
STAGE_FLOPS = 12
MARGIN = 3.0  # how many times cheaper the two narrow networks must be together

# What "auto" asks for: the lesser side of a layer, and room for a multiple of the level to begin with, and for one more
# for each layer beyond three, where the wide engine gains more, too (`python -m bench.choice`).
FROM, ROOM = 128, 1.8


def cost(widths: tuple[int, ...], data: bool) -> float:
    """Flops of a right-hand side with what it needs of the stages of a step."""
    return program(widths, data).flops + STAGE_FLOPS * Network(widths).n_parameters


def first_level(depth: int) -> int:
    """The level to begin with: from both ends the flow has come past each other."""
    return max(4, depth - 1) + needed(depth)


@functools.cache
def last_level(network: Network, data: bool) -> int:
    """The last level that pays, or 0 where there is none."""
    if network.depth < 3:
        return 0
    most, first, last = cost(network.widths, data) / (2 * MARGIN), first_level(network.depth), 0
    for level, narrow in enumerate(widths_by_level(network)):
        if level >= first:
            if cost(narrow, data) > most:
                break
            last = level
    return last


def promises(network: Network, data: bool) -> bool:
    """Whether the widths alone promise much: a wide layer, and room for many levels."""
    room = ROOM * first_level(network.depth) + max(0, network.depth - 3)
    return max(map(min, network.shapes)) >= FROM and last_level(network, data) >= room


def more(level: int, error: float, decay: float) -> int:
    """The level to go to when the error, in tolerances, is ``error`` and decays by ``decay`` from level to level."""
    if not math.isfinite(error):
        return level + 2
    slowest, fastest = 0.7, 1e-3  # what a decay of few levels is believed
    return level + math.ceil(math.log(2 * error) / -math.log(min(max(decay, fastest), slowest)))
