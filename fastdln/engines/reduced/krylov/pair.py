"""The narrow network and the rough one beside it: a leg of a trajectory, and how wrong it may be."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.base import Problem, Results
from fastdln.engines.direct import alone
from fastdln.integrate.status import Status
from fastdln.linalg import Floats, frobenius, spectral
from fastdln.network import Network, Weights
from fastdln.theory.reduction.defect import accumulate, decay, defect, embed, growth, needed, within
from fastdln.theory.reduction.krylov import Krylov

SAMPLES = 8  # intervals of a leg in which the defect is integrated
LEAST = 1e-300  # tolerance, where all are zero
COMPARED = 16  # records of a leg at which products are compared, at most


@dataclass(frozen=True)
class Checkpoint:
    """Where a trajectory can be taken up again.

    Attributes
    ----------
    elapsed : float
        Time since the start.
    fine, rough : tuple of ndarrays
        Weights of the narrow network and of the rough one, what stands still included.
    bound : float
        Of the error of the rough one beyond the last level.
    error : float
        Estimate of the error so far, relative to the tolerance.
    outputs : int
        Times that are recorded.
    learned : ndarray
        Learning times.
    counts : ndarray
        Right-hand sides, steps accepted and rejected.
    length : float
        Of the way so far; 0 where that is not recorded.
    """

    elapsed: float
    fine: Weights
    rough: Weights
    bound: float
    error: float
    outputs: int
    learned: NDArray[np.float64]
    counts: NDArray[np.int64]
    length: float = 0.0

    @property
    def attempts(self) -> int:
        """Steps tried."""
        return int(self.counts[1] + self.counts[2])


@dataclass(frozen=True)
class Leg:
    """Some steps of a trajectory: from where, what was asked, what came, and where it ends."""

    begin: Checkpoint
    part: Problem
    results: Results
    end: Checkpoint


def leg_of(problem: Problem, begin: Checkpoint, start: NDArray[np.floating], network: Network, most: int) -> Problem:
    """What is left of a problem of one trajectory, from a checkpoint on."""
    rest = problem.duration - begin.elapsed
    times = np.clip(problem.times[begin.outputs :] - begin.elapsed, 0.0, rest)
    part = replace(
        problem, network=network, start=start[None], origin=start[None], duration=rest, times=times,
        length=np.array([begin.length]),
    )  # fmt: skip
    return part.with_options(max_steps=min(most, problem.options.max_steps - begin.attempts))


def arrive(problem: Problem, begin: Checkpoint, results: Results, part: Problem) -> Checkpoint:
    """The checkpoint at the end of a leg; its weights and errors are those of the beginning."""
    reached = float(results.reached[0])
    finished = results.status[0] == Status.FINISHED
    learned = np.where(np.isnan(begin.learned), begin.elapsed + results.learned[0], begin.learned)
    return replace(
        begin,
        elapsed=problem.duration if finished else begin.elapsed + reached,
        outputs=begin.outputs + int(np.count_nonzero(part.times <= reached)),
        learned=learned,
        counts=begin.counts + results.counts[0],
        length=float(results.length[0]) if problem.measured else 0.0,
    )


class Pair:
    """The two networks at the present level of the subspaces."""

    def __init__(self, problem: Problem, krylov: Krylov) -> None:
        self._problem, self._norms = problem, krylov.norms
        self.network = Network(krylov.widths)
        self.start = krylov.narrow()
        self._levels = tuple(krylov.levels)
        self._left_out = krylov.left_out() if problem.measured and problem.options.weight_decay > 0 else None
        self._inside = within(krylov.levels, krylov.level - needed(problem.network.depth))

    def leg(self, begin: Checkpoint, steps: int) -> Leg:
        """Go on from a checkpoint for some steps."""
        problem, network = self._problem, self.network
        fine, rough = self.completed(begin), embed(begin.rough, self._still(begin.elapsed))
        part = leg_of(problem, begin, network.pack(fine), network, steps)
        part = replace(part, raw=tuple(dict.fromkeys((*problem.raw, "product"))), threads=1)
        if self._left_out is not None:
            part = replace(part, still=np.array([self.shrink(begin.elapsed) * self._left_out]))
        results = _integrate(part)
        end = arrive(problem, begin, results, part)
        if results.reached[0] == 0:
            return Leg(begin, part, results, replace(end, fine=fine, rough=rough))
        beside = self._beside(part, results, rough)
        aside = _integrate(beside)
        end = replace(end, fine=network.unpack(results.final[0]))
        if aside.status[0] != Status.FINISHED:
            return Leg(begin, part, results, replace(end, error=np.inf))
        return Leg(begin, part, results, self._judged(begin, end, part, results, beside, aside))

    def decay(self, at: Checkpoint) -> float:
        """By how much what has moved falls off from level to level."""
        still = self._still(at.elapsed)
        return decay(tuple(W - W_0 for W, W_0 in zip(at.fine, still, strict=True)), self._levels)

    def completed(self, at: Checkpoint) -> Weights:
        """The weights of a checkpoint at the present level."""
        return embed(at.fine, self._still(at.elapsed))

    def _beside(self, part: Problem, results: Results, rough: Weights) -> Problem:
        """The rough network over the same time."""
        reached = float(results.reached[0])
        samples = np.linspace(0.0, reached, SAMPLES + 1)
        samples[-1] = reached
        recorded = part.times[_compared(part, reached)]
        cut = tuple(np.where(mask, W, 0).astype(W.dtype) for mask, W in zip(self._inside, rough, strict=True))
        start = self.network.pack(cut)[None]
        beside = replace(
            part, start=start, origin=start, duration=reached, times=np.union1d(samples, recorded), raw=("weights",)
        )  # fmt: skip
        return beside.with_options(
            max_steps=2 * part.options.max_steps + 100, history=False, stop_gradient=None, stop_loss=None
        )

    def _judged(
        self, begin: Checkpoint, end: Checkpoint, part: Problem, results: Results, beside: Problem, aside: Results
    ) -> Checkpoint:
        """The end of a leg, with what the rough network says about it."""
        problem, loss = self._problem, self._problem.loss
        rates, rtol, atol = problem.options.layer_rates, problem.options.rtol, float(problem.atol[0])
        rough = self._lifted(self.network.unpack(aside.final[0]), end.elapsed)
        allowed = [max(W.size**0.5 * atol + rtol * _norm(W), LEAST) for W in end.fine]
        errors = [_norm(A - B) / size for A, B, size in zip(rough, end.fine, allowed, strict=True)]

        along = self._lifted(self.network.unpack(aside.records[0]), begin.elapsed + beside.times)
        bound = accumulate(
            begin.bound, beside.times,
            defect(along, self._inside, loss, rates), growth(along, self._norms, loss, rates),
        )  # fmt: skip
        errors.append(bound / min(allowed))

        chosen = _compared(part, float(results.reached[0]))
        if chosen.size:
            fine = results.records[0, chosen][:, part.columns["product"]].reshape(-1, *loss.shape)
            there = np.searchsorted(beside.times, part.times[chosen])
            errors.append(_product_error([W[there] for W in along], fine, allowed, rtol))

        if problem.learning:
            a, b = (np.where(np.isnan(x.learned[0]), beside.duration, x.learned[0]) for x in (results, aside))
            at = begin.elapsed + np.maximum(a, b)
            errors.append(float(np.max(np.abs(a - b) / (rtol * at + np.spacing(at)), initial=0.0)))
        return replace(end, rough=rough, bound=bound, error=float(np.max(errors)))  # NaN stays

    def _lifted(self, rough: Weights, elapsed: Floats | float) -> Weights:
        """Weights of the rough network with what stands still."""
        still = self._still(elapsed)
        return tuple(np.where(mask, W, W_0) for mask, W, W_0 in zip(self._inside, rough, still, strict=True))

    def _still(self, elapsed: Floats | float) -> Weights:
        """The weights at some times where nothing moves them."""
        if self._problem.options.weight_decay == 0:
            return self.start
        shrink = self.shrink(elapsed)
        return tuple((np.multiply.outer(shrink, W)).astype(W.dtype) for W in self.start)

    def shrink(self, elapsed: Floats | float) -> Floats:
        """What weight decay leaves of weights that nothing else moves."""
        with np.errstate(over="ignore"):
            rate = self._problem.options.weight_decay * self._problem.direction
            return np.exp(-rate * np.asarray(elapsed, np.float64))


def _integrate(part: Problem) -> Results:
    """The results of one trajectory."""
    (results,) = alone(part).run(part)
    return results


def _compared(part: Problem, reached: float) -> NDArray[np.intp]:
    """Which records of a leg are compared."""
    there = int(np.count_nonzero(part.times <= reached))
    return np.unique(np.linspace(0, there - 1, min(there, COMPARED)).astype(np.intp))


def _product_error(weights: list[Floats], products: Floats, allowed: list[float], rtol: float) -> float:
    """The largest error of some products, relative to what errors of the weights within the tolerance make of them."""
    below, above = weights[0], weights[-1]
    tolerance = allowed[0] * spectral(_chain(weights[1:])) + allowed[-1] * spectral(_chain(weights[:-1]))
    for i in range(1, len(weights) - 1):
        below, above = _chain(weights[:i]), _chain(weights[i + 1 :])
        tolerance = tolerance + spectral(above) * allowed[i] * spectral(below)
    tolerance = tolerance + rtol * frobenius(products)
    found = frobenius(_chain(weights) - products)
    return float(np.max(found / np.where(tolerance > 0, tolerance, 1.0)))


def _chain(weights: list[Floats]) -> Floats:
    """The product of layers."""
    product = weights[0]
    for W in weights[1:]:
        product = W @ product
    return product


def _norm(matrix: Floats) -> float:
    return float(np.linalg.norm(np.asarray(matrix, np.float64).ravel()))
