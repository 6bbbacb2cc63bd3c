"""Wide networks whose flow is that of narrow ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.checked import checked
from fastdln.linalg import Floats, frobenius, reproducible, transpose
from fastdln.losses import Loss
from fastdln.network import Network, Weights, check_weights
from fastdln.theory.reduction.closure import ROUNDINGS, Decision, close
from fastdln.theory.reduction.restricted import Restricted
from fastdln.theory.whitening import one_target

__all__ = ["Reduction", "default_rtol", "reduce"]

BAND = 1e3  # what is kept within this many times the tolerance is doubtful


@dataclass(frozen=True, eq=False)
class Reduction:
    """A network whose flow is that of a narrower one.

    Parameters
    ----------
    start : tuple of h ndarrays, shape (..., d_i, d_{i-1})
        The weights of the wide network at some moment.
    whole : Loss
        Its loss.
    bases : tuple of h+1 ndarrays, shape (..., d_i, k_i)
        Orthonormal bases B_i of subspaces that the flow does not leave; one column of zeros stands for {0}.
    decisions : tuple of Decision
        The rank decisions that led to them.
    rtol : float
        What these were compared with.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> rng = np.random.default_rng(0)
    >>> weights = rng.standard_normal((50, 2)), rng.standard_normal((3, 50))
    >>> small = reduce(weights, Quadratic(rng.standard_normal((3, 2))))
    >>> small.widths
    (2, 5, 3)
    >>> [W.shape for W in small.weights]
    [(5, 2), (3, 5)]
    """

    start: Weights
    whole: Loss
    bases: tuple[Floats, ...]
    decisions: tuple[Decision, ...]
    rtol: float

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths k_0, ..., k_h of the narrow network."""
        return tuple(B.shape[-1] for B in self.bases)

    @cached_property
    @reproducible
    def weights(self) -> Weights:
        """The weights B_i' W_i B_{i-1} of the narrow network."""
        return tuple(
            (transpose(above) @ W @ below).astype(W.dtype)
            for W, (below, above) in zip(self.start, pairwise(self.bases), strict=True)
        )

    @cached_property
    @reproducible
    def loss(self) -> Loss:
        """The loss of the narrow network, with the target B_h' Sigma B_0 and the modes of the wide one."""
        first, last = self.bases[0], self.bases[-1]
        if all(B.shape[-2] == B.shape[-1] for B in (first, last)):
            return self.whole
        return Restricted(self.whole, last, first)

    @property
    def doubtful(self) -> bool:
        """Whether a direction was kept that is hardly more than rounding: within 1000 times the tolerance.

        A direction that is kept does no harm. But if it is rounding, the network could be narrower.
        """
        return any(np.any(decision.least_kept < BAND * self.rtol) for decision in self.decisions)

    @cached_property
    def defect(self) -> float:
        """How far the subspaces are from closed: the largest relative size of what the flow would move out of them.

        It is the largest of ||(I - B_i B_i') W_i B_{i-1}|| / ||W_i||, ||(I - B_{i-1} B_{i-1}') W_i' B_i|| / ||W_i||,
        the same for the input Gram matrix, ||Sigma - B_h B_h' Sigma B_0 B_0'|| / ||Sigma||, and the part of W on the
        complements relative to the product of the norms of its factors.
        """
        first, last = self.bases[0], self.bases[-1]
        moved = [
            pair
            for W, (below, above) in zip(self.start, pairwise(self.bases), strict=True)
            for pair in ((W, _outside(W @ below, above)), (W, _outside(transpose(W) @ above, below)))
        ]
        whole = self.whole
        if whole.input_gram is not None:
            moved.append((whole.input_gram, _outside(whole.input_gram @ first, first)))
        moved.append((whole.cross, whole.cross - last @ (transpose(last) @ whole.cross @ first) @ transpose(first)))
        found = [frobenius(part) / np.where(frobenius(matrix) > 0, frobenius(matrix), 1.0) for matrix, part in moved]
        rest = np.eye(first.shape[-2]) - first @ transpose(first)
        for W in self.start:
            rest = W @ rest / np.where(frobenius(W) > 0, frobenius(W), 1.0)[..., None, None]
        return float(np.max([np.max(error) for error in (*found, frobenius(_outside(rest, last)))]))

    @reproducible
    def lift(self, weights: Sequence[ArrayLike], elapsed: ArrayLike = 0.0, weight_decay: float = 0.0) -> Weights:
        """Turn weights of the narrow network into those of the wide one.

        With the narrow network at V_i, and at V_i(0) = B_i' W_i(0) B_{i-1} when the wide one is at its start,

            W_i = e^(-mu t) W_i(0) + B_i (V_i - e^(-mu t) V_i(0)) B_{i-1}'.

        Parameters
        ----------
        weights : tuple of h arrays, shape (..., k_i, k_{i-1})
            The weights of the narrow network; axes between its batch and the matrices may be times.
        elapsed : array_like
            The time t since the start, of a shape that broadcasts with these axes; needed with weight decay only.
        weight_decay : float
            The rate mu.

        Returns
        -------
        tuple of h ndarrays, shape (..., d_i, d_{i-1})
            The weights of the wide network.
        """
        _, small = check_weights(weights, Network(self.widths))
        with np.errstate(over="ignore", invalid="ignore"):
            shrink = np.exp(-weight_decay * np.asarray(elapsed, np.float64))[..., None, None]
            wide = []
            for V, V_0, W_0, (below, above) in zip(small, self.weights, self.start, pairwise(self.bases), strict=True):
                more = V.ndim - V_0.ndim
                V_0, W_0, below, above = (_inner_axes(matrix, more) for matrix in (V_0, W_0, below, above))
                lifted = shrink * W_0 + above @ (V - shrink * V_0) @ transpose(below)
                wide.append(lifted.astype(W_0.dtype))
        return tuple(wide)

    def lift_product(self, products: Floats) -> Floats:
        """Turn products of the narrow network into those of the wide one, B_h W B_0'.

        Parameters
        ----------
        products : ndarray, shape (..., k_h, k_0)
            Products of the narrow network; further axes as in `lift`.

        Returns
        -------
        ndarray, shape (..., d_h, d_0)
            Products of the wide network.
        """
        first, last = (_inner_axes(B, products.ndim - B.ndim) for B in (self.bases[0], self.bases[-1]))
        with np.errstate(over="ignore", invalid="ignore"):
            lifted: Floats = last @ products @ transpose(first)
            return lifted.astype(products.dtype)

    def take(self, rows: slice | NDArray[np.intp]) -> Reduction:
        """Select networks of a batch that was reduced together.

        Parameters
        ----------
        rows : slice or ndarray of int
            Which.

        Returns
        -------
        Reduction
            Theirs, without the decisions.
        """
        whole = self.whole[rows] if self.whole.batch_shape else self.whole
        start, bases = (tuple(matrix[rows] for matrix in matrices) for matrices in (self.start, self.bases))
        return Reduction(start, whole, bases, (), self.rtol)


