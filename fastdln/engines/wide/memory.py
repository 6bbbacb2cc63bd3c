"""Bytes that the wide engine takes."""

from __future__ import annotations

import math

from fastdln.engines.base import Problem
from fastdln.engines.memory import results_bytes
from fastdln.engines.wide.field import factored
from fastdln.engines.wide.layers import part_count
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
    network, slopes = problem.network, slope_count(problem)
    rank = min(network.widths[0], network.widths[-1])
    numbers = sum(
        _factored_numbers(shape, slopes, rank, problem.start.itemsize) if thick else _formed_numbers(shape, slopes)
        for shape, thick in zip(network.shapes, factored(network), strict=True)
    )
    mapped = problem.loss.mapped
    outputs = 0 if mapped is None else OUTPUTS * 8 * math.prod(mapped.target.shape[-2:])
    return numbers * problem.start.itemsize + outputs


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
