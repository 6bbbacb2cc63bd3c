"""Discrete updates: gradient descent and the heavy ball beside the flow (T15)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from fastdln.claims.instances import networks, target, weights
from fastdln.claims.measures import difference, distance, shifted
from fastdln.claims.registry import claim
from fastdln.comparison import Comparison, compare
from fastdln.descent import descend
from fastdln.field import balance, product, rhs
from fastdln.gradient_flow import flow
from fastdln.inits import decoupled
from fastdln.linalg import Floats
from fastdln.losses import Loss, Quadratic
from fastdln.network import Network, Weights


@claim(
    "descent-is-stable-below-the-limit",
    "T15",
    statement="Gradient descent is stable at a balanced global minimum iff eta < 2 / (h sigma_1^(2-2/h)).",
    hypotheses="the minimum is balanced",
    instances="3 targets each of depth 2, 3, 4 with widths 3, minimum moved by 1e-6, 400 steps at 0.98 of the limit; "
    "residual after over that before",
    tolerance=1.0,
)
def _stable(rng: np.random.Generator) -> Iterator[float]:
    for depth in (2, 3, 4):
        for _ in range(3):
            yield _growth(rng, depth, 0.98)


@_stable.outside("1.02 of the limit, the least growth over depth 2, 3, 4")
def _(rng: np.random.Generator) -> float:
    return min(_growth(rng, depth, 1.02) for depth in (2, 3, 4))


def _growth(rng: np.random.Generator, depth: int, part: float) -> float:
    net = Network((3,) * (depth + 1))
    loss = target(rng, net)
    sigma = loss.modes.sigma
    minimum = decoupled(net, loss, sigma ** (1 / depth), rng=rng)
    start = shifted(minimum, weights(rng, net), 1e-6)
    end = descend(start, loss, part * 2 / (depth * sigma[0] ** (2 - 2 / depth)), 400, record=()).final
    before, after = (np.linalg.norm(loss.target - product(W)) for W in (start, end))
    return float(after / before)


@claim(
    "descent-tends-to-the-flow",
    "T15",
    statement="At a fixed time the distance of gradient descent from the flow is of first order in the learning rate.",
    hypotheses="steps small enough for the leading term",
    instances="5 networks of depth 2 to 4 at t = 1, 512 and 1024 steps; distance of the order from 1",
    tolerance=0.05,
)
def _first_order(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 5):
        drawn, loss = weights(rng, net), target(rng, net)
        limit = flow(drawn, loss, (0.0, 1.0), rtol=1e-11).final
        coarse, fine = (distance(descend(drawn, loss, 1 / n, n, record=()).final, limit) for n in (512, 1024))
        yield abs(np.log2(coarse / fine) - 1)


@claim(
    "modified-flow-is-of-second-order",
    "T15",
    statement="Up to a fixed time the distance of gradient descent from the flow of L + (eta/4) ||grad L||^2 is of "
    "second order in the learning rate.",
    hypotheses="steps small enough for the leading term",
    instances="5 networks of depth 2 to 4 up to t = 1, learning rates 0.004 and 0.002; distance of the order from 2",
    tolerance=0.1,
)
def _second_order(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 5):
        yield abs(float(_orders(rng, net).order_modified) - 2)


@_second_order.outside("distance from the flow of L itself")
def _(rng: np.random.Generator) -> float:
    return abs(float(_orders(rng, next(networks(rng, 1))).order_flow) - 2)


def _orders(rng: np.random.Generator, net: Network) -> Comparison:
    return compare(weights(rng, net), target(rng, net), (0.004, 0.002), 1.0, n_times=5)


@claim(
    "heavy-ball-tends-to-its-equation",
    "T15",
    statement="With momentum beta = 1 - gamma s and learning rate s^2, the heavy ball after k steps is within O(s) of "
    "W'' + gamma W' = -grad L at the time k s.",
    hypotheses="start at rest; steps small enough for the leading term",
    instances="5 networks of depth 2 to 4 at time 1, gamma = 2, 256 and 512 steps beside the equation; distance of "
    "the order from 1",
    tolerance=0.2,
)
def _second_equation(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 5):
        drawn, loss = weights(rng, net), target(rng, net)
        limit = _second_order_flow(drawn, loss, 2.0, 200)
        ends = (descend(drawn, loss, 1 / n**2, n, momentum=1 - 2.0 / n, record=()).final for n in (256, 512))
        coarse, fine = (distance(end, limit) for end in ends)
        yield abs(np.log2(coarse / fine) - 1)


def _second_order_flow(W: Weights, loss: Loss, gamma: float, steps: int) -> Weights:
    """W'' + gamma W' = -grad L from rest to time 1, by the classical Runge-Kutta method."""
    net = Network((W[0].shape[1], *(layer.shape[0] for layer in W)))
    state = np.stack([net.pack(W), np.zeros(net.n_parameters)])

    def field(y: np.ndarray) -> np.ndarray:
        return np.stack([y[1], net.pack(rhs(net.unpack(y[0]), loss)) - gamma * y[1]])

    dt = 1 / steps
    for _ in range(steps):
        a = field(state)
        b = field(state + dt / 2 * a)
        c = field(state + dt / 2 * b)
        d = field(state + dt * c)
        state = state + dt / 6 * (a + 2 * b + 2 * c + d)
    return net.unpack(state[0])


