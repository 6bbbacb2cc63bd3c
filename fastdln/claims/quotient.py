"""The quotient by gauges: fibers, orbits and normal forms (T11)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import scipy.linalg

from fastdln.claims.critical import critical_point, critical_points
from fastdln.claims.instances import networks, target, weights
from fastdln.claims.measures import largest, relative, shifted
from fastdln.claims.registry import claim
from fastdln.field import balance, product, rhs
from fastdln.gradient_flow import flow
from fastdln.linalg import Floats
from fastdln.network import Network, Weights
from fastdln.theory import quotient
from fastdln.theory.invariants import ranks


def _square(layers: Weights) -> float:
    return float(sum(np.square(W).sum() for W in layers))


@claim(
    "gauges-keep-product",
    "T11",
    statement="Gauges W_i -> P_i W_i P_{i-1}^{-1} leave W and L unchanged, and G_i = dL/dW_i becomes "
    "P_i^{-T} G_i P_{i-1}^T.",
    hypotheses="P_0 = P_h = I",
    instances="30 networks of depth 2 to 4, gauges of condition number up to 10; relative errors of W and gradient",
    tolerance=1e-12,
)
def _covariant(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 30):
        yield _covariance(rng, net, outer=False)


@_covariant.outside("a gauge that also moves the output of a 2-3-2 network, P_2 != I")
def _(rng: np.random.Generator) -> float:
    return _covariance(rng, Network((2, 3, 2)), outer=True)


def _covariance(rng: np.random.Generator, net: Network, outer: bool) -> float:
    drawn, loss = weights(rng, net), target(rng, net)
    gauges = quotient.random_gauges(net, rng)
    moved = quotient.transform(drawn, gauges)
    if outer:
        moved = (*moved[:-1], 2 * moved[-1])
    frames = [np.eye(net.widths[0]), *gauges, np.eye(net.widths[-1])]
    expected = tuple(
        np.linalg.inv(above).T @ F @ below.T
        for F, (below, above) in zip(rhs(drawn, loss), pairwise(frames), strict=True)
    )
    W = product(drawn)
    return max(relative((product(moved),), (W,)), relative(rhs(moved, loss), expected))


@claim(
    "orthogonal-gauges-move-the-flow",
    "T11",
    statement="The flow from P.W is P applied to the flow from W.",
    hypotheses="orthogonal gauges",
    instances="8 networks of depth 2 to 4, t = 2, rtol 1e-10; difference of the ends relative to their largest entry",
    tolerance=1e-9,
)
def _equivariant(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 8):
        yield _equivariance(rng, net, condition=1.0)


@_equivariant.outside("gauges of condition number up to 10 of a 2-3-2 network")
def _(rng: np.random.Generator) -> float:
    return _equivariance(rng, Network((2, 3, 2)), condition=10.0)


def _equivariance(rng: np.random.Generator, net: Network, condition: float) -> float:
    drawn, loss = weights(rng, net), target(rng, net)
    gauges = quotient.random_gauges(net, rng, condition)
    end, moved = (
        flow(start, loss, (0.0, 2.0), rtol=1e-10).final for start in (drawn, quotient.transform(drawn, gauges))
    )
    return relative(moved, quotient.transform(end, gauges))


@claim(
    "fibers-are-transverse-to-balance",
    "T11",
    statement="The gauge direction X_i W_i - W_i X_{i-1} is -1/2 times the gradient of sum_i <X_i, C_i>, so that the "
    "balance matrices change along a fiber.",
    hypotheses="symmetric X_i",
    instances="30 networks of depth 2 to 4; slopes in random directions, relative to the lengths of both",
    tolerance=1e-13,
)
def _transverse(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 30):
        yield _slope_error(rng, net, sign=1)


@_transverse.outside("a skew generator of a 2-3-2 network, along which no <X, C> changes")
def _(rng: np.random.Generator) -> float:
    return _slope_error(rng, Network((2, 3, 2)), sign=-1)


def _slope_error(rng: np.random.Generator, net: Network, sign: int) -> float:
    drawn, moved = weights(rng, net), weights(rng, net)
    generators = [rng.standard_normal((d, d)) for d in net.widths[1:-1]]
    X = [G + sign * G.T for G in generators]
    motion = quotient.gauge_motion(drawn, X)

    def potential(step: float) -> float:
        along = shifted(drawn, moved, step)
        return float(sum((x * C).sum() for x, C in zip(X, balance(along), strict=True)))

    # The potential is quadratic: its central difference is its derivative.
    slope = (potential(1.0) - potential(-1.0)) / 2
    along = float(sum((V * M).sum() for V, M in zip(moved, motion, strict=True)))
    return abs(slope + 2 * along) / float(np.sqrt(_square(motion) * _square(moved)))


@claim(
    "balanced-has-least-norm",
    "T11",
    statement="On a fiber sum_i ||W_i||^2 >= h sum_j sigma_j(W)^(2/h), with equality at the balanced points.",
    hypotheses="none",
    instances="30 networks of depth 2 to 4, 50 gauges each: by how much a norm falls below the bound, and the relative "
    "excess and imbalance of the balanced point",
    tolerance=1e-13,
)
def _least(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 30):
        drawn = weights(rng, net)
        s = np.linalg.svd(product(drawn), compute_uv=False)[: net.rank]
        bound = net.depth * float((s ** (2 / net.depth)).sum())
        moved = quotient.transform(drawn, quotient.random_gauges(net, rng, size=50))
        yield max(0.0, 1 - float(sum(np.square(W).sum(axis=(-2, -1)) for W in moved).min()) / bound)
        least = quotient.minimal_norm(drawn)
        yield abs(_square(least) / bound - 1)
        yield max(float(np.abs(C).max()) for C in balance(least)) / bound


@_least.outside("the excess of a point of a 2-3-2 network that is not balanced")
def _(rng: np.random.Generator) -> float:
    drawn = weights(rng, Network((2, 3, 2)))
    return _square(drawn) / _square(quotient.minimal_norm(drawn)) - 1


@claim(
    "critical-points-have-normal-forms",
    "T11",
    statement="A gauge brings a critical point with product U D V' to blockdiag(D^(1/h), Z_i), first layer "
    "[D^(1/h) V'; Z_1], last [U D^(1/h), Z_h], with Z_h ... Z_1 = 0.",
    hypotheses="a critical point of rank r",
    instances="200 built critical points of depth 2 to 5; off-diagonal entries, product and learned blocks, relative",
    tolerance=1e-12,
)
def _normal_forms(rng: np.random.Generator) -> Iterator[float]:
    for net, loss, learned, point in critical_points(rng, 200):
        form = quotient.normal_form(point, loss)
        root = loss.modes.sigma[list(learned)] ** (1 / net.depth)
        ends: list[Floats] = [form.V.T, *(np.eye(len(root)) for _ in range(net.depth - 1)), form.U]
        blocks = [scipy.linalg.block_diag(np.diag(root), Z) for Z in form.residual[1:-1]]
        expected = (
            np.vstack([np.diag(root) @ ends[0], form.residual[0]]),
            *blocks,
            np.hstack([ends[-1] @ np.diag(root), form.residual[-1]]),
        )
        chain = form.residual[0]
        for Z in form.residual[1:]:
            chain = Z @ chain
        yield max(relative(form.weights, expected), float(np.abs(chain).max()) / largest(point) ** net.depth)


@claim(
    "canonical-orbits",
    "T11",
    statement="A gauge takes a critical point to the canonical one, Z = 0, if and only if every partial product has "
    "rank r; in every case the canonical point is in its fiber.",
    hypotheses="a critical point of rank r",
    instances="100 built critical points of depth 2 to 5; wrong verdicts",
    tolerance=0.0,
)
def _canonical(rng: np.random.Generator) -> Iterator[float]:
    for net, loss, learned, point in critical_points(rng, 100):
        reference, gauges = quotient.canonical(point, loss)
        partial = ranks(point, rtol=1e-9)[np.triu_indices(net.depth + 1, 1)]
        reached = bool((partial == len(learned)).all())
        verdicts = (gauges is not None, quotient.same_orbit(point, reference))
        yield float(verdicts != (reached, reached) or not quotient.same_fiber(point, reference))


@claim(
    "one-canonical-point-per-value",
    "T11",
    statement="Critical points with the same critical value have the same canonical representative.",
    hypotheses="distinct sigma and distinct sums of their squares",
    instances="20 pairs of built critical points with the same learned modes, depth 2 to 4; relative difference",
    tolerance=1e-12,
)
def _one_each(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20):
        loss = target(rng, net)
        learned = sorted(rng.choice(net.rank, rng.integers(0, net.rank, endpoint=True), replace=False).tolist())
        one, other = (quotient.canonical(critical_point(rng, net, loss, learned), loss)[0] for _ in range(2))
        yield relative(one, other)


@_one_each.outside("two learned modes of three with equal sigma, whose subspaces differ, in a 3-2-3 network")
def _(rng: np.random.Generator) -> float:
    net = Network((3, 2, 3))
    loss = target(rng, net, np.ones(3))
    one, other = (quotient.canonical(critical_point(rng, net, loss, S), loss)[0] for S in ((0, 1), (1, 2)))
    return relative(one, other)


@claim(
    "orbits-are-linear-systems",
    "T11",
    statement="Two networks are in one orbit if and only if P_i A_i = B_i P_{i-1} has an invertible solution.",
    hypotheses="none",
    instances="60 pairs of depth 2 to 4: by a gauge, of other learned modes, of other partial ranks; wrong verdicts",
    tolerance=0.0,
)
def _orbits(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20, widths=(2, 5)):
        loss = target(rng, net)
        one = critical_point(rng, net, loss, (0,))
        yield float(not quotient.same_orbit(one, quotient.transform(one, quotient.random_gauges(net, rng))))
        yield float(quotient.same_orbit(one, critical_point(rng, net, loss, (1,))))
        extended = list(quotient.canonical(one, loss)[0])
        extended[0] = extended[0] + np.eye(net.widths[1])[:, 1:2] @ np.linalg.svd(product(one))[2][1:2]
        yield float(quotient.same_orbit(quotient.canonical(one, loss)[0], tuple(extended)))
