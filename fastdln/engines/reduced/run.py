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

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdln.engines.base import Engine, Problem, Results
from fastdln.engines.choose import choose
from fastdln.engines.lockstep import batch
from fastdln.engines.memory import block_bytes, blocks, results_bytes
from fastdln.engines.reduced import krylov
from fastdln.engines.reduced.krylov.levels import cost
from fastdln.engines.wide.workers import Workers
from fastdln.kernels.machine.lanes import lane_count
from fastdln.linalg import reproducible
from fastdln.losses import Loss
from fastdln.network import Network, Weights
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


def memory(problem: Problem) -> int:
    """Bytes that the engine takes at most at a time: a block on its way, or one trajectory and its subspaces."""
    if _approximates(problem.network, problem.loss, problem.options.certify):
        return krylov.memory(problem)
    n = min(problem.n, _block_size(problem))
    bounds = widths(problem.network, problem.loss)
    narrow = replace(problem, network=Network(bounds), start=problem.start[:n])
    integrating = n * _held_bytes(problem) + _engine(narrow).memory(narrow)
    if bounds != problem.network.widths:
        integrating += results_bytes(problem, n) + _lifted_bytes(problem, n)
    return max(n * _closing_bytes(problem), integrating)


def run(
    problem: Problem,
    decide: bool,
    progress: Callable[[int, int, int], None] | None = None,
) -> Iterator[Results]:
    """Integrate the batch block by block; yields parts of it with their results, in no order.

    Subspaces are those of the weights where the flow began.  With ``decide`` the narrow networks are the
    narrowest, by decisions on ranks; else they have the widths that all starts have in common.
    """
    done = failed = 0

    def show(now: int, failures: int, _: int) -> None:
        if progress is not None:
            progress(done + now, failed + failures, problem.n)

    for rows, reduction in _reductions(problem, decide):
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
                failed += int(np.count_nonzero(chunk.status > 1))
                yield chunk
                del chunk  # before the next one is laid out
        done += len(rows)


def _reductions(
    problem: Problem, decide: bool
) -> Iterator[tuple[Rows, Reduction | Results | None]]:
    """How each trajectory is to be integrated, or what became of it where only an approximate reduction pays."""
    if _approximates(problem.network, problem.loss, problem.options.certify):
        with Workers(problem.threads) as workers:
            for k in range(problem.n):
                yield np.array([k]), _approximate(problem, k, decide, workers)
        return
    size = _block_size(problem)
    for first in range(0, problem.n, size):
        yield from _reduce(problem, np.arange(first, min(first + size, problem.n)), decide)


