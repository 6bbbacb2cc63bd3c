"""The subspaces B_0, ..., B_h that the flow of a network does not leave, as orthonormal bases.

    B_0 contains the row space of Sigma, B_h the column spaces of Sigma and of W,
    B_i contains W_i B_{i-1} and W_{i+1}' B_{i+1},    and B_0 contains Sigma_xx B_0,

and they are the least that do so. They grow from those of the target by the images of what was added last; every
addition is one QR decomposition with one decision, which of the new directions are more than rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdln.linalg import Floats, reproducible, transpose
from fastdln.losses import Loss
from fastdln.network import Weights

__all__ = ["Closure", "Decision", "close"]

Rows = NDArray[np.intp]

# What is below this many roundings of what it is computed from is taken for rounding.
ROUNDINGS = 100


class Decision(NamedTuple):
    """A decision on the dimension of one of the subspaces.

    Parameters
    ----------
    layer : int
        The layer of nodes, from 0 for the input to h.
    kept : int
        The number of directions that were added.
    least_kept : float
        The least relative singular value that was kept; infinite where none was.
    largest_dropped : float
        The largest relative singular value that was dropped; 0 where none was.
    """

    layer: int
    kept: int
    least_kept: Any  # of each network, while several are reduced together
    largest_dropped: Any


@dataclass(frozen=True)
class Closure:
    """The subspaces of the networks ``rows`` of a batch, whose dimensions are equal."""

    rows: Rows
    bases: tuple[Floats, ...]
    """Orthonormal columns, shape (len(rows), d_i, k_i); a subspace {0} has one column of zeros."""
    decisions: tuple[Decision, ...]


@reproducible
def close(weights: Weights, loss: Loss, rtol: float) -> list[Closure]:
    """Close the subspaces of every network of a batch, those of equal dimensions together.

    Parameters
    ----------
    weights : tuple of h ndarrays, shape (n, d_i, d_{i-1})
        Finite weights.
    loss : Loss
        One target, or n.
    rtol : float
        Directions are dropped up to this part of what they are computed from; with 0 none is, and the dimensions
        follow from the widths alone.

    Returns
    -------
    list of Closure
        Every network is in one of them; its bases do not depend on the others.
    """
    scaled = tuple(_scaled(W.astype(np.float64, copy=False)) for W in weights)
    pending, closed = _seeds(scaled, loss, rtol), []
    while pending:
        growing = pending.pop()
        layer = growing.next_layer()
        if layer is None:
            closed.append(growing.closure())
        else:
            pending += growing.grow(layer, rtol)
    return closed


class _Images(NamedTuple):
    """Directions that a subspace must contain."""

    vectors: Floats
    sizes: Floats  # of what rounding acts on where they are computed: |W||b| for W b

    @classmethod
    def of(cls, matrix: Floats, basis: Floats) -> _Images:
        return cls(matrix @ basis, np.linalg.norm(np.abs(matrix) @ np.abs(basis), axis=-2))


@dataclass(frozen=True)
class _Growing:
    """Subspaces on their way to being closed."""

    rows: Rows
    weights: Weights
    gram: Floats | None
    bases: tuple[Floats, ...]
    used_above: tuple[int, ...]  # columns of B_i whose images in B_{i+1} are there
    used_below: tuple[int, ...]  # columns of B_i whose images in B_{i-1} are there
    used_gram: int  # columns of B_0 whose images under the input Gram matrix are there
    product: bool  # whether the column space of W is still to be added to B_h
    decisions: tuple[Decision, ...]
    last: int = 0

    def next_layer(self) -> int | None:
        """The next layer, going round, that lacks directions."""
        layers = len(self.bases)
        around = ((self.last + step) % layers for step in range(1, layers + 1))
        return next((i for i in around if not _full(self.bases[i]) and self._lacks(i)), None)

    def _lacks(self, i: int) -> bool:
        h = len(self.bases) - 1
        return bool(
            (i > 0 and self.bases[i - 1].shape[-1] > self.used_above[i - 1])
            or (i < h and self.bases[i + 1].shape[-1] > self.used_below[i + 1])
            or (i == 0 and self.gram is not None and self.bases[0].shape[-1] > self.used_gram)
            or (i == h and self.product)
        )

    def _images(self, i: int) -> list[_Images]:
        """All that B_i lacks."""
        h, images = len(self.bases) - 1, []
        if i > 0:
            images.append(_Images.of(self.weights[i - 1], self.bases[i - 1][..., self.used_above[i - 1] :]))
        if i < h:
            images.append(_Images.of(transpose(self.weights[i]), self.bases[i + 1][..., self.used_below[i + 1] :]))
        if i == 0 and self.gram is not None:
            images.append(_Images.of(self.gram, self.bases[0][..., self.used_gram :]))
        if i == h and self.product:
            images.append(_whole_product(self.weights))
        return [found for found in images if found.vectors.shape[-1]]

    def grow(self, i: int, rtol: float) -> list[_Growing]:
        """Add to B_i what it lacks; networks whose dimensions differ then part."""
        images = self._images(i)
        vectors, sizes = (np.concatenate(parts, axis=-1) for parts in zip(*images, strict=True))
        basis, columns = self.bases[i], self.bases[i].shape[-1]
        relative = vectors / np.where(sizes > 0, sizes, 1.0)[..., None, :]
        Q, R = np.linalg.qr(np.concatenate([basis, relative], axis=-1))
        new, rest = Q[..., columns:], R[..., columns:, columns:]  # rest: what is orthogonal to the basis
        grown = replace(
            self,
            used_above=_at(self.used_above, i - 1, lambda k: self.bases[k].shape[-1]),
            used_below=_at(self.used_below, i + 1, lambda k: self.bases[k].shape[-1]),
            used_gram=columns if i == 0 else self.used_gram,
            product=self.product and i < len(self.bases) - 1,
            last=i,
        )
        if rtol == 0:
            return [grown._with(i, np.concatenate([basis, new], axis=-1))]
        parts = []
        for rows, decision in _decide(i, np.linalg.svd(rest, compute_uv=False), rtol):
            kept = new[rows]
            if decision.kept < new.shape[-1]:
                kept = kept @ np.linalg.svd(rest[rows], full_matrices=False)[0][..., : decision.kept]
            part = grown._take(rows)._with(i, np.concatenate([basis[rows], kept], axis=-1))
            parts.append(replace(part, decisions=(*part.decisions, decision)))
        return parts

    def _with(self, i: int, basis: Floats) -> _Growing:
        return replace(self, bases=(*self.bases[:i], basis, *self.bases[i + 1 :]))

    def _take(self, rows: Rows) -> _Growing:
        if len(rows) == len(self.rows):
            return self
        return replace(
            self,
            rows=self.rows[rows],
            weights=tuple(W[rows] for W in self.weights),
            bases=tuple(B[rows] for B in self.bases),
            decisions=tuple(
                d._replace(least_kept=d.least_kept[rows], largest_dropped=d.largest_dropped[rows])
                for d in self.decisions
            ),
        )

    def closure(self) -> Closure:
        n = len(self.rows)
        bases = []
        for B in self.bases:
            d, k = B.shape[-2:]
            full = np.broadcast_to(np.eye(d), (n, d, d))
            bases.append(full if k == d else np.zeros((n, d, 1)) if k == 0 else B)
        return Closure(self.rows, tuple(bases), self.decisions)


def _seeds(weights: Weights, loss: Loss, rtol: float) -> list[_Growing]:
    """The subspaces of the target's modes."""
    n, h = len(weights[0]), len(weights)
    U, sigma, V = loss.modes
    relative = np.broadcast_to(sigma / np.maximum(sigma[..., :1], np.finfo(float).tiny), (n, sigma.shape[-1]))
    cut = ROUNDINGS * np.finfo(float).eps if rtol else -1.0  # targets are in float64, whatever the weights are
    parts = []
    for rows, decision in _decide(0, relative, cut):
        rank, g = decision.kept, len(rows)
        ends = [
            np.broadcast_to(np.eye(d), (g, d, d))
            if rank == d
            else np.broadcast_to((side[rows] if loss.batch_shape else side)[..., :rank], (g, d, rank))
            for side, d in ((V, loss.shape[1]), (U, loss.shape[0]))
        ]
        bases = (ends[0], *(np.zeros((g, W.shape[-2], 0)) for W in weights[:-1]), ends[1])
        # W = 0 on the complement of B_0 if that is {0}, and likewise at the output
        product = rank < min(loss.shape)
        decisions = (decision, decision._replace(layer=h)) if rtol else ()
        none = (0,) * (h + 1)
        taken = tuple(W[rows] for W in weights) if g < n else weights
        parts.append(_Growing(rows, taken, loss.input_gram, bases, none, none, 0, product, decisions))
    return parts


