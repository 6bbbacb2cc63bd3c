"""The Hessian (T8): its products, its spectra at critical points, its inertia, and a bound of its norm."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise

import numpy as np

from fastdln.claims.instances import distinct_values, networks, target, weights
from fastdln.claims.measures import deviation
from fastdln.claims.registry import claim
from fastdln.field import rhs, value
from fastdln.linalg import Floats, haar
from fastdln.losses import Loss, Quadratic, Regression, modes_of
from fastdln.network import Network, Weights
from fastdln.theory import adjacency, quotient
from fastdln.theory import hessian as h_


def _regression(rng: np.random.Generator, net: Network) -> Regression:
    d_0, d_h = net.widths[0], net.widths[-1]
    return Regression(rng.standard_normal((d_0, d_0 + 4)), rng.standard_normal((d_h, d_0 + 4)))


def _coefficients(samples: Floats, x: Floats, degree: int) -> Floats:
    """Coefficients of the polynomials of a degree with values ``samples`` (points, ...) at ``x``."""
    return np.asarray(np.linalg.solve(np.vander(x, degree + 1, increasing=True), samples), np.float64)


def _line(point: Weights, direction: Weights, x: Floats) -> Weights:
    return tuple(W + x[:, None, None] * V for W, V in zip(point, direction, strict=True))


def _nodes(degree: int) -> Floats:
    return np.asarray(np.cos(np.pi * np.arange(degree + 1) / degree))


def _canonical(rng: np.random.Generator, net: Network, loss: Loss, learned: list[int]) -> Weights:
    """The canonical critical point, in random orthonormal frames of the hidden layers."""
    U, sigma, V = (A[..., learned] for A in modes_of(loss, "a canonical point"))
    frames = [V, *(haar(rng.standard_normal((d, len(learned)))) for d in net.widths[1:-1]), U]
    s = sigma ** (1 / net.depth)
    return tuple((above * s) @ below.T for below, above in pairwise(frames))


def _regauged(rng: np.random.Generator, net: Network, point: Weights) -> Weights:
    """The point after a random gauge, not orthogonal and not too ill-conditioned."""
    return quotient.transform(point, quotient.random_gauges(net, rng, condition=3.0))


@claim(
    "hessian-vector-product",
    "T8",
    statement="(H V)_i = W_{>i}' D W_{<i}' - (dW_{>i})' R W_{<i}' - W_{>i}' R (dW_{<i})' is the derivative of the "
    "gradient along V; D is multiplied by the input Gram matrix for unwhitened data.",
    hypotheses="none",
    instances="quadratic and regression losses of 20 networks of depth 1 to 4 and widths 1 to 5; difference to the "
    "linear coefficient of the gradient along V, a polynomial of degree 2h - 1, relative to the largest entry",
    tolerance=1e-12,
)
def _products(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20, depths=(1, 4)):
        for loss in (target(rng, net), _regression(rng, net)):
            point, direction = weights(rng, net), weights(rng, net)
            x = _nodes(2 * net.depth - 1)
            gradient = -net.pack(rhs(_line(point, direction, x), loss))
            expected = _coefficients(gradient, x, 2 * net.depth - 1)[1]
            yield deviation(net.pack(h_.apply(point, loss, direction)), expected)


@claim(
    "hessian-in-the-adjacency-matrix",
    "T8",
    statement="With K the adjacency matrix of V, D = sum_k A^(h-1-k) K A^k and HV = sum_k (A')^(h-1-k) D (A')^k - sum "
    "over a + b + c = h - 2 of (A')^a K' (A')^b R (A')^c + (A')^a R (A')^b K' (A')^c.",
    hypotheses="whitened data",
    instances="20 networks of depth 1 to 4 and widths 1 to 5; entries relative to the largest",
    tolerance=1e-12,
)
def _in_adjacency(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20, depths=(1, 4)):
        loss, point, direction = target(rng, net), weights(rng, net), weights(rng, net)
        A, K, R = adjacency.matrix(point), adjacency.matrix(direction), _embedded_residual(net, point, loss)
        h = net.depth
        up = [np.linalg.matrix_power(A, k) for k in range(h)]
        down = [P.T for P in up]
        D = sum(up[h - 1 - k] @ K @ up[k] for k in range(h))
        HV = sum(down[h - 1 - k] @ D @ down[k] for k in range(h))
        for a, b, c in _triples(h - 2):
            HV = HV - down[a] @ K.T @ down[b] @ R @ down[c] - down[a] @ R @ down[b] @ K.T @ down[c]
        yield deviation(adjacency.matrix(h_.apply(point, loss, direction)), HV)


@claim(
    "second-derivative",
    "T8",
    statement="The second derivative of L along V is ||D||^2 - <R, 2 sum over a + b + c = h - 2 of A^a K A^b K A^c>, "
    "and equals <V, H V>.",
    hypotheses="whitened data",
    instances="20 networks of depth 1 to 4 and widths 1 to 5; both against twice the quadratic coefficient of L along "
    "V, a polynomial of degree 2h",
    tolerance=1e-12,
)
def _second(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20, depths=(1, 4)):
        loss, point, direction = target(rng, net), weights(rng, net), weights(rng, net)
        A, K, R = adjacency.matrix(point), adjacency.matrix(direction), _embedded_residual(net, point, loss)
        h = net.depth
        up = [np.linalg.matrix_power(A, k) for k in range(h)]
        D = sum(up[h - 1 - k] @ K @ up[k] for k in range(h))
        bent = sum((up[a] @ K @ up[b] @ K @ up[c] for a, b, c in _triples(h - 2)), np.zeros_like(A))
        x = _nodes(2 * h)
        expected = 2 * _coefficients(value(_line(point, direction, x), loss), x, 2 * h)[2]
        V = net.pack(direction)
        for found in (np.square(D).sum() - 2 * (R * bent).sum(), V @ h_.matrix(point, loss) @ V):
            yield abs(found - expected) / max(1.0, abs(expected))


def _embedded_residual(net: Network, point: Weights, loss: Loss) -> Floats:
    """E(Sigma) - A^h."""
    corner = -loss.grad(np.linalg.multi_dot([np.eye(net.widths[-1]), *reversed(point), np.eye(net.widths[0])]))
    R = np.zeros((net.n_nodes, net.n_nodes))
    R[-net.widths[-1] :, : net.widths[0]] = corner
    return R


def _triples(total: int) -> Iterator[tuple[int, int, int]]:
    for a in range(total + 1):
        for b in range(total - a + 1):
            yield a, b, total - a - b


@claim(
    "hessian-of-one-layer",
    "T8",
    statement="With one layer H is the identity, and I (x) Sigma_xx for unwhitened data.",
    hypotheses="depth 1",
    instances="10 networks of widths 1 to 5, both losses; entries",
    tolerance=1e-12,
)
def _one_layer(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 10, depths=(1, 1)):
        for loss in (target(rng, net), _regression(rng, net)):
            gram = np.eye(net.widths[0]) if loss.quadratic.input_gram is None else loss.quadratic.input_gram
            expected = np.asarray(np.kron(np.eye(net.widths[1]), gram), np.float64)
            yield deviation(h_.matrix(weights(rng, net), loss), expected)


@claim(
    "spectrum-at-balanced-minima",
    "T8",
    statement="At a balanced global minimum the eigenvalues are sum_i sigma_j^(2(h-i)/h) sigma_k^(2(i-1)/h) over j <= "
    "d_h, k <= d_0 (sigma padded by zeros, x^0 = 1 also for x = 0), and zeros.",
    hypotheses="balanced; the rank of Sigma is at most r_max",
    instances="20 networks of depth 2 to 4 and widths 1 to 5, targets of every rank up to r_max; eigenvalues relative "
    "to the largest",
    tolerance=1e-12,
)
def _minima(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20):
        rank = int(rng.integers(0, net.rank, endpoint=True))
        loss = target(rng, net, distinct_values(rng, rank) if rank else np.zeros(1))
        point = _canonical(rng, net, loss, list(range(rank)))
        yield deviation(h_.spectrum(point, loss), _formula_at_minima(net, loss, rank))
        yield deviation(h_.minimum_spectrum(net, loss), _formula_at_minima(net, loss, rank))


@_minima.outside("a minimum that a gauge diag(3, 1/3) has unbalanced: widths 2, 2, 2")
def _unbalanced(rng: np.random.Generator) -> float:
    net = Network((2, 2, 2))
    loss = target(rng, net)
    W1, W2 = _canonical(rng, net, loss, [0, 1])
    P = np.diag([3.0, 1 / 3])
    return deviation(h_.spectrum((P @ W1, W2 @ np.linalg.inv(P)), loss), h_.minimum_spectrum(net, loss))


def _formula_at_minima(net: Network, loss: Loss, rank: int) -> Floats:
    d_0, d_h, h = net.widths[0], net.widths[-1], net.depth
    sigma = np.zeros(max(d_0, d_h))
    sigma[:rank] = modes_of(loss, "the formula").sigma[:rank]
    rows, columns = np.meshgrid(sigma[:d_h], sigma[:d_0], indexing="ij")
    values = np.sum([rows ** (2 * (h - i) / h) * columns ** (2 * (i - 1) / h) for i in range(1, h + 1)], axis=0)
    values = values[values > 0]
    return np.sort(np.concatenate([values, np.zeros(net.n_parameters - values.size)]))


@claim(
    "spectrum-at-canonical-points",
    "T8",
    statement="At the canonical critical point with learned modes S, s_k = sigma_k^(1/h), and unlearned modes Q, "
    "those with sigma = 0 included, the eigenvalues are sum_i s_j^(2(h-i)) s_k^(2(i-1)); s_k^(h-2) (sigma_k +- "
    "sigma_q); s_k^(2h-2) |d_0 - d_h| times; for h = 2 +- sigma_q d_1 - |S| times; and zeros.",
    hypotheses="balanced",
    instances="every S for 12 networks of depth 2 to 4 and widths 1 to 4, some targets of lower rank; eigenvalues "
    "relative to the largest",
    tolerance=1e-12,
)
def _canonical_spectra(rng: np.random.Generator) -> Iterator[float]:
    for i, net in enumerate(networks(rng, 12, widths=(1, 4))):
        modes = min(net.widths[0], net.widths[-1])
        values = distinct_values(rng, modes)
        values[modes - i % 2 :] = 0
        loss = target(rng, net, values)
        for count in range(min(net.rank, int(loss.rank)) + 1):
            for learned in combinations(range(int(loss.rank)), count):
                point = _canonical(rng, net, loss, list(learned))
                yield deviation(h_.spectrum(point, loss), h_.canonical_spectrum(net, loss, learned))


@claim(
    "least-sharpness",
    "T8",
    statement="At any global minimum the largest eigenvalue of H is at least h sigma_1^(2-2/h), with equality where "
    "it is balanced.",
    hypotheses="none",
    instances="20 networks of depth 2 to 4 and widths 1 to 5, targets of full rank: 5 minima each, moved by random "
    "gauges, by how much they fall short, and the balanced one, by how much it differs; relative",
    tolerance=1e-12,
)
def _sharpness(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20):
        loss = target(rng, net)
        least = net.depth * loss.modes.sigma[0] ** (2 - 2 / net.depth)
        balanced = _canonical(rng, net, loss, list(range(net.rank)))
        yield abs(h_.spectrum(balanced, loss)[-1] / least - 1)
        for _ in range(5):
            yield max(0.0, 1 - h_.spectrum(_regauged(rng, net, balanced), loss)[-1] / least)


@_sharpness.outside("a saddle: widths 2, 2, 2 with the second mode learned only")
def _blunt_saddle(rng: np.random.Generator) -> float:
    net = Network((2, 2, 2))
    loss = Quadratic.from_singular_values((4.0, 1.0), (2, 2), rng=rng)
    return float(1 - h_.spectrum(_canonical(rng, net, loss, [1]), loss)[-1] / 8.0)


@claim(
    "inertia-along-orbits",
    "T8",
    statement="The numbers of negative, zero and positive eigenvalues of H are the same along a gauge orbit: gauges "
    "act linearly on the weights and leave L unchanged, so that H changes by a congruence.",
    hypotheses="none",
    instances="40 networks of depth 2 to 4 and widths 1 to 4, canonical points with a random S and random weights: "
    "number of eigenvalues that count differently after a random gauge",
    tolerance=0.0,
)
def _inertia(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 40, widths=(1, 4)):
        loss = target(rng, net)
        count = int(rng.integers(0, net.rank, endpoint=True))
        learned = rng.choice(min(loss.shape), count, replace=False)
        for point in (_canonical(rng, net, loss, learned.tolist()), weights(rng, net)):
            before, after = h_.index(point, loss), h_.index(_regauged(rng, net, point), loss)
            yield abs(before.negative - after.negative) + abs(before.positive - after.positive)


@claim(
    "hessian-norm-bound",
    "T8",
    statement="||H||_2 <= sum_i a_i^2 + ||T||_2 with a_i = ||W_{>i}|| ||W_{<i}|| and T_ij = ||W_{<j} R' W_{>i}|| "
    "||W_{i-1} ... W_{j+1}|| for i > j; with W_{<i} Sigma_xx^(1/2) in a_i for unwhitened data.",
    hypotheses="none",
    instances="both losses of 40 networks of depth 1 to 4 and widths 1 to 5, at scales from 0.3 to 3; by how much the "
    "bound falls short, relative",
    tolerance=1e-12,
)
def _bound(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 40, depths=(1, 4)):
        for loss in (target(rng, net), _regression(rng, net)):
            point = weights(rng, net, scale=float(np.exp(rng.uniform(-1.2, 1.2))))
            norm = np.abs(h_.spectrum(point, loss)).max()
            yield max(0.0, 1 - float(h_.norm_bound(point, loss)) / norm)