@reproducible
def _approximate(problem: Problem, k: int, decide: bool, workers: Workers) -> Reduction | Results | None:
    """The flow of a trajectory in Krylov subspaces; or its reduction, where these are closed."""
    if not _usable(problem.start[k]):
        return None
    one = slice(k, k + 1)  # large weights are not copied
    part = replace(
        problem, loss=_loss(problem, np.array([k])), start=problem.start[one], origin=problem.origin[one],
        atol=problem.atol[one],
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


def _reduce(
    problem: Problem, rows: Rows, decide: bool
) -> Iterator[tuple[Rows, Reduction | None]]:
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
    return replace(problem, loss=_loss(problem, rows), start=start, origin=start, atol=problem.atol[rows])


def _narrow(problem: Problem, rows: Rows, reduction: Reduction) -> Problem:
    network = Network(reduction.widths)
    start = network.pack(reduction.weights)
    return replace(
        problem, network=network, loss=reduction.loss, start=start, origin=start, atol=problem.atol[rows]
    )  # fmt: skip


@reproducible
def _lift(chunk: Results, problem: Problem, narrow: Problem, reduction: Reduction) -> None:
    """Bring what was recorded of narrow networks back to the wide ones."""
    wide, small = problem.network, narrow.network
    n, n_times, _ = chunk.records.shape
    records = np.empty((n, n_times, problem.n_columns), chunk.records.dtype)
    final = np.empty((n, wide.n_parameters), chunk.final.dtype)
    whole, decay = np.arange(problem.n)[chunk.rows], problem.options.weight_decay
    for rows, moments in blocks(n, n_times, _lift_bytes(problem)):
        own = reduction.take(whole[rows])
        for times in moments:
            elapsed = problem.direction * problem.times[times]
            _lift_records(chunk.records[rows, times], records[rows, times], elapsed, problem, narrow, own)
    for rows, _ in blocks(n, 1, _weights_bytes(problem)):
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


def _engine(problem: Problem) -> Engine:
    return choose("auto", problem.network, problem.loss, problem.options.method, problem.start.dtype)


def _block_size(problem: Problem) -> int:
    """Trajectories that are reduced at a time; results do not depend on it."""
    row = max(_closing_bytes(problem), _held_bytes(problem) + results_bytes(problem, 1))
    return max(batch.CHUNK_BYTES // row, 4 * lane_count(problem.start.dtype) * problem.threads)


def _closing_bytes(problem: Problem) -> int:
    """Bytes of a trajectory while its subspaces are closed: weights twice, bases, and one layer or basis on its way."""
    network, columns = problem.network, widths(problem.network, problem.loss)
    layer = max(rows * columns for rows, columns in network.shapes)
    bases = sum(d * k for d, k in zip(network.widths, columns, strict=True))
    weights = network.n_parameters * (problem.start.itemsize + 8)
    growing = max(layer, _growing_numbers(network.widths, columns))
    return weights + 8 * (bases + growing + _decided(network)) + _target_bytes(problem)


def _growing_numbers(d: tuple[int, ...], columns: tuple[int, ...]) -> int:
    """Numbers that are there on the way while a basis grows by the images that come to it in a sweep.

    These, normalized, orthogonalized and chosen from, five times; and the columns that it had, three times, but the
    target's modes at both ends, which no trajectory has for itself.
    """
    h, rank = len(d) - 1, min(d[0], d[-1])
    images = [0, rank]  # sweeps begin with the target's modes at both ends, and go upwards
    for i in range(1, h):
        images[i] += rank if i == h - 1 else 0  # where they meet what comes from the output
        images.append(min(images[i], columns[i]))
    images[0] = min(images[1], columns[1])
    before = [max(k - m, 0) for k, m in zip(columns, images, strict=True)]
    shared = [min(rank, k) if i in (0, h) else 0 for i, k in enumerate(before)]
    return max(n * (5 * m + 3 * k - s) for n, m, k, s in zip(d, images, before, shared, strict=True))


def _held_bytes(problem: Problem) -> int:
    """Bytes of a trajectory while its narrow network is integrated: start, bases, and the narrow start twice."""
    network, columns = problem.network, widths(problem.network, problem.loss)
    bases = sum(d * k for d, k in zip(network.widths, columns, strict=True))
    starts = problem.start.itemsize * (network.n_parameters + 2 * Network(columns).n_parameters)
    return starts + 8 * (bases + _decided(network)) + _target_bytes(problem)


def _decided(network: Network) -> int:
    """Numbers of the decisions on ranks, some two for each layer of nodes, and of rows."""
    return 4 * len(network.widths) + 4


def _target_bytes(problem: Problem) -> int:
    """Bytes of a trajectory's own target: its three arrays and its modes, and those in the subspaces."""
    if not problem.loss.batch_shape:
        return 0
    rows, columns = problem.loss.shape
    return 2 * 8 * (3 * rows * columns + problem.loss.n_modes * (rows + columns))


def _lifted_bytes(problem: Problem, n: int) -> int:
    """Bytes on the way while records, and then final weights, are lifted."""
    return max(block_bytes(n, len(problem.times), _lift_bytes(problem)), block_bytes(n, 1, _weights_bytes(problem)))


def _lift_bytes(problem: Problem) -> int:
    """Bytes of a record on the way while it is lifted."""
    if "weights" in problem.raw:
        return _weights_bytes(problem)
    return 8 * 2 * math.prod(problem.loss.shape) if "product" in problem.raw else 0


def _weights_bytes(problem: Problem) -> int:
    """Bytes on the way while weights are lifted: they themselves, and three times a layer."""
    network = problem.network
    return 8 * (network.n_parameters + 3 * max(rows * columns for rows, columns in network.shapes))
