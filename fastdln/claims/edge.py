"""The edge of stability: how sharp minima of gradient descent are, and what it does beyond (T15, T20)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from fastdln.claims.instances import networks, target, weights
from fastdln.claims.measures import shifted
from fastdln.claims.registry import claim
from fastdln.descent import descend
from fastdln.field import gradient_norm, product, rhs
from fastdln.gradient_flow import flow
from fastdln.inits import decoupled
from fastdln.integrate.status import Status
from fastdln.linalg import Floats
from fastdln.losses import Loss, Quadratic
from fastdln.network import Network, Weights
from fastdln.theory import hessian, quotient
from fastdln.theory.descent import cascade, cycles, step_limit

DOUBLINGS = (1.0, np.sqrt(5) - 1, 1.2880318, 1.2992279)  # of m at depth 2
ONSET = 2 / (3 * 10 ** (4 / 3))


def _minimum(rng: np.random.Generator, depth: int, decay: float = 0.0) -> tuple[Weights, Quadratic]:
    """A global minimum of a network of widths 3; without decay, moved by gauges so that it is not balanced."""
    net = Network((3,) * (depth + 1))
    loss = target(rng, net)
    balanced = decoupled(net, loss, (loss.modes.sigma - decay) ** (1 / depth), rng=rng)
    if decay > 0:
        return balanced, loss
    return quotient.transform(balanced, quotient.random_gauges(net, rng, condition=3.0)), loss


# ---- how far it is stable

_WAYS: tuple[tuple[int, float, bool, float, bool], ...] = (
    # depth, momentum, Nesterov's, decay, whether with layer rates
    (2, 0.0, False, 0.0, False),
    (3, 0.0, False, 0.0, False),
    (4, 0.0, False, 0.0, False),
    (3, 0.5, False, 0.0, False),
    (3, 0.5, True, 0.0, False),
    (3, 0.0, False, 0.0, True),
    (2, 0.5, False, 0.2, False),
)


@claim(
    "limit-at-any-minimum",
    "T15",
    statement="Descent is stable at a minimum iff eta (lambda_max + mu) < 2 (1 + beta), with Nesterov's method 2 (1 + "
    "beta) / (1 + 2 beta), where lambda_max is the largest eigenvalue of H, with layer rates D of D^(1/2) H D^(1/2).",
    hypotheses="none",
    instances="minima of widths 3, moved by random gauges and by 1e-11: gradient descent at depths 2, 3, 4, and at "
    "depth 3 the heavy ball and Nesterov's method, beta = 0.5, and layer rates; beta = 0.5 and mu = 0.2 at the "
    "balanced one of depth 2; 150 steps at 0.98 of the limit, gradient after over that before",
    tolerance=1.0,
)
def _limit(rng: np.random.Generator) -> Iterator[float]:
    for way in _WAYS:
        yield _growth(rng, 0.98, *way)


@_limit.outside("1.02 of the limits, the least growth of the same seven")
def _(rng: np.random.Generator) -> float:
    return min(_growth(rng, 1.02, *way) for way in _WAYS)


def _growth(
    rng: np.random.Generator, part: float, depth: int, momentum: float, nesterov: bool, decay: float, rated: bool
) -> float:
    minimum, loss = _minimum(rng, depth, decay)
    rates = tuple(0.5 + rng.random(depth)) if rated else None
    start = shifted(minimum, weights(rng, Network((3,) * (depth + 1))), 1e-11)
    limit = step_limit(minimum, loss, momentum, nesterov, decay, rates)
    sol = descend(
        start, loss, part * limit, 150, momentum, nesterov, weight_decay=decay, layer_rates=rates, record=()
    )  # fmt: skip
    before, after = (
        np.sqrt(sum(np.square(F).sum() for F in rhs(W, loss, weight_decay=decay))) for W in (start, sol.final)
    )
    return float(after / before)


@claim(
    "oscillation-of-the-first-mode",
    "T15",
    statement="A network near a balanced minimum oscillates in mode 0 from eta = 2 / (h sigma_1^(2-2/h)) on, in the "
    "stable cycle of the scalar map, and the other modes stay.",
    hypotheses="not far beyond: before other directions become unstable",
    instances="widths 5-5-5-5, sigma = 10, 6, 3, in random bases, moved by 1e-5, 20 000 updates: at 0.98 of 0.030944 "
    "the gradient, at 1.02 of it the strengths of two updates, sorted, beside the cycle and the target",
    tolerance=1e-6,
)
def _onset(rng: np.random.Generator) -> Iterator[float]:
    start, loss = _five(rng)
    sol = descend(start, loss, [0.98 * ONSET, 1.02 * ONSET], 20000, record=("strengths",), record_from=19999)
    yield float(gradient_norm(tuple(W[0] for W in sol.final), loss))
    (cycle,) = (c for c in cycles(1.02 * ONSET, 10.0, 3, 2) if c.stable)
    expected = np.sort(np.stack([np.append(s**3, [6.0, 3.0, 0.0, 0.0]) for s in cycle.points]), axis=0)
    yield float(np.abs(np.sort(sol.strengths[1], axis=0) - expected).max())


@_onset.outside("1.5 of it, where the scalar map is chaotic but bounded: the largest entry of the product")
def _(rng: np.random.Generator) -> float:
    start, loss = _five(rng)
    return float(np.abs(product(descend(start, loss, 1.5 * ONSET, 20000, record=()).final)).max())


def _five(rng: np.random.Generator) -> tuple[Weights, Quadratic]:
    """Weights near a balanced minimum."""
    net, sigma = Network((5,) * 4), np.array([10.0, 6.0, 3.0])
    loss = Quadratic.from_singular_values(sigma, (5, 5), rng=rng)
    minimum = decoupled(net, loss, np.append(sigma, [0.0, 0.0]) ** (1 / 3), rng=rng)
    return shifted(minimum, weights(rng, net), 1e-5), loss


# ---- what one mode does beyond


def _two_layers(m: Floats, y: Floats, steps: int, record_from: int = 0, momentum: float = 0.0) -> tuple[Floats, Floats]:
    """y = sqrt(eta) s of descents of balanced networks of widths 1-1-1 on the target 1, and their statuses."""
    s = (y / np.sqrt(m))[:, None, None]
    sol = descend((s, s), Quadratic([[1.0]]), m, steps, momentum, record=("weights",), record_from=record_from)
    return np.sqrt(m)[:, None] * sol.weights[0][:, :, 0, 0], sol.status


@claim(
    "cycles-of-two-layers",
    "T15",
    statement="A balanced mode of two layers follows y <- (1 + m) y - y^3, y = sqrt(eta) s and m = eta sigma: it ends "
    "in the minimum for m < 1, in a cycle of period 2 with the multiplier 9 - 2 (1 + m)^2 up to m = sqrt(5) - 1, and "
    "then in cycles of period 4, 8, ...",
    hypotheses="the start is balanced",
    instances="5 random m within each of the ranges of the periods 1, 2, 4 and 8, 20 000 updates: last 8 points "
    "beside those of the stable cycle; multipliers; where they are -1",
    tolerance=1e-8,
)
def _doubling(rng: np.random.Generator) -> Iterator[float]:
    yield float(np.abs(cascade(1.0, 2, 2) - DOUBLINGS[:2]).max())
    for k, (low, high) in enumerate(zip((0.1, *DOUBLINGS[:-1]), DOUBLINGS, strict=True)):
        m = low + (high - low) * (0.1 + 0.8 * rng.random(5))
        orbits, _ = _two_layers(m, np.full(5, 0.3), 20000, 20000 - 7)
        for own, orbit in zip(m, orbits, strict=True):
            stable = [c for c in cycles(own, 1.0, 2, 2**k) if c.stable]
            near = [np.sort(np.resize(np.sqrt(own) * c.points, 8)) for c in stable]
            yield float(min(np.abs(np.sort(orbit) - points).max() for points in near))
            if k == 1:
                yield from (abs(c.multiplier - (9 - 2 * (1 + own) ** 2)) for c in stable)


@claim(
    "bounded-orbits-of-two-layers",
    "T15",
    statement="A balanced mode of two layers that starts within |y| < sqrt(2 + m) stays there, and diverges from "
    "beyond.",
    hypotheses="m <= 2",
    instances="20 random m up to 2 and starts up to 0.999 of the bound, 2000 updates, largest |y| over it; 20 starts "
    "from 1.001 to 1.1 of it, where 0 is for divergence",
    tolerance=1.0,
)
def _bounded(rng: np.random.Generator) -> Iterator[float]:
    m = 2 * rng.random(20)
    bound = np.sqrt(2 + m)
    yield from np.abs(_two_layers(m, 0.999 * rng.random(20) * bound, 2000)[0]).max(axis=1) / bound
    _, status = _two_layers(m, (1.001 + 0.099 * rng.random(20)) * bound, 2000)
    yield from np.where(status == Status.DIVERGED, 0.0, 2.0)


@_bounded.outside("m = 2.1, from 0.5")
def _(rng: np.random.Generator) -> float:
    orbits, _ = _two_layers(np.array([2.1]), np.array([0.5]), 2000)
    return float(np.nanmax(np.abs(orbits)) / np.sqrt(4.1))


@claim(
    "exponent-at-the-end-of-chaos",
    "T15",
    statement="At m = 2 the Lyapunov exponent of a balanced mode of two layers is ln 3: that of v <- v - eta H v "
    "within the mode.",
    hypotheses="m = 2",
    instances="5 random starts, 20 000 updates: distance from ln 3",
    tolerance=2e-3,
)
def _chaos(rng: np.random.Generator) -> Iterator[float]:
    yield from np.abs(_exponents(2.0, 2 * rng.random(5)) - np.log(3))


@_chaos.outside("m = 1.9")
def _(rng: np.random.Generator) -> float:
    return float(abs(_exponents(1.9, 1.0 + 0.9 * rng.random(1))[0] - np.log(3)))


def _exponents(m: float, y: Floats) -> Floats:
    s = (y / np.sqrt(m))[:, None, None]
    loss = Quadratic([[1.0]])
    sol = descend((s, s), loss, m, 20000, record=("weights",))
    states = tuple(W[:, :-1] for W in sol.weights)
    along = (np.full((1, 1), np.sqrt(0.5)),) * 2
    image = hessian.apply(states, loss, along)
    grown = 1 - m * np.sqrt(0.5) * (image[0] + image[1])[..., 0, 0]
    return np.asarray(np.log(np.abs(grown)).mean(axis=1))


# ---- sharpness


def _sharpest(batch: Weights, loss: Loss, tol: float = 1e-3) -> Floats:
    values = hessian.top(batch, loss, tol=tol)
    assert not isinstance(values, tuple)
    return np.asarray(values[..., 0])


@claim(
    "sharpness-at-minima",
    "T20",
    statement="The sharpness at a global minimum is at least h sigma_1^(2-2/h), by Lanczos steps as from all "
    "eigenvalues.",
    hypotheses="none",
    instances="10 networks of depth 2 to 4 and widths 1 to 5, 5 minima each, moved by random gauges: by how much it "
    "falls short, and differs from the largest of all eigenvalues; relative",
    tolerance=1e-7,
)
def _sharpness(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 10):
        loss = target(rng, net)
        balanced = decoupled(net, loss, loss.modes.sigma[: net.rank] ** (1 / net.depth), rng=rng)
        gauges = [quotient.random_gauges(net, rng, condition=3.0) for _ in range(5)]
        minima = [quotient.transform(balanced, own) for own in gauges]
        batch = tuple(np.stack(layers) for layers in zip(*minima, strict=True))
        found = _sharpest(batch, loss, 1e-8)
        yield from np.maximum(0.0, 1 - found / (net.depth * loss.modes.sigma[0] ** (2 - 2 / net.depth)))
        yield from np.abs(found / hessian.spectrum(batch, loss)[:, -1] - 1)


@_sharpness.outside("a saddle: widths 2, 2, 2 with the second mode learned only")
def _(rng: np.random.Generator) -> float:
    loss = Quadratic.from_singular_values((4.0, 1.0), (2, 2), rng=rng)
    saddle = decoupled(Network((2, 2, 2)), loss, [0.0, 1.0], rng=rng)
    return float(1 - _sharpest(saddle, loss) / 8.0)


@claim(
    "descent-ends-below-the-edge",
    "T20",
    statement="The minimum that a descent converges to has a sharpness of at most 2 (1 + beta) / eta, however sharp "
    "those are that the flow from the same start ends in.",
    hypotheses="the descent converges",
    instances="2 networks of depth 2 and 3, 100 starts with layers of unequal sizes at 0.9 of the largest learning "
    "rate of any minimum, beta = 0 and 0.5, those that converge in 20 000 updates: sharpness over the edge",
    tolerance=1.0,
)
def _below_the_edge(rng: np.random.Generator) -> Iterator[float]:
    for depth in (2, 3):
        start, loss, sharpest = _unequal(rng, depth, 100)
        for beta in (0.0, 0.5):
            edge = sharpest / 0.9
            sol = descend(start, loss, 2 * (1 + beta) / edge, 20000, beta, record=("grad_norm",), record_from=20000)
            good = sol.grad_norm[:, -1] < 1e-10
            yield from _sharpest(tuple(W[good] for W in sol.final), loss) / edge


@_below_the_edge.outside("the flow from such starts, the sharpest of 100")
def _(rng: np.random.Generator) -> float:
    start, loss, sharpest = _unequal(rng, 2, 100)
    sol = flow(start, loss, (0.0, 100.0))
    return float(_sharpest(sol.final, loss).max() / (sharpest / 0.9))


def _unequal(rng: np.random.Generator, depth: int, size: int) -> tuple[Weights, Loss, float]:
    """Starts whose first layers are large, a target, and the sharpness of its balanced minimum."""
    net = Network((3,) * (depth + 1))
    loss = target(rng, net)
    drawn = weights(rng, net, size=size)
    start: Sequence[Floats] = (1.5 * drawn[0], *(0.3 * W for W in drawn[1:]))
    return tuple(start), loss, float(depth * loss.modes.sigma[0] ** (2 - 2 / depth))
