"""Initial conditions with given balance matrices C_i = W_{i+1}' W_{i+1} - W_i W_i', which the flow conserves.

0-balanced: all C_i = 0; delta-balanced: max_i ||C_i||_2 <= delta; lambda-balanced: C_i = lambda_i I (survey,
arXiv 2511.10362, section on conservation laws).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import ArrayLike

from fastdln.checked import checked
from fastdln.field import balance, product
from fastdln.inits.alignment import along
from fastdln.inits.plain import gaussian
from fastdln.inits.streams import Rng, check_scale, draw, trajectories, unbatch
from fastdln.linalg import Floats, haar, reproducible, spectral, transpose
from fastdln.network import Network, Weights

__all__ = ["balanced", "delta_balanced", "lambda_balanced"]


@checked
@reproducible
@np.errstate(over="ignore", invalid="ignore")  # `unbatch` refuses what has overflowed
def balanced(net: Network, scale: float = 1.0, *, size: int | None = None, rng: Rng = None, first: int = 0) -> Weights:
    """Draw 0-balanced weights: W_{i+1}' W_{i+1} = W_i W_i' in every hidden layer.

    The product of ``gaussian(net, scale)`` has a decomposition U D V' of rank r_max; its root D^(1/h) goes to
    every layer, W_i = O_i D^(1/h) O_{i-1}', with O_0 = V, O_h = U and random orthonormal columns in between.
    The product is that of the Gaussian weights (S. Arora, N. Cohen, N. Golowich & W. Hu, ICLR 2019).

    Parameters
    ----------
    net : Network
        The network.
    scale : float
        That of the Gaussian weights whose product is taken.
    size : int, optional
        The number of trajectories; None gives one network without a batch axis.
    rng : Generator, SeedSequence or int, optional
        The source of randomness.
    first : int
        The index of the first trajectory.

    Returns
    -------
    tuple of h ndarrays, shape (size, d_i, d_{i-1})
        The weights.

    Examples
    --------
    >>> (C,) = balance(balanced(Network((4, 3, 2)), scale=0.1, rng=0))
    >>> np.allclose(C, 0, atol=1e-15)
    True
    """
    check_scale("scale", scale)
    hidden = [(d, net.rank) for d in net.widths[1:-1]]
    draws = draw([*net.shapes, *hidden], size, rng, first)
    layers, frames = draws[: net.depth], draws[net.depth :]
    U, D, Vt = np.linalg.svd(product([G / np.sqrt(G.shape[-1]) for G in layers]), full_matrices=False)
    # scale^h D would underflow in deep networks; its root does not.
    root = scale * D[..., : net.rank] ** (1 / net.depth)
    bases = [transpose(Vt)[..., : net.rank], *map(haar, frames), U[..., : net.rank]]
    return unbatch(along(bases, [root] * net.depth), size)


@checked
@reproducible
@np.errstate(over="ignore", invalid="ignore")  # `unbatch` refuses what has overflowed
def delta_balanced(net: Network, delta: float, *, size: int | None = None, rng: Rng = None, first: int = 0) -> Weights:
    """Draw delta-balanced weights: Gaussian ones, scaled so that max_i ||C_i||_2 = delta.

    Parameters
    ----------
    net : Network
        The network, with at least two layers.
    delta : float
        The largest spectral norm of the balance matrices C_i = W_{i+1}' W_{i+1} - W_i W_i'.
    size : int, optional
        The number of trajectories; None gives one network without a batch axis.
    rng : Generator, SeedSequence or int, optional
        The source of randomness.
    first : int
        The index of the first trajectory.

    Returns
    -------
    tuple of h ndarrays, shape (size, d_i, d_{i-1})
        The weights.

    Examples
    --------
    >>> (C,) = balance(delta_balanced(Network((4, 3, 2)), delta=0.04, rng=0))
    >>> round(float(np.linalg.norm(C, 2)), 12)
    0.04
    """
    check_scale("delta", delta)
    if net.depth < 2:
        raise ValueError(f"{net} has one layer and no balance matrix: expected a network of two layers or more")
    weights = gaussian(net, size=trajectories(size, first), rng=rng, first=first)
    largest = np.max([spectral(C) for C in balance(weights)], axis=0)
    factor = np.sqrt(delta / largest)[:, None, None]
    return unbatch((factor * W for W in weights), size)


@checked
@reproducible
@np.errstate(over="ignore", invalid="ignore")  # `unbatch` refuses what has overflowed
def lambda_balanced(
    net: Network,
    lambdas: ArrayLike,
    scale: float = 1.0,
    *,
    size: int | None = None,
    rng: Rng = None,
    first: int = 0,
) -> Weights:
    """Draw lambda-balanced weights: C_i = lambda_i I in every hidden layer.

    The squared singular values of W_{i+1} are those of W_i plus lambda_i, so those of W_1 determine all. Of
    these, as many as the widths allow are free: they are the squared singular values of the first layer of
    ``gaussian(net, scale)``, plus what keeps every later one nonnegative. The singular vectors are random.

    Parameters
    ----------
    net : Network
        The network.
    lambdas : array_like, shape (h-1,)
        The numbers lambda_1, ..., lambda_{h-1}.
    scale : float
        The size of the free singular values.
    size : int, optional
        The number of trajectories; None gives one network without a batch axis.
    rng : Generator, SeedSequence or int, optional
        The source of randomness.
    first : int
        The index of the first trajectory.

    Returns
    -------
    tuple of h ndarrays, shape (size, d_i, d_{i-1})
        The weights.

    Raises
    ------
    ValueError
        If no such weights exist: the message names the layer where it fails.

    Examples
    --------
    >>> (C,) = balance(lambda_balanced(Network((3, 2, 2)), [-0.5], rng=0))
    >>> np.allclose(C, -0.5 * np.eye(2))
    True
    """
    check_scale("scale", scale)
    steps = np.asarray(lambdas, dtype=np.float64)
    if steps.shape != (net.depth - 1,) or not np.isfinite(steps).all():
        raise ValueError(f"lambdas must be {net.depth - 1} finite numbers, one a hidden layer, not {lambdas!r}")
    plan = _plan(net, steps.tolist())
    hidden = [(d, d) for d in net.widths[1:-1]]
    ends = [(net.widths[0], min(net.widths[:2])), (net.widths[-1], min(net.widths[-2:]))]
    G, *frames = draw([net.shapes[0], ends[0], *hidden, ends[1]], size, rng, first)
    bases = [haar(F) for F in frames]
    free = plan.floor + (scale / np.sqrt(G.shape[-1]) * np.linalg.svd(G, compute_uv=False)) ** 2
    free = np.where(np.isnan(plan.pinned), free, plan.pinned)
    weights = []
    for links, below, above in zip(plan.layers, bases[:-1], bases[1:], strict=True):
        S = np.zeros((len(G), above.shape[-1], below.shape[-1]))
        for link in links:
            square = link.offset if link.free is None else free[:, link.free] + link.offset
            S[:, link.row, link.column] = np.sqrt(np.maximum(square, 0))
        weights.append(above @ S @ transpose(below))
    return unbatch(weights, size)


@dataclass(frozen=True)
class _Link:
    """A singular value of a layer: its square is `offset`, plus the free parameter of that number."""

    row: int
    column: int
    free: int | None
    offset: float


@dataclass(frozen=True)
class _Plan:
    """The singular values of all layers, by the parameters p that are free in W_1."""

    layers: Sequence[Sequence[_Link]]
    pinned: Floats
    """The value that a parameter must have, shape (min(d_0, d_1),); NaN where it is free."""
    floor: float
    """The least value that a free parameter may have."""


def _plan(net: Network, lambdas: Sequence[float]) -> _Plan:
    """Follow the eigenvalues of W_i W_i' from layer to layer.

    Each hidden layer carries d_i of them. All grow by lambda_i on the way into W_{i+1}' W_{i+1}, where none
    may be negative; where the network narrows some must end, hence be zero; where it widens zeros begin.
    A parameter of W_1 is free until it has to end: then it must be minus the sum of the lambdas so far, which
    keeps it nonnegative before only if that sum has never been lower.
    """
    n_free = min(net.widths[:2])
    tolerance = 8 * np.finfo(float).eps * sum(map(abs, lambdas))
    pinned = np.full(n_free, np.nan)
    layers = [[_Link(j, j, j, 0.0) for j in range(n_free)]]
    # One (free parameter or None, offset) for each eigenvalue of W_i W_i'.
    lines: list[tuple[int | None, float]] = [(j, 0.0) for j in range(n_free)]
    lines += [(None, 0.0)] * (net.widths[1] - n_free)
    sums = np.array([0.0, *accumulate(lambdas)])
    for i, (step, total, width) in enumerate(zip(lambdas, sums[1:], net.widths[2:], strict=True), start=2):
        lines = [(free, value + step if abs(value + step) > tolerance else 0.0) for free, value in lines]
        fixed = [value for free, value in lines if free is None]
        if min(fixed, default=0.0) < 0:
            raise ValueError(
                f"lambdas={list(lambdas)} are not feasible for {net}: in layer {i}, "
                f"W_{i}' W_{i} = W_{i - 1} W_{i - 1}' + ({step:g}) I would have the eigenvalue {min(fixed):g}"
            )
        ends = [k for k, line in enumerate(lines) if line == (None, 0.0)]
        if total <= sums[:i].min() + tolerance:
            ends += [k for k, (free, _) in reversed(list(enumerate(lines))) if free is not None]
        surplus = max(len(lines) - width, 0)
        if surplus > len(ends):
            raise ValueError(
                f"lambdas={list(lambdas)} are not feasible for {net}: in layer {i}, "
                f"W_{i}' W_{i} = W_{i - 1} W_{i - 1}' + ({step:g}) I would have at least "
                f"{len(lines) - len(ends)} nonzero eigenvalues, but W_{i} has {width} rows"
            )
        for free in (lines[k][0] for k in ends[:surplus]):
            if free is not None:
                pinned[free] = -total
        kept = [k for k in range(len(lines)) if k not in ends[:surplus]]
        layers.append([_Link(row, column, *lines[column]) for row, column in enumerate(kept)])
        lines = [lines[k] for k in kept] + [(None, 0.0)] * (width - len(kept))
    return _Plan(layers, pinned, floor=-float(sums.min()))
