"""Flows of wide networks by way of narrow ones (`fastdln.theory.reduction`).

A reduced flow is the flow of another network whose results are lifted: every trajectory is reduced by its own start
and target, those that become equally wide are integrated together by the other engines, and what is recorded of them
is brought back to the wide network.  Loss, gradient and strengths are the same in both; products and weights are
lifted, and whatever follows from them (balance, drift) follows as for any other engine.

Where the widths promise no narrower network but one that is nearly exact, trajectories are reduced one by one, by the
sweeps that would close the subspaces: exactly if these do so soon, else approximately (`krylov`).

Bits depend on a trajectory's own start, target and options alone: its subspaces are found by LAPACK in one thread.
Starts that are not finite, or whose squares overflow, never come to that: they go to the other engines as they are,
and so do those that cannot be narrowed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdln.engines.base import Problem, Results
from fastdln.engines.direct import direct
from fastdln.engines.memory import blocks
from fastdln.engines.reduced import krylov, memory
from fastdln.engines.reduced.memory import lift_bytes, weights_bytes
from fastdln.engines.reduced.worth import pays
from fastdln.engines.wide.workers import Workers
from fastdln.integrate.status import Status
from fastdln.linalg import frobenius, reproducible, transpose
from fastdln.losses import Loss
from fastdln.network import Network, Weights
from fastdln.resources import Report
from fastdln.theory.reduction.closure import close
from fastdln.theory.reduction.krylov import Krylov
from fastdln.theory.reduction.network import Reduction, default_rtol

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Reduced:
    """The engine that integrates narrow networks for wide ones.

    Attributes
    ----------
    approximate : bool
        Whether trajectories are reduced one by one, to some level of their Krylov subspaces where these do not close.
    decide : bool
        Whether narrow networks are the narrowest, by decisions on ranks; else they have the widths that all starts
        have in common, and what is rounding in a start is kept.
    """

    approximate: bool
    decide: bool

    @classmethod
    def asked(cls, problem: Problem) -> Reduced:
        """What is done where it is asked for."""
        network, loss = problem.network, problem.loss
        approximate = not (problem.options.certify or pays(network, loss))
        return cls(approximate and krylov.last_level(network, loss.form.gram) > 0, decide=True)

    @classmethod
    def promised(cls, network: Network, loss: Loss, dtype: DTypeLike, certify: bool = False) -> Reduced | None:
        """What "auto" does: where the widths alone promise much, exactly or, in double precision, approximately."""
        if pays(network, loss):
            return cls(approximate=False, decide=False)
        double = np.dtype(dtype) == np.float64
        if double and not certify and krylov.promises(network, loss.form.gram):
            return cls(approximate=True, decide=False)
        return None

    def memory(self, problem: Problem) -> int:
        """Bytes that the engine takes at most at a time: a block on its way, or one trajectory and its subspaces."""
        return (memory.approximate_bytes if self.approximate else memory.exact_bytes)(problem)

    def run(self, problem: Problem, progress: Report | None = None) -> Iterator[Results]:
        """Integrate the batch block by block; yields parts of it with their results, in no order."""
        done = failed = 0

        def show(now: int, failures: int, _: int) -> None:
            if progress is not None:
                progress(done + now, failed + failures, problem.n)

        for rows, reduction in self._reductions(problem):
            if isinstance(reduction, Results):
                failed += int(reduction.status[0] > Status.STOPPED)
                show(1, 0, 0)
                reduction.rows = rows
                yield reduction
            else:
                part = _part(problem, rows) if reduction is None else _narrow(problem, rows, reduction)
                for chunk in direct(part).run(part, show):
                    if reduction is not None:
                        _lift(chunk, problem, part, reduction)
                    chunk.rows = rows[chunk.rows]
                    failed += int(np.count_nonzero(chunk.status > Status.STOPPED))
                    yield chunk
                    del chunk  # before the next one is laid out
            done += len(rows)

    def _reductions(self, problem: Problem) -> Iterator[tuple[Rows, Reduction | Results | None]]:
        """How each trajectory is to be integrated, or what became of it where it was reduced approximately."""
        if self.approximate:
            with Workers(problem.threads) as workers:
                for k in range(problem.n):
                    yield np.array([k]), _approximate(problem, k, self.decide, workers)
            return
        size = memory.block_size(problem)
        for first in range(0, problem.n, size):
            yield from _reduce(problem, np.arange(first, min(first + size, problem.n)), self.decide)


@reproducible
def _approximate(problem: Problem, k: int, decide: bool, workers: Workers) -> Reduction | Results | None:
    """The flow of a trajectory in Krylov subspaces; or its reduction, where these are closed."""
    if not _usable(problem.start[k]):
        return None
    one = slice(k, k + 1)  # large weights are not copied
    part = replace(
        problem, loss=_loss(problem, np.array([k])), start=problem.start[one], origin=problem.origin[one],
        atol=problem.atol[one], length=_of(problem.length, one),
    )  # fmt: skip
    weights = problem.network.unpack(problem.start[k])
    subspaces = Krylov(weights, workers.each)
    subspaces.grow(krylov.first_level(problem.network.depth))
    if not subspaces.closed and (decide or not subspaces.dropped):
        results = krylov.Approximate(part, subspaces).run()
        if results is not None:
            return results
    if subspaces.dropped and not decide:
        return None
    bases = tuple((B.T if len(B) else np.zeros((B.shape[1], 1)))[None].copy() for B in subspaces.bases)
    reduction = Reduction(problem.network.unpack(part.start), part.loss, bases, (), default_rtol(weights))
    return None if reduction.widths == problem.network.widths else reduction


def _reduce(problem: Problem, rows: Rows, decide: bool) -> Iterator[tuple[Rows, Reduction | None]]:
    """Part a block by widths; without a reduction what stays as it is."""
    network, origin = problem.network, problem.origin
    usable = _usable(origin[rows]) & _usable(problem.start[rows])
    unchanged = [rows[~usable]]
    rows = rows[usable]
    if len(rows):
        rtol = default_rtol(network.unpack(origin)) if decide else 0.0
        for closure in close(network.unpack(origin[rows]), _loss(problem, rows), rtol):
            own = rows[closure.rows]
            start = network.unpack(problem.start[own])
            reduction = Reduction(start, _loss(problem, own), closure.bases, closure.decisions, rtol)
            if reduction.widths == network.widths:
                unchanged.append(own)
            else:
                yield own, reduction
    left = np.sort(np.concatenate(unchanged))
    if len(left):
        yield left, None


def _usable(packed: NDArray[Any]) -> NDArray[np.bool_]:
    """Which weights are finite and have squares that are."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.isfinite(np.einsum("...i,...i->...", packed, packed)))


