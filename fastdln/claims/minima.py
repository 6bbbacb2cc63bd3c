"""Global minima: what they have learned (T6), and the size of their set (T7)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from scipy.optimize import minimize

from fastdln.claims.critical import values
from fastdln.claims.instances import networks, target, weights
from fastdln.claims.registry import claim
from fastdln.field import product, rhs, value
from fastdln.linalg import Floats
from fastdln.losses import Quadratic
from fastdln.network import Network, Weights
from fastdln.theory import hessian, landscape


@claim(
    "minima-learn-the-leading-modes",
    "T6",
    statement="The least value of the loss is that of the min(r_max, rank Sigma) leading modes.",
    hypotheses="none",
    instances="15 networks of depth 1 to 3 and widths 1 to 4, also with repeated or zero sigma; least value found by "
    "minimization (L-BFGS) from 6 random starts less that value, relative to ||Sigma||^2",
    tolerance=1e-9,
)
def _minima(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 15, depths=(1, 3), widths=(1, 4)):
        loss = target(rng, net, values(rng, min(net.widths[0], net.widths[-1]), True))
        starts = [net.pack(weights(rng, net, scale=1.5)) for _ in range(6)]
        least = min(_minimized(net, loss, start)[0] for start in starts)
        first = next(landscape.critical_values(net, loss))
        yield abs(least - first.value) / max(1.0, float(np.sum(loss.target**2)))


def _minimized(net: Network, loss: Quadratic, start: Floats) -> tuple[float, Weights]:
    def objective(flat: Floats) -> tuple[float, Floats]:
        layers = net.unpack(flat)
        return float(value(layers, loss)), -net.pack(rhs(layers, loss))

    options = {"ftol": 1e-16, "gtol": 1e-10, "maxiter": 3000}
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    return float(found.fun), net.unpack(found.x)


@claim(
    "dimension-of-minima",
    "T7",
    statement="The set of global minima has dimension N - r (d_0 + d_h - r) at its generic points, r = r_max.",
    hypotheses="h >= 2, rank Sigma >= r_max, sigma_r > sigma_{r+1}",
    instances="minima found by minimization from random starts, of the networks (4,4,4,4), (5,4,3,2), (5,3,4,2), "
    "(4,6,6,3), (4,1,3,5) and 5 random ones; differences between formula, library, N minus the rank of the "
    "derivative of the product, and the nullity of the Hessian",
    tolerance=0.0,
)
def _dimension(rng: np.random.Generator) -> Iterator[float]:
    listed = [Network(widths) for widths in ((4, 4, 4, 4), (5, 4, 3, 2), (5, 3, 4, 2), (4, 6, 6, 3), (4, 1, 3, 5))]
    for net in [*listed, *networks(rng, 5, depths=(2, 3), widths=(1, 4))]:
        loss = target(rng, net)
        minimum = _generic_minimum(rng, net, loss)
        measured = net.n_parameters - _rank_of_derivative(net, minimum)
        H = np.abs(hessian.spectrum(minimum, loss))
        yield abs(measured - _formula(net))
        yield abs(measured - landscape.dimension(net, loss))
        yield abs(measured - int((1e-7 * H.max() > H).sum()))


@_dimension.outside("widths 2, 2, 2 and Sigma = 0: the formula says 4, and the dimension is 5")
def _zero_target(rng: np.random.Generator) -> float:
    net = Network((2, 2, 2))
    u, v, x, y = rng.standard_normal((4, 2))
    # Rank one each, W_2 W_1 = 0: the largest of the pieces {rank W_1 = k, W_2 W_1 = 0}.
    minimum = (np.outer(u, v), np.outer(x, [u[1], -u[0]]) * y[0])
    measured = net.n_parameters - _rank_of_derivative(net, minimum)
    if measured != landscape.dimension(net, Quadratic(np.zeros((2, 2)))):
        raise RuntimeError("the library does not give the dimension")
    return float(abs(measured - (net.n_parameters - 2 * 2)))


def _formula(net: Network) -> int:
    r, d_0, d_h = net.rank, net.widths[0], net.widths[-1]
    return net.n_parameters - r * (d_0 + d_h - r)


def _generic_minimum(rng: np.random.Generator, net: Network, loss: Quadratic) -> Weights:
    least = next(landscape.critical_values(net, loss)).value
    for _ in range(20):
        reached, found = _minimized(net, loss, net.pack(weights(rng, net, scale=1.5)))
        # A line search that overshoots may end in a minimum so far away that ranks cannot be told.
        if reached < least + 1e-8 and max(float(np.linalg.norm(W)) for W in found) < 10:
            return landscape.refine(found, loss)
    raise RuntimeError("minimization found no global minimum")


def _rank_of_derivative(net: Network, drawn: Weights) -> int:
    """The rank of the derivative of the product by the weights, from its blocks W_{<i}' (x) W_{>i}."""
    blocks = []
    for i in range(net.depth):
        below = product(drawn[:i]) if i else np.eye(net.widths[0])
        above = product(drawn[i + 1 :]) if i + 1 < net.depth else np.eye(net.widths[-1])
        blocks.append(np.kron(below.T, above))
    s = np.linalg.svd(np.hstack(blocks), compute_uv=False)
    return int((s > 1e-8 * s[0]).sum())


