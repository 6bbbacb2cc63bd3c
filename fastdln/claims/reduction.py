"""Exact reduction of wide networks to narrow ones (T17)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from fastdln.claims.instances import networks, target, weights
from fastdln.claims.measures import difference
from fastdln.claims.registry import claim
from fastdln.field import balance, value
from fastdln.gradient_flow import flow
from fastdln.inits import balanced
from fastdln.linalg import Floats, haar
from fastdln.losses import Loss, Quadratic, Regression, quadratic_of
from fastdln.network import Network, Weights
from fastdln.theory import adjacency
from fastdln.theory.reduction import Reduction, reduce, widths

Start = tuple[Weights, Loss]

_TIMES = np.linspace(0.0, 3.0, 5)


def _two_layers(rng: np.random.Generator) -> Start:
    net = Network((3, 20, 4))
    return weights(rng, net), target(rng, net)


def _orthogonal_hidden(rng: np.random.Generator) -> Start:
    net = Network((3, 12, 12, 12, 2))
    first, *_, last = weights(rng, net)
    return (first, *(haar(rng.standard_normal((12, 12))) for _ in range(2)), last), target(rng, net)


def _balanced(rng: np.random.Generator) -> Start:
    net = Network((3, 12, 9, 10, 2))
    return balanced(net, 1.0, rng=rng), target(rng, net)


def _low_rank(rng: np.random.Generator) -> Start:
    net = Network((12, 3, 3, 10))
    return weights(rng, net), target(rng, net, np.array([2.0]))


def _bottlenecks(rng: np.random.Generator) -> Start:
    net = Network((2, 9, 2, 8, 3))
    return weights(rng, net), target(rng, net)


_KINDS = (_two_layers, _orthogonal_hidden, _balanced, _low_rank, _bottlenecks)


def _path(start: Weights, loss: Loss, **options: Any) -> Weights:
    """Weights at some times, by an engine that reduces nothing."""
    sol = flow(
        start, loss, (0.0, 3.0), _TIMES, "dop853", 1e-11, record=("weights",), engine="lanes", **options
    ).raise_for_status()  # fmt: skip
    path: Weights = sol.weights
    return path


def _size(matrices: Sequence[Floats]) -> float:
    return max(float(np.abs(W).max()) for W in matrices)


def _error(small: Reduction, **options: Any) -> float:
    """How far the lifted path of the narrow network is from that of the wide one."""
    narrow = _path(small.weights, small.loss, **options)
    lifted = small.lift(narrow, _TIMES, options.get("weight_decay", 0.0))
    wide = _path(small.start, small.whole, **options)
    return difference(lifted, wide) / _size(wide)


@claim(
    "reduction-is-exact",
    "T17",
    statement="With bases B_i of subspaces closed under the layers, their transposes and the target, the network "
    "B_i' W_i B_{i-1} with the target B_h' Sigma B_0 follows its own gradient flow, and lifted that of the wide one.",
    hypotheses="B_h contains the columns of W, too",
    instances="10 starts of five kinds that can be narrowed (two layers, orthogonal hidden layers, balanced, target of "
    "rank one, bottlenecks), t = 0 to 3, rtol 1e-11; relative difference of the weights",
    tolerance=1e-9,
)
def _exact(rng: np.random.Generator) -> Iterator[float]:
    for make in _KINDS * 2:
        yield _error(reduce(*make(rng)))


@_exact.outside("the subspaces of a 3-12-12-12-2 network whose hidden layers are not quite the orthogonal ones")
def _(rng: np.random.Generator) -> float:
    start, loss = _orthogonal_hidden(rng)
    bent = (start[0], start[1] + 0.1 * rng.standard_normal((12, 12)), *start[2:])
    return _error(Reduction(bent, loss, reduce(start, loss).bases, (), 0.0))


@claim(
    "reduction-with-decay-and-rates",
    "T17",
    statement="With learning rates of the layers the same holds, and with weight decay mu what lies outside of the "
    "subspaces is multiplied by e^(-mu t).",
    hypotheses="one rate of decay for all layers",
    instances="5 starts of five kinds, rates between 0.5 and 2, mu between 0.1 and 0.5; relative difference of the "
    "weights",
    tolerance=1e-9,
)
def _decay(rng: np.random.Generator) -> Iterator[float]:
    for make in _KINDS:
        small = reduce(*make(rng))
        rates = rng.uniform(0.5, 2.0, len(small.start))
        yield _error(small, weight_decay=float(rng.uniform(0.1, 0.5)), layer_rates=tuple(rates))


@_decay.outside("weight decay 0.3, and what lies outside taken as constant, in a 3-12-12-12-2 network")
def _(rng: np.random.Generator) -> float:
    small = reduce(*_orthogonal_hidden(rng))
    narrow = _path(small.weights, small.loss, weight_decay=0.3)
    wide = _path(small.start, small.whole, weight_decay=0.3)
    return difference(small.lift(narrow), wide) / _size(wide)


@claim(
    "reduction-of-unwhitened-data",
    "T17",
    statement="For unwhitened data the same holds if B_0 is invariant under Sigma_xx.",
    hypotheses="B_0 contains Sigma_xx B_0",
    instances="5 regressions with 3 samples of 8 inputs, and starts that see these and one more direction; relative "
    "difference of the weights",
    tolerance=1e-9,
)
def _data(rng: np.random.Generator) -> Iterator[float]:
    for _ in range(5):
        X = rng.standard_normal((8, 3))
        seen = haar(np.column_stack([X, rng.standard_normal(8)]))
        first, last = weights(rng, Network((4, 6, 2)))
        small = reduce((first @ seen.T, last), Regression(X, rng.standard_normal((2, 3))))
        yield _error(small) if small.widths == (4, 6, 2) else np.inf


@_data.outside("only the rows of the target, in a 6-4-1 network whose first layer is 0")
def _(rng: np.random.Generator) -> float:
    loss = Regression(rng.standard_normal((6, 9)), rng.standard_normal((1, 9)))
    start = np.zeros((4, 6)), rng.standard_normal((1, 4))
    return _error(Reduction(start, loss, reduce(start, Quadratic(loss.target)).bases, (), 0.0))


@claim(
    "reduced-widths",
    "T17",
    statement="Two layers become at most d_0 + d_h wide, whatever their width; orthogonal hidden layers d_0 + d_h; "
    "balanced starts as wide as their rank; a target of low rank bounds the ends; wide layers between bottlenecks "
    "become as wide as their two neighbours together.",
    hypotheses="generic otherwise",
    instances="50 starts of five kinds; the number whose widths are others than 3-7-4, 3-5-5-5-2, 3-2-2-2-2, 4-3-3-4, "
    "2-4-2-5-3",
    tolerance=0.0,
)
def _widths(rng: np.random.Generator) -> Iterator[float]:
    expected = ((3, 7, 4), (3, 5, 5, 5, 2), (3, 2, 2, 2, 2), (4, 3, 3, 4), (2, 4, 2, 5, 3))
    for make, narrow in zip(_KINDS * 10, expected * 10, strict=True):
        yield float(reduce(*make(rng), rtol=1e-10).widths != narrow)


@claim(
    "generic-networks-stay-wide",
    "T17",
    statement="Generic networks with two or more wide hidden layers side by side become no narrower.",
    hypotheses="independent gaussian entries; a target of full rank",
    instances="20 networks with widths 3, d, d, 2 or 3, d, d, d, 2 and d from 5 to 12; the number that are narrowed",
    tolerance=0.0,
)
def _generic(rng: np.random.Generator) -> Iterator[float]:
    for depth in (3, 4) * 10:
        net = Network((3, *(int(rng.integers(5, 13)),) * (depth - 1), 2))
        yield float(reduce(weights(rng, net), target(rng, net)).widths != net.widths)


@_generic.outside("orthogonal hidden layers")
def _(rng: np.random.Generator) -> float:
    start, loss = _orthogonal_hidden(rng)
    return float(reduce(start, loss).widths != (3, 12, 12, 12, 2))


@claim(
    "promised-widths",
    "T17",
    statement="No start needs more than the least numbers with b_0 = min(d_0, r + b_1), b_i = min(d_i, b_{i-1} + "
    "b_{i+1}), b_h = min(d_h, b_{h-1} + r), r = min(d_0, d_h).",
    hypotheses="none; b_0 = d_0 for unwhitened data",
    instances="60 networks of depth 1 to 5 and widths 1 to 9; the number with a layer that is wider",
    tolerance=0.0,
)
def _promised(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 60, depths=(1, 5), widths=(1, 9)):
        loss = target(rng, net)
        narrow = reduce(weights(rng, net), loss).widths
        yield float(any(k > b for k, b in zip(narrow, widths(net, loss), strict=True)))


@claim(
    "subspaces-are-a-krylov-space",
    "T17",
    statement="The subspaces are the least invariant one of A and A' that contains the ends of the target and of W, "
    "layer by layer.",
    hypotheses="none",
    instances="10 starts of five kinds; part of a basis of the invariant space of A and A' that lies outside, and 1 if "
    "its dimension differs",
    tolerance=1e-12,
)
def _krylov(rng: np.random.Generator) -> Iterator[float]:
    for make in _KINDS * 2:
        start, loss = make(rng)
        small, A = reduce(start, loss), adjacency.matrix(start)
        ends = np.cumsum([0, *(B.shape[0] for B in small.bases)])
        corner = np.zeros_like(A)
        corner[ends[-2] :, : ends[1]] = quadratic_of(loss, "a reduction").target
        W = np.linalg.matrix_power(A, len(start))
        space = _range(np.hstack([corner, corner.T, W]))
        while True:
            larger = _range(np.hstack([space, A @ space, A.T @ space]))
            if larger.shape == space.shape:
                break
            space = larger
        yield float(larger.shape[1] != sum(small.widths))
        for B, (first, last) in zip(small.bases, pairwise(ends), strict=True):
            yield float(np.abs(space[first:last] - B @ (B.T @ space[first:last])).max())


def _range(vectors: Floats) -> Floats:
    U, values, _ = np.linalg.svd(vectors, full_matrices=False)
    return U[:, values > 1e-11 * values[0]]


@claim(
    "loss-is-that-of-the-narrow-network",
    "T17",
    statement="Loss and gradient of the narrow network are those of the wide one, and the balance matrices of the "
    "lifted weights are conserved.",
    hypotheses="balance is that of the lifted weights, not of the narrow ones",
    instances="10 starts of five kinds, t = 0 to 3, rtol 1e-11; relative difference of losses, and change of a balance "
    "matrix relative to the squared weights",
    tolerance=1e-10,
)
def _observables(rng: np.random.Generator) -> Iterator[float]:
    for make in _KINDS * 2:
        small = reduce(*make(rng))
        narrow = _path(small.weights, small.loss)
        lifted = small.lift(narrow)
        wide = value(lifted, small.whole)
        yield float(np.abs(value(narrow, small.loss) - wide).max() / wide[0])
        yield difference(balance(lifted), balance(small.start)) / _size(small.start) ** 2


@_observables.outside("B_i V_i B_{i-1}' without what stands still; widths 3-12-12-12-2, orthogonal hidden layers")
def _(rng: np.random.Generator) -> float:
    small = reduce(*_orthogonal_hidden(rng))
    moving = tuple(above @ V @ below.T for V, (below, above) in zip(small.weights, pairwise(small.bases), strict=True))
    return difference(balance(moving), balance(small.start)) / _size(small.start) ** 2
