"""Special initial conditions: what defines them, and what of it the flow keeps (T12)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, combinations_with_replacement, pairwise

import numpy as np

from fastdln import inits
from fastdln.claims.instances import networks, target, trajectory, weights
from fastdln.claims.registry import claim
from fastdln.field import balance, product, rhs
from fastdln.linalg import Floats, frobenius, haar, spectral, transpose
from fastdln.losses import Quadratic
from fastdln.network import Network, Weights
from fastdln.theory import exact, invariants

TIMES = np.linspace(0.0, 3.0, 7)


def _largest_value(drawn: Weights) -> float:
    return float(max(spectral(W).max() for W in drawn))


def _unequal_values(path: Weights, rank: int) -> float:
    """How far the squared singular values of the layers are from equal, relative to the largest."""
    values = [np.linalg.svd(W, compute_uv=False) ** 2 for W in path]
    differences = [a[..., :rank] - b[..., :rank] for a, b in pairwise(values)]
    beyond = [v[..., rank:] for v in values if v.shape[-1] > rank]
    return float(max(np.abs(d).max() for d in (*differences, *beyond))) / _largest_value(path) ** 2


def _misalignment(path: Weights) -> float:
    """The commutators of the Gram matrices that meet in the hidden layers, relative to the largest layer."""
    worst = 0.0
    for below, above in pairwise(path):
        inner, outer = below @ transpose(below), transpose(above) @ above
        worst = max(worst, float(frobenius(inner @ outer - outer @ inner).max()))
    return worst / _largest_value(path) ** 4


@claim(
    "balanced-means-common-values",
    "T12",
    statement="All C_i = 0 if and only if W_i = O_i s O_{i-1}' with orthonormal columns O_i and the same s in all "
    "layers.",
    hypotheses="none",
    instances="20 networks of depth 2 to 4: C_i of layers O_i s O_{i-1}' with Haar frames; differences of the "
    "squared singular values, and commutators of the Gram matrices, of balanced samples; relative to the squared "
    "layers",
    tolerance=1e-13,
)
def _common(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20):
        s = rng.uniform(0.1, 2, net.rank)
        O = [haar(rng.standard_normal((d, net.rank))) for d in net.widths]
        made = tuple((above * s) @ below.T for below, above in pairwise(O))
        yield max(float(np.abs(C).max()) for C in balance(made)) / _largest_value(made) ** 2
        yield _not_balanced_form(inits.balanced(net, rng=rng), net)


@_common.outside("gaussian layers of a 3-4-3 network")
def _(rng: np.random.Generator) -> float:
    return _not_balanced_form(weights(rng, Network((3, 4, 3))), Network((3, 4, 3)))


def _not_balanced_form(drawn: Weights, net: Network) -> float:
    return max(_unequal_values(drawn, net.rank), _misalignment(drawn))


@claim(
    "balanced-layers-keep-common-values",
    "T12",
    statement="The layers of a 0-balanced network have the same singular values for all t.",
    hypotheses="0-balanced start",
    instances="8 networks of depth 2 to 4, t = 0 to 3, rtol 1e-10; differences of their squares, relative",
    tolerance=1e-8,
)
def _stay_common(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 8):
        yield _unequal_values(trajectory(inits.balanced(net, rng=rng), target(rng, net), TIMES), net.rank)


@_stay_common.outside("a gaussian start of a 3-4-3 network")
def _(rng: np.random.Generator) -> float:
    net = Network((3, 4, 3))
    return _unequal_values(trajectory(weights(rng, net), target(rng, net), TIMES), net.rank)


@claim(
    "lambda-balanced-networks-exist-if",
    "T12",
    statement="Weights with C_i = lambda_i I exist if and only if for some squared singular values p of W_1 (d_1 of "
    "them, at most d_0 nonzero) each next list p + lambda_i is nonnegative with at most d_{i+1} nonzero.",
    hypotheses="none",
    instances="200 networks of depth 2 to 5, widths 1 to 4, integers lambda_i from -2 to 2: whether the sampler "
    "refuses, against a search over all multisets of candidates p; and the entries of C_i - lambda_i I",
    tolerance=1e-11,
)
def _feasible(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 200, depths=(2, 5), widths=(1, 4)):
        lambdas = rng.integers(-2, 2, size=net.depth - 1, endpoint=True).tolist()
        try:
            drawn = inits.lambda_balanced(net, lambdas, rng=rng)
        except ValueError:
            yield float(_exists(net.widths, lambdas))
        else:
            yield float(not _exists(net.widths, lambdas))
            for C, shift in zip(balance(drawn), lambdas, strict=True):
                yield np.abs(C - shift * np.eye(len(C))).max()


def _exists(widths: Sequence[int], lambdas: Sequence[int]) -> bool:
    """Whether some squared singular values of W_1 pass: those that vanish on the way, and one that never does."""

    def passes(free: Sequence[int]) -> bool:
        p = [*free, *[0] * (widths[1] - len(free))]
        for shift, width in zip(lambdas, widths[2:], strict=True):
            p = [x + shift for x in p]
            if min(p) < 0 or np.count_nonzero(p) > width:
                return False
            p = [x for x in p if x] + [0] * (width - np.count_nonzero(p))
        return True

    candidates = sorted({-total for total in accumulate(lambdas, initial=0) if total <= 0} | {1000})
    return any(map(passes, combinations_with_replacement(candidates, min(widths[:2]))))


@claim(
    "delta-balanced-networks-stay-so",
    "T12",
    statement="A start scaled so that max_i ||C_i||_2 = delta keeps it for all t.",
    hypotheses="none",
    instances="8 networks of depth 2 to 4, delta between 0.01 and 1, t = 0 to 3, rtol 1e-10; relative difference",
    tolerance=1e-7,
)
def _delta(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 8):
        delta = 10 ** rng.uniform(-2, 0)
        path = trajectory(inits.delta_balanced(net, delta, rng=rng), target(rng, net), TIMES)
        yield np.abs(invariants.imbalance(path).max(axis=-1) / delta - 1).max()


@claim(
    "alignment-lasts-if-balanced",
    "T12",
    statement="Aligned layers stay aligned for all t, at any depth, if they are lambda-balanced.",
    hypotheses="C_i = lambda_i I",
    instances="4 networks 3-3-3-3 and 4 others of depth 3 and 4, t = 0 to 3, rtol 1e-10; commutators of the Gram "
    "matrices that meet in a hidden layer, relative",
    tolerance=1e-8,
)
def _aligned(rng: np.random.Generator) -> Iterator[float]:
    for _ in range(4):
        square = Network((3, 3, 3, 3))
        yield _misalignment(
            trajectory(inits.lambda_balanced(square, rng.uniform(0, 0.5, 2), rng=rng), target(rng, square), TIMES)
        )
    for net in networks(rng, 4, depths=(3, 4)):
        yield _misalignment(trajectory(inits.balanced(net, rng=rng), target(rng, net), TIMES))


@_aligned.outside("an aligned 3-3-3-3 network whose layers have other singular values")
def _(rng: np.random.Generator) -> float:
    net = Network((3, 3, 3, 3))
    return _misalignment(
        trajectory(inits.aligned(net, rng.uniform(0.3, 1.2, (3, 3)), rng=rng), target(rng, net), TIMES)
    )


@claim(
    "decoupled-modes-stay-decoupled",
    "T12",
    statement="If the end vectors are V and U of the target besides, each mode obeys h scalar equations dw_i/dt = "
    "(prod_{k != i} w_k) (sigma - prod_k w_k), and U' W V is diagonal for all t.",
    hypotheses="aligned layers, ends aligned with the target",
    instances="8 networks of depth 2 to 4, values of both signs, t = 0 to 3, rtol 1e-10; entries of U' W V less the "
    "products of the solutions of the scalar equations",
    tolerance=1e-7,
)
def _decoupled(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 8):
        loss, values = target(rng, net), rng.uniform(-1, 1.5, (net.depth, net.rank))
        yield _coupling(inits.decoupled(net, loss, values, rng=rng), loss, values)


@_decoupled.outside("a 3-3-3 network aligned with frames other than those of the target")
def _(rng: np.random.Generator) -> float:
    net, values = Network((3, 3, 3)), rng.uniform(0.3, 1.5, (2, 3))
    return _coupling(inits.aligned(net, values, rng=rng), target(rng, net), values)


def _coupling(drawn: Weights, loss: Quadratic, values: Floats) -> float:
    r = values.shape[1]
    U, sigma, V = (a[..., :r] for a in loss.modes)
    strengths = exact.decoupled(TIMES, values, sigma).prod(axis=1)
    return float(np.abs(U.T @ product(trajectory(drawn, loss, TIMES)) @ V - strengths[:, None] * np.eye(r)).max())


@claim(
    "decoupled-modes-are-one-equation",
    "T12",
    statement="With y = w_1^2 and the constants c_i = w_i^2 - w_1^2, a decoupled mode obeys dy/dt = 2 s (prod "
    "(y+c_i))^(1/2) (sigma - s (prod (y+c_i))^(1/2)), s the sign of prod w_i.",
    hypotheses="while no w_i passes 0",
    instances="20 networks of depth 2 to 4 with values of both signs; d/dt w_1^2 by the layers' own equations, "
    "difference",
    tolerance=1e-11,
)
def _one_equation(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20):
        loss, values = target(rng, net), rng.uniform(0.2, 1.5, (net.depth, net.rank))
        values *= rng.choice([-1, 1], values.shape)
        drawn = inits.decoupled(net, loss, values)  # with the coordinates as frames of the hidden layers
        V = loss.modes.V[:, : net.rank]
        rates = np.diag(rhs(drawn, loss)[0][: net.rank] @ V)
        w = np.sign(values.prod(axis=0)) * np.sqrt(np.prod(values[0] ** 2 + (values**2 - values[0] ** 2), axis=0))
        yield np.abs(2 * values[0] * rates - 2 * w * (loss.modes.sigma[: net.rank] - w)).max()


@claim(
    "plain-starts-scale-with-the-fan-in",
    "T12",
    statement="Gaussian and uniform entries have mean 0 and standard deviation scale / d_{i-1}^(1/2); orthogonal "
    "layers have the one singular value `gain`, identity layers are the identity cut to shape times `scale`.",
    hypotheses="none",
    instances="layers of 3 networks, 10000 draws each: mean and standard deviation, relative to the latter; singular "
    "values of orthogonal and identity layers",
    tolerance=0.06,
)
def _plain(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 3, widths=(1, 4)):
        scale = rng.uniform(0.1, 2)
        for sample in (inits.gaussian, inits.uniform):
            for W in sample(net, scale, size=10000, rng=rng):
                entries = W * np.sqrt(W.shape[-1]) / scale
                yield abs(entries.mean())
                yield abs(entries.std() - 1)
        for drawn in (inits.orthogonal(net, scale, rng=rng), inits.identity(net, scale)):
            for W in drawn:
                yield np.abs(np.linalg.svd(W, compute_uv=False) / scale - 1).max()
