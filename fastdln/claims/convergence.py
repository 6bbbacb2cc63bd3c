"""The loss as a Lyapunov function, bounds of the layers, and where trajectories end (T5)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastdln.claims.instances import networks, target, trajectory, weights
from fastdln.claims.measures import shifted
from fastdln.claims.registry import claim
from fastdln.field import gradient_norm, rhs, value
from fastdln.gradient_flow import flow
from fastdln.linalg import Floats, spectral
from fastdln.losses import Quadratic
from fastdln.network import Network, Weights
from fastdln.theory import hessian, invariants


@claim(
    "loss-falls-as-the-squared-gradient",
    "T5",
    statement="Along the flow dL/dt = -||grad L||^2.",
    hypotheses="none",
    instances="20 networks of depth 1 to 4; derivative of L along the velocity by central differences of order 6, "
    "relative",
    tolerance=1e-11,
)
def _lyapunov(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20, depths=(1, 4)):
        drawn, loss = weights(rng, net), target(rng, net)
        V = rhs(drawn, loss)
        step = 1e-2 / gradient_norm(drawn, loss)
        rise = [value(shifted(drawn, V, k * step), loss) - value(shifted(drawn, V, -k * step), loss) for k in (1, 2, 3)]
        slope = (45 * rise[0] - 9 * rise[1] + rise[2]) / (60 * step)
        yield abs(slope / gradient_norm(drawn, loss) ** 2 + 1)


@claim(
    "loss-is-monotone",
    "T5",
    statement="The loss never rises along a trajectory.",
    hypotheses="forwards in time",
    instances="10 networks of depth 1 to 4, 50 times to t = 10, rtol 1e-8; largest rise relative to the loss at 0",
    tolerance=1e-9,
)
def _monotone(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 10, depths=(1, 4)):
        yield _largest_rise(weights(rng, net), target(rng, net), np.linspace(0, 10, 50))


@_monotone.outside("a 2-3-2 network followed backwards to t = -0.05")
def _(rng: np.random.Generator) -> float:
    net = Network((2, 3, 2))
    return _largest_rise(weights(rng, net), target(rng, net), np.linspace(0, -0.05, 5))


def _largest_rise(drawn: Weights, loss: Quadratic, t: Floats) -> float:
    L = flow(drawn, loss, (0.0, float(t[-1])), t, rtol=1e-8).loss
    return max(0.0, float(np.diff(L).max() / L[0]))


@claim(
    "layers-stay-bounded",
    "T5",
    statement="||W_i(t)||_2^2 <= nu^(2/h) + (h-1) c + sum_{k>=i} max(0, lambda_max(-C_k)) with nu = ||Sigma||_2 + "
    "||R(0)||_F and c = max(0, max_i lambda_max(C_i)), for all t >= 0.",
    hypotheses="forwards in time, no weight decay, equal learning rates",
    instances="20 networks of depth 1 to 4, scales 0.1 to 3, 30 times to t = 10; excess of ||W_i||_2 over its bound, "
    "relative",
    tolerance=1e-9,
)
def _bounded(rng: np.random.Generator) -> Iterator[float]:
    t = np.concatenate([[0.0], np.geomspace(1e-3, 10, 29)])
    for net in networks(rng, 20, depths=(1, 4)):
        yield _excess_norm(weights(rng, net, 10 ** rng.uniform(-1, 0.5)), target(rng, net), t)


@_bounded.outside("one scalar mode of three layers, s = 1.3 and sigma = 1, backwards towards its blow-up at t = -0.12")
def _(rng: np.random.Generator) -> float:
    return _excess_norm((np.array([[1.3]]),) * 3, Quadratic([[1.0]]), np.array([0.0, -0.12]))


def _excess_norm(drawn: Weights, loss: Quadratic, t: Floats) -> float:
    path = trajectory(drawn, loss, t, rtol=1e-9)
    norms = np.stack([spectral(W) for W in path], axis=-1)
    return max(0.0, float((norms / invariants.norm_bound(drawn, loss) - 1).max()))


@claim(
    "trajectories-converge",
    "T5",
    statement="Every trajectory converges to a critical point.",
    hypotheses="none",
    instances="15 networks of depth 1 to 4 at t = 2000; ||grad L|| relative to that at the start, and the way of all "
    "layers from t = 1000 to 2000",
    tolerance=1e-4,
)
def _converge(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 15, depths=(1, 4)):
        drawn, loss = weights(rng, net), target(rng, net)
        path = trajectory(drawn, loss, np.array([1000.0, 2000.0]), rtol=1e-8)
        yield gradient_norm(tuple(W[-1] for W in path), loss) / gradient_norm(drawn, loss)
        yield max(float(np.abs(W[1] - W[0]).max()) for W in path)


@claim(
    "two-layers-end-in-a-global-minimum",
    "T5",
    statement="From almost every start the flow of two layers ends in a global minimum.",
    hypotheses="two layers; almost every start",
    instances="15 networks of depth 2 at t = 1000; loss above the least value, relative to the loss of the origin",
    tolerance=1e-6,
)
def _global(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 15, depths=(2, 2)):
        yield _above_least(weights(rng, net), target(rng, net))


@_global.outside("a start at a saddle, all weights zero, in a 2-3-2 network")
def _(rng: np.random.Generator) -> float:
    net = Network((2, 3, 2))
    return _above_least(tuple(np.zeros(shape) for shape in net.shapes), target(rng, net))


@claim(
    "deep-networks-end-in-a-minimum",
    "T5",
    statement="Deeper networks end in a global minimum too: known is a global minimum among the products of some "
    "rank k <= r_max; that k = r_max is numerical evidence.",
    hypotheses="generic starts; evidence, not a theorem",
    instances="10 networks of depth 3 and 4 at t = 1000; loss above the least value, relative to the loss of the "
    "origin",
    tolerance=1e-6,
)
def _deep(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 10, depths=(3, 4)):
        yield _above_least(weights(rng, net), target(rng, net))


def _above_least(drawn: Weights, loss: Quadratic) -> float:
    end = flow(drawn, loss, (0.0, 1000.0), rtol=1e-8).final
    sigma = loss.modes.sigma
    rank = min(*(W.shape[-2] for W in drawn), drawn[0].shape[-1])
    return float(value(end, loss) - 0.5 * np.square(sigma[rank:]).sum()) / float(0.5 * np.square(sigma).sum())


@claim(
    "level-sets-are-unbounded",
    "T5",
    statement="Every level set of the loss holds networks of arbitrarily large norm.",
    hypotheses="two layers or more",
    instances="20 networks of depth 2 to 4, W_1 times 1e8 and W_2 by 1e8; relative change of the loss",
    tolerance=1e-12,
)
def _unbounded(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20):
        first, second, *others = weights(rng, net)
        yield _change(target(rng, net), (first, second, *others), (1e8 * first, second / 1e8, *others))


@_unbounded.outside("one layer, times 1e8")
def _(rng: np.random.Generator) -> float:
    (drawn,) = weights(rng, Network((3, 2)))
    return _change(target(rng, Network((3, 2))), (drawn,), (1e8 * drawn,))


def _change(loss: Quadratic, before: Weights, after: Weights) -> float:
    return float(abs(value(after, loss) / value(before, loss) - 1))


@claim(
    "one-layer-is-special",
    "T5",
    statement="One layer has one critical point, its minimum, isolated with the Hessian I, no saddles, bounded level "
    "sets ||W||_F <= ||Sigma||_F + (2L)^(1/2), and its origin is not critical.",
    hypotheses="one layer",
    instances="20 networks of one layer; deviations of the Hessian from I, of the gradient from W - Sigma (at the "
    "origin and elsewhere), and of ||W||_F beyond its bound",
    tolerance=1e-12,
)
def _one_layer(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20, depths=(1, 1)):
        (W,), loss = weights(rng, net, 3.0), target(rng, net)
        yield _not_one_layer((W,), loss)
        yield max(0.0, float(np.linalg.norm(W) - np.linalg.norm(loss.target) - np.sqrt(2 * loss.value(W))))


@_one_layer.outside("the origin of a 2-3-2 network, which is critical, with the Hessian of a saddle")
def _(rng: np.random.Generator) -> float:
    net = Network((2, 3, 2))
    return _not_one_layer(weights(rng, net), target(rng, net))


def _not_one_layer(drawn: Weights, loss: Quadratic) -> float:
    origin = tuple(np.zeros_like(W) for W in drawn)
    H = hessian.matrix(origin, loss)
    off = [np.abs(H - np.eye(len(H))).max(), abs(gradient_norm(origin, loss) - np.linalg.norm(loss.target))]
    if len(drawn) == 1:
        off.append(np.abs(rhs(drawn, loss)[0] + drawn[0] - loss.target).max())
    return float(max(off))
