"""The network as a graph (T1), its flow as one matrix ODE (T2), nilpotency and Jordan structure (T3)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastdln.claims.instances import networks, target, weights
from fastdln.claims.measures import shifted
from fastdln.claims.registry import claim
from fastdln.field import product, rhs, value
from fastdln.gradient_flow import flow
from fastdln.kernels.products.program import program
from fastdln.linalg import Floats
from fastdln.losses import Quadratic
from fastdln.network import Network, Weights
from fastdln.theory import adjacency, invariants


@claim(
    "powers-are-products",
    "T1",
    statement="Block (i, i-k) of A^k is W_i ... W_{i-k+1}, and A^k has no other nonzero block.",
    hypotheses="none",
    instances="all powers of A for 20 networks of depth 2 to 4 and widths 1 to 5; entries of the difference to A^k "
    "multiplied out",
    tolerance=1e-12,
)
def _powers(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20):
        drawn = weights(rng, net)
        A = adjacency.matrix(drawn)
        for k in range(net.depth + 2):
            yield np.abs(adjacency.power(drawn, k) - np.linalg.matrix_power(A, k)).max()


@claim(
    "loss-of-the-corner",
    "T1",
    statement="The only nonzero block of A^h is the product in its corner, so that L = 1/2 ||E - A^h||_F^2 with the "
    "target in the corner of E.",
    hypotheses="quadratic loss",
    instances="20 networks of depth 2 to 4 and widths 1 to 5; relative difference of the two losses",
    tolerance=1e-12,
)
def _corner(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20):
        drawn, loss = weights(rng, net), target(rng, net)
        A = adjacency.matrix(drawn)
        E = np.zeros_like(A)
        E[-net.widths[-1] :, : net.widths[0]] = loss.target
        in_A = 0.5 * np.square(E - np.linalg.matrix_power(A, net.depth)).sum()
        yield abs(in_A / value(drawn, loss) - 1)


@claim(
    "matrix-ode",
    "T2",
    statement="dA/dt = sum_k (A')^(h-1-k) (E - A^h) (A')^k has the gradient flow of the layers as its blocks.",
    hypotheses="none",
    instances="20 networks of depth 2 to 4 and widths 1 to 5; entries of the difference to the layers' flow",
    tolerance=1e-11,
)
def _matrix_ode(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20):
        drawn, loss = weights(rng, net), target(rng, net)
        field = adjacency.flow_field(adjacency.matrix(drawn), net, loss)
        yield np.abs(field - adjacency.matrix(rhs(drawn, loss))).max()


@claim(
    "flow-descends-the-gradient",
    "T2",
    statement="The flow is the negative gradient of L in the weights.",
    hypotheses="none",
    instances="20 networks of depth 2 to 4 and widths 1 to 5; derivative of L along a random direction, extrapolated "
    "from central differences, relative to the norms of both",
    tolerance=1e-10,
)
def _gradient(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20):
        drawn, direction, loss = weights(rng, net), weights(rng, net), target(rng, net)

        def difference(step: float, W: Weights = drawn, V: Weights = direction, loss: Quadratic = loss) -> float:
            ahead, behind = (value(shifted(W, V, s), loss) for s in (step, -step))
            return float(ahead - behind) / (2 * step)

        expected = -sum(float(np.vdot(F, V)) for F, V in zip(rhs(drawn, loss), direction, strict=True))
        numerical = (4 * difference(5e-4) - difference(1e-3)) / 3
        yield abs(numerical - expected) / (np.sqrt(net.n_parameters) + abs(expected))


@claim(
    "flops-of-the-orders",
    "T2",
    statement="A right-hand side takes 6 d_h sum_{i<h} d_i d_{i-1} flops in suffix order, 6 d_0 sum_{i>1} d_i d_{i-1} "
    "in prefix order, and 6 d_k sum_{i != k, k+1} d_i d_{i-1} + 4 d_h d_0 d_k + 4 d_k^2 (d_0 + d_h) outward from "
    "layer k.",
    hypotheses="depth at least 2",
    instances="the compiled program of every order of 20 networks of depth 2 to 4; flops counted beyond the formula",
    tolerance=0.0,
)
def _flops(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20):
        d, h = net.widths, net.depth
        area = {i: d[i] * d[i - 1] for i in range(1, h + 1)}
        yield abs(program(d, order=("meet", 1)).flops - 6 * d[h] * sum(area[i] for i in range(1, h)))
        yield abs(program(d, order=("meet", h - 1)).flops - 6 * d[0] * sum(area[i] for i in range(2, h + 1)))
        for k in range(1, h):
            outer = sum(area[i] for i in area if i not in (k, k + 1))
            expected = 6 * d[k] * outer + 4 * d[h] * d[0] * d[k] + 4 * d[k] ** 2 * (d[0] + d[h])
            yield abs(program(d, order=("narrow", k)).flops - expected)


@claim(
    "outward-from-a-narrow-layer",
    "T2",
    statement="With L = W_k ... W_1 and U = W_h ... W_{k+1}, the flow follows from T1 = Sigma L' - U (L L') and "
    "T2 = U' Sigma - (U'U) L, without the residual.",
    hypotheses="quadratic loss; 0 < k < h",
    instances="every layer of 20 networks of depth 2 to 4 and widths 1 to 5; entries of the difference to the flow",
    tolerance=1e-11,
)
def _narrow(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20):
        drawn, loss = weights(rng, net), target(rng, net)
        velocity = rhs(drawn, loss)
        for k in range(1, net.depth):
            L, U = product(drawn[:k]), product(drawn[k:])
            T1 = loss.target @ L.T - U @ (L @ L.T)
            T2 = U.T @ loss.target - (U.T @ U) @ L
            for i in range(1, net.depth + 1):
                if i > k:
                    F = _chain(net, drawn, net.depth, i).T @ T1 @ _chain(net, drawn, i - 1, k).T
                else:
                    F = _chain(net, drawn, k, i).T @ T2 @ _chain(net, drawn, i - 1, 0).T
                yield np.abs(F - velocity[i - 1]).max()


def _chain(net: Network, drawn: Weights, top: int, bottom: int) -> Floats:
    """W_top ... W_{bottom+1}, the identity where they are equal."""
    return product(drawn[bottom:top]) if top > bottom else np.eye(net.widths[top])


@claim(
    "nilpotent-and-isospectral",
    "T3",
    statement="A^{h+1} = 0 and all eigenvalues of A stay 0 along the flow: the traces of all powers vanish.",
    hypotheses="none",
    instances="10 networks of depth 2 to 4 at five times of their flow; entries of A^{h+1} and traces of powers",
    tolerance=0.0,
)
def _nilpotent(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 10):
        sol = flow(weights(rng, net), target(rng, net), (0.0, 2.0), t_eval=np.linspace(0, 2, 5), record=("weights",))
        A = adjacency.matrix(sol.weights)
        powers = [np.linalg.matrix_power(A, k) for k in range(1, net.depth + 2)]
        yield np.abs(powers[-1]).max()
        yield max(np.abs(np.trace(power, axis1=-2, axis2=-1)).max() for power in powers)


@claim(
    "jordan-blocks-from-ranks",
    "T3",
    statement="With rho(a, b) = rank W_b ... W_{a+1}, the counts m(a, b) = rho(a, b) - rho(a-1, b) - rho(a, b+1) + "
    "rho(a-1, b+1) are not negative, those through layer k add up to d_k, and A has sum_{b-a+1=l} m(a, b) Jordan "
    "blocks of size l: rank A^{l-1} - 2 rank A^l + rank A^{l+1}.",
    hypotheses="none",
    instances="30 networks of depth 2 to 4 with layers of small integers and of low rank; counts that differ",
    tolerance=0.0,
)
def _jordan(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 30):
        drawn = tuple(_of_low_rank(rng, *shape) for shape in net.shapes)
        m = invariants.chains(drawn)
        yield max(0, -m.min())
        yield max(abs(m[: k + 1, k:].sum() - d) for k, d in enumerate(net.widths))
        A = adjacency.matrix(drawn)
        rank = [int(np.linalg.matrix_rank(np.linalg.matrix_power(A, k))) for k in range(net.depth + 3)]
        blocks = [rank[size - 1] - 2 * rank[size] + rank[size + 1] for size in range(1, net.depth + 2)]
        yield np.abs(invariants.jordan_blocks(drawn) - blocks).max()


def _of_low_rank(rng: np.random.Generator, rows: int, columns: int) -> Floats:
    rank = int(rng.integers(0, min(rows, columns), endpoint=True))
    return (rng.integers(-2, 3, (rows, rank)) @ rng.integers(-2, 3, (rank, columns))).astype(float)


@claim(
    "isospectral-not-isomorphic",
    "T3",
    statement="The Jordan structure of A may change along the flow.",
    hypotheses="a start of lower rank",
    instances="widths 2, 2, 2 with W_2 = 0 and 10 random W_1 and targets: rank A^2 is 0 at the start and 2 afterwards; "
    "ranks that differ",
    tolerance=0.0,
)
def _not_isomorphic(rng: np.random.Generator) -> Iterator[float]:
    net = Network((2, 2, 2))
    for _ in range(10):
        start = (rng.standard_normal((2, 2)), np.zeros((2, 2)))
        end = flow(start, target(rng, net), (0.0, 1.0)).final
        for expected, layers in ((0, start), (2, end)):
            yield abs(int(np.linalg.matrix_rank(adjacency.power(layers, 2))) - expected)
