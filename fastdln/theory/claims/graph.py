"""The network as a graph (T1), its flow as one matrix ODE (T2), nilpotency and Jordan structure (T3)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastdln.field import rhs
from fastdln.theory import adjacency
from fastdln.theory.claims.instances import networks, target, weights
from fastdln.theory.claims.registry import claim


@claim(
    "powers-are-products",
    "T1",
    statement="Block (i, i-k) of A^k is W_i ... W_{i-k+1}, and A^k has no other nonzero block.",
    hypotheses="none",
    instances="all powers of A for 20 networks of depth 2 to 4 and widths 1 to 5; entries of the difference to A^k "
    "multiplied out",
    tolerance=1e-12,
)
def _powers(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20):
        drawn = weights(rng, net)
        A = adjacency.matrix(drawn)
        for k in range(net.depth + 2):
            yield np.abs(adjacency.power(drawn, k) - np.linalg.matrix_power(A, k)).max()


@claim(
    "matrix-ode",
    "T2",
    statement="dA/dt = sum_k (A')^(h-1-k) (E - A^h) (A')^k has the gradient flow of the layers as its blocks.",
    hypotheses="none",
    instances="20 networks of depth 2 to 4 and widths 1 to 5; entries of the difference to the layers' flow",
    tolerance=1e-11,
)
def _matrix_ode(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20):
        drawn, loss = weights(rng, net), target(rng, net)
        field = adjacency.flow_field(adjacency.matrix(drawn), net, loss)
        yield np.abs(field - adjacency.matrix(rhs(drawn, loss))).max()
