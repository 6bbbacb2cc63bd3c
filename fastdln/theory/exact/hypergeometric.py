"""The function 2F1(1, b; 1+b; u), uniformly accurate in u, which measures the time of a balanced mode."""

from __future__ import annotations

import numpy as np
from scipy.special import digamma, expit, log_expit

from fastdln.linalg import Floats

__all__ = ["at_logit", "at_minus_exp"]

# The arguments of the series are at most 1/2, so that the first term left out is below rounding.
_TERMS = 60


def at_logit(b: Floats, y: Floats) -> Floats:
    """Evaluate 2F1(1, b; 1+b; u) at u = 1 / (1 + exp(-y)), by its series around 0 or around 1.

    Around u = 1, where it has a logarithm, it is b sum_n (b)_n/n! [psi(n+1) - psi(b+n) - ln(1-u)] (1-u)^n
    (M. Abramowitz & I. Stegun, Handbook of Mathematical Functions, 15.3.10).

    Parameters
    ----------
    b : ndarray
        Parameters, 0 < b < 2.
    y : ndarray
        Logits of the arguments, infinite ones included.

    Returns
    -------
    ndarray
        The values, infinite at u = 1.

    Examples
    --------
    >>> bool(np.isclose(at_logit(np.array([1.0]), np.array([0.0]))[0], 2 * np.log(2)))
    True
    """
    u: Floats = expit(np.minimum(y, 0))
    v: Floats = expit(-np.maximum(y, 0))
    around_zero, regular, logarithmic = (np.zeros_like(u) for _ in range(3))
    u_power, weight = np.ones_like(u), b
    psi = digamma(1.0) - digamma(b)
    for n in range(_TERMS):
        around_zero += b / (b + n) * u_power
        regular += weight * psi
        logarithmic += weight
        u_power = u_power * u
        weight = weight * (b + n) / (n + 1) * v
        psi = psi + 1 / (n + 1) - 1 / (b + n)
    around_one: Floats = regular - log_expit(-np.maximum(y, 0)) * logarithmic
    return np.where(y < 0, around_zero, around_one)


def at_minus_exp(b: Floats, y: Floats) -> Floats:
    """Evaluate 2F1(1, b; 1+b; -u) at u = exp(y) <= 1, by Pfaff's transformation: all terms are positive.

    Parameters
    ----------
    b : ndarray
        Parameters, 0 < b < 2.
    y : ndarray
        Logarithms of u, at most 0.

    Returns
    -------
    ndarray
        The values.

    Examples
    --------
    >>> bool(np.isclose(at_minus_exp(np.array([1.0]), np.array([0.0]))[0], np.log(2)))
    True
    """
    w: Floats = expit(y)
    total: Floats = np.zeros_like(w)
    term = 1 - w
    for n in range(_TERMS):
        total += term
        term = term * w * (n + 1) / (b + n + 1)
    return total
