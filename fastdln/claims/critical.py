"""Random critical points, built from learned modes and residual chains (T6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from fastdln.claims.instances import networks
from fastdln.linalg import Floats, haar
from fastdln.losses import Quadratic
from fastdln.network import Network, Weights

__all__ = ["critical_point", "critical_points", "learned_modes", "values"]


def critical_points(
    rng: np.random.Generator,
    count: int,
    *,
    depths: tuple[int, int] = (2, 5),
    widths: tuple[int, int] = (1, 4),
    degenerate: bool = True,
) -> Iterator[tuple[Network, Quadratic, tuple[int, ...], Weights]]:
    """Yield networks with a loss, the learned modes, and a critical point that has learned them.

    With `degenerate` some targets have zero or repeated singular values.
    """
    for net in networks(rng, count, depths=depths, widths=widths):
        sigma = values(rng, min(net.widths[0], net.widths[-1]), degenerate)
        loss = Quadratic.from_singular_values(sigma, (net.widths[-1], net.widths[0]), rng=rng)
        learned = learned_modes(rng, net, sigma)
        yield net, loss, learned, critical_point(rng, net, loss, learned)


def values(rng: np.random.Generator, count: int, degenerate: bool) -> Floats:
    """Draw singular values of multiples of 0.5; all positive and distinct unless `degenerate`."""
    if degenerate and rng.random() < 0.5:
        return np.asarray(np.sort(0.5 * rng.integers(0, 4, count))[::-1])
    return np.asarray(0.5 * np.sort(rng.choice(np.arange(1, 2 * count + 2), count, replace=False))[::-1])


def learned_modes(rng: np.random.Generator, net: Network, sigma: Floats) -> tuple[int, ...]:
    """Draw a set of modes that a critical point can have learned; every other time the leading ones."""
    positive = int((sigma > 0).sum())
    if net.depth == 1:
        return tuple(range(positive))
    rank = int(rng.integers(0, min(net.rank, positive), endpoint=True))
    if rng.random() < 0.5:
        return tuple(range(rank))
    return tuple(sorted(rng.choice(positive, rank, replace=False).tolist()))


def critical_point(
    rng: np.random.Generator,
    net: Network,
    loss: Quadratic,
    learned: Sequence[int],
    *,
    chains: bool = True,
    condition: float = 3.0,
) -> Weights:
    """Draw a critical point that has learned the given modes.

    Each learned mode passes through one coordinate of every layer. Chains of other coordinates go from one hidden layer
    to another, from an unlearned input direction to a layer b, or from a layer a to an unlearned output direction, and
    add nothing to the product. A gradient could see a mode with sigma > 0 through an input and an output chain that
    leave at most one layer between them: such chains are left out. A gauge of the given condition number hides the
    coordinates.
    """
    h, r = net.depth, len(learned)
    U, sigma, Vt = np.linalg.svd(loss.target)
    layers = [np.zeros(shape) for shape in net.shapes]
    ends = [list(learned) if i in (0, h) else list(range(r)) for i in range(h + 1)]
    for i, layer in enumerate(layers):
        layer[ends[i + 1], ends[i]] = sigma[list(learned)] ** (1 / h)
    if chains:
        _add_chains(rng, layers, _sizes(sigma, max(net.widths)), set(learned), r)
    layers[0] = layers[0] @ Vt
    layers[-1] = U @ layers[-1]
    for i, d in enumerate(net.widths[1:-1]):
        P = haar(rng.standard_normal((d, d))) * condition ** rng.uniform(-0.5, 0.5, d)
        P = P @ haar(rng.standard_normal((d, d)))
        layers[i] = P @ layers[i]
        layers[i + 1] = layers[i + 1] @ np.linalg.inv(P)
    return tuple(layers)


def _sizes(sigma: Floats, count: int) -> Floats:
    """sigma, padded with zeros."""
    return np.concatenate([sigma, np.zeros(max(count - len(sigma), 0))])


def _add_chains(rng: np.random.Generator, layers: list[Floats], sigma: Floats, learned: set[int], r: int) -> None:
    """Write random chains into the coordinates that no learned mode and no other chain uses."""
    h = len(layers)
    widths = [layers[0].shape[1], *(layer.shape[0] for layer in layers)]
    free = [list(range(r, d)) for d in widths]
    free[0], free[h] = ([q for q in range(widths[i]) if q not in learned] for i in (0, h))
    reach = dict.fromkeys(free[0], 0)  # the last layer that an input direction reaches
    origin = dict.fromkeys(free[h], h)  # the first layer that reaches an output direction
    for _ in range(int(rng.integers(0, 2 * max(widths)))):
        a, b = sorted(rng.choice(h + 1, 2, replace=False).tolist())
        if (a, b) == (0, h) or not all(free[a : b + 1]):
            continue
        path = [int(rng.choice(free[i])) for i in range(a, b + 1)]
        if a == 0 and sigma[path[0]] > 0 and origin.get(path[0], h) <= b + 1:
            continue
        if b == h and sigma[path[-1]] > 0 and reach.get(path[-1], 0) >= a - 1:
            continue
        if a == 0:
            reach[path[0]] = b
        if b == h:
            origin[path[-1]] = a
        for i, q in enumerate(path, start=a):
            free[i].remove(q)
        for i in range(a, b):
            layers[i][path[i + 1 - a], path[i - a]] = rng.choice([-1.0, 1.0]) * rng.uniform(0.5, 1.5)
