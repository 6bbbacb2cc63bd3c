"""What the flow conserves, and how its variants change it (T4)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from fastdln.claims.instances import networks, target, weights
from fastdln.claims.losses import LOSSES
from fastdln.claims.measures import difference, norm, shifted
from fastdln.claims.registry import claim
from fastdln.field import balance, product, rhs
from fastdln.gradient_flow import flow
from fastdln.integrate.tableaus import EXPLICIT
from fastdln.linalg import haar
from fastdln.losses import Quadratic
from fastdln.network import Network, Weights
from fastdln.theory import adjacency, invariants


def _turn(left: Weights, right: Weights) -> Weights:
    """The matrices X_{i+1}' Y_{i+1} - Y_i X_i' in the hidden layers."""
    return tuple(X.T @ Y - y @ x.T for (x, X), (y, Y) in zip(pairwise(left), pairwise(right), strict=True))


@claim(
    "balance-is-conserved",
    "T4",
    statement="The balance matrices C_i = W_{i+1}' W_{i+1} - W_i W_i' are constant along the flow.",
    hypotheses="equal learning rates, no weight decay",
    instances="10 networks of depth 2 to 4, t = 0 to 3, rtol 1e-10; change of a C_i relative to the squared weights",
    tolerance=1e-9,
)
def _conserved(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 10):
        yield _drift(weights(rng, net), target(rng, net))


@_conserved.outside("rates 1, 2, ..., h of the layers of a 2-3-3-2 network, not divided into the C_i")
def _(rng: np.random.Generator) -> float:
    net = Network((2, 3, 3, 2))
    drawn = weights(rng, net)
    end = flow(drawn, target(rng, net), (0.0, 3.0), layer_rates=(1.0, 2.0, 3.0)).final
    return difference(balance(end), balance(drawn), norm(drawn) ** 2)


def _drift(
    start: Weights, loss: Quadratic, weight_decay: float = 0.0, layer_rates: tuple[float, ...] | None = None
) -> float:
    sol = flow(
        start, loss, (0.0, 3.0), np.linspace(0.0, 3.0, 7), rtol=1e-10, record=("drift",),
        weight_decay=weight_decay, layer_rates=layer_rates,
    )  # fmt: skip
    return float(np.max(sol.drift)) / norm(start) ** 2


@claim(
    "balance-with-rates",
    "T4",
    statement="With learning rates eta_i of the layers, W_{i+1}' W_{i+1} / eta_{i+1} - W_i W_i' / eta_i is constant.",
    hypotheses="no weight decay",
    instances="10 networks of depth 2 to 4 with rates between 0.5 and 2, t = 0 to 3, rtol 1e-10; relative change",
    tolerance=1e-9,
)
def _rates(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 10):
        yield _drift(weights(rng, net), target(rng, net), layer_rates=tuple(rng.uniform(0.5, 2, net.depth)))


@claim(
    "balance-decays",
    "T4",
    statement="Under weight decay mu, C_i(t) = exp(-2 mu t) C_i(0): the flow balances the layers.",
    hypotheses="equal learning rates",
    instances="10 networks of depth 2 to 4 with mu between 0.1 and 1, t = 0 to 3, rtol 1e-10; relative difference",
    tolerance=1e-9,
)
def _decay(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 10):
        yield _drift(weights(rng, net), target(rng, net), weight_decay=rng.uniform(0.1, 1))


@claim(
    "balance-for-every-loss",
    "T4",
    statement="The C_i are constant for every loss that depends on the product alone: W_{i+1}' F_{i+1} - F_i W_i' = 0 "
    "with F_i = -W_{>i}' l'(W) W_{<i}', whatever l'.",
    hypotheses="the loss depends on the product alone",
    instances="l_p, Huber, pseudo-Huber, logistic, exponential, softmax, masked and sensing losses for 10 networks "
    "each; entries relative to |W| |F|",
    tolerance=1e-13,
)
def _every_loss(rng: np.random.Generator) -> Iterator[float]:
    for make in LOSSES.values():
        for net in networks(rng, 10):
            drawn = weights(rng, net)
            yield _rate_of_balance(drawn, rhs(drawn, make(rng, (net.widths[-1], net.widths[0]))))


@_every_loss.outside("a penalty |W_1|^2 / 2 on one layer only, in a 2-3-2 network")
def _(rng: np.random.Generator) -> float:
    net = Network((2, 3, 2))
    drawn = weights(rng, net)
    first, *others = rhs(drawn, LOSSES["Huber"](rng, (2, 2)))
    return _rate_of_balance(drawn, (first - drawn[0], *others))


def _rate_of_balance(drawn: Weights, F: Weights) -> float:
    rates = _turn(drawn, F)
    return max(float(np.abs(rate).max()) for rate in rates) / (norm(drawn) * norm(F) or 1.0)


@claim(
    "only-the-corners-move",
    "T4",
    statement="d/dt (A'A - AA') = A^h' R + R' A^h - R A^h' - A^h R', zero outside the first and the last diagonal "
    "block.",
    hypotheses="none",
    instances="20 networks of depth 2 to 4; entries of the difference of both sides, by dA/dt as a matrix",
    tolerance=1e-11,
)
def _corners(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20):
        drawn, loss = weights(rng, net), target(rng, net)
        A = adjacency.matrix(drawn)
        F = adjacency.flow_field(A, net, loss)
        expected = np.zeros_like(A)
        expected[: net.widths[0], : net.widths[0]], expected[-net.widths[-1] :, -net.widths[-1] :] = (
            invariants.corner_rates(drawn, loss)
        )
        yield np.abs(F.T @ A + A.T @ F - F @ A.T - A @ F.T - expected).max()


@claim(
    "balance-turns-with-the-gauge",
    "T4",
    statement="Orthogonal gauges P_i of the hidden layers turn the balance matrices: C_i -> P_i C_i P_i'.",
    hypotheses="the gauges are orthogonal",
    instances="20 networks of depth 2 to 4 and Haar gauges; entries relative to the squared weights",
    tolerance=1e-13,
)
def _gauges(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20):
        drawn = weights(rng, net)
        yield _turned(drawn, tuple(haar(rng.standard_normal((d, d))) for d in net.widths[1:-1]))


@_gauges.outside("the gauge 2 I of the hidden layer of a 2-3-2 network")
def _(rng: np.random.Generator) -> float:
    return _turned(weights(rng, Network((2, 3, 2))), (2 * np.eye(3),))


def _turned(drawn: Weights, gauges: Weights) -> float:
    ends = np.eye(drawn[0].shape[1]), np.eye(drawn[-1].shape[0])
    P = (ends[0], *gauges, ends[1])
    turned = tuple(P[i + 1] @ W @ np.linalg.inv(P[i]) for i, W in enumerate(drawn))
    expected = tuple(Q @ C @ Q.T for Q, C in zip(gauges, balance(drawn), strict=True))
    return difference(balance(turned), expected, norm(drawn) ** 2)


@claim(
    "balance-after-a-descent-step",
    "T4",
    statement="A step W_i - eta (G_i + mu W_i) of gradient descent gives (1 - eta mu)^2 C_i + eta^2 (G_{i+1}' G_{i+1} "
    "- G_i G_i').",
    hypotheses="none",
    instances="20 networks of depth 2 to 4, eta and mu up to 0.5; entries relative to the squared weights",
    tolerance=1e-12,
)
def _descent(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20):
        drawn, (eta, mu) = weights(rng, net), rng.uniform(0, 0.5, 2)
        G = tuple(-F for F in rhs(drawn, target(rng, net)))
        stepped = tuple((1 - eta * mu) * W - eta * dL for W, dL in zip(drawn, G, strict=True))
        expected = tuple((1 - eta * mu) ** 2 * C + eta**2 * g for C, g in zip(balance(drawn), balance(G), strict=True))
        yield difference(balance(stepped), expected, norm(drawn) ** 2 + norm(stepped) ** 2)


@claim(
    "balance-under-a-heavy-ball",
    "T4",
    statement="Along m W'' + gamma W' = -grad L, with V = W', Q_i = W_{i+1}' V_{i+1} - V_i W_i' obeys "
    "Q_i' = -(gamma/m) Q_i + V_{i+1}' V_{i+1} - V_i V_i', and C_i' = Q_i + Q_i'.",
    hypotheses="none",
    instances="20 networks of depth 2 to 4, random velocities, m and gamma in (0.5, 2); entries of both differences",
    tolerance=1e-11,
)
def _heavy_ball(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20):
        W, V, (m, gamma) = weights(rng, net), weights(rng, net), rng.uniform(0.5, 2, 2)
        acceleration = tuple((F - gamma * v) / m for F, v in zip(rhs(W, target(rng, net)), V, strict=True))
        pairs = list(zip(pairwise(W), pairwise(V), pairwise(acceleration), strict=True))
        Q = _turn(W, V)
        # both rates by the product rule from W' = V and V' = acceleration
        Q_rate = tuple(Y.T @ Y + X.T @ A - a @ x.T - y @ y.T for (x, X), (y, Y), (a, A) in pairs)
        C_rate = tuple(Y.T @ X + X.T @ Y - y @ x.T - x @ y.T for (x, X), (y, Y), _ in pairs)
        yield difference(Q_rate, tuple(-gamma / m * q + b for q, b in zip(Q, balance(V), strict=True)))
        yield difference(C_rate, tuple(q + q.T for q in Q))


@claim(
    "implicit-midpoint-conserves-balance",
    "T4",
    statement="A step of the implicit midpoint rule leaves the balance matrices as they are, whatever its size.",
    hypotheses="the implicit equation is solved",
    instances="10 networks of depth 2 to 4, 5 steps of length 0.05; change relative to the squared weights",
    tolerance=1e-13,
)
def _midpoint(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 10):
        drawn, loss = weights(rng, net, 0.7), target(rng, net)
        W = drawn
        for _ in range(5):
            end = W
            for _ in range(200):
                middle = tuple((a + b) / 2 for a, b in zip(W, end, strict=True))
                end, last = shifted(W, rhs(middle, loss), 0.05), end
                if difference(end, last) < 1e-15:
                    break
            W = end
        yield difference(balance(W), balance(drawn), norm(drawn) ** 2)


@_midpoint.outside("the explicit midpoint rule in a 2-3-2 network")
def _(rng: np.random.Generator) -> float:
    net = Network((2, 3, 2))
    drawn, loss = weights(rng, net, 0.7), target(rng, net)
    stepped = shifted(drawn, rhs(shifted(drawn, rhs(drawn, loss), 0.025), loss), 0.05)
    return difference(balance(stepped), balance(drawn), norm(drawn) ** 2)


@claim(
    "explicit-steps-drift-at-their-order",
    "T4",
    statement="Explicit Runge-Kutta steps conserve the balance matrices to their order p only: over a fixed time the "
    "drift falls like h^p.",
    hypotheses="steps small enough for the leading term",
    instances="bs3, dp5 and tsit5 on 3 networks 3-4-3 each, steps 1/16 and 1/32 over t = 0 to 1; p less the measured "
    "order",
    tolerance=0.5,
)
def _order(rng: np.random.Generator) -> Iterator[float]:
    net = Network((3, 4, 3))
    for name in ("bs3", "dp5", "tsit5"):
        for _ in range(3):
            drawn, loss = weights(rng, net), target(rng, net)
            coarse, fine = (
                flow(drawn, loss, (0.0, 1.0), method=name, step=step, record=("drift",)).drift[0]
                for step in (1 / 16, 1 / 32)
            )
            yield EXPLICIT[name].order - np.log2(coarse / fine)


@claim(
    "projection-to-a-leaf",
    "T4",
    statement="Gauges alone bring weights back to given balance matrices, so the product stays: Newton's method in "
    "symmetric gauge directions takes some 3 steps from perturbations of 1e-3.",
    hypotheses="weights near the leaf, at which its tangent space meets the gauge directions transversally",
    instances="20 networks of depth 2 to 4 perturbed by 1e-3; error of the C_i and change of the product, relative to "
    "the squared weights and the product, and steps beyond 5",
    tolerance=1e-13,
)
def _projection(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20, widths=(2, 5)):
        drawn = weights(rng, net)
        moved = shifted(drawn, weights(rng, net), 1e-3)
        found = invariants.project(moved, balance(drawn))
        W, kept = product(moved), product(found.weights)
        yield difference(balance(found.weights), balance(drawn), norm(drawn) ** 2)
        yield float(np.linalg.norm(kept - W) / np.linalg.norm(W))
        yield max(0, found.iterations - 5)
