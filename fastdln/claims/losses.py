"""Losses of the product beyond the quadratic one (T16): their derivatives, and what separable data do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from scipy.integrate import solve_ivp

from fastdln.claims.instances import networks, weights
from fastdln.claims.measures import deviation
from fastdln.claims.registry import claim
from fastdln.field import product, rhs
from fastdln.linalg import Floats
from fastdln.losses import (
    Exponential,
    Huber,
    Logistic,
    Loss,
    Masked,
    Power,
    PseudoHuber,
    Regression,
    Sensing,
    SoftmaxCrossEntropy,
)
from fastdln.network import Network
from fastdln.theory import hessian


def _power(rng: np.random.Generator, shape: tuple[int, int]) -> Loss:
    return Power(rng.standard_normal(shape), 4.0)


def _huber(rng: np.random.Generator, shape: tuple[int, int]) -> Loss:
    return Huber(rng.standard_normal(shape), 0.5)


def _pseudo_huber(rng: np.random.Generator, shape: tuple[int, int]) -> Loss:
    return PseudoHuber(rng.standard_normal(shape), 0.5)


def _logistic(rng: np.random.Generator, shape: tuple[int, int], m: int = 7) -> Loss:
    return Logistic(rng.standard_normal((shape[1], m)), rng.choice((-1.0, 1.0), (shape[0], m)))


def _exponential(rng: np.random.Generator, shape: tuple[int, int], m: int = 7) -> Loss:
    return Exponential(rng.standard_normal((shape[1], m)), rng.choice((-1.0, 1.0), (shape[0], m)))


def _cross_entropy(rng: np.random.Generator, shape: tuple[int, int], m: int = 7) -> Loss:
    X, labels = rng.standard_normal((shape[1], m)), rng.integers(shape[0], size=m)
    return SoftmaxCrossEntropy(X, labels, n_classes=shape[0])


def _masked(rng: np.random.Generator, shape: tuple[int, int]) -> Loss:
    mask = np.maximum(rng.uniform(-1.0, 1.0, shape), 0.0)
    mask[0, 0] = 1.0
    return Masked(rng.standard_normal(shape), mask)


def _sensing(rng: np.random.Generator, shape: tuple[int, int], m: int = 7) -> Loss:
    return Sensing(rng.standard_normal((m, *shape)), rng.standard_normal(m))


LOSSES: dict[str, Callable[[np.random.Generator, tuple[int, int]], Loss]] = {
    "l_p": _power,
    "Huber": _huber,
    "pseudo-Huber": _pseudo_huber,
    "logistic": _logistic,
    "exponential": _exponential,
    "softmax cross-entropy": _cross_entropy,
    "masked": _masked,
    "sensing": _sensing,
}


def _derivative(function: Callable[[Floats], Any], W: Floats, V: Floats) -> Any:
    """Derivative along V at W, extrapolated from central differences."""
    fine, coarse = ((function(W + s * V) - function(W - s * V)) / (2 * s) for s in (5e-4, 1e-3))
    return (4 * fine - coarse) / 3


def _near_threshold(huber: Loss, W: Floats) -> bool:
    """Whether an entry is so near where the second derivative jumps that differences are no derivative."""
    error = np.abs(huber.arrays()["sigma"] - W)
    return bool(np.abs(error - huber.arrays()["delta"]).min() < 0.05)


@claim(
    "gradients-of-the-losses",
    "T16",
    statement="l' is -sign(Sigma-W) |Sigma-W|^(p-1) for l_p, the clipped residual for Huber, its smooth form for "
    "pseudo-Huber, -(Y s(-Y W X)) X'/m with s the logistic function or the exponential, (softmax(W X) - Y) X'/m for "
    "the cross-entropy, mask (W-Sigma) by entry for seen entries, sum_k (<A_k, W> - y_k) A_k/m for measurements.",
    hypotheses="for Huber, no entry of the residual at the threshold",
    instances="each loss at 10 random products of widths 1 to 5; derivative along a random direction from differences",
    tolerance=1e-8,
)
def _gradients(rng: np.random.Generator) -> Iterator[float]:
    for make in LOSSES.values():
        for net in networks(rng, 10):
            loss = make(rng, (net.widths[-1], net.widths[0]))
            W, V = product(weights(rng, net)), rng.standard_normal((net.widths[-1], net.widths[0]))
            if make is _huber and _near_threshold(loss, W):
                continue
            expected = float(np.vdot(loss.grad(W), V))
            yield abs(_derivative(loss.value, W, V) - expected) / (float(np.linalg.norm(V)) + abs(expected))


@claim(
    "gradient-of-the-regression",
    "T16",
    statement="For unwhitened data l'(W) = W Sigma_xx - Sigma_yx with Sigma_xx = X X'/m, Sigma_yx = Y X'/m.",
    hypotheses="none",
    instances="10 data sets of 7 samples, widths 1 to 5, dependent inputs among them; entries, and the derivative of "
    "1/(2m) |Y - W X|^2",
    tolerance=1e-9,
)
def _regression(rng: np.random.Generator) -> Iterator[float]:
    m = 7
    for net in networks(rng, 10):
        X, Y = rng.standard_normal((net.widths[0], m)), rng.standard_normal((net.widths[-1], m))
        X[-1] = X[0]
        loss = Regression(X, Y)
        W, V = (rng.standard_normal(loss.shape) for _ in range(2))
        yield np.abs(loss.grad(W) - (W @ X @ X.T - Y @ X.T) / m).max()
        slope = _derivative(partial(_mean_square, X, Y), W, V)
        yield abs(slope - float(np.vdot(loss.grad(W), V))) / (float(np.linalg.norm(V)) + abs(slope))


def _mean_square(X: Floats, Y: Floats, W: Floats) -> float:
    return float(np.square(Y - W @ X).sum() / (2 * X.shape[1]))


@claim(
    "hessian-of-the-losses",
    "T16",
    statement="(H V)_i = W_{>i}' l''(W)[D] W_{<i}' + (dW_{>i})' l'(W) W_{<i}' + W_{>i}' l'(W) (dW_{<i})' is the "
    "derivative of the gradient along V.",
    hypotheses="for Huber, no entry of the residual at the threshold",
    instances="each loss with 10 networks of depth 1 to 4 and widths 1 to 5; difference to the derivative of the "
    "gradient along a random direction from differences, relative to the largest entry",
    tolerance=1e-7,
)
def _hessians(rng: np.random.Generator) -> Iterator[float]:
    for make in LOSSES.values():
        for net in networks(rng, 10, depths=(1, 4)):
            loss = make(rng, (net.widths[-1], net.widths[0]))
            point, direction = weights(rng, net), weights(rng, net)
            if make is _huber and _near_threshold(loss, product(point)):
                continue
            expected = _derivative(partial(_gradient, net, loss), net.pack(point), net.pack(direction))
            yield deviation(net.pack(hessian.apply(point, loss, direction)), expected)


def _gradient(net: Network, loss: Loss, flat: Floats) -> Floats:
    return -net.pack(rhs(net.unpack(flat), loss))


class _Decades(NamedTuple):
    """A network on separable data after growing times."""

    misalignment: Floats
    """Angle between W and the max-margin direction."""
    second: Floats
    """Largest ratio of the second to the first singular value of a layer."""
    margin: Floats
    """Largest margin times |W|."""
    log_time: Floats


def _separable(rng: np.random.Generator) -> _Decades:
    """Train widths 2, 4, 3, 1 on separable data with the exponential loss up to t = 1e8, in the time ln(1 + t)."""
    angle, turn = rng.uniform(-1.0, 1.0, 6), rng.uniform(0, 2 * np.pi)
    # The support vectors lie on both sides at a right angle and a half: the direction is well determined.
    angle = np.append(angle * 0.5, (-1.0, 1.0))
    Z = rng.uniform(1.5, 2.5, 8) * np.array([np.cos(angle + turn), np.sin(angle + turn)])  # labels times inputs
    best = _max_margin(Z)
    net = Network((2, 4, 3, 1))
    start = weights(rng, net, 0.5)

    loss = Exponential(Z, np.ones((1, Z.shape[1])))

    def field(s: float, flat: Floats) -> Floats:
        return np.asarray(np.exp(s) * net.pack(rhs(net.unpack(flat), loss)))

    times = np.log1p(10.0 ** np.array([2, 4, 6, 8]))
    solution = solve_ivp(field, (0.0, times[-1]), net.pack(start), "LSODA", times, rtol=1e-8, atol=1e-10)
    layers = net.unpack(solution.y.T)
    W = product(layers)[:, 0]
    size = np.linalg.norm(W, axis=1)
    values = [np.linalg.svd(layer, compute_uv=False) for layer in layers[:-1]]
    return _Decades(
        misalignment=np.arccos(np.clip(W @ best / size, -1, 1)),
        second=np.max([s[:, 1] / s[:, 0] for s in values], axis=0),
        margin=size * (best @ Z).min(),
        log_time=times,
    )


def _max_margin(Z: Floats) -> Floats:
    """The unit vector of the plane with the largest least product with the columns: one or two of them support it."""
    candidates = [z / np.linalg.norm(z) for z in Z.T]
    for z, w in combinations(Z.T, 2):
        normal = np.array([w[1] - z[1], z[0] - w[0]]) / np.linalg.norm(z - w)
        candidates.append(normal * np.sign(normal @ z))
    return max(candidates, key=lambda v: float((v @ Z).min()))


@claim(
    "separable-data-align-the-layers",
    "T16",
    statement="On separable data with the exponential loss the layers tend to rank one, and the product to the "
    "max-margin direction as fast as 1 / ln t.",
    hypotheses="separable data, exponential or logistic loss (Z. Ji & M. Telgarsky, ICLR 2019)",
    instances="5 data sets in the plane, widths 2-4-3-1, t = 1e4, 1e6, 1e8; the largest ratio of the second to the "
    "first singular value of a layer over that two decades before; twice the angle to the max-margin direction times "
    "ln t",
    tolerance=0.99,
)
def _aligned(rng: np.random.Generator) -> Iterator[float]:
    for _ in range(5):
        path = _separable(rng)
        yield from path.second[1:] / path.second[:-1]
        yield from 2 * path.misalignment[1:] * path.log_time[1:]


@claim(
    "norms-grow-like-the-logarithm",
    "T16",
    statement="On separable data with the exponential loss the margin of the product grows like ln t.",
    hypotheses="separable data, exponential or logistic loss",
    instances="5 data sets in the plane, widths 2-4-3-1; growth of the margin between t = 1e6 and 1e8 over that of ln "
    "t, less 1",
    tolerance=0.25,
)
def _logarithm(rng: np.random.Generator) -> Iterator[float]:
    for _ in range(5):
        path = _separable(rng)
        yield abs(np.diff(path.margin)[-1] / np.diff(path.log_time)[-1] - 1)
