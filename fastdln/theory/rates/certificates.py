"""What the weights at one moment guarantee for all later times, by the Polyak-Lojasiewicz inequality.

With E = L - floor, the part of the loss that can vanish, and the learning rates eta_i,

    sum_i eta_i ||dL/dW_i||_F^2 >= 2 mu E,    mu = s sum_i eta_i sigma_{d_h}(W_{>i})^2 sigma_{d_0}(W_{<i})^2,

where sigma_k is the k-th singular value, 0 where there is none, and s the least eigenvalue of the input Gram matrix, 1
for whitened data. So dE/dt <= -2 mu E, and as long as mu >= m the path that is left is at most sqrt(max_i eta_i 2E/m)
(B. Polyak, 1963; survey, arXiv 2511.10362, section on convergence).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import ArrayLike

from fastdln.checked import checked
from fastdln.checks import reals
from fastdln.field import product
from fastdln.linalg import Floats
from fastdln.losses import Loss, QuadraticForm, quadratic_of
from fastdln.network import Weights, check_layer_rates, check_weights

__all__ = ["Certificate", "certificate", "excess", "least_gain", "remaining_path"]


@dataclass(frozen=True)
class Certificate:
    """What weights guarantee, one network each entry.

    Parameters
    ----------
    mu : ndarray, shape (...)
        The constant mu at the weights: the loss decreases at least at the rate 2 mu now. 0 where nothing is
        guaranteed, NaN where weights are not finite.
    excess : ndarray, shape (...)
        The part E = L - floor of the loss that can vanish.
    path : ndarray, shape (...)
        A bound delta of the length of all the path that remains, in weights; infinite where there is none.
    floor : ndarray, shape (...)
        A lower bound of mu on that path: E(t) <= E exp(-2 floor t) for all t >= 0; 0 where there is none.
    """

    mu: Floats
    excess: Floats
    path: Floats
    floor: Floats

    def time_to(self, excess: ArrayLike) -> Floats:
        """Return the time within which E is sure to be at most a value.

        Parameters
        ----------
        excess : array_like
            The value, at least 0; it broadcasts with the networks.

        Returns
        -------
        ndarray
            The time, counted from the moment of the weights: 0 where E is there already, infinite where nothing is
            guaranteed.
        """
        value = reals("excess", excess).astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            wait = np.where(self.floor > 0, np.log(self.excess / value) / (2 * self.floor), np.inf)
        return np.where(self.excess <= value, 0.0, wait)

    def turns_positive(self, t: ArrayLike) -> Floats:
        """Return the first of the recorded times from which on mu is positive.

        Parameters
        ----------
        t : array_like, shape (n_t,)
            The times of the last axis.

        Returns
        -------
        ndarray, shape (...)
            For each trajectory the time, NaN where mu is not positive at the last time.
        """
        times = reals("t", t).astype(np.float64)
        if times.ndim != 1 or times.shape != self.mu.shape[-1:]:
            raise ValueError(f"t has shape {times.shape}; expected one time for each of the last of {self.mu.shape}")
        held = np.logical_and.accumulate((self.mu > 0)[..., ::-1], axis=-1)[..., ::-1]
        return np.where(held[..., -1], times[held.argmax(axis=-1)], np.nan)


@checked
def certificate(weights: Sequence[ArrayLike], loss: Loss, layer_rates: ArrayLike | None = None) -> Certificate:
    """Evaluate the Polyak-Lojasiewicz certificate at weights, for example those recorded along a trajectory.

    It speaks of the flow without weight decay. mu is positive only if every output and every input can be reached, that
    is, if for some layer i neither W_{>i} nor W_{<i} has lost rank; wide enough networks that have learned all modes
    satisfy this.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights; leading axes are trajectories and times.
    loss : Loss
        A quadratic loss, of whitened data or not.
    layer_rates : array_like, shape (h,), optional
        The learning rates eta_i; by default all are 1.

    Returns
    -------
    Certificate
        mu, E, a bound of the remaining path and a lower bound of mu on it, one entry for each network.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> given = certificate((np.eye(2), 2 * np.eye(2)), Quadratic(2.1 * np.eye(2)))
    >>> float(given.mu), round(float(given.excess), 12), round(float(given.time_to(1e-6)), 6)
    (5.0, 0.01, 0.998247)
    """
    net, arrays = check_weights(weights)
    rates = check_layer_rates(layer_rates, net.depth)
    finite = np.isfinite(net.pack(arrays)).all(axis=-1)
    arrays = tuple(np.where(finite[..., None, None], layer, 0.0).astype(np.float64) for layer in arrays)
    form = quadratic_of(loss, "certificate")
    factors = _Factors.of(arrays, rates * least_gain(form))
    mu, E = np.broadcast_arrays(
        np.where(finite, factors.mu(np.zeros(finite.shape)), np.nan), np.where(finite, excess(arrays, form), np.nan)
    )
    path, floor = _self_consistent(factors, mu, rates.max() * E)
    return Certificate(mu, E, path, floor)


@checked
def remaining_path(weights: Sequence[ArrayLike], loss: Loss, layer_rates: ArrayLike | None = None) -> Floats:
    """Bound the length of the path that a trajectory has still to go, all layers together.

    Over the ball of radius delta around the weights each singular value in mu is lowered by at most
    prod_j (||W_j||_2 + delta) - prod_j ||W_j||_2, which gives a bound mu_delta; delta is the least fixed point of
    sqrt(max_i eta_i 2E/mu_delta), by iteration from delta = 0.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights.
    loss : Loss
        A quadratic loss, of whitened data or not.
    layer_rates : array_like, shape (h,), optional
        The learning rates eta_i; by default all are 1.

    Returns
    -------
    ndarray, shape (...)
        A bound of the integral of the velocity's Frobenius norm over all later times, without weight decay; infinite
        where there is no such delta.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> delta = remaining_path((np.eye(2), 2 * np.eye(2)), Quadratic(2.1 * np.eye(2)))
    >>> round(float(delta), 6)
    0.065843
    """
    return certificate(weights, loss, layer_rates).path


@dataclass(frozen=True)
class _Factors:
    """The singular values and norms of the partial products that mu is made of."""

    weights: Floats
    """eta_i s, shape (h,)."""
    above: Floats
    """sigma_{d_h}(W_{>i}), shape (..., h)."""
    below: Floats
    """sigma_{d_0}(W_{<i}), shape (..., h)."""
    norms: Floats
    """||W_i||_2, shape (..., h)."""

    @classmethod
    def of(cls, arrays: Weights, weights: Floats) -> _Factors:
        prefixes = list(accumulate(arrays[:-1], lambda below, W: W @ below))
        suffixes = list(accumulate(arrays[:0:-1], lambda above, W: above @ W))[::-1]
        one = np.ones(arrays[0].shape[:-2])
        return cls(
            weights,
            np.stack([*(_value(M, M.shape[-2]) for M in suffixes), one], axis=-1),
            np.stack([one, *(_value(M, M.shape[-1]) for M in prefixes)], axis=-1),
            np.stack([_value(W, 1) for W in arrays], axis=-1),
        )

    def mu(self, delta: Floats) -> Floats:
        """A lower bound of mu over the ball of radius delta, shape (...)."""
        below = np.maximum(self.below - _shifts(self.norms, delta), 0)
        above = np.maximum(self.above - _shifts(self.norms[..., ::-1], delta)[..., ::-1], 0)
        return np.asarray((self.weights * above**2 * below**2).sum(axis=-1))


def _shifts(norms: Floats, delta: Floats) -> Floats:
    """prod_{j<i} (n_j + delta) - prod_{j<i} n_j for i = 1..h, without cancellation."""
    size = shift = np.zeros(norms.shape[:-1])
    size = size + 1
    shifts = []
    for n in np.moveaxis(norms, -1, 0):
        shifts.append(shift)
        shift, size = shift * (n + delta) + size * delta, size * n
    return np.stack(shifts, axis=-1)


def _value(M: Floats, k: int) -> Floats:
    """The k-th singular value, 0 where there is none."""
    if k > min(M.shape[-2:]):
        return np.zeros(M.shape[:-2])
    return np.asarray(np.linalg.svd(M, compute_uv=False)[..., k - 1])


def excess(arrays: Weights, form: QuadraticForm) -> Floats:
    """Evaluate E = L - floor."""
    return np.asarray(form.excess(product(arrays)))


def least_gain(form: QuadraticForm) -> float:
    """Return the least eigenvalue of the input Gram matrix, 0 where the inputs do not span R^{d_0}."""
    if form.input_root is None:
        return 1.0
    return float(np.linalg.norm(form.input_root, -2) ** 2) if form.rank == form.shape[1] else 0.0


def _self_consistent(factors: _Factors, mu: Floats, scaled_excess: Floats) -> tuple[Floats, Floats]:
    """The radius delta with sqrt(2 scaled_excess / mu_delta) <= delta, and mu_delta."""
    delta = np.zeros(mu.shape)
    bound = mu
    path = np.full(mu.shape, np.inf)
    floor = np.zeros(mu.shape)
    for _ in range(_MAX_ITERATIONS):
        with np.errstate(divide="ignore", invalid="ignore"):
            delta = np.where(bound > 0, (1 + _INFLATION) * np.sqrt(2 * scaled_excess / bound), np.inf)
            bound = np.where(np.isfinite(delta), factors.mu(np.where(np.isfinite(delta), delta, 0.0)), 0.0)
            length = np.sqrt(2 * scaled_excess / bound)
        found = np.isinf(path) & (bound > 0) & (length <= delta)
        path, floor = np.where(found, length, path), np.where(found, bound, floor)
        if (np.isfinite(path) | (bound == 0)).all():
            break
    return path, floor


_INFLATION = 1e-3
_MAX_ITERATIONS = 100