@checked
def reduce(weights: Sequence[ArrayLike], loss: Loss, rtol: float | None = None) -> Reduction:
    """Reduce a network to the narrowest one with the same flow.

    Let B_0, ..., B_h be orthonormal bases of the least subspaces such that B_0 contains the row space of Sigma,
    B_h the column spaces of Sigma and of W, and B_i contains W_i B_{i-1} and W_{i+1}' B_{i+1}. Then the network
    V_i = B_i' W_i B_{i-1} with the target B_h' Sigma B_0 follows its own gradient flow, and

        W_i(t) = B_i V_i(t) B_{i-1}' + (W_i(0) - B_i V_i(0) B_{i-1}')

    that of the wide one: for all times, every start, learning rates of the layers, and with weight decay mu the
    constant part multiplied by e^(-mu t). For unwhitened data B_0 also contains Sigma_xx B_0. Two layers become at
    most d_0 + d_h wide, balanced starts as wide as their rank, orthogonal hidden layers at most d_0 + d_h; a generic
    deep wide network becomes no narrower.

    Parameters
    ----------
    weights : tuple of h arrays, shape (d_i, d_{i-1})
        The weights of one network, finite.
    loss : Loss
        A loss with one target.
    rtol : float, optional
        A direction counts as rounding, and is dropped, up to so much of what it is computed from; by default 100 times
        the machine epsilon of the weights. With 0 none is dropped: the widths are those of `widths`.

    Returns
    -------
    Reduction
        The narrow network: its ``weights``, ``loss``, ``widths`` and ``bases``, the rank ``decisions`` and how sure
        they are (``doubtful``, ``defect``), and the way back, `Reduction.lift`.

    Raises
    ------
    TypeError
        If `loss` is not a loss.
    ValueError
        If there are several networks or targets, or a weight is not finite.

    Notes
    -----
    What is dropped as rounding stays dropped: a saddle of low rank, say, is kept for all times, where an integration of
    the wide network leaves it at last by its own rounding.

    Examples
    --------
    A start of rank one under a target of rank two stays of rank one.

    >>> import fastdln as dln
    >>> loss = dln.Quadratic.from_singular_values((2.0, 1.0), shape=(4, 4))
    >>> weights = dln.inits.decoupled(dln.Network((4, 9, 9, 4)), loss, (0.1, 0, 0, 0), rng=0)
    >>> small = dln.theory.reduction.reduce(weights, loss)
    >>> small.widths
    (2, 1, 1, 2)
    >>> sol = dln.flow(small.weights, small.loss, (0.0, 20.0))
    >>> wide = small.lift(sol.final)
    >>> direct = dln.flow(weights, loss, (0.0, 20.0), engine="lanes").final
    >>> all(np.allclose(V, W, atol=1e-5) for V, W in zip(wide, direct))
    True
    """
    one_target(loss, "a reduction")
    net, arrays = check_weights(weights)
    if arrays[0].ndim > 2:
        raise ValueError(
            f"a reduction is that of one network, as rank decisions are; weights has the batch axes "
            f"{arrays[0].shape[:-2]}: reduce them one at a time"
        )
    loss.check_product((net.widths[-1], net.widths[0]))
    for i, W in enumerate(arrays, start=1):
        if not np.isfinite(W).all():
            raise ValueError(f"weights must be finite, but W_{i} is not")
    cut = default_rtol(arrays) if rtol is None else float(rtol)
    (closure,) = close(tuple(W[None] for W in arrays), loss, cut)
    decisions = tuple(
        d._replace(least_kept=float(d.least_kept[0]), largest_dropped=float(d.largest_dropped[0]))
        for d in closure.decisions
    )
    return Reduction(arrays, loss, tuple(np.array(B[0]) for B in closure.bases), decisions, cut)


def default_rtol(weights: Weights) -> float:
    """The tolerance of rank decisions: some roundings of the weights."""
    return ROUNDINGS * float(np.finfo(weights[0].dtype).eps)


def _outside(vectors: Floats, basis: Floats) -> Floats:
    """What of the vectors is orthogonal to the subspace."""
    return vectors - basis @ (transpose(basis) @ vectors)


def _inner_axes(matrix: Floats, count: int) -> Floats:
    """The matrices with ``count`` axes of length one before the last two."""
    return matrix.reshape(*matrix.shape[:-2], *(1,) * count, *matrix.shape[-2:])
