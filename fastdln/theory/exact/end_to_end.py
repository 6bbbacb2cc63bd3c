"""The flow of the product itself, where the layers are balanced.

If W_{i+1}' W_{i+1} = W_i W_i' in every hidden layer, the product alone decides how it moves, whatever the widths:

    dW/dt = sum_{j=1}^{h} (W W')^{(h-j)/h} R (W' W)^{(j-1)/h},    R = -dL/dW,

with the identity for the power 0 (S. Arora, N. Cohen & E. Hazan, ICML 2018; survey, arXiv 2511.10362, section on the
dynamics of the product).
"""

from __future__ import annotations

import operator

import numpy as np
from numpy.typing import ArrayLike

from fastdln.checked import checked
from fastdln.field import product, rhs
from fastdln.linalg import Floats
from fastdln.losses import Loss, QuadraticForm
from fastdln.network import Network, Weights
from fastdln.theory.exact.arguments import real_numbers, times
from fastdln.theory.exact.integration import integrate
from fastdln.theory.exact.two_layers import two_layer
from fastdln.theory.rates import remaining_path
from fastdln.theory.whitening import one_target

__all__ = ["end_to_end"]


@checked
def end_to_end(t: ArrayLike, product0: ArrayLike, loss: Loss, depth: int) -> Floats:
    """Evaluate the flow of the product of balanced layers.

    One layer has a closed form, and so have two layers on whitened data (`two_layer`). Otherwise the balanced network
    whose hidden widths are the rank r of the product is integrated: its product moves by the equation above, without
    powers of matrices that lose their rank, and keeps its rank, as it must. The relative accuracy is about 1e-10. Where
    r = min(d_h, d_0) the integration ends when the path that remains is certified to be below rounding.

    Parameters
    ----------
    t : array_like, shape (n_t,) or ()
        Times, of either sign.
    product0 : array_like, shape (d_h, d_0)
        The product at t = 0. Its singular values up to max(d_h, d_0) times the machine epsilon times the largest count
        as zero.
    loss : Loss
        A quadratic loss with one target.
    depth : int
        Number of layers h, at least 1.

    Returns
    -------
    ndarray, shape (n_t, d_h, d_0)
        The product at each time, without the axis n_t where t is a number; NaN at negative times before which the
        solution came from infinity.

    Raises
    ------
    ValueError
        If the loss has several targets, or `product0` another shape than its target or entries that are not finite.
    ArithmeticError
        If a time takes more than 20000 steps.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> W = end_to_end([0.0, 1.0, 100.0], [[0.1, 0.0], [0.0, 0.01]], Quadratic(np.diag([2.0, 1.0])), depth=3)
    >>> W.diagonal(0, 1, 2).round(4)
    array([[0.1   , 0.01  ],
           [1.7466, 0.0205],
           [2.    , 1.    ]])
    """
    form = one_target(loss, "end_to_end")
    t = times(t)
    (W,) = real_numbers(product0=product0)
    if W.shape != loss.shape:
        raise ValueError(f"product0 has shape {W.shape}; the loss expects (d_h, d_0) = {loss.shape}")
    h = operator.index(depth)
    if h < 1:
        raise ValueError(f"depth must be an integer of at least 1, not {depth!r}")
    if h == 1:
        return _one_layer(t, W, form)
    weights = _balanced(W, h)
    if weights is None:
        return np.zeros(t.shape + W.shape)
    if h == 2 and form.input_gram is None:
        return two_layer(t, weights, loss).product
    return _integrated(t, weights, loss)


def _one_layer(t: Floats, W: Floats, form: QuadraticForm) -> Floats:
    """dW/dt = (target - W) S, in the eigenvectors of S."""
    if form.input_gram is None:
        decay = np.exp(-t)[..., None, None]
        return np.asarray(form.target + decay * (W - form.target))
    rates, P = np.linalg.eigh(form.input_gram)
    decay = np.exp(-t[..., None] * np.maximum(rates, 0))[..., None, :]
    return np.asarray(form.target + (((W - form.target) @ P) * decay) @ P.T)


def _balanced(W: Floats, h: int) -> Weights | None:
    """Balanced layers of the least hidden widths with product W; None for W = 0."""
    U, s, Vt = np.linalg.svd(W, full_matrices=False)
    r = int((s > max(W.shape) * np.finfo(float).eps * s[0]).sum())
    if r == 0:
        return None
    root = s[:r] ** (1 / h)
    return (root[:, None] * Vt[:r], *[np.diag(root)] * (h - 2), U[:, :r] * root)


def _integrated(t: Floats, weights: Weights, loss: Loss) -> Floats:
    net = Network((weights[0].shape[-1], *(len(W) for W in weights)))
    least = min(np.sqrt(np.mean(W**2)) for W in weights)

    def limit(state: Floats) -> Floats | None:
        path = remaining_path(net.unpack(state), loss)
        return state if path <= 1e-14 * np.linalg.norm(state) else None

    states = integrate(
        lambda state: net.pack(rhs(net.unpack(state), loss)), net.pack(weights), t.ravel(), 1e-16 * least, limit
    )
    W = product(net.unpack(states))
    return np.asarray(W.reshape(t.shape + W.shape[-2:]))
