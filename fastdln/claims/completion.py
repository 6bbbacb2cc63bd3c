"""Completion and sensing of matrices (T16): what depth and small starts do, and what is conserved."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from fastdln.claims.instances import networks, weights
from fastdln.claims.losses import LOSSES
from fastdln.claims.measures import norm
from fastdln.claims.registry import claim
from fastdln.field import product
from fastdln.gradient_flow import Stop, flow
from fastdln.inits import gaussian
from fastdln.linalg import Floats
from fastdln.losses import Loss, Masked, Sensing
from fastdln.network import Network

STARTS = 4  # of each depth and scale

Problem = tuple[Floats, Loss]


def _low_rank(rng: np.random.Generator, d: int, rank: int) -> Floats:
    """A square matrix of that rank with entries of the order d^(-1/2)."""
    return np.asarray(rng.standard_normal((d, rank)) @ rng.standard_normal((rank, d)) / np.sqrt(d))


def _completion(rng: np.random.Generator) -> Problem:
    """A matrix 12 x 12 of rank 2, and the loss of 90 of its entries."""
    truth, mask = _low_rank(rng, 12, 2), np.zeros(144, bool)
    mask[rng.permutation(144)[:90]] = True
    return truth, Masked(truth, mask.reshape(12, 12))


def _sensing(rng: np.random.Generator) -> Problem:
    """A matrix 10 x 10 of rank 1, and the loss of 50 Gaussian measurements of it."""
    truth, A = _low_rank(rng, 10, 1), rng.standard_normal((50, 10, 10))
    return truth, Sensing(A, np.tensordot(A, truth))


def _error(rng: np.random.Generator, problems: list[Problem], depth: int, scale: float) -> float:
    """The distance of the product from the truth, relative, where the loss is 1e-6.

    The median over some starts, and of that the geometric mean over matrices.  Entries of the layers have the standard
    deviation scale^(1/depth) d^(-1/2).
    """
    errors = []
    for truth, loss in problems:
        start = gaussian(Network((len(truth),) * (depth + 1)), scale ** (1 / depth), size=STARTS, rng=rng)
        end = flow(start, loss, (0.0, 1e5), stop=Stop(loss=1e-6), rtol=1e-4).final
        errors.append(np.median([norm((W - truth,)) for W in product(end)]) / norm((truth,)))
    return float(np.exp(np.mean(np.log(errors))))


@claim(
    "completion-and-sensing-conserve-the-balance",
    "T16",
    statement="The C_i are constant along the flow of the losses of seen entries and of measurements.",
    hypotheses="equal learning rates, no weight decay",
    instances="both losses for 10 networks each of depth 2 to 4, t = 0 to 3, rtol 1e-10; change of a C_i relative to "
    "the squared weights",
    tolerance=1e-9,
)
def _conserved(rng: np.random.Generator) -> Iterator[float]:
    for name in ("masked", "sensing"):
        for net in networks(rng, 10):
            drawn = weights(rng, net)
            loss = LOSSES[name](rng, (net.widths[-1], net.widths[0]))
            yield float(np.max(flow(drawn, loss, (0.0, 3.0), rtol=1e-10, record="drift").drift)) / norm(drawn) ** 2


@claim(
    "completion-improves-with-depth",
    "T16",
    statement="From small starts the error of matrix completion falls with depth.",
    hypotheses="a matrix of low rank, more entries seen than it has degrees of freedom, starts that are small "
    "(S. Arora et al., NeurIPS 2019)",
    instances="5 matrices 12 x 12 of rank 2 of which 90 entries are seen, s = 1e-3, depths 1, 2, 3; mean error over "
    "that one layer less",
    tolerance=0.7,
)
def _deeper(rng: np.random.Generator) -> Iterator[float]:
    problems = [_completion(rng) for _ in range(5)]
    for shallow, deep in pairwise([_error(rng, problems, depth, 1e-3) for depth in (1, 2, 3)]):
        yield deep / shallow


@_deeper.outside("starts as large as the matrix, s = 1, of two layers, over small ones of one")
def _(rng: np.random.Generator) -> float:
    problems = [_completion(rng) for _ in range(5)]
    return _error(rng, problems, 2, 1.0) / _error(rng, problems, 1, 1e-3)


@claim(
    "completion-improves-with-smaller-starts",
    "T16",
    statement="The error of matrix completion falls with the scale of the start, from two layers on.",
    hypotheses="a matrix of low rank, more entries seen than it has degrees of freedom",
    instances="5 matrices 12 x 12 of rank 2 of which 90 entries are seen, depths 2 and 3, s = 1, 0.03, 1e-3; mean "
    "error over that of the larger start",
    tolerance=0.8,
)
def _smaller(rng: np.random.Generator) -> Iterator[float]:
    problems = [_completion(rng) for _ in range(5)]
    for depth in (2, 3):
        for large, small in pairwise([_error(rng, problems, depth, scale) for scale in (1.0, 0.03, 1e-3)]):
            yield small / large


@_smaller.outside("one layer, which goes to the nearest matrix that fits")
def _(rng: np.random.Generator) -> float:
    problems = [_completion(rng)]
    return _error(rng, problems, 1, 1e-3) / _error(rng, problems, 1, 0.03)


@claim(
    "sensing-improves-with-depth",
    "T16",
    statement="From small starts the error of matrix sensing falls with depth.",
    hypotheses="a matrix of low rank, more measurements than it has degrees of freedom, starts that are small",
    instances="3 matrices 10 x 10 of rank 1 with 50 Gaussian measurements, s = 1e-3, depths 1, 2, 3; mean error over "
    "that one layer less",
    tolerance=0.7,
)
def _measured(rng: np.random.Generator) -> Iterator[float]:
    problems = [_sensing(rng) for _ in range(3)]
    for shallow, deep in pairwise([_error(rng, problems, depth, 1e-3) for depth in (1, 2, 3)]):
        yield deep / shallow