def _loss(problem: Problem, rows: Rows) -> Loss:
    return problem.loss[rows] if problem.loss.batch_shape else problem.loss


def _part(problem: Problem, rows: Rows) -> Problem:
    start = problem.start[rows]
    return replace(
        problem, loss=_loss(problem, rows), start=start, origin=start, atol=problem.atol[rows],
        length=_of(problem.length, rows),
    )  # fmt: skip


def _narrow(problem: Problem, rows: Rows, reduction: Reduction) -> Problem:
    network = Network(reduction.widths)
    start = network.pack(reduction.weights)
    fades = problem.measured and problem.options.weight_decay > 0
    return replace(
        problem, network=network, loss=reduction.loss, start=start, origin=start, atol=problem.atol[rows],
        length=_of(problem.length, rows), still=_left_out(problem, reduction) if fades else None,
    )  # fmt: skip


def _of(lengths: NDArray[np.float64] | None, rows: slice | Rows) -> NDArray[np.float64] | None:
    return None if lengths is None else lengths[rows]


@reproducible
def _left_out(problem: Problem, reduction: Reduction) -> NDArray[np.float64]:
    """||W - B V B'||_F, of all layers together: the weights that nothing moves but their decay."""
    norms = np.zeros(len(reduction.start[0]))
    for rows, _ in blocks(len(norms), 1, weights_bytes(problem)):
        for W, V, (below, above) in zip(reduction.start, reduction.weights, pairwise(reduction.bases), strict=True):
            left = W[rows] - above[rows] @ V[rows] @ transpose(below[rows])
            norms[rows] = np.hypot(norms[rows], frobenius(left))
    return norms


@reproducible
def _lift(chunk: Results, problem: Problem, narrow: Problem, reduction: Reduction) -> None:
    """Bring what was recorded of narrow networks back to the wide ones."""
    wide, small = problem.network, narrow.network
    n, n_times, _ = chunk.records.shape
    records = np.empty((n, n_times, problem.n_columns), chunk.records.dtype)
    final = np.empty((n, wide.n_parameters), chunk.final.dtype)
    whole, decay = np.arange(problem.n)[chunk.rows], problem.options.weight_decay
    for rows, moments in blocks(n, n_times, lift_bytes(problem)):
        own = reduction.take(whole[rows])
        for times in moments:
            elapsed = problem.direction * problem.times[times]
            _lift_records(chunk.records[rows, times], records[rows, times], elapsed, problem, narrow, own)
    for rows, _ in blocks(n, 1, weights_bytes(problem)):
        elapsed = problem.direction * chunk.reached[rows]
        lifted = reduction.take(whole[rows]).lift(small.unpack(chunk.final[rows]), elapsed, decay)
        _write(wide, lifted, final[rows])
    chunk.records, chunk.final = records, final
    chunk.widths[:] = small.widths


def _lift_records(
    found: NDArray[Any], records: NDArray[Any], elapsed: NDArray[np.float64], problem: Problem, narrow: Problem,
    reduction: Reduction,
) -> None:  # fmt: skip
    """Write what was found of narrow networks as records of wide ones."""
    for name, columns in problem.columns.items():
        recorded = found[..., narrow.columns[name]]
        if name == "weights":
            lifted = reduction.lift(narrow.network.unpack(recorded), elapsed, problem.options.weight_decay)
            _write(problem.network, lifted, records[..., columns])
        elif name == "product":
            products = recorded.reshape(*recorded.shape[:-1], *narrow.loss.shape)
            records[..., columns] = reduction.lift_product(products).reshape(*recorded.shape[:-1], -1)
        else:
            records[..., columns] = recorded


def _write(network: Network, weights: Weights, out: NDArray[Any]) -> None:
    for view, W in zip(network.unpack(out), weights, strict=True):
        view[...] = W
