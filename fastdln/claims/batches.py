"""Mini-batches of samples: what their gradients are on average, and how they spread (T15)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from itertools import product as arrangements

import numpy as np

from fastdln.claims.instances import networks, weights
from fastdln.claims.measures import distance, norm, relative
from fastdln.claims.registry import claim
from fastdln.descent import descend
from fastdln.field import rhs
from fastdln.integrate import schedules
from fastdln.linalg import Floats
from fastdln.losses import Regression
from fastdln.network import Network


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
            batches = [list(batch) for batch in arrangements(range(5), repeat=size)]
            gradients = np.array([net.pack(rhs(W, Regression(X[:, batch], Y[:, batch]))) for batch in batches])
            yield float(np.linalg.norm(gradients.mean(axis=0) - whole) / np.linalg.norm(whole))
            spread = np.square(gradients - whole).sum(axis=1).mean()
            single = spread if single is None else single
            yield abs(spread * size / single - 1)


@claim(
    "batches-of-an-epoch",
    "T15",
    statement="The gradients over the mini-batches of one epoch have that over all samples for their mean.",
    hypotheses="the size of the batches divides the number of samples",
    instances="6 samples in batches of 1, 2 and 3 for 3 networks of depth 2 and 3, each batch of the first epoch from "
    "the same weights; relative deviation of the mean",
    tolerance=1e-12,
)
def _epoch(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 3, depths=(2, 3)):
        for size in (1, 2, 3):
            yield _mean_of_epoch(rng, net, size)


@_epoch.outside("batches of 4 of 6 samples, and thus one of 4 and one of 2")
def _(rng: np.random.Generator) -> float:
    return _mean_of_epoch(rng, Network((3, 4, 2)), 4)


def _mean_of_epoch(rng: np.random.Generator, net: Network, size: int) -> float:
    W, loss, key = weights(rng, net), _regression(rng, net, 6), int(rng.integers(1 << 30))
    # rates of 0 leave the weights as they are before the batch that counts
    ends = [
        descend(W, loss, schedules.values([0.0] * k + [1.0]), k + 1, batch_size=size, rng=key, record=()).final
        for k in range(-(-6 // size))
    ]
    mean = tuple(np.mean([end[i] - layer for end in ends], axis=0) for i, layer in enumerate(W))
    whole = rhs(W, loss)
    return distance(mean, whole) / norm(whole)


@claim(
    "covariance-without-replacement",
    "T15",
    statement="The gradient over a mini-batch of b of m samples, drawn without replacement, has that over all of them "
    "for its mean, and the covariance (1/b - 1/m) S, where S is that of the samples' gradients, normalized by m - 1.",
    hypotheses="every subset of b samples is as likely, as it is for each batch of a shuffled epoch",
    instances="all mini-batches of 1 to 4 of 5 samples for 3 networks of depth 2 and 3; entries of mean and "
    "covariance, relative to the largest",
    tolerance=1e-11,
)
def _without_replacement(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 3, depths=(2, 3)):
        for size in (1, 2, 3, 4):
            yield _uncovered(rng, net, list(combinations(range(5), size)))


@_without_replacement.outside("mini-batches of 2 drawn with replacement")
def _(rng: np.random.Generator) -> float:
    return _uncovered(rng, Network((3, 4, 2)), list(arrangements(range(5), repeat=2)))


def _uncovered(rng: np.random.Generator, net: Network, batches: list[tuple[int, ...]]) -> float:
    W, m, b = weights(rng, net), 5, len(batches[0])
    X, Y = (rng.standard_normal((d, m)) for d in (net.widths[0], net.widths[-1]))

    def gradients(chosen: list[tuple[int, ...]]) -> Floats:
        return np.array([net.pack(rhs(W, Regression(X[:, list(k)], Y[:, list(k)]))) for k in chosen])

    singles = gradients([(k,) for k in range(m)])
    drawn, whole = gradients(batches), singles.mean(axis=0)
    spread = drawn - whole
    expected = (1 / b - 1 / m) * np.cov(singles.T)
    return max(
        relative((drawn.mean(axis=0),), (whole,)), relative((spread.T @ spread / len(drawn),), (expected,))
    )  # fmt: skip


def _regression(rng: np.random.Generator, net: Network, samples: int) -> Regression:
    return Regression(*(rng.standard_normal((d, samples)) for d in (net.widths[0], net.widths[-1])))
