"""Discrete updates: gradient descent, heavy ball and mini-batches beside the flow (T15)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product as combinations

import numpy as np

from fastdln.claims.instances import networks, target, weights
from fastdln.claims.measures import difference, distance, shifted
from fastdln.claims.registry import claim
from fastdln.field import balance, product, rhs
from fastdln.gradient_flow import flow
from fastdln.inits import decoupled
from fastdln.losses import Loss, Regression
from fastdln.network import Network, Weights


def _descend(drawn: Weights, loss: Loss, eta: float, steps: int, momentum: float = 0.0) -> Weights:
    """v <- beta v - eta grad L, W <- W + v."""
    velocity = tuple(np.zeros_like(W) for W in drawn)
    for _ in range(steps):
        velocity = tuple(momentum * v + eta * F for v, F in zip(velocity, rhs(drawn, loss), strict=True))
        drawn = shifted(drawn, velocity)
    return drawn


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
    end = _descend(start, loss, part * 2 / (depth * sigma[0] ** (2 - 2 / depth)), 400)
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
        coarse, fine = (distance(_descend(drawn, loss, 1 / n, n), limit) for n in (512, 1024))
        yield abs(np.log2(coarse / fine) - 1)


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
        coarse, fine = (distance(_descend(drawn, loss, 1 / n**2, n, momentum=1 - 2.0 / n), limit) for n in (256, 512))
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
    "drift-of-descent-adds-up",
    "T15",
    statement="Over k steps of gradient descent C_i changes by eta^2 sum (G_{i+1}' G_{i+1} - G_i G_i').",
    hypotheses="no momentum, no weight decay",
    instances="10 networks of depth 2 to 4, 200 steps of 0.01; entries of the difference",
    tolerance=1e-11,
)
def _adds_up(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 10):
        W, loss, eta = weights(rng, net), target(rng, net), 0.01
        expected = list(balance(W))
        for _ in range(200):
            G = rhs(W, loss)
            expected = [C + eta**2 * change for C, change in zip(expected, balance(G), strict=True)]
            W = shifted(W, G, eta)
        yield difference(balance(W), tuple(expected))


@claim(
    "noise-of-mini-batches",
    "T15",
    statement="The gradient over a random mini-batch is that over all samples on average, with a mean square "
    "deviation that falls like 1 / batch size.",
    hypotheses="samples drawn independently, with replacement",
    instances="all mini-batches of 1, 2 and 3 of 5 samples for 5 networks of depth 2 and 3; relative deviation of the "
    "mean, and of the mean square times the size",
    tolerance=1e-11,
)
def _noise(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 5, depths=(2, 3)):
        W = weights(rng, net)
        X, Y = (rng.standard_normal((d, 5)) for d in (net.widths[0], net.widths[-1]))
        whole = net.pack(rhs(W, Regression(X, Y)))
        single = None
        for size in (1, 2, 3):
            batches = [list(batch) for batch in combinations(range(5), repeat=size)]
            gradients = np.array([net.pack(rhs(W, Regression(X[:, batch], Y[:, batch]))) for batch in batches])
            yield float(np.linalg.norm(gradients.mean(axis=0) - whole) / np.linalg.norm(whole))
            spread = np.square(gradients - whole).sum(axis=1).mean()
            single = spread if single is None else single
            yield abs(spread * size / single - 1)
