"""Bytes that the wide engine takes."""

from __future__ import annotations

import math

from fastdln.engines.base import Problem
from fastdln.engines.memory import results_bytes
from fastdln.engines.wide.field import factored, meeting
from fastdln.engines.wide.moving import TRIED
from fastdln.engines.wide.thin import part_count
from fastdln.engines.wide.trajectory import slope_count
from fastdln.kernels.products import skinny

OUTPUTS = 6  # arrays of the size of the outputs that a loss which is not quadratic has at the same time


def wide_bytes(problem: Problem) -> int:
    """Bytes that are taken at most at a time: results, and factors of the trajectories side by side."""
    at_once = min(problem.threads, problem.n)
    waiting = min(problem.n, at_once + 1 if at_once > 1 else 1)  # one may be done and not yet asked for
    return results_bytes(problem, waiting) + at_once * _working_bytes(problem)


def _working_bytes(problem: Problem) -> int:
    """Bytes that a trajectory takes at most beside its results."""
    if problem.descent is not None:
        return _descent_bytes(problem)
    network, slopes = problem.network, slope_count(problem)
    rank = min(network.widths[0], network.widths[-1])
    numbers = sum(
        _factored_numbers(shape, slopes, rank, problem.start.itemsize) if thick else _formed_numbers(shape, slopes)
        for shape, thick in zip(network.shapes, factored(network), strict=True)
    )
    return numbers * problem.start.itemsize + _outputs_bytes(problem)


def _outputs_bytes(problem: Problem) -> int:
    """Bytes that a loss which is not quadratic takes."""
    mapped = problem.loss.mapped
    return 0 if mapped is None else OUTPUTS * 8 * math.prod(mapped.target.shape[-2:])


def _descent_bytes(problem: Problem) -> int:
    """Bytes that a descent takes at most beside its weights and velocity: thin factors, and some rows of a layer."""
    network, method, item = problem.network, problem.descent, problem.start.itemsize
    assert method is not None
    ends = network.widths[0], network.widths[-1]
    columns = max(ends) if 1 <= meeting(network.widths) <= network.depth else min(ends)
    images = 2 if method.nesterov else 1
    numbers = sum(
        columns * (images * (rows + part_count(rows) * width) + 2 * rows + width + rows * skinny.VECTOR_BYTES // item)
        for rows, width in network.shapes
    )
    widest = max(network.widths)
    passing = 8 * 3 * columns * widest + problem.threads * 2 * TRIED * widest * item
    batches = 8 * problem.loss.n_samples + OUTPUTS * 8 * method.samples * sum(ends) if method.samples else 0
    return numbers * item + passing + _outputs_bytes(problem) + batches


def _formed_numbers(shape: tuple[int, int], slopes: int) -> int:
    """Numbers that a `Formed` layer holds: slopes, its stage, and at most five more while errors are measured."""
    return (slopes + 6) * shape[0] * shape[1]


def _factored_numbers(shape: tuple[int, int], slopes: int, rank: int, item: int) -> int:
    """Numbers that a `Factored` layer holds beside the weights."""
    rows, columns = shape
    stacks = 2 * slopes * rank * (rows + columns)  # all P and Q, and copies that become triangles
    update = slopes * rank * rows
    products = rank * (2 * rows + (part_count(rows) + 2) * columns + rows * skinny.VECTOR_BYTES // item)
    corrections = rank * (rows + columns + 2 * slopes * rank * (1 + skinny.VECTOR_BYTES // item))
    return stacks + update + products + corrections
