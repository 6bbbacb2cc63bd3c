"""Observables from raw records, in blocks: balance matrices, say, may be far larger than what they follow from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.base import Problem
from fastdln.engines.memory import block_bytes, blocks
from fastdln.losses import Loss
from fastdln.network import Network
from fastdln.observables import OBSERVABLES, RAW, Context, Observable

Array = NDArray[Any]
Rows = slice | NDArray[np.intp]


def derive(records: Array, columns: dict[str, slice], context: Context, rows: Rows, out: dict[str, Array]) -> None:
    """Derive the observables named in ``out`` for the trajectories ``rows``, into its arrays for all trajectories.

    ``columns`` tells where each raw record lies in ``records``; what follows from none of them is left alone.
    """
    for name, values in out.items():
        row = OBSERVABLES[name]
        if row.raw is not None:
            _derive(row, records[..., columns[row.raw]], context, rows, values)


def derived_bytes(record: Iterable[str], problem: Problem) -> int:
    """Bytes that are taken on the way where these observables are derived, one after another."""
    n, n_times, item = problem.n, len(problem.times), problem.start.itemsize
    fields = (OBSERVABLES[name] for name in record)
    return max(
        (
            block_bytes(n, n_times, _record_bytes(row, problem.network, problem.loss, item))
            for row in fields
            if row.raw is not None
        ),
        default=0,
    )


def _derive(row: Observable, records: Array, context: Context, rows: Rows, out: Array) -> None:
    record_bytes = _record_bytes(row, context.network, context.loss, records.itemsize)
    for own, moments in blocks(len(records), context.kept.shape[1], record_bytes):
        place = _within(rows, own)
        kept = context.kept if len(context.kept) == 1 else context.kept[place]
        loss = context.loss[place] if context.loss.batch_shape else context.loss
        part = replace(context, origin=context.origin[place], kept=kept, loss=loss)
        for times in moments:
            some = records[own, times]
            with np.errstate(over="ignore", invalid="ignore"):
                out[place, times] = row.derive(some.astype(np.float64, copy=False) if row.double else some, part, times)


def _record_bytes(row: Observable, network: Network, loss: Loss, item: int) -> int:
    """Bytes that there are on the way for each record, with its copy where that is in another precision."""
    numbers = row.working(network, loss)
    return 8 * (numbers + RAW[str(row.raw)](network, loss) * (item < 8)) if row.double else item * numbers


def _within(rows: Rows, part: slice) -> Rows:
    """A part of some rows."""
    return slice(rows.start + part.start, rows.start + part.stop) if isinstance(rows, slice) else rows[part]
