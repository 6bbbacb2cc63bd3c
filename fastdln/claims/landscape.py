"""Critical points and critical values (T6)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from scipy.optimize import least_squares, minimize

from fastdln.claims.critical import critical_points
from fastdln.claims.instances import networks, target, weights
from fastdln.claims.registry import claim
from fastdln.field import gradient_norm, product, rhs, value
from fastdln.linalg import Floats
from fastdln.losses import Quadratic
from fastdln.network import Network, Weights
from fastdln.theory import hessian, landscape


@claim(
    "built-points-are-critical",
    "T6",
    statement="diag(sigma_S^(1/h)) in |S| coordinates of every layer and chains in the others that add nothing to "
    "the product, with W_{<i} R' W_{>i} = 0, then any gauge: such points are critical.",
    hypotheses="no mode of S has sigma = 0, and |S| <= r_max",
    instances="100 networks of depth 2 to 5 and widths 1 to 4, every other target with repeated or zero sigma, "
    "random learned modes and chains; gradient relative to the norms of its factors",
    tolerance=1e-12,
)
def _built(rng: np.random.Generator) -> Iterator[float]:
    for net, loss, learned, _ in critical_points(rng, 100):
        chains: list[tuple[int, int]] = []
        for _ in range(4):
            a, b = sorted(rng.choice(net.depth + 1, 2, replace=False).tolist())
            try:
                landscape.critical_point(net, loss, learned, [*chains, (a, b)])
            except ValueError:
                continue
            chains.append((a, b))
        drawn = landscape.critical_point(net, loss, learned, chains, rng)
        sizes = [max(1.0, float(np.linalg.norm(W))) for W in drawn]
        size = max(1.0, float(np.linalg.norm(loss.target))) * float(np.prod(sizes))
        yield float(gradient_norm(drawn, loss)) / size


@claim(
    "critical-points-have-learned-modes",
    "T6",
    statement="Where the gradient vanishes, the product is U_S diag(sigma_S) V_S' for a set S of at most r_max modes "
    "with sigma > 0.",
    hypotheses="distinct sigma (zero may be among them)",
    instances="zeros of the gradient found by least squares from 25 random starts, networks of depth 1 to 3 and "
    "widths 1 to 3; distance of the product to the nearest such matrix, relative to ||Sigma||",
    tolerance=1e-6,
)
def _learned(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 25, depths=(1, 3), widths=(1, 3)):
        count = min(net.widths[0], net.widths[-1])
        loss = target(rng, net, np.sort(rng.choice(np.arange(4.0), count, replace=False))[::-1])
        if not loss.target.any():
            continue
        found = _zero_of_gradient(net, loss, net.pack(weights(rng, net, scale=float(rng.choice([0.3, 1.0, 2.0])))))
        if float(gradient_norm(found, loss)) < 1e-12:  # degenerate zeros are approached slowly
            yield _distance_to_learned(net, loss, product(found))


@_learned.outside("sigma = (1, 1): a direction in between the two modes is learned")
def _subspace(rng: np.random.Generator) -> float:
    net, loss = Network((2, 1, 2)), Quadratic(np.eye(2))
    angle = rng.uniform(0.2, 1.3)
    direction = np.array([[np.cos(angle), np.sin(angle)]])
    critical = (direction, direction.T)
    if not float(gradient_norm(critical, loss)) < 1e-14:
        raise RuntimeError("the point is not critical")
    return _distance_to_learned(net, loss, product(critical))


def _zero_of_gradient(net: Network, loss: Quadratic, start: Floats) -> Weights:
    def gradient(flat: Floats) -> Floats:
        return -net.pack(rhs(net.unpack(flat), loss))

    def jacobian(flat: Floats) -> Floats:
        return np.asarray(hessian.matrix(net.unpack(flat), loss))

    found = least_squares(gradient, start, jacobian, xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=400)
    return net.unpack(found.x)


def _distance_to_learned(net: Network, loss: Quadratic, W: Floats) -> float:
    U, sigma, V = loss.modes
    positive = np.flatnonzero(sigma > 1e-12 * sigma[0])
    sets = [list(S) for size in range(min(net.rank, len(positive)) + 1) for S in combinations(positive.tolist(), size)]
    distances = [np.linalg.norm(W - (U[:, S] * sigma[S]) @ V[:, S].T) for S in sets]
    return float(min(distances) / sigma[0])


@claim(
    "critical-values",
    "T6",
    statement="The loss at a critical point that has learned S is 1/2 sum_{j not in S} sigma_j^2.",
    hypotheses="none",
    instances="100 critical points of networks of depth 2 to 5 and widths 1 to 4; difference between the loss and "
    "the entry of the list of critical values, relative to the loss of the zero product",
    tolerance=1e-12,
)
def _values(rng: np.random.Generator) -> Iterator[float]:
    for net, loss, learned, drawn in critical_points(rng, 100):
        sigma = loss.modes.sigma
        wanted = np.sort(sigma[list(learned)])
        listed = [
            critical.value
            for critical in landscape.critical_values(net, loss)
            if len(critical.learned) == len(wanted)
            and np.allclose(np.sort(sigma[list(critical.learned)]), wanted, atol=1e-9)
        ]
        (expected,) = listed  # one entry for each multiset of values
        whole = 0.5 * float(np.sum(sigma**2))
        yield abs(float(value(drawn, loss)) - expected) / (whole if whole > 0 else 1.0)


@claim(
    "values-and-sets-are-one-to-one",
    "T6",
    statement="Each critical value belongs to one set of learned modes only.",
    hypotheses="the partial sums of sigma_j^2 are distinct",
    instances="30 targets of rank 2 to 6 with distinct sums; the number of sets of modes less that of different values",
    tolerance=0.0,
)
def _one_to_one(rng: np.random.Generator) -> Iterator[float]:
    found = 0
    while found < 30:
        count = int(rng.integers(2, 7))
        net, loss = Network((count, count, count)), Quadratic(np.diag(np.sort(rng.uniform(0.5, 3.0, count))[::-1]))
        if landscape.assumptions(net, loss, rtol=1e-9).distinct_sums:
            found += 1
            yield _sets_beyond_values(net, loss)


@_one_to_one.outside("sigma = (5, 4, 3): 5^2 = 4^2 + 3^2")
def _pythagoras(rng: np.random.Generator) -> float:
    return _sets_beyond_values(Network((3, 3, 3)), Quadratic(np.diag([5.0, 4.0, 3.0])))


def _sets_beyond_values(net: Network, loss: Quadratic) -> float:
    listed = [critical.value for critical in landscape.critical_values(net, loss)]
    different = 1 + int((np.diff(listed) > 1e-9 * listed[-1]).sum())
    return float(2**net.rank - different)


@claim(
    "no-other-local-extrema",
    "T6",
    statement="A critical point that is no global minimum has lower and higher values of the loss around it.",
    hypotheses="h >= 2",
    instances="15 critical points other than minima, networks of depth 2 and 3 and widths 1 to 3; 1 where "
    "optimization over a small sphere around the point finds no lower, or no higher value",
    tolerance=0.0,
)
def _extrema(rng: np.random.Generator) -> Iterator[float]:
    found = 0
    for net, loss, _, drawn in critical_points(rng, 200, depths=(2, 3), widths=(1, 3)):
        if float(value(drawn, loss)) < next(landscape.critical_values(net, loss)).value + 1e-6:
            continue
        lower, higher = (_extreme_on_sphere(rng, net, loss, drawn, sign) for sign in (1.0, -1.0))
        yield float(not (lower < -1e-8 and higher < -1e-8))
        found += 1
        if found == 15:
            return


def _extreme_on_sphere(
    rng: np.random.Generator, net: Network, loss: Quadratic, point: Weights, sign: float, radius: float = 0.1
) -> float:
    """The least value of sign (L - L(point)) on a sphere around the point that a few starts find."""
    center, base = net.pack(point), float(value(point, loss))

    def objective(x: Floats) -> tuple[float, Floats]:
        length = float(np.linalg.norm(x))
        layers = net.unpack(center + radius * x / length)
        pull = -sign * radius / length * net.pack(rhs(layers, loss))
        scale = radius**-3
        return scale * sign * (float(value(layers, loss)) - base), scale * (pull - (pull @ x) * x / length**2)

    starts = rng.standard_normal((8, net.n_parameters))
    return float(min(minimize(objective, start, jac=True, method="L-BFGS-B").fun for start in starts)) * radius**3