@claim(
    "momentum-stretches-time",
    "T15",
    statement="The heavy ball follows the flow at t = eta k / (1 - beta), within O(eta / (1 - beta)^2).",
    hypotheses="start at rest; steps small enough for the leading term",
    instances="5 networks of depth 2 to 4 at t = 1: beta = 0 and 0.9 at eta / (1 - beta)^2 = 1/500 and 1/1000, "
    "distance of the order from 1; beta = 0.95 at 1/500, distance of its power of 2 from that of 0.9",
    tolerance=0.15,
)
def _stretched(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 5):
        drawn, loss = weights(rng, net), target(rng, net)
        limit = flow(drawn, loss, (0.0, 1.0), rtol=1e-11).final

        def missed(
            beta: float, strength: float, W: Weights = drawn, loss: Loss = loss, limit: Weights = limit
        ) -> float:
            eta = strength * (1 - beta) ** 2
            return distance(descend(W, loss, eta, round((1 - beta) / eta), beta, record=()).final, limit)

        for beta in (0.0, 0.9):
            yield abs(np.log2(missed(beta, 1 / 500) / missed(beta, 1 / 1000)) - 1)
        yield abs(np.log2(missed(0.95, 1 / 500) / missed(0.9, 1 / 500)))


@_stretched.outside("beta = 0.9 beside the flow at t = eta k: the order in eta")
def _(rng: np.random.Generator) -> float:
    net = Network((3, 4, 3))
    drawn, loss = weights(rng, net), target(rng, net)
    limit = flow(drawn, loss, (0.0, 0.1), rtol=1e-11).final
    coarse, fine = (
        distance(descend(drawn, loss, eta, round(0.1 / eta), 0.9, record=()).final, limit) for eta in (2e-5, 1e-5)
    )
    return float(abs(np.log2(coarse / fine) - 1))


@claim(
    "drift-of-descent-adds-up",
    "T15",
    statement="Over k steps of gradient descent C_i changes by eta^2 sum (G_{i+1}' G_{i+1} - G_i G_i').",
    hypotheses="no momentum, no weight decay",
    instances="10 networks of depth 2 to 4, 200 steps of 0.01; entries of the difference",
    tolerance=1e-11,
)
def _adds_up(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 10):
        yield _unexplained(weights(rng, net), target(rng, net))


@_adds_up.outside("momentum 0.5")
def _(rng: np.random.Generator) -> float:
    net = Network((3, 4, 3))
    return _unexplained(weights(rng, net), target(rng, net), momentum=0.5)