@claim(
    "minima-are-not-isolated",
    "T7",
    statement="The set of global minima is unbounded, and no point of it is isolated.",
    hypotheses="h >= 2",
    instances="20 networks of depth 2 to 4 and widths 1 to 4, also with repeated or zero sigma: a minimum moved "
    "along its fiber to 1000 times its norm, and to a distance of 1e-6; the change of the loss relative to "
    "||Sigma||^2, or 1 if the weights have not moved so far",
    tolerance=1e-8,
)
def _unbounded(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20, widths=(1, 4)):
        loss = target(rng, net, values(rng, min(net.widths[0], net.widths[-1]), True))
        yield _change_along_fiber(net, loss, 2e3)
        yield _change_along_fiber(net, loss, 1 + 1e-6)


@_unbounded.outside("one layer: the only minimum is the target")
def _one_layer(rng: np.random.Generator) -> float:
    net = Network((2, 2))
    return _change_along_fiber(net, target(rng, net), 2e3)


def _change_along_fiber(net: Network, loss: Quadratic, factor: float) -> float:
    """Scale the first layer and its inverse into the last: within the minima, unless they are one layer."""
    listed = next(landscape.critical_values(net, loss))
    first, *others = landscape.critical_point(net, loss, listed.learned)
    if not listed.learned and net.depth > 1:
        first = first + 1.0  # a zero last layer lets the first be anything
    moved = (factor * first, *others)
    if net.depth > 1:
        moved = (*moved[:-1], moved[-1] / factor)
    distance = float(np.linalg.norm(moved[0] - first))
    if distance < 0.1 * (factor - 1):
        return 1.0
    return abs(float(value(moved, loss)) - listed.value) / max(1.0, float(np.sum(loss.target**2)))


@claim(
    "level-set-bound",
    "T7",
    statement="The set of global minima has a dimension of at least sum_{i=1}^{h-1} d_i^2, and exceeds it by "
    "sum_{i=1}^{h-1} (d_i - d_h) (d_{i-1} - d_i).",
    hypotheses="d_0 >= d_1 >= ... >= d_h and rank Sigma = d_h",
    instances="minima found by minimization for 12 random networks of depth 2 to 4 with such widths from 1 to 5; the "
    "difference between N minus the rank of the derivative of the product, and the bound with its excess",
    tolerance=0.0,
)
def _bound(rng: np.random.Generator) -> Iterator[float]:
    for drawn in networks(rng, 12):
        net = Network(sorted(drawn.widths, reverse=True))
        excess = sum((d - net.widths[-1]) * (below - d) for below, d in pairwise(net.widths[:-1]))
        minimum = _generic_minimum(rng, net, target(rng, net))
        yield abs(net.n_parameters - _rank_of_derivative(net, minimum) - landscape.level_set_bound(net) - excess)


@_bound.outside("widths 1, 5, 1: the dimension is 9, and the bound would be 25")
def _wide(rng: np.random.Generator) -> float:
    net = Network((1, 5, 1))
    minimum = _generic_minimum(rng, net, target(rng, net))
    return float(max(0, 5**2 - (net.n_parameters - _rank_of_derivative(net, minimum))))
