"""Random critical points for the tests of landscapes, and the Hessian in a way that shares nothing with the library."""

from __future__ import annotations

import numpy as np

from fastdln.field import rhs
from fastdln.losses import Quadratic
from fastdln.network import Network
from fastdln.theory import landscape

VALUES = (0.0, 1.0, 1.5, 2.0, 3.0, 3.0)


def random_problem(rng, depths=(1, 5), widths=(1, 4), values=VALUES):
    """A network, a loss whose sigma may repeat or vanish, and modes that a critical point can have learned."""
    net = Network(rng.integers(*widths, size=rng.integers(*depths, endpoint=True) + 1, endpoint=True))
    shape = (net.widths[-1], net.widths[0])
    sigma = np.sort(rng.choice(values, min(shape)))[::-1]
    loss = Quadratic.from_singular_values(sigma, shape, rng=rng)
    positive = int((sigma > 0).sum())
    if net.depth == 1:
        return net, loss, tuple(range(positive))
    rank = int(rng.integers(0, min(net.rank, positive), endpoint=True))
    leading = rng.random() < 0.6
    return net, loss, tuple(range(rank)) if leading else tuple(rng.choice(positive, rank, replace=False).tolist())


def random_chains(rng, net, loss, learned):
    """Chains that fit, found by trying: pairs and triples, up to five of them."""
    chains = []
    for _ in range(rng.integers(0, 6)):
        chain = tuple(sorted(rng.integers(0, net.depth + 1, 2).tolist()))
        if rng.random() < 0.4:
            chain = (*chain, int(rng.integers(0, min(loss.shape))))
        try:
            landscape.critical_point(net, loss, learned, [*chains, chain])
        except ValueError:
            continue
        chains.append(chain)
    return chains


def random_critical_point(rng, condition=10.0, **problem):
    """A network, a loss, the learned modes, the chains and the weights."""
    net, loss, learned = random_problem(rng, **problem)
    chains = random_chains(rng, net, loss, learned)
    return net, loss, learned, chains, landscape.critical_point(net, loss, learned, chains, rng, condition)


def dense_hessian(net, weights, loss, step=1e-3):
    """Minus the Jacobian of the flow, by differences that are exact to fourth order in the step."""
    flat = net.pack(weights)
    steps = step * np.array([-2.0, -1.0, 1.0, 2.0])
    moved = flat + steps[:, None, None] * np.eye(len(flat))
    fields = net.pack(rhs(net.unpack(moved), loss))
    jacobian = np.tensordot(np.array([1.0, -8.0, 8.0, -1.0]) / (12 * step), fields, axes=1)
    return -(jacobian + jacobian.T) / 2
