"""How the product moves (T2), with which spectrum (T13), at which rate the loss falls, and when that is lazy (T14)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastdln.claims.instances import networks, target, weights
from fastdln.claims.registry import claim
from fastdln.field import gradient_norm, product, rhs
from fastdln.gradient_flow import flow
from fastdln.inits import balanced
from fastdln.linalg import Floats
from fastdln.losses import Loss
from fastdln.network import Network, Weights
from fastdln.theory import adjacency, tangent


@claim(
    "tangent-operator-moves-the-product",
    "T2",
    statement="Along the flow dW/dt = K[R], K = sum_i (W_{<i}' W_{<i}) (x) (W_{>i} W_{>i}').",
    hypotheses="none",
    instances="20 networks of depth 1 to 5 and widths 1 to 4; the corner of sum_k A^(h-1-k) (dA/dt) A^k against the "
    "matrix of K, relative errors",
    tolerance=1e-12,
)
def _moves(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20, depths=(1, 5), widths=(1, 4)):
        drawn, loss = weights(rng, net), target(rng, net)
        A, V = adjacency.matrix(drawn), adjacency.matrix(rhs(drawn, loss))
        powers = [np.linalg.matrix_power(A, k) for k in range(net.depth)]
        dA = sum(powers[net.depth - 1 - k] @ V @ powers[k] for k in range(net.depth))
        expected = np.asarray(dA)[-net.widths[-1] :, : net.widths[0]].ravel(order="F")
        R = -loss.grad(product(drawn)).ravel(order="F")
        yield float(np.linalg.norm(tangent.matrix(drawn) @ R - expected) / np.linalg.norm(expected))


@claim(
    "loss-falls-by-tangent-operator",
    "T14",
    statement="||grad L||^2 = <R, K[R]>: the loss falls at a rate between 2 lambda_min(K) and 2 lambda_max(K).",
    hypotheses="L_min = 0 over all matrices",
    instances="20 networks of depth 1 to 5 and widths 1 to 4; relative errors, and what the rate is outside by",
    tolerance=1e-10,
)
def _rate(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20, depths=(1, 5), widths=(1, 4)):
        drawn, loss = weights(rng, net), target(rng, net)
        R = -loss.grad(product(drawn))
        falls = float(gradient_norm(drawn, loss)) ** 2
        yield abs(float((R * tangent.apply(drawn, R)).sum()) / falls - 1)
        rate, K = falls / float(loss.value(product(drawn))), tangent.spectrum(drawn)
        yield max(2 * K[-1] - rate, rate - 2 * K[0], 0.0) / K[0]


@claim(
    "balanced-tangent-spectrum",
    "T13",
    statement="The eigenvalues of K are sum_i s_j^(2(h-i)/h) s_k^(2(i-1)/h) over j <= d_h and k <= d_0, with the "
    "singular values s of the product, padded by zeros (0^0 = 1).",
    hypotheses="balanced weights",
    instances="20 networks of depth 2 to 4 and widths 1 to 4 with layers of size 1; relative to the largest",
    tolerance=1e-10,
)
def _spectrum(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20, widths=(1, 4)):
        yield _spectral_error(balanced(net, 1.0, rng=rng))


@_spectrum.outside("random weights of a 3-3-3 network")
def _(rng: np.random.Generator) -> float:
    return _spectral_error(weights(rng, Network((3, 3, 3))))


def _spectral_error(drawn: Weights) -> float:
    W, h = product(drawn), len(drawn)
    s = np.linalg.svd(W, compute_uv=False)
    s = np.where(s > 1e-12 * s[0], s, 0)
    left, right = (np.pad(s, (0, d - len(s))) for d in W.shape)
    terms = [np.outer(left ** (2 * (h - i) / h), right ** (2 * (i - 1) / h)) for i in range(1, h + 1)]
    K = tangent.spectrum(drawn)
    return float(np.abs(K - np.sort(np.sum(terms, axis=0), axis=None)[::-1]).max() / K[0])


@claim(
    "tangent-operator-is-bounded-below",
    "T14",
    statement="lambda_min(K) >= mu = sum_i sigma_{d_h}(W_{>i})^2 sigma_{d_0}(W_{<i})^2.",
    hypotheses="none",
    instances="30 networks of depth 1 to 5 and widths 1 to 4; what it is below by, relative to lambda_max(K)",
    tolerance=1e-12,
)
def _below(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 30, depths=(1, 5), widths=(1, 4)):
        drawn = weights(rng, net)
        K = tangent.spectrum(drawn)
        yield max(_constant(drawn) - K[-1], 0.0) / K[0]


@claim(
    "tangent-bound-is-sharp",
    "T14",
    statement="lambda_min(K) = mu.",
    hypotheses="at most two layers",
    instances="20 networks of depth 1 and 2 and widths 1 to 4; relative to lambda_max(K)",
    tolerance=1e-12,
)
def _sharp(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20, depths=(1, 2), widths=(1, 4)):
        drawn = weights(rng, net)
        yield _gap(drawn)


@_sharp.outside("random weights of a 2-2-2-2 network")
def _(rng: np.random.Generator) -> float:
    return _gap(weights(rng, Network((2, 2, 2, 2))))


def _gap(drawn: Weights) -> float:
    K = tangent.spectrum(drawn)
    return float(abs(K[-1] - _constant(drawn)) / K[0])


def _constant(drawn: Weights) -> float:
    """mu, from the singular values of all partial products."""
    d_0, d_h = drawn[0].shape[1], drawn[-1].shape[0]
    mu = 0.0
    for i in range(len(drawn)):
        below = product(drawn[:i]) if i else np.eye(d_0)
        above = product(drawn[i + 1 :]) if i + 1 < len(drawn) else np.eye(d_h)
        mu += (_singular_value(below, d_0) * _singular_value(above, d_h)) ** 2
    return mu


def _singular_value(matrix: Floats, k: int) -> float:
    """The k-th singular value, 0 where there is none."""
    values = np.linalg.svd(matrix, compute_uv=False)
    return float(values[k - 1]) if k <= len(values) else 0.0


@claim(
    "large-weights-are-lazy",
    "T14",
    statement="As weights become large with a product that stays bounded K no longer changes: twice the scale makes "
    "its relative change until the loss is fitted at least 2^h times smaller.",
    hypotheses="the start fits any target in the tangent (lambda_min(K) > 0), and its product is bounded",
    instances="6 networks 2-4-2, 2-4-4-2 and 2-4-4-4-2 from a zero product, scales 8 and 16; what the change is larger "
    "by",
    tolerance=0.2,
)
def _lazy(rng: np.random.Generator) -> Iterator[float]:
    for widths in ((2, 4, 2), (2, 4, 4, 2), (2, 4, 4, 4, 2)) * 2:
        net = Network(widths)
        *lower, last = weights(rng, net)
        seen = np.linalg.qr(product(lower))[0]
        yield _excess((*lower, last - last @ seen @ seen.T), target(rng, net))


@_lazy.outside("a 2-4-2 network whose product grows with the weights")
def _(rng: np.random.Generator) -> float:
    net = Network((2, 4, 2))
    return _excess(weights(rng, net), target(rng, net))


def _excess(drawn: Weights, loss: Loss) -> float:
    changes = []
    for scale in (8.0, 16.0):
        start = tuple(scale * W for W in drawn)
        t_end = 10 / float(tangent.spectrum(start)[-1])
        changes.append(tangent.drift(flow(start, loss, (0.0, t_end), rtol=1e-8, record=("weights",))).item())
    return float(max(2 ** len(drawn) * changes[1] / changes[0] - 1, 0.0))
