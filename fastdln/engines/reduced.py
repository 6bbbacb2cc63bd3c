"""Flows of wide networks by way of narrow ones (`fastdln.theory.reduction`).

A reduced flow is the flow of another network whose results are lifted: every trajectory is reduced by its own start
and target, those that become equally wide are integrated together by the other engines, and what is recorded of them
is brought back to the wide network.  Loss, gradient and strengths are the same in both; products and weights are
lifted, and whatever follows from them (balance, drift) follows as for any other engine.

Where the widths promise no narrower network but one that is nearly exact, trajectories are reduced one by one, by the
sweeps that would close the subspaces: exactly if these do so soon, else approximately (`fastdln.engines.krylov`).

Bits depend on a trajectory's own start, target and options alone: its subspaces are found by LAPACK in one thread.
Starts that are not finite, or whose squares overflow, never come to that: they go to the other engines as they are,
and so do those that cannot be narrowed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdln.engines import batch, krylov
from fastdln.engines.choose import Engine, choose
from fastdln.engines.chunk import Results
from fastdln.engines.krylov.levels import cost
from fastdln.engines.problem import Problem
from fastdln.engines.wide.workers import Workers
from fastdln.kernels.lanes import lane_count
from fastdln.linalg import reproducible
from fastdln.losses import Loss
from fastdln.network import Network
from fastdln.theory.reduction.bounds import widths
from fastdln.theory.reduction.closure import close
from fastdln.theory.reduction.krylov import Krylov
from fastdln.theory.reduction.network import Reduction, default_rtol

NAME = "reduced"

# The reduction itself, in a batch of 64, takes about 20 us, 0.1 us for each weight, and 1.5 ns d k^2 for each basis of
# k columns in d dimensions: here in flops for each right-hand side of a flow.  That of one layer takes a third of them.
OVERHEAD_FLOPS, WEIGHT_FLOPS, BASIS_FLOPS, FEWER = 1200, 6, 0.1, 3
# How many times cheaper the narrow network must be (`python -m bench.choice`).
MARGIN = 1.2

Rows = NDArray[np.intp]


def pays(network: Network, loss: Loss) -> bool:
    """Whether the widths alone promise that the narrow network is cheaper, its making included."""
    narrow, data = widths(network, loss), loss.input_gram is not None
    bases = BASIS_FLOPS * sum(d * k**2 for d, k in zip(network.widths, narrow, strict=True))
    making = (OVERHEAD_FLOPS + WEIGHT_FLOPS * network.n_parameters + bases) * (FEWER if network.depth == 1 else 1)
    return MARGIN * cost(narrow, data) + making < cost(network.widths, data)


def suits(network: Network, loss: Loss, dtype: DTypeLike, certify: bool = False) -> bool:
    """Whether "auto" reduces: where the widths alone promise much, exactly or, in double precision, approximately."""
    if pays(network, loss):
        return True
    return not certify and np.dtype(dtype) == np.float64 and krylov.promises(network, loss.input_gram is not None)


def _approximates(network: Network, loss: Loss, certify: bool) -> bool:
    """Whether networks that their widths do not narrow are reduced to some level of their Krylov subspaces."""
    if certify or pays(network, loss):
        return False
    return krylov.last_level(network, loss.input_gram is not None) > 0


def memory(problem: Problem, recorded: dict[str, tuple[int, ...]]) -> int:
    """Bytes that a call takes at most: those of the wide network, and bases and narrow starts of a block."""
    wide = _engine(problem).memory(problem, recorded)
    if _approximates(problem.network, problem.loss, problem.certify is not None):
        # images and bases of at most half of the nodes of each layer
        return wide + 2 * problem.network.n_parameters * problem.start.itemsize
    return wide + 4 * min(problem.n, _block_size(problem)) * _bases_bytes(problem)


def run(
    problem: Problem,
    origin: NDArray[Any],
    decide: bool,
    progress: Callable[[int, int, int], None] | None = None,
) -> Iterator[Results]:
    """Integrate the batch block by block; yields parts of it with their results, in no order.

    Subspaces are those of the weights ``origin``, where the flow began.  With ``decide`` the narrow networks are the
    narrowest, by decisions on ranks; else they have the widths that all starts have in common.
    """
    done = failed = 0

    def show(now: int, failures: int, _: int) -> None:
        if progress is not None:
            progress(done + now, failed + failures, problem.n)

    for rows, reduction in _reductions(problem, origin, decide):
        if isinstance(reduction, Results):
            failed += int(reduction.status[0] > 1)
            show(1, 0, 0)
            reduction.rows = rows
            yield reduction
        else:
            part = _part(problem, rows) if reduction is None else _narrow(problem, rows, reduction)
            for chunk in _engine(part).run(part, show):
                if reduction is not None:
                    _lift(chunk, problem, part, reduction)
                chunk.rows = rows[chunk.rows]
                yield chunk
                failed += int(np.count_nonzero(chunk.status > 1))
        done += len(rows)


def _reductions(
    problem: Problem, origin: NDArray[Any], decide: bool
) -> Iterator[tuple[Rows, Reduction | Results | None]]:
    """How each trajectory is to be integrated, or what became of it where only an approximate reduction pays."""
    if _approximates(problem.network, problem.loss, problem.certify is not None):
        with Workers(problem.threads) as workers:
            for k in range(problem.n):
                yield np.array([k]), _approximate(problem, k, decide, workers)
        return
    size = _block_size(problem)
    for first in range(0, problem.n, size):
        yield from _reduce(problem, origin, np.arange(first, min(first + size, problem.n)), decide)


@reproducible
def _approximate(problem: Problem, k: int, decide: bool, workers: Workers) -> Reduction | Results | None:
    """The flow of a trajectory in Krylov subspaces; or its reduction, where these are closed."""
    if not _usable(problem.start[k]):
        return None
    one = slice(k, k + 1)  # large weights are not copied
    part = replace(problem, loss=_loss(problem, np.array([k])), start=problem.start[one], atol=problem.atol[one])
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


def _reduce(
    problem: Problem, origin: NDArray[Any], rows: Rows, decide: bool
) -> Iterator[tuple[Rows, Reduction | None]]:
    """Part a block by widths; without a reduction what stays as it is."""
    network = problem.network
    usable = _usable(origin[rows]) & _usable(problem.start[rows])
    unchanged = [rows[~usable]]
    rows = rows[usable]
    if len(rows):
        weights = network.unpack(origin[rows])
        rtol = default_rtol(weights) if decide else 0.0
        for closure in close(weights, _loss(problem, rows), rtol):
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
    return replace(problem, loss=_loss(problem, rows), start=problem.start[rows], atol=problem.atol[rows])


def _narrow(problem: Problem, rows: Rows, reduction: Reduction) -> Problem:
    network = Network(reduction.widths)
    start = network.pack(reduction.weights)
    return replace(problem, network=network, loss=reduction.loss, start=start, atol=problem.atol[rows])


@reproducible
def _lift(chunk: Results, problem: Problem, narrow: Problem, reduction: Reduction) -> None:
    """Bring what was recorded of narrow networks back to the wide ones."""
    wide, small = problem.network, narrow.network
    own = reduction.take(chunk.rows)
    records = np.empty((*chunk.records.shape[:2], problem.n_columns), chunk.records.dtype)
    for name, columns in problem.columns.items():
        recorded = chunk.records[..., narrow.columns[name]]
        if name == "weights":
            recorded = wide.pack(
                own.lift(small.unpack(recorded), problem.direction * problem.times, problem.weight_decay)
            )
        elif name == "product":
            products = recorded.reshape(*recorded.shape[:-1], *narrow.loss.shape)
            recorded = own.lift_product(products).reshape(*recorded.shape[:-1], -1)
        records[..., columns] = recorded
    chunk.records = records
    chunk.widths[:] = small.widths
    elapsed = problem.direction * chunk.reached
    chunk.final = wide.pack(own.lift(small.unpack(chunk.final), elapsed, problem.weight_decay))


def _engine(problem: Problem) -> Engine:
    return choose("auto", problem.network, problem.loss, problem.method, problem.start.dtype)


def _block_size(problem: Problem) -> int:
    """Trajectories that are reduced at a time; results do not depend on it."""
    row = len(problem.times) * problem.n_columns * problem.start.itemsize + _bases_bytes(problem)
    return max(batch.CHUNK_BYTES // row, 4 * lane_count(problem.start.dtype) * problem.threads)


def _bases_bytes(problem: Problem) -> int:
    """Bytes of a trajectory's bases and of its weights while it is reduced, at most."""
    columns = widths(problem.network, problem.loss)
    bases = sum(d * k for d, k in zip(problem.network.widths, columns, strict=True))
    return 8 * (bases + 2 * problem.network.n_parameters)
