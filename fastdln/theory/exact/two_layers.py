"""Closed forms of two layers: balanced up to a multiple of the identity at any widths, and any start at widths 1, 1, 1.

With W_2' W_2 - W_1 W_1' = lambda I, Z = [W_1'; W_2] and G = Z Z',

    dZ/dt = (B - G/2) Z,    B = [[-lambda/2 I, Sigma'], [Sigma, lambda/2 I]] = Q diag(b) Q',

so that G obeys the Riccati equation dG/dt = B G + G B - G^2, whose solution with Y = Q' Z(0) is

    G(t) = Q e^{bt} Y (I + Y' diag(phi) Y)^{-1} Y' e^{bt} Q',    phi = (e^{2bt} - 1)/(2b).

The product is a block of G; the weights themselves G leaves open up to a rotation of the hidden layer (K. Fukumizu,
Neural Networks 11 (1998) 17-26; L. Braun, C. Domine, J. Fitzgerald & A. Saxe, NeurIPS 2022; survey, arXiv 2511.10362,
section on exact solutions).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import exprel

from fastdln.checked import checked
from fastdln.linalg import Floats, transpose
from fastdln.losses import Loss
from fastdln.theory.exact.arguments import finite_weights, real_numbers, times, whitened_target
from fastdln.theory.exact.graded import graded_basis
from fastdln.theory.invariants import lambda_balance

__all__ = ["TwoLayer", "scalar_two_layer", "two_layer"]


@dataclass(frozen=True)
class TwoLayer:
    """What the closed form of two layers determines.

    Parameters
    ----------
    product : ndarray, shape (..., n_t, d_2, d_0)
        W_2 W_1.
    gram : ndarray, shape (..., n_t, d_0 + d_2, d_0 + d_2)
        The Gram matrix Z Z' of Z = [W_1'; W_2], with the blocks W_1' W_1, W_2 W_2' and the product.
    """

    product: Floats
    gram: Floats


@checked
def two_layer(t: ArrayLike, weights: Sequence[ArrayLike], loss: Loss) -> TwoLayer:
    """Evaluate the flow of a two-layer network whose balance matrix is a multiple of the identity.

    This holds for any widths and any time, and costs the same for all times. Small singular directions grow from the
    start that is given: relative to each of its rows in the eigenvectors of B, what is below rounding counts as zero.

    Parameters
    ----------
    t : array_like, shape (n_t,) or ()
        Times, of either sign.
    weights : tuple of 2 arrays, shape (..., d_i, d_{i-1})
        The weights at t = 0, with W_2' W_2 - W_1 W_1' = lambda I for any number lambda, 0 included.
    loss : Loss
        A quadratic loss of whitened data with one target.

    Returns
    -------
    TwoLayer
        The product and the Gram matrix at each time, without the axis n_t where t is a number; NaN at negative times
        before which the solution came from infinity.

    Raises
    ------
    ValueError
        If the network has another depth, is not lambda-balanced, or the loss has several targets.
    TypeError
        If the loss has unwhitened inputs.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> start = (np.diag([0.1, 0.2]), np.diag([0.1, 0.2]))
    >>> two_layer([0.0, 2.0, 2000.0], start, Quadratic(np.diag([3.0, 1.0]))).product.round(6).diagonal(0, 1, 2)
    array([[0.01    , 0.04    ],
           [2.994499, 0.694649],
           [3.      , 1.      ]])
    """
    target = whitened_target(loss, "two_layer")
    net, (W1, W2) = finite_weights(weights, loss, depth=2)
    shift = _common_balance(weights)
    t = times(t)
    Z = np.concatenate([transpose(W1), W2], axis=-2).reshape(-1, sum(target.shape), net.widths[1])
    Q, b = _eigenvectors(target, shift.ravel())
    Y = transpose(Q) @ Z
    # What cancels in Y is rounding, which must not grow.
    Y[np.abs(Y) <= 4 * len(Q[0]) * np.finfo(float).eps * (np.abs(transpose(Q)) @ np.abs(Z))] = 0
    factors = np.stack([_factor(time, Q, b, Y) if time else Z for time in t.ravel().tolist()], axis=1)
    gram = factors @ transpose(factors)
    gram = gram.reshape(W1.shape[:-2] + t.shape + gram.shape[-2:])
    return TwoLayer(gram[..., target.shape[1] :, : target.shape[1]].copy(), gram)


def scalar_two_layer(t: ArrayLike, a: ArrayLike, b: ArrayLike, sigma: ArrayLike) -> tuple[Floats, Floats]:
    """Evaluate the flow of two scalar layers, da/dt = b (sigma - ab) and db/dt = a (sigma - ab), balanced or not.

    With lambda = a^2 - b^2 constant, y = (a+b)^2 obeys dy/dt = 2 sigma y - (y^2 - lambda^2)/2: it moves on a logistic
    curve between 2 sigma - k and 2 sigma + k, k^2 = 4 sigma^2 + lambda^2, and a + b and a - b never change sign.

    Parameters
    ----------
    t : array_like
        Times, of either sign; all arguments broadcast.
    a : array_like
        W_2 at t = 0, of any sign.
    b : array_like
        W_1 at t = 0, of any sign.
    sigma : array_like
        The target, of any sign.

    Returns
    -------
    a : ndarray
        W_2 at time t, accurate to rounding relative to the larger of the two layers; NaN at negative times before
        which the solution came from infinity.
    b : ndarray
        W_1 at time t.

    Raises
    ------
    ValueError
        If an argument is not finite, or they do not broadcast.

    Examples
    --------
    >>> a, b = scalar_two_layer([0.0, 0.5, 50.0], 1.0, -0.5, 2.0)
    >>> (a * b).round(6)
    array([-0.5    ,  0.39222,  2.     ])
    >>> (a**2 - b**2).round(12)
    array([0.75, 0.75, 0.75])
    """
    t, a, b, sigma = real_numbers(t=t, a=a, b=b, sigma=sigma)
    plus, minus = a + b, a - b
    k = 2 * np.hypot(sigma, plus * minus / 2)
    large = k + 2 * np.abs(sigma)
    # The roots of the curve's two ends, the lower one without its sign: their product is lambda.
    root = np.abs(plus * minus) / np.sqrt(np.where(large > 0, large, 1.0))
    upper, lower = np.where(sigma >= 0, (np.sqrt(large), root), (root, np.sqrt(large)))
    elapsed, decay = np.sqrt(np.abs(t) * exprel(-k * np.abs(t))), np.exp(-k * np.abs(t) / 2)

    def factor(size: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            before = np.sqrt(2 - (size * elapsed) ** 2)
        return np.where(t >= 0, np.hypot(size * elapsed, np.sqrt(2) * decay), np.where(before > 0, before, np.nan))

    rise, fall = factor(np.hypot(upper, minus)), factor(np.hypot(lower, plus))
    with np.errstate(invalid="ignore", divide="ignore"):
        # a + b = 0 stays 0, also where the factors underflow.
        plus = np.where(plus == 0, 0 * fall, plus * rise / fall)
        minus = np.where(minus == 0, 0 * rise, minus * fall / rise)
    return np.where(t == 0, a, (plus + minus) / 2), np.where(t == 0, b, (plus - minus) / 2)


def _common_balance(weights: Sequence[ArrayLike]) -> Floats:
    """The number lambda of each network; refuses weights of which one is not lambda-balanced."""
    found = lambda_balance(weights)
    shift, off = found.lambdas[..., 0], found.distances[..., 0]
    bad = off > 1e6 * np.finfo(found.lambdas.dtype).eps * found.sizes[..., 0]
    if bad.any():
        first = tuple(np.argwhere(bad)[0])
        raise ValueError(
            f"the closed form needs weights with W_2' W_2 - W_1 W_1' = lambda I, but this matrix differs by "
            f"{off[first]:.2g} from lambda I, lambda = {shift[first]:.4g}"
        )
    return np.asarray(shift, dtype=np.float64)


def _eigenvectors(target: Floats, shift: Floats) -> tuple[Floats, Floats]:
    """Q and b for each lambda, from the singular value decomposition of the target."""
    U, s, Vt = np.linalg.svd(target)
    (outputs, inputs), r = target.shape, len(s)
    half = shift[:, None] / 2
    angle = np.arctan2(s, -half) / 2
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    Q = np.zeros((len(shift), inputs + outputs, inputs + outputs))
    Q[:, :inputs, :r], Q[:, inputs:, :r] = cos * Vt[:r].T, sin * U[:, :r]
    Q[:, :inputs, r : 2 * r], Q[:, inputs:, r : 2 * r] = -sin * Vt[:r].T, cos * U[:, :r]
    Q[:, :inputs, 2 * r : r + inputs] = Vt[r:].T
    Q[:, inputs:, r + inputs :] = U[:, r:]
    c = np.hypot(s, half)
    rest = np.concatenate([np.full(inputs - r, -1.0), np.full(outputs - r, 1.0)])
    return Q, np.concatenate([c, -c, half * rest], axis=-1)


def _factor(t: float, Q: Floats, b: Floats, Y: Floats) -> Floats:
    """A matrix whose Gram matrix is G(t), t != 0."""
    x = 2 * b * t
    log_rise = np.log(abs(t)) + np.log(exprel(-np.abs(x)))
    log_phi = log_rise + np.maximum(x, 0)
    reach = np.exp((np.minimum(x, 0) - log_rise) / 2)  # e^{bt} |phi|^{-1/2}
    n, m = len(Y), Y.shape[-1]
    if t > 0:
        identity = np.broadcast_to(np.eye(m), (n, m, m))
        sizes = np.concatenate([log_phi / 2, np.zeros((n, m))], axis=-1)
        basis = graded_basis(sizes, np.concatenate([Y, identity], axis=-2))[:, : Y.shape[1]]
    else:
        with np.errstate(divide="ignore"):
            log_entries = log_phi[..., None] / 2 + np.log(np.abs(Y))
        A, s, _ = np.linalg.svd(np.sign(Y) * np.exp(np.minimum(log_entries, 300)), full_matrices=False)
        with np.errstate(invalid="ignore", divide="ignore"):
            basis = A * np.where(s < 1, s / np.sqrt((1 - s) * (1 + s)), np.nan)[:, None]
    return np.asarray(Q @ (reach[..., None] * basis))