@claim(
    "drift-with-decay-and-rates",
    "T15",
    statement="With weight decay mu and layer rates eta_i, of which the balance is C_i = W_{i+1}' W_{i+1} / eta_{i+1} "
    "- W_i W_i' / eta_i, a step takes C_i to (1 - eta mu)^2 C_i + eta^2 (eta_{i+1} G_{i+1}' G_{i+1} - eta_i G_i G_i').",
    hypotheses="no momentum; layer rates do not multiply mu",
    instances="10 networks of depth 2 to 4, mu and rates below 2, 200 steps of 0.01; entries of the difference",
    tolerance=1e-11,
)
def _decays(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 10):
        mu, rates = 2 * rng.random(), 0.5 + rng.random(net.depth)
        yield _unexplained(weights(rng, net), target(rng, net), mu=mu, rates=rates)


@_decays.outside("momentum 0.5")
def _(rng: np.random.Generator) -> float:
    net = Network((3, 4, 3))
    return _unexplained(weights(rng, net), target(rng, net), momentum=0.5, mu=1.0, rates=np.array([1.0, 1.5]))


def _unexplained(
    start: Weights, loss: Loss, momentum: float = 0.0, mu: float = 0.0, rates: Floats | None = None
) -> float:
    """What 200 steps of 0.01 leave of the balance beside the decay of that of the start and the squares of updates."""
    eta, factors = 0.01, np.ones(len(start)) if rates is None else rates
    sol = descend(
        start, loss, eta, 200, momentum, weight_decay=mu, layer_rates=tuple(factors), record=("weights",)
    )  # fmt: skip
    states = sol.weights
    # balance() divides the square of the layers of eta_i G_i by eta_i
    squares = balance(rhs(tuple(W[:-1] for W in states), loss, layer_rates=factors), factors)
    kept, worst = (1 - eta * mu) ** 2, 0.0
    for C, S in zip(balance(states, factors), squares, strict=True):
        expected = C[0]
        for square in S:
            expected = kept * expected + eta**2 * square
        worst = max(worst, difference((C[-1],), (expected,)))
    return worst


@claim(
    "imbalance-of-scalar-layers",
    "T15",
    statement="For scalar layers, P = prod w_k and r = P - sigma, a step multiplies w_i^2 - w_j^2 by "
    "1 - eta^2 r^2 P^2 / (w_i^2 w_j^2), so that it contracts only while eta^2 r^2 P^2 < 2 w_i^2 w_j^2.",
    hypotheses="no momentum, no weight decay",
    instances="10 networks of depth 2 to 4, 50 steps of 0.1: all pairs of layers, relative to w_i^2 + w_j^2",
    tolerance=1e-13,
)
def _contracts(rng: np.random.Generator) -> Iterator[float]:
    for _ in range(10):
        yield _uncontracted(rng, 0.0)


@_contracts.outside("momentum 0.5")
def _(rng: np.random.Generator) -> float:
    return _uncontracted(rng, 0.5)


def _uncontracted(rng: np.random.Generator, momentum: float) -> float:
    depth, sigma, eta = int(rng.integers(2, 5)), 1 + rng.random(), 0.1
    start = tuple(W / 2 for W in np.exp(rng.standard_normal((depth, 1, 1)) / 4))
    sol = descend(start, Quadratic([[sigma]]), eta, 50, momentum, record=("weights",))
    squares = np.stack([W[:, 0, 0] ** 2 for W in sol.weights])
    P2 = squares.prod(axis=0)
    r2 = (np.sqrt(P2) - sigma) ** 2
    worst = 0.0
    for i, j in combinations(range(depth), 2):
        a, b = squares[i], squares[j]
        factor = 1 - eta**2 * r2 * P2 / (a * b)
        missed = (a - b)[1:] - ((a - b) * factor)[:-1]
        worst = max(worst, float(np.abs(missed / (a + b)[1:]).max()))
    return worst
