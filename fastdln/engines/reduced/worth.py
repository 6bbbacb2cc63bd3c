"""Whether the narrow network is cheaper, by the widths alone."""

from __future__ import annotations

from fastdln.engines.reduced.krylov.levels import cost
from fastdln.losses import Loss
from fastdln.network import Network
from fastdln.theory.reduction.bounds import widths

# The reduction itself, in a batch of 64, takes about 20 us, 0.1 us for each weight, and 1.5 ns d k^2 for each basis of
# k columns in d dimensions: here in flops for each right-hand side of a flow.  That of one layer takes a third of them.
OVERHEAD_FLOPS, WEIGHT_FLOPS, BASIS_FLOPS, FEWER = 1200, 6, 0.1, 3
# How many times cheaper the narrow network must be (`python -m bench.choice`).
MARGIN = 1.2


def pays(network: Network, loss: Loss) -> bool:
    """Whether the widths alone promise that the narrow network is cheaper, its making included."""
    narrow, data = widths(network, loss), loss.form.gram
    bases = BASIS_FLOPS * sum(d * k**2 for d, k in zip(network.widths, narrow, strict=True))
    making = (OVERHEAD_FLOPS + WEIGHT_FLOPS * network.n_parameters + bases) * (FEWER if network.depth == 1 else 1)
    return MARGIN * cost(narrow, data) + making < cost(network.widths, data)
