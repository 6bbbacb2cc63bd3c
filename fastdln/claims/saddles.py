"""Leaving a saddle: arcs, pivots, stable and unstable sets, order of escape (T10)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Literal

import numpy as np

from fastdln import inits
from fastdln.claims.critical import critical_point, critical_points
from fastdln.claims.instances import networks, target
from fastdln.claims.measures import shifted
from fastdln.claims.registry import claim
from fastdln.field import product, value
from fastdln.gradient_flow import flow
from fastdln.linalg import Floats, transpose
from fastdln.losses import Quadratic
from fastdln.network import Network, Weights
from fastdln.theory import exact, hessian, quotient, saddles

_ALPHA = np.linspace(0.0, 0.1, 11)
_SIDES: tuple[tuple[Literal["unstable", "stable"], float], ...] = (("unstable", 1.0), ("stable", -1.0))


def _saddles(rng: np.random.Generator, count: int) -> Iterator[tuple[Network, Quadratic, Weights]]:
    """Those of `count` built critical points that are no minima."""
    for net, loss, _, point in critical_points(rng, count):
        if value(point, loss) > 0.5 * np.square(loss.modes.sigma[net.rank :]).sum() + 1e-9:
            yield net, loss, point


@claim(
    "every-saddle-has-an-arc",
    "T10",
    statement="From every critical point that is no global minimum an arc A(alpha) leads down, L(A(alpha)) < L(A).",
    hypotheses="none",
    instances="the saddles among 200 built critical points of depth 2 to 5, 10 steps along the arc of each, the "
    "loss of the weights there; saddles along whose arc it does not fall",
    tolerance=0.0,
)
def _arcs(rng: np.random.Generator) -> Iterator[float]:
    for _, loss, point in _saddles(rng, 200):
        arc = saddles.escape_arc(point, loss)
        along = value(arc.weights_at(_ALPHA), loss)
        falls = along[-1] < along[0] and (np.diff(along) <= 1e-14 * arc.value).all()
        yield float(not (falls and (np.diff(arc.change_at(_ALPHA)) < 0).all()))


@claim(
    "two-pivots-are-strict",
    "T10",
    statement="m* = 2 if and only if the saddle is strict.",
    hypotheses="none",
    instances="the saddles among 200 built critical points of depth 2 to 5; verdicts that the least eigenvalue of "
    "the Hessian contradicts",
    tolerance=0.0,
)
def _strict(rng: np.random.Generator) -> Iterator[float]:
    for _, loss, point in _saddles(rng, 200):
        negative = float(np.linalg.eigvalsh(hessian.matrix(point, loss))[0]) < -1e-7
        yield float((saddles.escape_arc(point, loss).pivots == 2) != negative)


@claim(
    "fewer-layers-change-nothing",
    "T10",
    statement="Along any motion of fewer than m* layers, <R, W> is constant: the polynomial <R, W(A + alpha V)> "
    "starts at alpha^m* at the earliest.",
    hypotheses="the learned modes are the leading ones and V moves the residual blocks alone",
    instances="the saddles with m* >= 3 among 100 built critical points of depth 3 to 5, random motions of every "
    "set of m* - 1 layers; changes relative to the sizes of the factors",
    tolerance=1e-15,
)
def _lower_orders(rng: np.random.Generator) -> Iterator[float]:
    for net, loss, _, point in critical_points(rng, 100, depths=(3, 5)):
        if value(point, loss) > 0.5 * np.square(loss.modes.sigma[net.rank :]).sum() + 1e-9:
            pivots = saddles.escape_arc(point, loss).pivots
            if pivots > 2:
                yield max(_changes(rng, loss, point, pivots - 1))


@_lower_orders.outside("m* of the three layers of a 2-2-2-2 network at the origin")
def _(rng: np.random.Generator) -> float:
    net = Network((2, 2, 2, 2))
    loss = target(rng, net)
    return max(_changes(rng, loss, tuple(np.zeros(shape) for shape in net.shapes), 3))


def _changes(rng: np.random.Generator, loss: Quadratic, point: Weights, layers: int) -> Iterator[float]:
    """How much <R, W> changes, relatively, when that many layers of the residual blocks move."""
    form = quotient.normal_form(point, loss)
    r, h = form.rank, len(point)
    R = loss.target - product(point)
    blocks = [
        np.s_[0 if i == h - 1 else r :, 0 if i == 0 else r :] for i in range(h)
    ]  # of the layers in normal form that hold Z_i
    for moving in combinations(range(h), layers):
        moved = [W.copy() for W in form.weights]
        for i in moving:
            step = rng.standard_normal(moved[i][blocks[i]].shape)
            if i == 0:
                step = step - step @ form.V @ form.V.T
            if i == h - 1:
                step = step - form.U @ form.U.T @ step
            moved[i][blocks[i]] += step
        size = float(np.linalg.norm(R)) * float(np.prod([np.linalg.norm(W) + 1 for W in moved]))
        yield abs(float((R * (product(moved) - product(point))).sum())) / size


@claim(
    "orders-of-the-arcs",
    "T10",
    statement="The loss falls along an arc like -alpha^p with p = m*, or p = 4 for some saddles with m* = 3.",
    hypotheses="none",
    instances="the saddles among 200 built critical points of depth 2 to 5; coefficients before alpha^m*, relative "
    "to the largest, and orders out of range",
    tolerance=1e-12,
)
def _orders(rng: np.random.Generator) -> Iterator[float]:
    for _, loss, point in _saddles(rng, 200):
        arc = saddles.escape_arc(point, loss)
        yield float(np.abs(arc.coefficients[: arc.order]).max() / np.abs(arc.coefficients).max())
        yield float(arc.order != arc.pivots and (arc.order, arc.pivots) != (4, 3))


@claim(
    "order-above-the-pivots",
    "T10",
    statement="At W_1 = (0 1), W_2 = 0, W_3 = (0 1)', Sigma = diag(1, 0), m* = 3 although L falls no faster than "
    "-alpha^4 / 8.",
    hypotheses="none",
    instances="1 arc, and 20000 random points at distances from 0.05 to 0.2: its coefficients, and by how much a "
    "point is below -(alpha^4 + alpha^5) / 8, relative to alpha^4",
    tolerance=1e-12,
)
def _above(rng: np.random.Generator) -> Iterator[float]:
    loss = Quadratic(np.diag([1.0, 0.0]))
    point = (np.array([[0.0, 1.0]]), np.zeros((1, 1)), np.array([[0.0], [1.0]]))
    arc = saddles.escape_arc(point, loss)
    yield float((arc.pivots, arc.order) != (3, 4))
    yield abs(8 * arc.coefficients[4] + 1)
    directions = rng.standard_normal((20000, 5))
    directions[:, 2] *= rng.uniform(0.0, 0.2, 20000)
    radius = rng.uniform(0.05, 0.2, (20000, 1))
    steps = radius * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    layers = Network((2, 1, 1, 2)).unpack(steps)
    moved = shifted(point, layers)
    alpha = radius[:, 0]
    drop = -(value(moved, loss) - value(point, loss)) / alpha**4
    yield float(np.max(drop - (1 + alpha) / 8, initial=0.0))


@claim(
    "symmetric-set-is-invariant",
    "T10",
    statement="0-balanced networks whose strengths U'WV are symmetric keep both properties along the flow; positive "
    "semidefinite strengths stay so, and so do negative semidefinite ones.",
    hypotheses="started near the origin, of depth at least 2",
    instances="8 networks of depth 2 to 4, both signs, t = 0 to 2, rtol 1e-8; asymmetry and eigenvalues of the "
    "wrong sign, relative to the largest strength",
    tolerance=1e-12,
)
def _symmetric(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 8):
        loss = target(rng, net)
        for side, sign in _SIDES:
            yield _asymmetry(loss, saddles.invariant_starts(_origin(net), loss, 0.3, side, rng=rng), sign)


@_symmetric.outside("a balanced start of a 3-3-3 network whose strengths are not symmetric")
def _(rng: np.random.Generator) -> float:
    net = Network((3, 3, 3))
    return _asymmetry(target(rng, net), inits.balanced(net, 0.1, rng=rng), 1.0)


def _origin(net: Network) -> Weights:
    return tuple(np.zeros(shape) for shape in net.shapes)


def _asymmetry(loss: Quadratic, start: Weights, sign: float) -> float:
    sol = flow(start, loss, (0.0, 2.0), np.linspace(0.0, 2.0, 6), rtol=1e-8, record=("weights",))
    S: Floats = transpose(loss.modes.U) @ product(sol.weights) @ loss.modes.V
    transposed = transpose(S)
    wrong = np.maximum(0.0, -sign * np.linalg.eigvalsh((S + transposed) / 2))
    return float(max(np.abs(S - transposed).max(), wrong.max()) / np.abs(S).max())


@claim(
    "unstable-set-shrinks-backwards",
    "T10",
    statement="Of the small 0-balanced networks, the backward flow takes those with U'WV symmetric positive "
    "semidefinite to the origin, and the forward flow those with U'WV negative semidefinite.",
    hypotheses="the range of U'WV is inside that of Sigma; the start is near the origin",
    instances="8 networks of depth 2 to 4 at distance 0.3, both sets, over a time of 3 / sigma_1; starts whose "
    "distance does not fall at each of 5 times",
    tolerance=0.0,
)
def _shrinks(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 8):
        loss = target(rng, net)
        for side, sign in _SIDES:
            start = saddles.invariant_starts(_origin(net), loss, 0.3, side, rng=rng)
            yield _grows(start, loss, -3.0 * sign / float(loss.modes.sigma[0]))


@_shrinks.outside("far away: s = 1.3, sigma = 1, h = 3 blows up backwards at t = 0.12")
def _(rng: np.random.Generator) -> float:
    return _grows(tuple(np.full((1, 1), 1.3) for _ in range(3)), Quadratic([[1.0]]), -1.0)


def _grows(start: Weights, loss: Quadratic, end: float) -> float:
    times = np.linspace(0.0, end, 6)
    sol = flow(start, loss, (0.0, end), times, record=("weights",), max_steps=20_000)
    size = np.sqrt(sum(np.square(W).sum(axis=(-2, -1)) for W in sol.weights))
    return float(not (sol.success and (np.diff(size) < 0).all()))


@claim(
    "eigenvectors-are-tangents",
    "T10",
    statement="To first order the flow near a strict saddle leaves it along the eigenvectors of the Hessian with "
    "negative eigenvalues, as exp(-lambda t), and reaches it along those with positive ones.",
    hypotheses="a strict saddle",
    instances="the saddles with m* = 2 among 40 built critical points of depth 2 to 5, from the distance 1e-6 over "
    "half a unit of 1/|lambda|; relative error of the displacement",
    tolerance=2e-5,
)
def _tangent(rng: np.random.Generator) -> Iterator[float]:
    for net, loss, point in _saddles(rng, 40):
        unstable, stable = saddles.unstable_directions(point, loss), saddles.stable_directions(point, loss)
        if (unstable.orders > 2).any():
            continue
        for found in (unstable, stable):
            if len(found.orders):
                yield _displacement(net, loss, point, tuple(V[0] for V in found.vectors), float(found.curvatures[0]))


def _displacement(net: Network, loss: Quadratic, point: Weights, direction: Weights, curvature: float) -> float:
    size = 1e-6
    start = shifted(point, direction, size)
    t = 0.5 / abs(curvature)
    end = flow(start, loss, (0.0, t), rtol=1e-12).final
    moved = net.pack(tuple(W - A for W, A in zip(end, point, strict=True))) / (size * np.exp(-curvature * t))
    return float(np.linalg.norm(moved - net.pack(direction)))


@claim(
    "order-of-escape",
    "T10",
    statement="Along decoupled flows the modes escape one after the other, at the times of T13: the larger sigma, the "
    "sooner.",
    hypotheses="balanced decoupled starts with a small common value s_0",
    instances="5 targets for each depth 2 to 4, 3 modes; relative error of the times at which strengths reach half "
    "of sigma, and whether they are out of order",
    tolerance=1e-5,
)
def _escape(rng: np.random.Generator) -> Iterator[float]:
    for depth in (2, 3, 4):
        net = Network((3,) * (depth + 1))
        for _ in range(5):
            loss = target(rng, net)
            sigma = loss.modes.sigma
            s0 = 1e-3 if depth == 2 else 0.05
            expected = exact.mode_time((sigma / 2) ** (1 / depth), s0, sigma, depth)
            sol = flow(
                inits.decoupled(net, loss, s0), loss, (0.0, 1.1 * expected[-1]), rtol=1e-8, record=("learning_times",)
            )
            times = np.asarray(sol.learning_times)
            yield float(np.abs(times / expected - 1).max())
            yield float(not (np.diff(times) > 0).all())


@claim(
    "escape-times-of-small-starts",
    "T10",
    statement="A balanced mode that starts at s_0 escapes after about s_0^(2-h) / ((h-2) sigma) for h >= 3, and "
    "ln(1/s_0) / sigma for h = 2.",
    hypotheses="s_0 tends to 0",
    instances="20 sigma for each depth 2 to 6, s_0 = 1e-150 for h = 2 and 1e-5 otherwise; relative errors of the time "
    "to half of sigma",
    tolerance=5e-3,
)
def _small(rng: np.random.Generator) -> Iterator[float]:
    sigma = rng.uniform(0.5, 3.0, 20)
    for depth in range(2, 7):
        yield float(np.max(_escape_error(sigma, 1e-150 if depth == 2 else 1e-5, depth)))


@_small.outside("s_0 = 0.3 for sigma = 1, h = 3")
def _(rng: np.random.Generator) -> float:
    return float(_escape_error(np.ones(1), 0.3, 3)[0])


def _escape_error(sigma: Floats, s0: float, depth: int) -> Floats:
    time = exact.mode_time((sigma / 2) ** (1 / depth), s0, sigma, depth)
    expected = -np.log(s0) / sigma if depth == 2 else s0 ** (2 - depth) / ((depth - 2) * sigma)
    return np.asarray(np.abs(time / expected - 1))


@claim(
    "paths-learn-modes-in-order",
    "T10",
    statement="From the origin, left along its arc, the flow goes from saddle to saddle and learns the modes one by "
    "one by falling sigma.",
    hypotheses="distinct sigma",
    instances="6 networks of depth 2 and 3 with 3 modes; paths with other learned sets, or that end in no minimum",
    tolerance=0.0,
)
def _path(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 6, depths=(2, 3), widths=(3, 4)):
        path = saddles.follow(_origin(net), target(rng, net))
        expected = tuple(tuple(range(k)) for k in range(net.rank + 1))
        yield float(path.status != "minimum" or path.learned != expected)


@claim(
    "exchange-where-no-chain-is-open",
    "T10",
    statement="Where the learned modes are not the leading ones the saddle is strict, whatever the chains: a "
    "learned mode is exchanged for a larger one, along a curvature of at most s_k^(h-2) (sigma_k - sigma_q) < 0.",
    hypotheses="the canonical saddle that has learned mode k but not q, sigma_q > sigma_k",
    instances="30 networks of depth 2 to 5 and width at least 2 with one learned mode, the last; by how much the "
    "least curvature exceeds that, relatively",
    tolerance=1e-13,
)
def _exchange(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 30, depths=(2, 5), widths=(1, 4)):
        if min(net.widths[0], net.widths[-1]) < 2:
            continue
        loss = target(rng, net)
        sigma = loss.modes.sigma
        k = len(sigma) - 1
        point = quotient.canonical(critical_point(rng, net, loss, (k,), chains=False), loss)[0]
        arc = saddles.escape_arc(point, loss)
        yield float(arc.pivots != 2)
        bound = sigma[k] ** (1 - 2 / net.depth) * (sigma[k] - sigma[0])
        yield max(0.0, (2 * arc.coefficients[2] / arc.step**2 - bound) / abs(bound))
