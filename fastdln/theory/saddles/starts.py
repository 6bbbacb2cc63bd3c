"""Points near a saddle from which flows leave it, or reach it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from fastdln.checked import checked
from fastdln.field import balance, value
from fastdln.linalg import Floats, haar, reproducible
from fastdln.losses import Loss, quadratic_of
from fastdln.network import Network, Weights
from fastdln.theory.residual import TOLERANCE, Residual, residual
from fastdln.theory.saddles.arcs import escape_arcs
from fastdln.theory.saddles.directions import unstable_directions

__all__ = ["invariant_starts", "starts"]

_BALANCED = 1e-8  # the imbalance, relative to the squared weights, that counts as none

Rng = np.random.Generator | np.random.SeedSequence | int | None


@checked
@reproducible
def starts(
    weights: Sequence[ArrayLike],
    loss: Loss,
    epsilon: float,
    *,
    size: int | None = None,
    rng: Rng = None,
    tol: float = TOLERANCE,
) -> Weights:
    """Draw points below a saddle, at a given distance from it.

    At a strict saddle they lie in random directions of the span of the unstable eigenvectors of the Hessian, at a
    nonstrict one on its escape arcs, each arc as likely as any other.

    Parameters
    ----------
    weights : tuple of h arrays, shape (d_i, d_{i-1})
        One saddle.
    loss : Loss
        The loss, with one target.
    epsilon : float
        The distance, the Frobenius norm over all layers.
    size : int, optional
        The number of points; None gives one without a batch axis.
    rng : Generator, SeedSequence or int, optional
        The source of randomness; point k of a batch does not depend on its size.
    tol : float
        The tolerance of `escape_arc`.

    Returns
    -------
    tuple of h ndarrays, shape (size, d_i, d_{i-1})
        The points, at which the loss is less than at the saddle.

    Raises
    ------
    TypeError
        If the inputs of the loss cannot be whitened.
    ValueError
        If the point is no saddle, or its loss is not undercut at so large a distance.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> W1, W2 = starts((np.zeros((2, 2)),) * 2, Quadratic(np.diag([2.0, 1.0])), 0.1, size=3, rng=0)
    >>> np.sqrt((W1**2 + W2**2).sum(axis=(1, 2))).round(12)
    array([0.1, 0.1, 0.1])
    """
    _check_distance(epsilon)
    arcs = escape_arcs(weights, loss, tol)
    net = Network([arcs[0].point[0].shape[1], *(len(W) for W in arcs[0].point)])
    basis = net.pack(unstable_directions(weights, loss, tol).vectors) if arcs[0].pivots == 2 else np.zeros((0, 0))

    def one(generator: np.random.Generator) -> Weights:
        if arcs[0].pivots == 2:
            free = generator.standard_normal(len(basis))
            step = net.unpack(epsilon * (free / np.linalg.norm(free)) @ basis)
            return tuple(W + V for W, V in zip(arcs[0].point, step, strict=True))
        arc = arcs[int(generator.integers(len(arcs)))]
        slow = sum(float(np.square(V).sum()) for V, p in zip(arc.directions, arc.powers, strict=True) if p == 2)
        # s^2 + slow s^4 = epsilon^2
        return arc.weights_at(epsilon * np.sqrt(2 / (1 + np.sqrt(1 + 4 * slow * epsilon**2))) / arc.step)

    points = _batch(one, size, rng)
    if not (value(points, loss) < arcs[0].value).all():
        raise ValueError(
            f"epsilon = {epsilon} is too large: at this distance from the saddle the loss is not below its value "
            f"{arcs[0].value} in every direction that leaves it"
        )
    return points


@checked
@reproducible
def invariant_starts(
    weights: Sequence[ArrayLike],
    loss: Loss,
    epsilon: float,
    side: Literal["unstable", "stable"],
    *,
    size: int | None = None,
    rng: Rng = None,
    tol: float = TOLERANCE,
) -> Weights:
    """Draw balanced points from the unstable or the stable set of a balanced saddle.

    With U and V the unlearned modes, of sigma > 0, of the target, the balanced networks whose product is that of the
    saddle plus U S V' with S symmetric keep this form along the flow. Those with S positive semidefinite leave the
    saddle, and near it the backward flow converges to it (farther away it may blow up); those with S negative
    semidefinite converge to it. Drawn is S = +-G G' with G Gaussian and as many columns as the rank of S may have, and
    random frames in the hidden layers.

    Parameters
    ----------
    weights : tuple of h arrays, shape (d_i, d_{i-1})
        One balanced saddle with no residual blocks, such as the origin or `quotient.canonical` gives.
    loss : Loss
        The loss, with one target and whitened inputs.
    epsilon : float
        The distance from the saddle, the Frobenius norm over all layers.
    side : {"unstable", "stable"}
        Which set.
    size : int, optional
        The number of points; None gives one without a batch axis.
    rng : Generator, SeedSequence or int, optional
        The source of randomness; point k of a batch does not depend on its size.
    tol : float
        The tolerance of `escape_arc`.

    Returns
    -------
    tuple of h ndarrays, shape (size, d_i, d_{i-1})
        The points.

    Raises
    ------
    TypeError
        If the inputs of the loss are not whitened: the sets belong to the flow in whitened inputs.
    ValueError
        If the point is no saddle, is not balanced, or has residual blocks.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> loss = Quadratic(np.diag([2.0, 1.0]))
    >>> W1, W2 = invariant_starts((np.zeros((2, 2)),) * 2, loss, 0.1, "stable", rng=0)
    >>> bool((np.linalg.eigvals(W2 @ W1) < 0).all()), round(float((W1**2 + W2**2).sum()), 12)
    (True, 0.01)
    """
    _check_distance(epsilon)
    if side not in ("unstable", "stable"):
        raise ValueError(f"side must be 'unstable' or 'stable', not {side!r}")
    split = residual(weights, loss, "invariant_starts", tol)
    _check_invariant(split, loss)
    outputs, s, inputs = np.linalg.svd(split.target)
    seen = int((s > split.errors[0]).sum())
    rank = min(seen, min(split.net.widths) - split.rank)
    sign = 1.0 if side == "unstable" else -1.0
    h = split.net.depth

    def one(generator: np.random.Generator) -> Weights:
        Q, roots, _ = np.linalg.svd(generator.standard_normal((seen, rank)), full_matrices=False)
        values = roots ** (2 / h)  # of the layers, where S = Q diag(roots^2) Q'
        values *= epsilon / np.sqrt(h * np.square(values).sum())
        frames = [
            inputs[:seen].T @ Q,
            *(haar(generator.standard_normal((N.shape[1], rank))) for N in split.bases[1:-1]),
            sign * outputs[:, :seen] @ Q,
        ]
        return tuple(
            W + (above @ new * values) @ (below @ old).T
            for W, below, above, old, new in zip(
                split.weights, split.bases[:-1], split.bases[1:], frames[:-1], frames[1:], strict=True
            )
        )

    return _batch(one, size, rng)


def _check_distance(epsilon: float) -> None:
    if not 0 < epsilon < np.inf:
        raise ValueError(f"epsilon must be positive and finite, not {epsilon!r}")


def _check_invariant(split: Residual, loss: Loss) -> None:
    """Refuse all but balanced saddles without residual blocks, in whitened inputs."""
    if quadratic_of(loss, "invariant_starts").input_gram is not None:
        raise TypeError("invariant_starts needs whitened inputs: use Quadratic.from_data(X, Y)")
    if split.minimum:
        raise ValueError("invariant_starts is of a saddle, and weights is a global minimum")
    size = max(float(np.square(W).sum()) for W in split.weights)
    imbalance = max(float(np.abs(C).max()) for C in balance(split.weights))
    if imbalance > _BALANCED * size:
        raise ValueError(
            f"weights must be balanced, but a balance matrix has the entry {imbalance:.2g}; "
            f"quotient.canonical gives the balanced saddle with the same product"
        )
    if any(split.connects(i, i + 1) for i in range(split.net.depth)):
        raise ValueError(
            "weights must have no residual blocks, but the rank of a layer exceeds that of the product; "
            "quotient.canonical gives the saddle with the same product that has none"
        )


def _batch(one: Callable[[np.random.Generator], Weights], size: int | None, rng: Rng) -> Weights:
    """Draw `size` points one after the other, or one without a batch axis."""
    generator = np.random.default_rng(rng)
    if size is None:
        return one(generator)
    if operator.index(size) < 1:
        raise ValueError(f"size must be at least 1, or None for one point, not {size}")
    drawn: list[Weights] = [one(generator) for _ in range(size)]
    layers: list[list[Floats]] = [list(layer) for layer in zip(*drawn, strict=True)]
    return tuple(np.stack(layer) for layer in layers)
