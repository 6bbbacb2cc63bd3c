"""Escape arcs: a way down from every saddle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.linalg
import scipy.sparse.linalg
from numpy.typing import ArrayLike

from fastdln.checked import checked
from fastdln.checks import reals
from fastdln.field import value
from fastdln.linalg import Floats
from fastdln.losses import Loss
from fastdln.network import Weights, check_weights
from fastdln.theory import hessian
from fastdln.theory.residual import TOLERANCE, Residual, residual
from fastdln.theory.saddles.chains import Motion, chain_motions
from fastdln.theory.saddles.polynomial import first_rise, loss_change, product_change
from fastdln.theory.whitening import Whitened, whiten

__all__ = ["Arc", "escape_arc", "escape_arcs"]

_REACH = 0.1  # the loss falls along every arc at least up to this alpha
_MARGIN = 0.9  # where a step is shortened, this part of the descent fits into the reach
_DENSE = 2000  # parameters up to which the whole Hessian is decomposed
_VANISHES = 1e-3  # how much of the descent at the reach the terms before its order may be


@dataclass(frozen=True, eq=False)
class Arc:
    """A curve A(alpha) = A + sum_i (step alpha)^{p_i} V_i along which the loss falls from a saddle A.

    Parameters
    ----------
    point : tuple of h ndarrays, shape (d_i, d_{i-1})
        The saddle A.
    directions : tuple of h ndarrays, shape (d_i, d_{i-1})
        The V_i. Those of the layers with p_i = 1 together have unit Frobenius norm, each other at most that.
    powers : tuple of int
        The powers p_i, 1 but for one layer of some arcs of order 4.
    step : float
        1, or less where the loss would otherwise cease to fall before alpha = 0.1.
    value : float
        The loss at the saddle.
    coefficients : ndarray
        The exact polynomial L(A(alpha)) - L(A), by rising powers of alpha.
    order : int
        The order p of the descent, L(A(alpha)) = L(A) - c alpha^p + ...; coefficients before it are rounding errors.
    pivots : int
        The number m* of layers that must move together for the loss to fall; p = m* but for some arcs with m* = 3,
        p = 4.
    kind : str
        "strict_saddle" or "nonstrict_saddle".
    """

    point: Weights
    directions: Weights
    powers: tuple[int, ...]
    step: float
    value: float
    coefficients: Floats
    order: int
    pivots: int
    kind: Literal["strict_saddle", "nonstrict_saddle"]

    def weights_at(self, alpha: ArrayLike) -> Weights:
        """Evaluate the arc.

        Parameters
        ----------
        alpha : array_like
            The length of the step, up to factors 1 + O(alpha^2) where a power is 2, times `step`.

        Returns
        -------
        tuple of h ndarrays, shape (*alpha.shape, d_i, d_{i-1})
            A(alpha).
        """
        steps = self.step * reals("alpha", alpha)[..., None, None]
        return tuple(W + steps**p * V for W, V, p in zip(self.point, self.directions, self.powers, strict=True))

    def loss_at(self, alpha: ArrayLike) -> Any:
        """Evaluate the loss along the arc, from the polynomial.

        Parameters
        ----------
        alpha : array_like
            Where; from 0 to 0.1 the loss falls.

        Returns
        -------
        ndarray, shape (*alpha.shape,), or float
            L(A(alpha)).
        """
        return self.value + self.change_at(alpha)

    def change_at(self, alpha: ArrayLike) -> Any:
        """Evaluate L(A(alpha)) - L(A) without the cancellation of the difference.

        Parameters
        ----------
        alpha : array_like
            Where; from 0 to 0.1 it falls.

        Returns
        -------
        ndarray, shape (*alpha.shape,), or float
            The change, from the coefficients from `order` on.
        """
        alpha = reals("alpha", alpha).astype(np.float64)
        return alpha**self.order * np.polynomial.polynomial.polyval(alpha, self.coefficients[self.order :])


@checked
def escape_arc(weights: Sequence[ArrayLike], loss: Loss, tol: float = TOLERANCE) -> Arc:
    """Find an arc along which the loss falls from a saddle, strict or not.

    At a strict saddle (m* = 2) it is the straight line along the most negative eigenvector of the Hessian. At others
    the Hessian shows no descent, and the m* layers of an open chain of the residual network move together: the loss
    falls like -alpha^{m*}, except that for m* = 3 the middle layer may have to move as alpha^2, and the loss falls like
    -alpha^4 (survey, arXiv 2511.10362, section on saddles).

    Parameters
    ----------
    weights : tuple of h arrays, shape (d_i, d_{i-1})
        One saddle.
    loss : Loss
        The loss, with one target.
    tol : float
        How large a gradient, relative to the sizes of the layers and the target, is that of a critical point, and what
        counts as zero in its products.

    Returns
    -------
    Arc
        The arc. Its step alpha is the length along a unit direction, shortened only where the loss would otherwise
        cease to fall before alpha = 0.1.

    Raises
    ------
    TypeError
        If the inputs of the loss cannot be whitened.
    ValueError
        If the point is not critical, is a global minimum, or cannot be told apart from either.

    Examples
    --------
    The origin of three layers is a saddle that the Hessian does not see.

    >>> from fastdln.losses import Quadratic
    >>> arc = escape_arc((np.zeros((2, 2)),) * 3, Quadratic(np.diag([2.0, 1.0])))
    >>> arc.kind, arc.pivots, arc.order
    ('nonstrict_saddle', 3, 3)
    >>> arc.loss_at([0.0, 0.05, 0.1]).round(6)
    array([2.5     , 2.499952, 2.499615])
    """
    return escape_arcs(weights, loss, tol)[0]


@checked
def escape_arcs(weights: Sequence[ArrayLike], loss: Loss, tol: float = TOLERANCE) -> tuple[Arc, ...]:
    """Find an arc of descent for each mode that leaves a saddle in the same way, the steepest first.

    At a nonstrict saddle these are the modes of the residual target that the chosen open chain sees: all unlearned ones
    at the origin. A strict saddle has one arc here; its other directions of descent are
    `unstable_directions`.

    Parameters
    ----------
    weights : tuple of h arrays, shape (d_i, d_{i-1})
        One saddle.
    loss : Loss
        The loss, with one target.
    tol : float
        The tolerance of `escape_arc`.

    Returns
    -------
    tuple of Arc
        The arcs.

    Raises
    ------
    TypeError
        If the inputs of the loss cannot be whitened.
    ValueError
        If the point is not critical, is a global minimum, or cannot be told apart from either.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> arcs = escape_arcs((np.zeros((2, 2)),) * 3, Quadratic(np.diag([2.0, 1.0])))
    >>> [float(arc.change_at(0.01).round(9)) for arc in arcs]
    [-3.85e-07, -1.92e-07]
    """
    split = residual(weights, loss, "escape_arc", tol)
    if split.pivots is None:
        raise ValueError("escape_arc is of a saddle, and weights is a global minimum: no arc leads down from it")
    whitened = whiten(loss, "escape_arc")
    point = tuple(W.astype(np.float64, copy=False) for W in check_weights(weights)[1])
    if split.pivots > 2:
        motions = chain_motions(split, whitened)
    else:
        motions = [_steepest(point, loss)]
    return tuple(_arc(point, loss, split, whitened, motion) for motion in motions)


def _steepest(point: Weights, loss: Loss) -> Motion:
    """The most negative eigenvector of the Hessian."""
    net, _ = check_weights(point)
    if net.n_parameters <= _DENSE:
        values, vectors = scipy.linalg.eigh(hessian.matrix(point, loss), subset_by_index=(0, 0))
    else:
        start = np.random.default_rng(0).standard_normal(net.n_parameters)
        values, vectors = scipy.sparse.linalg.eigsh(hessian.operator(point, loss), k=1, which="SA", v0=start)
    v = vectors[:, 0] * np.copysign(1.0, vectors[np.abs(vectors[:, 0]).argmax(), 0])
    return Motion(net.unpack(v), (1,) * net.depth, 2, -float(values[0]) / 2)


def _arc(point: Weights, loss: Loss, split: Residual, whitened: Whitened, motion: Motion) -> Arc:
    """Make an arc of a motion: its polynomial, its sign and its length."""
    _, directions = whitened.there(motion.directions)
    R = whitened.loss.target - product_change(split.weights, directions, motion.powers)[0]
    coefficients = loss_change(product_change(split.weights, directions, motion.powers), R)
    order, sign = motion.order, 1.0
    if order == 2 and coefficients[3] > 0:
        sign = -1.0  # both ways lead down: take the one where the next term helps
        coefficients = coefficients * np.resize([1.0, -1.0], len(coefficients))
    rise = first_rise(coefficients, order, _REACH) if coefficients[order] < 0 else 0.0
    step = 1.0 if rise > _REACH else _MARGIN * rise / _REACH
    terms = coefficients * (step * _REACH) ** np.arange(len(coefficients))
    if not np.abs(terms[:order]).sum() < -_VANISHES * terms[order:].sum():
        raise ValueError(
            f"weights is a saddle only within the tolerance: the descent along its arc, of order {order}, does not "
            f"exceed the slopes {coefficients[1:order]} of lower order; refine the critical point first"
        )
    return Arc(
        point=point,
        directions=tuple(sign * V for V in motion.directions),
        powers=motion.powers,
        step=step,
        value=float(value(point, loss)),
        coefficients=coefficients * step ** np.arange(len(coefficients)),
        order=order,
        pivots=int(split.pivots or 0),
        kind="strict_saddle" if split.pivots == 2 else "nonstrict_saddle",
    )
