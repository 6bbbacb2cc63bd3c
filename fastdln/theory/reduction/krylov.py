"""Subspaces that the flow of a network hardly leaves: those of `closure`, stopped after some sweeps.

Level 0 is all of input and output. With each level the subspaces of the inner layers of nodes gain what the layers
beside them make of the last one,

    B_i <- B_i + W_i B_{i-1} + W_{i+1}' B_{i+1}.

So a layer leads from level l to level l + 1 at most, and a network that is reduced to level L lacks only what the last
level sends beyond it. The flow moves weights by products through few layers from the two ends: it notices that in high
order. If there is nothing left to be added the reduction is exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from fastdln.linalg import Floats, reproducible
from fastdln.network import Network, Weights
from fastdln.theory.reduction.closure import ROUNDINGS
from fastdln.theory.reduction.products import Each, images, in_turn

__all__ = ["Krylov", "widths_by_level"]

LARGER = 1.25  # a norm is at most this many times what a few power iterations find


def widths_by_level(net: Network) -> Iterator[tuple[int, ...]]:
    """Bound the widths of a network that is reduced to a level.

    Parameters
    ----------
    net : Network
        The network.

    Yields
    ------
    tuple of int
        The widths at level 0, 1, ... for generic weights, as long as they grow; 0 where nothing has arrived yet.

    Examples
    --------
    >>> list(widths_by_level(Network((3, 8, 8, 2))))
    [(3, 0, 0, 2), (3, 3, 2, 2), (3, 5, 5, 2), (3, 8, 7, 2), (3, 8, 8, 2)]
    """
    d = net.widths
    total = new = [d[0], *(0 for _ in d[1:-1]), d[-1]]
    while any(new):
        yield tuple(total)
        reached = [0, *(a + b for a, b in zip(new, new[2:], strict=False)), 0]
        new = [min(n, d_i - k) for n, d_i, k in zip(reached, d, total, strict=True)]
        total = [a + b for a, b in zip(total, new, strict=True)]


class Krylov:
    """Bases of the subspaces of one network, level by level.

    Parameters
    ----------
    weights : tuple of h ndarrays, shape (d_i, d_{i-1})
        Finite weights of at least two layers, rows contiguous.
    each : callable
        What does the parts of a pass through a layer.

    Attributes
    ----------
    bases : list of h+1 ndarrays, shape (k_i, d_i)
        Orthonormal rows, in the order of their levels; all of input and output.
    levels : list of h+1 ndarrays of int, shape (k_i,)
        Their levels.
    level : int
        The last one.
    closed : bool
        Whether there is nothing left to be added: then the reduction is exact.
    dropped : bool
        Whether directions were left out that are rounding.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> shapes = (40, 2), (40, 40), (3, 40)
    >>> krylov = Krylov(tuple(rng.standard_normal(shape) for shape in shapes))
    >>> krylov.grow(3)
    >>> krylov.widths, krylov.closed
    ((2, 7, 8, 3), False)
    >>> krylov.grow(20)
    >>> krylov.widths, krylov.closed
    ((2, 40, 40, 3), True)
    """

    def __init__(self, weights: Weights, each: Each = in_turn) -> None:
        self.weights, self._each = weights, each
        sizes = (weights[0].shape[1], *(W.shape[0] for W in weights))
        self._scales = [float(np.linalg.norm(W.ravel())) for W in weights]
        ends = 0, len(weights)
        self.bases = [np.eye(d) if i in ends else np.zeros((0, d)) for i, d in enumerate(sizes)]
        self.levels = [np.zeros(len(B), np.int64) for B in self.bases]
        self.level, self.dropped = 0, False
        self._images: list[list[Floats]] = [[] for _ in weights]  # W_i of all rows of B_{i-1}, level by level
        # what the next level adds to each layer of nodes, before it is made orthonormal
        self._pending: list[list[Floats]] = [[] for _ in sizes]
        if len(weights) > 1:
            self._pending[1].append(_scaled(weights[0].T, self._scales[0]))
            self._pending[-2].append(_scaled(weights[-1], self._scales[-1]))
        rng = np.random.default_rng(0)
        self._probes = [(_unit(rng.standard_normal((1, n))), _unit(rng.standard_normal((1, m)))) for m, n in
                        (W.shape for W in weights)]  # fmt: skip
        self._norms = np.zeros(len(weights))

    @property
    def widths(self) -> tuple[int, ...]:
        """The numbers of columns k_0, ..., k_h."""
        return tuple(len(B) for B in self.bases)

    @property
    def closed(self) -> bool:
        """Whether no layer of nodes lacks anything."""
        return not any(self._pending)

    @property
    def norms(self) -> tuple[float, ...]:
        """Numbers that the spectral norms of the inner layers hardly exceed, by power iterations along the way."""
        return tuple(LARGER * x for x in self._norms)

    @reproducible
    def grow(self, level: int) -> None:
        """Add levels, as long as there is something to be added.

        Parameters
        ----------
        level : int
            The last level.
        """
        while self.level < level and not self.closed:
            self.level += 1
            new = [self._extend(i, found) for i, found in enumerate(self._pending)]
            self._pending = [[] for _ in new]
            for i in range(1, len(self.weights) - 1):
                self._multiply(i, new[i], new[i + 1])
            for i, parts in enumerate(self._pending):
                if len(self.bases[i]) == self.bases[i].shape[1]:
                    parts.clear()

    @reproducible
    def narrow(self) -> Weights:
        """The weights B_i' W_i B_{i-1} of the narrow network."""
        first, last = self.weights[0], self.weights[-1]
        if len(self.weights) == 1:
            return (first,)
        inner = [
            B @ (np.concatenate(found) if found else np.zeros((0, B.shape[1]))).T
            for B, found in zip(self.bases[2:-1], self._images[1:-1], strict=True)
        ]
        narrow = (self.bases[1] @ first, *inner, last @ self.bases[-2].T)
        return tuple(W.astype(first.dtype) for W in narrow)

    @reproducible
    def left_out(self) -> float:
        """||W - B V B'||_F, of all layers together, with the weights V of the narrow network."""
        left = sum(norm**2 for norm in self._scales) - sum(float(np.linalg.norm(V)) ** 2 for V in self.narrow())
        return math.sqrt(max(left, 0.0))

    @reproducible
    def lift(self, weights: Weights, start: Weights, shrink: float, out: Weights) -> None:
        """Write the weights of the wide network, given those of the narrow one.

        Parameters
        ----------
        weights : tuple of h ndarrays, shape (k_i, k_{i-1})
            Weights V_i of the narrow network.
        start : tuple of h ndarrays, shape (k_i, k_{i-1})
            Those at the start, V_i(0), as `narrow` gives them.
        shrink : float
            e^(-mu t).
        out : tuple of h ndarrays, shape (d_i, d_{i-1})
            Where e^(-mu t) W_i(0) + B_i (V_i - e^(-mu t) V_i(0)) B_{i-1}' goes.
        """
        for V, V_0, W, (below, above), result in zip(
            weights, start, self.weights, pairwise(self.bases), out, strict=True
        ):
            change = (V - shrink * V_0).astype(W.dtype)
            np.matmul((change.T @ above.astype(W.dtype)).T, below.astype(W.dtype), out=result)
            result += W if shrink == 1.0 else W.dtype.type(shrink) * W

    def _extend(self, i: int, parts: list[Floats]) -> Floats:
        """Add to B_i what of the parts is not in it and not rounding; returns what was added."""
        B = self.bases[i]
        if not parts:
            return B[:0]
        found = np.concatenate(parts)
        count = len(found)
        rest = found - (found @ B.T) @ B
        Q, R = np.linalg.qr(rest.T)
        left, values, _ = np.linalg.svd(R, full_matrices=False)
        kept = int((values > ROUNDINGS * np.finfo(self.weights[0].dtype).eps).sum())
        kept = min(kept, B.shape[1] - len(B))
        if kept < count:
            self.dropped |= kept < B.shape[1] - len(B)
            Q = Q @ left[:, :kept]
        new = Q.T - (Q.T @ B.T) @ B
        new = np.ascontiguousarray(np.linalg.qr(new.T)[0].T)
        self.bases[i] = np.concatenate([B, new])
        self.levels[i] = np.concatenate([self.levels[i], np.full(kept, self.level)])
        return new

    def _multiply(self, i: int, below: Floats, above: Floats) -> None:
        """Find what layer i + 1 makes of new directions below and above it, and more of its norm."""
        p, q = self._probes[i]
        W = self.weights[i]
        forward, backward = (
            x.astype(np.float64, copy=False)
            for x in images(W, np.concatenate([below, p]), np.concatenate([above, q]), self._each)
        )
        self._images[i].append(forward[:-1])
        for parts, found in ((self._pending[i + 1], forward[:-1]), (self._pending[i], backward[:-1])):
            if len(found):
                parts.append(_scaled(found, self._scales[i]))
        self._norms[i] = max(self._norms[i], np.linalg.norm(forward[-1]), np.linalg.norm(backward[-1]))
        self._probes[i] = _unit(backward[-1:]), _unit(forward[-1:])


def _scaled(vectors: Floats, scale: float) -> Floats:
    """Vectors relative to a scale."""
    return np.asarray(vectors, np.float64) / (scale or 1.0)


def _unit(vector: Floats) -> Floats:
    size = np.linalg.norm(vector)
    return vector / size if size > 0 else vector