def _decide(layer: int, values: Floats, cut: float) -> list[tuple[Rows, Decision]]:
    """Keep the singular values above ``cut``; networks that keep as many, and the decision on them."""
    kept = (values > cut).sum(axis=-1)
    padded = np.pad(values, [(0, 0), (1, 1)])
    padded[:, 0] = np.inf
    parts = []
    for count in np.unique(kept):
        rows = np.flatnonzero(kept == count)
        parts.append((rows, Decision(layer, int(count), padded[rows, count], padded[rows, count + 1])))
    return parts


def _whole_product(weights: Weights) -> _Images:
    """The columns of W, and of |W_h| ... |W_1|."""
    product, sizes = weights[0], np.abs(weights[0])
    for W in weights[1:]:
        product, sizes = W @ product, np.abs(W) @ sizes
    return _Images(product, np.linalg.norm(sizes, axis=-2))


def _scaled(W: Floats) -> Floats:
    """The matrices divided by powers of two, so that no product of them overflows or vanishes."""
    largest = np.abs(W).max(axis=(-2, -1), keepdims=True)
    return np.asarray(np.ldexp(W, -np.frexp(largest)[1]))


def _full(basis: Floats) -> bool:
    return bool(basis.shape[-2] == basis.shape[-1])


def _at(values: tuple[int, ...], place: int, value: Callable[[int], int]) -> tuple[int, ...]:
    """The values with another one at a place, if there is such a place."""
    if not 0 <= place < len(values):
        return values
    return (*values[:place], value(place), *values[place + 1 :])
