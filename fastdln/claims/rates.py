"""How fast the loss falls: exponents, tails, global bounds, certificates (T14)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastdln import inits
from fastdln.claims.instances import networks, target, trajectory, weights
from fastdln.claims.registry import claim
from fastdln.field import gradient_norm, product, rhs
from fastdln.gradient_flow import flow
from fastdln.linalg import Floats
from fastdln.losses import Loss, Quadratic, Regression, quadratic_of
from fastdln.network import Network, Weights
from fastdln.theory import exact, rates


def _balanced_minimum(rng: np.random.Generator, net: Network, loss: Quadratic) -> Weights:
    return inits.decoupled(net, loss, loss.modes.sigma[: net.rank] ** (1 / net.depth), rng=rng)


@claim(
    "local-exponent",
    "T14",
    statement="Near a minimum L - L_min ~ exp(-2 rho t), rho the least positive eigenvalue of the Hessian.",
    hypotheses="the trajectory ends in a minimum where the product has the largest rank r_max",
    instances="6 networks 3-4-3, 2-4-3, 3-2-3, 2-3-2-2, 2-2-2-2-2, 3-2, random starts near a balanced minimum: slope "
    "of ln ||grad L|| late on the way, against rho at the end; relative",
    tolerance=0.05,
)
def _local(rng: np.random.Generator) -> Iterator[float]:
    for widths in ((3, 4, 3), (2, 4, 3), (3, 2, 3), (2, 3, 2, 2), (2, 2, 2, 2, 2), (3, 2)):
        net = Network(widths)
        loss = target(rng, net, np.array([3.0, 1.5, 0.5])[: min(widths[0], widths[-1])])
        minimum = _balanced_minimum(rng, net, loss)
        start = inits.near(minimum, 0.03, rng=rng)
        scale = float(rates.local(minimum, loss))
        t = np.array([15.0, 17.0, 40.0]) / scale
        path = trajectory(start, loss, t, rtol=1e-12)
        rho = float(rates.local(tuple(W[-1] for W in path), loss))
        gradient = gradient_norm(path, loss)
        yield abs(np.log(gradient[0] / gradient[1]) / (t[1] - t[0]) / rho - 1)


@claim(
    "local-exponent-at-balanced-minima",
    "T14",
    statement="At a balanced minimum rho = h sigma_r^(2-2/h) if d_0 = d_h = r_max, sigma_r^(2-2/h) if d_0 != d_h and "
    "r_max is the lesser; if r_max is below both, also sigma_r^(1-2/h) (sigma_r - sigma_{r+1}) competes.",
    hypotheses="balanced, distinct sigma, rank Sigma >= r_max",
    instances="30 networks of depth 2 to 4 of each kind; relative difference to the least positive eigenvalue",
    tolerance=1e-9,
)
def _closed(rng: np.random.Generator) -> Iterator[float]:
    for k in range(30):
        h, r = int(rng.integers(2, 4, endpoint=True)), int(rng.integers(1, 3, endpoint=True))
        ends = ((r, r), (r, r + 1), (r + 1, r + 2))[k % 3]
        hidden = (r, *rng.integers(r, 4, size=h - 2, endpoint=True))
        net = Network((ends[0], *hidden, ends[1]))
        loss = target(rng, net)
        yield abs(float(rates.local(_balanced_minimum(rng, net, loss), loss)) / _listed(net, loss.modes.sigma) - 1)


def _listed(net: Network, sigma: Floats) -> float:
    h, r, ends = net.depth, net.rank, (net.widths[0], net.widths[-1])
    last = sigma[r - 1]
    found = [float(sum(last ** (2 * (h - i) / h) * last ** (2 * (i - 1) / h) for i in range(1, h + 1)))]
    if ends[0] != ends[1]:
        found.append(float(last ** (2 - 2 / h)))
    if r < min(ends):
        found += [float(s ** (1 - 2 / h) * (s - sigma[r])) for s in sigma[:r]]
    return min(found)


@claim(
    "tail-without-a-target",
    "T14",
    statement="Where rank Sigma < r_max the tail of balanced layers is algebraic, L ~ t^(-h/(h-1)); one scalar mode "
    "of two layers has L t^2 -> 1/8.",
    hypotheses="balanced layers",
    instances="random starts of scalar modes, h = 2 to 5, sigma = 0, t = 1e9 and 1e10: relative difference of the "
    "exponent, and of L t^2 to 1/8 for h = 2; whether `rates.local` says so at the balanced minimum of rank 1 of "
    "2-3-2 networks",
    tolerance=1e-6,
)
def _tail(rng: np.random.Generator) -> Iterator[float]:
    t = np.array([1e9, 1e10])
    for h in (2, 3, 4, 5):
        L = 0.5 * exact.mode(t, rng.uniform(0.5, 2), 0.0, h) ** (2 * h)
        yield abs(np.log10(L[0] / L[1]) * (h - 1) / h - 1)
        if h == 2:
            yield abs(8 * L[1] * t[1] ** 2 - 1)
    net = Network((2, 3, 2))
    loss = target(rng, net, np.array([2.0, 0.0]))
    found = rates.local(_balanced_minimum(rng, net, loss), loss)
    yield float(found.tail != "algebraic" or found.power != 2)


@_tail.outside("two scalar layers of unequal size: their tail is exponential")
def _(rng: np.random.Generator) -> float:
    t = np.array([5.0, 50.0])
    a, b = exact.scalar_two_layer(t, 1.0, 0.5, 0.0)
    L = 0.5 * (a * b) ** 2
    return float(abs(np.log10(L[0] / L[1]) / 2 - 1))


def _excess(drawn: Weights, loss: Loss, t: Floats) -> Floats:
    """The part of the loss that can vanish, along the flow."""
    L = flow(drawn, loss, (0.0, float(t[-1])), t, rtol=1e-9).loss
    return np.asarray(L - quadratic_of(loss, "the excess").floor)


def _above(bound: rates.Bound, drawn: Weights, loss: Loss) -> float:
    """How far the loss is above a bound, relative to the loss at the start; inf where the bound does not apply."""
    if bound.reason:
        return np.inf
    t = np.linspace(0.0, 3.0, 20) / max(bound.exponent, 1e-2)
    return max(0.0, float(((_excess(drawn, loss, t) - bound(t)) / bound.excess).max()))


def _near(rng: np.random.Generator, W: Floats, share: float) -> Quadratic:
    """A target whose distance to W is a share of the least singular value of W."""
    residual = rng.standard_normal(W.shape)
    return Quadratic(W + share * np.linalg.svd(W)[1][-1] * residual / np.linalg.norm(residual))


@claim(
    "global-bound-with-a-margin",
    "T14",
    statement="If c = sigma_min(Sigma) - ||Sigma - W(0)||_F > 0, L(t) <= L(0) exp(-2 k c^(2-2/h) t), k = h if d_0 = "
    "d_h, else 1.",
    hypotheses="0-balanced layers",
    instances="16 networks of depth 1 to 4 with d_0 = d_h and not; L above the bound, relative to L(0)",
    tolerance=1e-7,
)
def _margin(rng: np.random.Generator) -> Iterator[float]:
    for k in range(16):
        h, d = 1 + k % 4, int(rng.integers(1, 4))
        net = Network((d, *rng.integers(d, 5, size=h - 1), d if k % 2 else d + 1))
        drawn = _balanced_minimum(rng, net, target(rng, net))
        loss = _near(rng, product(drawn), 0.4 * rng.random())
        yield _above(rates.bound(drawn, loss).balanced, drawn, loss)


@_margin.outside("a scalar mode on the other side of 0, in two layers, with c = 0.5 although it is -0.2")
def _(rng: np.random.Generator) -> float:
    drawn, loss = (np.array([[-np.sqrt(0.2)]]), np.array([[np.sqrt(0.2)]])), Quadratic([[1.0]])
    return _above(rates.Bound(2 * 0.5, float(loss.value(product(drawn)))), drawn, loss)


@claim(
    "global-bound-by-imbalance",
    "T14",
    statement="Two layers, any start: L(t) <= L(0) exp(-2 rho t), rho = [d_1 >= d_2] max(0, lambda_{d_2}(C)) + [d_1 "
    ">= d_0] max(0, lambda_{d_0}(-C)), lambda_k the k-th largest eigenvalue: imbalance speeds up learning.",
    hypotheses="two layers; rho > 0",
    instances="16 networks with one layer 1 to 6 times the other, and 4 regressions; L above the bound, relative to "
    "L(0)",
    tolerance=1e-7,
)
def _imbalance(rng: np.random.Generator) -> Iterator[float]:
    for k in range(20):
        d_0, d_2 = rng.integers(1, 4, size=2)
        net = Network((d_0, d_0 + d_2, d_2))
        first, second = weights(rng, net)
        factor = rng.uniform(1, 6)
        drawn = (factor * first, second) if k % 2 else (first, factor * second)
        loss: Loss = target(rng, net)
        if k % 5 == 4:
            loss = Regression(rng.standard_normal((d_0, 12)), rng.standard_normal((d_2, 12)))
        bound = rates.bound(drawn, loss).two_layers
        if not bound.reason:
            yield _above(bound, drawn, loss)


@_imbalance.outside("three scalar layers 0.1, 0.1, 3 whose last two have that imbalance")
def _(rng: np.random.Generator) -> float:
    drawn, loss = tuple(np.array([[w]]) for w in (0.1, 0.1, 3.0)), Quadratic([[1.0]])
    return _above(rates.Bound(9 - 0.01, float(loss.value(product(drawn)))), drawn, loss)


@claim(
    "global-bound-by-lambda-balance",
    "T14",
    statement="Two square lambda-balanced layers with the margin c > 0: L(t) <= L(0) exp(-2 rho t), rho = (lambda^2 "
    "+ 4 c^2)^(1/2).",
    hypotheses="d_0 = d_1 = d_2, C = lambda I, c > 0",
    instances="12 networks of widths 1 to 3, lambda between -2 and 2; L above the bound, relative to L(0)",
    tolerance=1e-7,
)
def _lambda(rng: np.random.Generator) -> Iterator[float]:
    for _ in range(12):
        d = int(rng.integers(1, 4))
        net = Network((d, d, d))
        drawn = inits.lambda_balanced(net, [rng.uniform(-2, 2)], 1.0, rng=rng)
        loss = _near(rng, product(drawn), 0.4 * rng.random())
        yield _above(rates.bound(drawn, loss).lambda_balanced, drawn, loss)


def _learned(rng: np.random.Generator) -> tuple[Network, Weights, Quadratic]:
    """A network that has almost learned its target."""
    d_0, d_h = rng.integers(1, 4, size=2)
    net = Network((d_0, *rng.integers(max(d_0, d_h), 5, size=rng.integers(0, 4)), d_h))
    drawn = tuple(np.eye(*shape) + 0.2 * rng.standard_normal(shape) for shape in net.shapes)
    residual = rng.standard_normal((d_h, d_0))
    return net, drawn, Quadratic(product(drawn) + 10 ** rng.uniform(-4, -0.5) * residual / np.linalg.norm(residual))


@claim(
    "polyak-lojasiewicz",
    "T14",
    statement="sum_i eta_i ||dL/dW_i||^2 >= 2 mu E, mu = lambda_min(Sigma_xx) sum_i eta_i sigma_{d_h}(W_{>i})^2 "
    "sigma_{d_0}(W_{<i})^2 and E the part of the loss that can vanish.",
    hypotheses="none",
    instances="60 networks of depth 1 to 4, whitened and unwhitened, rates between 0.3 and 3; shortfall of the left "
    "side, relative",
    tolerance=1e-9,
)
def _certificate(rng: np.random.Generator) -> Iterator[float]:
    for k, net in enumerate(networks(rng, 60, depths=(1, 4))):
        drawn, loss, eta = weights(rng, net), target(rng, net), rng.uniform(0.3, 3, net.depth)
        chosen: Loss = loss
        if k % 2:
            chosen = Regression(rng.standard_normal((net.widths[0], 9)), rng.standard_normal((net.widths[-1], 9)))
        found = rates.certificate(drawn, chosen, eta)
        left = sum(e * np.square(F).sum() for e, F in zip(eta, rhs(drawn, chosen), strict=True))
        yield max(0.0, 1 - left / max(2 * float(found.mu * found.excess), 1e-300))


@claim(
    "certified-time",
    "T14",
    statement="With mu_delta a lower bound of mu over the ball of a self-consistent radius delta, E(t) <= E exp(-2 "
    "mu_delta t) from then on.",
    hypotheses="delta exists; no weight decay",
    instances="20 networks of depth 1 to 4 with almost the target learned; E at the time guaranteed for E/100, above "
    "that, relative",
    tolerance=1e-5,
)
def _certified_time(rng: np.random.Generator) -> Iterator[float]:
    for _, drawn, loss, found, eta in _certified(rng, 20):
        t = float(found.time_to(found.excess / 100))
        end = loss.value(product(trajectory(drawn, loss, np.array([t]), 1e-11, eta.tolist())))[-1]
        yield max(0.0, float(100 * end / found.excess - 1))


@claim(
    "certified-finish",
    "T14",
    statement="The path that remains, all layers together, is at most delta = (max_i eta_i 2E/mu_delta)^(1/2).",
    hypotheses="delta is self-consistent: mu_delta holds over the ball of radius delta; no weight decay",
    instances="20 networks of depth 1 to 4 with almost the target learned, rates between 0.5 and 2; length of the "
    "way at 60 times up to t = 20/mu, beyond delta, relative",
    tolerance=1e-5,
)
def _finish(rng: np.random.Generator) -> Iterator[float]:
    for net, drawn, loss, found, eta in _certified(rng, 20):
        yield max(0.0, _length(net, drawn, loss, eta, 20 / float(found.mu)) / float(found.path) - 1)


@_finish.outside("two scalar layers 2 and -1, Sigma = 1, with mu at the weights in place of a bound over the ball")
def _(rng: np.random.Generator) -> float:
    drawn, loss = (np.array([[2.0]]), np.array([[-1.0]])), Quadratic([[1.0]])
    found = rates.certificate(drawn, loss)
    return _length(Network((1, 1, 1)), drawn, loss, np.ones(2), 10.0) / float(np.sqrt(2 * found.excess / found.mu)) - 1


def _length(net: Network, drawn: Weights, loss: Loss, eta: Floats, end: float) -> float:
    t = np.concatenate([[0.0], np.geomspace(1e-3, 1, 59) * end])
    path = net.pack(trajectory(drawn, loss, t, 1e-11, eta.tolist()))
    return float(np.linalg.norm(np.diff(path, axis=0), axis=-1).sum())


def _certified(
    rng: np.random.Generator, count: int
) -> Iterator[tuple[Network, Weights, Quadratic, rates.Certificate, Floats]]:
    """Networks with a self-consistent radius."""
    while count:
        net, drawn, loss = _learned(rng)
        eta = rng.uniform(0.5, 2, net.depth)
        found = rates.certificate(drawn, loss, eta)
        if np.isfinite(found.path):
            count -= 1
            yield net, drawn, loss, found, eta
