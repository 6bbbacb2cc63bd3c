"""Modes whose layers differ: each is a system of h scalar equations, and comes down to one.

Where the layers are aligned with each other and with the target (`fastdln.inits.decoupled`), the values w_1, ..., w_h
of a mode move by themselves,

    dw_i/dt = (prod_{k != i} w_k) (sigma - prod_k w_k),

and all differences of squares w_i^2 - w_k^2 are constant. Let x be the value of least size, shared up to sign by m
layers, and c_i = w_i^2 - x^2 > 0 in the others: only x may pass zero, and only if m = 1, so that

    dx/dt = x^{m-1} p (sigma - x^m p),    p = +- prod_{c_i > 0} (x^2 + c_i)^{1/2} without change of sign

is smooth (A. Saxe, J. McClelland & S. Ganguli, ICLR 2014; survey, arXiv 2511.10362, section on decoupled dynamics).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from fastdln.checked import checked
from fastdln.linalg import Floats
from fastdln.theory.exact.arguments import real_numbers, times
from fastdln.theory.exact.integration import integrate
from fastdln.theory.exact.modes import mode
from fastdln.theory.exact.two_layers import scalar_two_layer

__all__ = ["decoupled"]


@checked
def decoupled(t: ArrayLike, layer_values: ArrayLike, sigma: ArrayLike) -> Floats:
    """Evaluate the values of all layers in decoupled modes, equal or not, of any signs.

    One layer, two layers, and h layers of equal size whose mode `mode` covers have closed forms. Otherwise the equation
    for x is integrated, to a relative accuracy of about 1e-11, and held once x is within 1e-12 of its limit.

    Parameters
    ----------
    t : array_like, shape (n_t,) or ()
        Times, of either sign.
    layer_values : array_like, shape (h,) or (h, r)
        The values at t = 0, one a layer, of one mode or of r modes.
    sigma : array_like, shape () or (r,)
        Singular values of the target, at least 0.

    Returns
    -------
    ndarray, shape (n_t, h) or (n_t, h, r)
        The values at each time, without the axis n_t where t is a number; their product over the layers is the strength
        of the mode. NaN at negative times before which the solution came from infinity.

    Raises
    ------
    ValueError
        If the shapes do not fit, an argument is not finite, or `sigma` is negative.
    ArithmeticError
        If a time takes more than 20000 steps.

    Examples
    --------
    >>> w = decoupled([0.0, 2.0, 200.0], (0.5, -0.1, 1.0), 2.0)
    >>> w.round(6)
    array([[ 0.5     , -0.1     ,  1.      ],
           [ 1.211642,  1.108186,  1.489321],
           [ 1.211695,  1.108245,  1.489364]])
    >>> w.prod(axis=1).round(6)
    array([-0.05    ,  1.999749,  2.      ])
    """
    t = times(t)
    (values,), (targets,) = real_numbers(layer_values=layer_values), real_numbers(sigma=sigma)
    if values.ndim not in (1, 2) or 0 in values.shape:
        raise ValueError(f"layer_values has shape {values.shape}; expected (h,) or (h, r)")
    if targets.shape not in ((), values.shape[1:]):
        raise ValueError(f"sigma has shape {targets.shape}; expected a number or one a mode, {values.shape[1:]}")
    if (targets < 0).any():
        raise ValueError(f"sigma must be a singular value, hence at least 0, not {sigma!r}")
    modes = values.reshape(len(values), -1).T
    solved = [
        _one_mode(t.ravel(), w, s) for w, s in zip(modes, np.broadcast_to(targets, len(modes)).tolist(), strict=True)
    ]
    return np.stack(solved, axis=-1).reshape(t.shape + values.shape)


def _one_mode(t: Floats, w: Floats, sigma: float) -> Floats:
    """The values of one mode, shape (n_t, h)."""
    if len(w) == 2:
        return np.stack(scalar_two_layer(t, w[0], w[1], sigma), axis=-1)
    least = np.argmin(np.abs(w))
    x0 = w[least]
    c = (np.abs(w) - abs(x0)) * (np.abs(w) + abs(x0))
    above = c > 0
    m = len(w) - int(above.sum())
    signs = np.where(w < 0, -1.0, 1.0) * np.where(above, 1.0, np.where(x0 < 0, -1.0, 1.0))
    sign = signs.prod()
    if not above.any() and (sign > 0 or len(w) % 2 == 1):
        # An odd number of layers of negative product is the mirror image of a mode.
        x = sign * mode(t, sign * x0, sigma, len(w))
    elif x0 == 0 and m > 1:
        x = np.zeros_like(t)
    else:
        x = _integrated(t, x0, m, sign, c[above], sigma)
    return np.where(t[:, None] == 0, w, signs * np.where(above, np.sqrt(x[:, None] ** 2 + c), x[:, None]))


def _integrated(t: Floats, x0: float, m: int, sign: float, c: Floats, sigma: float) -> Floats:
    """Solve the equation for x."""

    def others(x: Floats) -> Floats:
        return np.asarray(sign * np.sqrt(x**2 + c).prod(axis=-1, keepdims=True))

    def field(x: Floats) -> Floats:
        p = others(x)
        return np.asarray(x ** (m - 1) * p * (sigma - x**m * p))

    end = _limit(lambda x: x**m * abs(others(np.array([x]))[0]) - sigma, x0, m, sign, sigma ** (1 / (m + len(c))))
    smallest = np.sqrt(c.min()) if m == 1 else abs(x0)
    near = 1e-12 * abs(end) if end else (1e-14 if m == 1 else 1e-150) * smallest
    states = integrate(
        field,
        np.array([x0]),
        t,
        1e-16 * smallest if m == 1 else 1e-160 * smallest,
        lambda x: np.array([end]) if abs(x[0] - end) <= near else None,
    )
    return states[:, 0]


def _limit(excess: Callable[[float], float], x0: float, m: int, sign: float, largest: float) -> float:
    """The limit of x for t -> infinity: the learned value that x can reach without passing an equilibrium, or 0."""
    towards = sign if m % 2 else np.sign(x0)
    if largest == 0 or (m % 2 == 0 and sign < 0) or (m > 1 and x0 * towards < 0):
        return 0.0
    return float(towards * brentq(excess, 0.0, largest * (1 + 1e-9), xtol=1e-16 * largest, rtol=1e-15))
