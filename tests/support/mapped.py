"""The maps of losses that are not quadratic by their formulas, for real and complex outputs of any precision.

So derivatives come from a complex step, without differences: f(x + i s) has the imaginary part s f'(x).
"""

from __future__ import annotations

import numpy as np

STEP = 1e-200


def power(z, y, p):
    error = (y - z) * np.sign((y - z).real)
    return np.sign((y - z).real) * np.where(error == 0, 0, error) ** (p - 1), (error**p / p).sum(axis=(-2, -1))


def huber(z, y, p):
    error, sign = y - z, np.sign((y - z).real)
    inside = np.abs(error.real) <= p
    share = np.where(inside, error**2 / 2, p * (sign * error - p / 2))
    return np.where(inside, error, sign * p), share.sum(axis=(-2, -1))


def pseudo_huber(z, y, p):
    error = y - z
    size = np.sqrt(1 + (error / p) ** 2)
    return error / size, (error**2 / (1 + size)).sum(axis=(-2, -1))


def logistic(z, y, p):
    return p * y / (1 + np.exp(y * z)), (p * np.log1p(np.exp(-y * z))).sum(axis=(-2, -1))


def exponential(z, y, p):
    size = p * np.exp(-y * z)
    return y * size, size.sum(axis=(-2, -1))


def softmax(z, y, p):
    largest = z.real.max(axis=-2, keepdims=True)
    shares = np.exp(z - largest)
    total = shares.sum(axis=-2, keepdims=True)
    value = (np.log(total) + largest - (y * z).sum(axis=-2, keepdims=True)).sum(axis=(-2, -1))
    return p * (y - shares / total), p * value


def masked(z, y, p):
    error = y - z
    return p * error, (p * error**2 / 2).sum(axis=(-2, -1))


MAPS = {"measured": masked} | {
    f.__name__: f for f in (masked, power, huber, pseudo_huber, logistic, exponential, softmax)
}


def errors(loss, W):
    """-dL/dW at complex products W (..., d_h, d_0)."""
    mapped = loss.mapped
    if mapped.name == "measured":
        Z = W.reshape(*W.shape[:-2], 1, -1) @ mapped.inputs.T
        return (MAPS[mapped.name](Z, mapped.target, mapped.parameter)[0] @ mapped.inputs).reshape(W.shape)
    Z = W if mapped.inputs is None else W @ mapped.inputs
    E = MAPS[mapped.name](Z, mapped.target, mapped.parameter)[0]
    return E if mapped.inputs is None else E @ mapped.inputs.T


def gradient(weights, loss):
    """The gradient by complex weights, layer by layer."""
    prefixes = [np.eye(weights[0].shape[-1])]
    for W in weights:
        prefixes.append(W @ prefixes[-1])
    pulled, found = -errors(loss, prefixes[-1]), []
    for W, below in zip(weights[::-1], prefixes[-2::-1], strict=True):
        found.append(pulled @ below.swapaxes(-2, -1))
        pulled = W.swapaxes(-2, -1) @ pulled
    return tuple(found[::-1])


def hessian_product(weights, loss, directions):
    """The Hessian times directions, to rounding."""
    moved = tuple(W + 1j * STEP * V for W, V in zip(weights, directions, strict=True))
    return tuple(G.imag / STEP for G in gradient(moved, loss))
