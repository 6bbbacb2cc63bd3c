"""Bytes that reductions and the flows of narrow networks take."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice

from fastdln.engines.base import Problem
from fastdln.engines.direct import direct
from fastdln.engines.lockstep import batch
from fastdln.engines.memory import block_bytes, results_bytes
from fastdln.engines.reduced.krylov.levels import first_level, last_level
from fastdln.kernels.machine.lanes import lane_count
from fastdln.network import Network
from fastdln.theory.reduction.bounds import widths
from fastdln.theory.reduction.krylov import widths_by_level


def exact_bytes(problem: Problem) -> int:
    """Bytes that are taken at most at a time: a block whose subspaces are closed, or that is integrated."""
    n = min(problem.n, block_size(problem))
    bounds = widths(problem.network, problem.loss)
    narrow = replace(problem, network=Network(bounds), start=problem.start[:n])
    integrating = n * held_bytes(problem) + direct(narrow).memory(narrow)
    if bounds != problem.network.widths:
        integrating += results_bytes(problem, n) + lifted_bytes(problem, n)
    return max(n * closing_bytes(problem), integrating)


def approximate_bytes(problem: Problem) -> int:
    """Bytes that a trajectory takes at a time: results, subspaces, and what the wide network works with if it must.

    The subspaces are those of twice the level to begin with; few trajectories need more.
    """
    network, loss = problem.network, problem.loss
    data = loss.form.gram
    level = min(2 * first_level(network.depth), last_level(network, data))
    columns = next(islice(widths_by_level(network), level, None))
    bases = sum(d * k for d, k in zip(network.widths[1:-1], columns[1:-1], strict=True))
    unrecorded = replace(problem, start=problem.start[:1], times=problem.times[:0], overwrite=True)
    unrecorded = unrecorded.with_options(history=False)
    # bases, their images, and what is added next
    return results_bytes(problem, 1) + 8 * 3 * bases + direct(unrecorded).memory(unrecorded)


def block_size(problem: Problem) -> int:
    """Trajectories that are reduced at a time; results do not depend on it."""
    row = max(closing_bytes(problem), held_bytes(problem) + results_bytes(problem, 1))
    return max(batch.CHUNK_BYTES // row, 4 * lane_count(problem.start.dtype) * problem.threads)


def closing_bytes(problem: Problem) -> int:
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


def held_bytes(problem: Problem) -> int:
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


def lifted_bytes(problem: Problem, n: int) -> int:
    """Bytes on the way while records, and then final weights, are lifted."""
    return max(block_bytes(n, len(problem.times), lift_bytes(problem)), block_bytes(n, 1, weights_bytes(problem)))


def lift_bytes(problem: Problem) -> int:
    """Bytes of a record on the way while it is lifted."""
    if "weights" in problem.raw:
        return weights_bytes(problem)
    return 8 * 2 * math.prod(problem.loss.shape) if "product" in problem.raw else 0


def weights_bytes(problem: Problem) -> int:
    """Bytes on the way while weights are lifted: they themselves, and three times a layer."""
    network = problem.network
    return 8 * (network.n_parameters + 3 * max(rows * columns for rows, columns in network.shapes))
