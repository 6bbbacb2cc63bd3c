"""Directions in which a critical point is left and reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.checked import checked
from fastdln.linalg import Floats
from fastdln.losses import Loss
from fastdln.network import Weights
from fastdln.theory import hessian
from fastdln.theory.residual import TOLERANCE, residual
from fastdln.theory.saddles.chains import Motion, chain_motions
from fastdln.theory.whitening import whiten

__all__ = ["Directions", "stable_directions", "unstable_directions"]

_CURVED = 1e-8  # eigenvalues of the Hessian up to this size count as zero, relative to the largest and to a minimum's


@dataclass(frozen=True, eq=False)
class Directions:
    """Unit directions at a critical point along which the loss falls, or rises.

    Parameters
    ----------
    vectors : tuple of h ndarrays, shape (k, d_i, d_{i-1})
        The k directions, first eigenvectors of the Hessian, orthonormal, then the tangents of arcs.
    curvatures : ndarray, shape (k,)
        The eigenvalues of the Hessian, the farthest from zero first, and 0 for arcs.
    orders : ndarray of int, shape (k,)
        2 for eigenvectors; for arcs the order p of the change of the loss.
    """

    vectors: Weights
    curvatures: Floats
    orders: NDArray[np.intp]


@checked
def unstable_directions(weights: Sequence[ArrayLike], loss: Loss, tol: float = TOLERANCE) -> Directions:
    """Find the directions in which flows leave a critical point.

    They are the eigenvectors of the Hessian with negative eigenvalues: the tangent space of the unstable manifold. At a
    nonstrict saddle there are none, and the directions are the tangents of the arcs of `escape_arcs`. At a minimum
    there are none at all.

    Parameters
    ----------
    weights : tuple of h arrays, shape (d_i, d_{i-1})
        One critical point.
    loss : Loss
        The loss, with one target.
    tol : float
        The tolerance of `escape_arc`.

    Returns
    -------
    Directions
        The directions.

    Raises
    ------
    TypeError
        If the inputs of the loss cannot be whitened.
    ValueError
        If the point is not critical, or its kind is undecided.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> loss = Quadratic(np.diag([2.0, 1.0]))
    >>> unstable_directions((np.zeros((2, 2)),) * 2, loss).curvatures
    array([-2., -2., -1., -1.])
    >>> unstable_directions((np.zeros((2, 2)),) * 3, loss).orders
    array([3, 3])
    """
    return _directions(weights, loss, tol, -1.0)


@checked
def stable_directions(weights: Sequence[ArrayLike], loss: Loss, tol: float = TOLERANCE) -> Directions:
    """Find the directions in which flows reach a critical point.

    They are the eigenvectors of the Hessian with positive eigenvalues; at a nonstrict saddle also the tangents of arcs
    along which the loss rises, those of `escape_arcs` with one layer reversed.

    Parameters
    ----------
    weights : tuple of h arrays, shape (d_i, d_{i-1})
        One critical point.
    loss : Loss
        The loss, with one target.
    tol : float
        The tolerance of `escape_arc`.

    Returns
    -------
    Directions
        The directions.

    Raises
    ------
    TypeError
        If the inputs of the loss cannot be whitened.
    ValueError
        If the point is not critical, or its kind is undecided.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> loss = Quadratic(np.diag([4.0, 0.0]))
    >>> stable_directions((np.diag([2.0, 0.0]),) * 2, loss).curvatures.round(12)
    array([8., 4., 4.])
    """
    return _directions(weights, loss, tol, 1.0)


def _directions(weights: Sequence[ArrayLike], loss: Loss, tol: float, sign: float) -> Directions:
    """Those along which the loss changes with the given sign."""
    what = "unstable_directions" if sign < 0 else "stable_directions"
    split = residual(weights, loss, what, tol)
    values, vectors = np.linalg.eigh(hessian.matrix([np.asarray(W, dtype=np.float64) for W in weights], loss))
    net, pivots, whitened = split.net, split.pivots, whiten(loss, what)
    unit = float(np.linalg.norm(whitened.loss.target, 2)) ** (2 - 2 / net.depth)
    bent = np.flatnonzero(sign * values > _CURVED * max(np.abs(values).max(), unit))
    bent = bent[np.argsort(-np.abs(values[bent]), kind="stable")]
    packed, orders = [vectors[:, bent].T], [2] * len(bent)
    if pivots is not None and pivots > 2:
        for motion in chain_motions(split, whitened):
            packed.append(net.pack(_tangent(motion, sign))[None])
            orders.append(motion.order)
    return Directions(
        vectors=net.unpack(np.concatenate(packed)),
        curvatures=np.append(values[bent], np.zeros(len(orders) - len(bent))),
        orders=np.array(orders, dtype=np.intp),
    )


def _tangent(motion: Motion, sign: float) -> Weights:
    """The layers of a motion that move to first order, the last of them reversed where the loss is to rise."""
    tangent = [V if p == 1 else np.zeros_like(V) for V, p in zip(motion.directions, motion.powers, strict=True)]
    last = max(i for i, V in enumerate(tangent) if V.any())
    tangent[last] = -sign * tangent[last]
    return tuple(tangent)
