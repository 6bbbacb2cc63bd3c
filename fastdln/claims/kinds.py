"""Strict and nonstrict saddles (T9)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastdln.claims.critical import critical_point, critical_points
from fastdln.claims.instances import networks, target
from fastdln.claims.registry import claim
from fastdln.losses import Quadratic
from fastdln.network import Network, Weights
from fastdln.theory import hessian, landscape, quotient


def _least(weights: Weights, loss: Quadratic) -> float:
    """The least eigenvalue of the Hessian, relative to the largest size of one."""
    eigenvalues = np.linalg.eigvalsh(hessian.matrix(weights, loss))
    size = float(np.abs(eigenvalues).max())
    return float(eigenvalues[0]) / size if size > 1e-9 else 0.0


@claim(
    "strict-means-negative-curvature",
    "T9",
    statement="A critical point is a strict saddle, by the ranks of partial products, if and only if the Hessian has "
    "a negative eigenvalue there; a nonstrict saddle or a minimum where it is positive semidefinite.",
    hypotheses="none",
    instances="200 critical points of networks of depth 2 to 5 and widths 1 to 4 with random chains, every other "
    "target with repeated or zero sigma; 1 where the verdict is not the sign of the least eigenvalue",
    tolerance=0.0,
)
def _strict(rng: np.random.Generator) -> Iterator[float]:
    for _, loss, _, drawn in critical_points(rng, 200):
        found = landscape.classify(drawn, loss)
        yield float((found.kind == "strict_saddle") != (_least(drawn, loss) < -1e-7))


@claim(
    "minimal-value-means-minimum",
    "T9",
    statement="A critical point is a global minimum if and only if the modes that it has learned are the "
    "min(r_max, rank Sigma) leading ones; with equal sigma any of the equal ones count.",
    hypotheses="none",
    instances="200 critical points of networks of depth 1 to 5 and widths 1 to 4, every other target with repeated "
    "or zero sigma; 1 where the verdict and the sum of the learned sigma disagree",
    tolerance=0.0,
)
def _minimal(rng: np.random.Generator) -> Iterator[float]:
    for net, loss, learned, drawn in critical_points(rng, 200, depths=(1, 5)):
        sigma = loss.modes.sigma
        leading = abs(sigma[list(learned)].sum() - sigma[: net.rank].sum()) < 1e-9
        yield float((landscape.classify(drawn, loss).kind == "global_minimum") != leading)


@claim(
    "unlearned-larger-mode-is-strict",
    "T9",
    statement="A saddle where a learned mode is smaller than an unlearned one is strict.",
    hypotheses="a learned sigma is smaller than an unlearned one; equal ones do not count",
    instances="40 such critical points of networks of depth 2 to 5 and widths 1 to 4; 1 where the Hessian has no "
    "negative eigenvalue or the verdict is another",
    tolerance=0.0,
)
def _exchange(rng: np.random.Generator) -> Iterator[float]:
    found = 0
    for net, loss, learned, drawn in critical_points(rng, 600):
        sigma = loss.modes.sigma
        missed = np.delete(sigma, learned)
        if not learned or not len(missed) or sigma[list(learned)].min() > missed.max() - 1e-9 or net.depth == 1:
            continue
        yield float(landscape.classify(drawn, loss).kind != "strict_saddle" or _least(drawn, loss) > -1e-7)
        found += 1
        if found == 40:
            return


@_exchange.outside("three layers that have learned the leading one of two modes, without chains")
def _leading(rng: np.random.Generator) -> float:
    net = Network((2, 2, 2, 2))
    loss = target(rng, net)
    drawn = critical_point(rng, net, loss, (0,), chains=False)
    return float(landscape.classify(drawn, loss).kind != "strict_saddle")


@claim(
    "two-layer-saddles-are-strict",
    "T9",
    statement="Every saddle of a network with two layers is strict.",
    hypotheses="h = 2",
    instances="100 critical points of networks of widths 1 to 5; 1 where the loss is not minimal and the Hessian has "
    "no negative eigenvalue, or the verdict is another",
    tolerance=0.0,
)
def _two_layers(rng: np.random.Generator) -> Iterator[float]:
    for _, loss, _, drawn in critical_points(rng, 100, depths=(2, 2), widths=(1, 5)):
        yield _saddle_is_not_strict(drawn, loss)


@_two_layers.outside("the origin of a network with three layers")
def _three_layers(rng: np.random.Generator) -> float:
    net = Network((2, 3, 3, 2))
    return _saddle_is_not_strict(tuple(np.zeros(shape) for shape in net.shapes), target(rng, net))


def _saddle_is_not_strict(weights: Weights, loss: Quadratic) -> float:
    found = landscape.classify(weights, loss)
    if found.kind == "global_minimum":
        return 0.0
    return float(found.kind != "strict_saddle" or _least(weights, loss) > -1e-7)


@claim(
    "kind-of-the-origin",
    "T9",
    statement="The origin is a strict saddle of networks with two layers, and a nonstrict one of deeper networks.",
    hypotheses="Sigma is not zero",
    instances="40 networks of depth 2 to 5 and widths 1 to 4; 1 where the verdict or the sign of the least "
    "eigenvalue of the Hessian is another",
    tolerance=0.0,
)
def _origin(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 40, depths=(2, 5), widths=(1, 4)):
        loss, origin = target(rng, net), tuple(np.zeros(shape) for shape in net.shapes)
        expected = "strict_saddle" if net.depth == 2 else "nonstrict_saddle"
        negative = _least(origin, loss) < -1e-7
        yield float(landscape.classify(origin, loss).kind != expected or negative != (net.depth == 2))


@claim(
    "kind-is-that-of-the-orbit",
    "T9",
    statement="Gauges, and scaling Sigma by c and the weights by c^(1/h), change neither the kind of a critical "
    "point nor the modes it has learned nor which pivots are tightened.",
    hypotheses="none",
    instances="60 critical points of networks of depth 2 to 5 and widths 1 to 4, random gauges of condition up to 10 "
    "and powers of ten from 1e-30 to 1e30; 1 where anything changes",
    tolerance=0.0,
)
def _orbit(rng: np.random.Generator) -> Iterator[float]:
    for net, loss, _, drawn in critical_points(rng, 60):
        before = landscape.classify(drawn, loss)
        c = 10.0 ** rng.uniform(-30, 30)
        moved = quotient.transform(drawn, quotient.random_gauges(net, rng, 10.0))
        after = landscape.classify(tuple(c ** (1 / net.depth) * W for W in moved), Quadratic(c * loss.target))
        same = (before.kind, before.learned, before.tightened) == (after.kind, after.learned, after.tightened)
        yield float(not same)
