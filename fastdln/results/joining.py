"""Trajectories joined with what they went on to."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.integrate.status import Status
from fastdln.losses import Loss
from fastdln.observables import LEARNING_TIMES, OBSERVABLES
from fastdln.results.trajectories import Trajectories

__all__ = ["going_on", "join"]


def going_on(old: Trajectories) -> tuple[NDArray[np.bool_], Loss]:
    """Which trajectories can go on, those that finished, and their loss."""
    go_on, loss = old._status == Status.FINISHED, old.loss_function
    if not go_on.any():
        raise ValueError(f"no trajectory can go on: {old.message}")
    return go_on, loss[np.flatnonzero(go_on)] if loss.batch_shape else loss


def join(old: Trajectories, new: Trajectories, go_on: NDArray[np.bool_], **others: Any) -> Trajectories:
    """Join old trajectories with the new parts of those that ``go_on``; ``others`` are further fields."""

    def joined(before: NDArray[Any], after: NDArray[Any]) -> NDArray[Any]:
        values = before.copy()
        values[go_on] = after
        return values

    recorded = {}
    for name, before in old._recorded.items():
        if not OBSERVABLES[name].timed:
            later = joined(before, new._recorded[name])
            # an event that has happened happens no more
            recorded[name] = np.where(np.isnan(before), later, before) if name == LEARNING_TIMES else later
            continue
        times = new._recorded[name].shape[1]
        after = np.full((len(old._status), times, *before.shape[2:]), np.nan, before.dtype)
        after[go_on] = new._recorded[name]
        recorded[name] = np.concatenate([before, after], axis=1)
    steps = old._steps
    if steps is not None and new._steps is not None:
        further = iter(new._steps)
        steps = tuple(np.concatenate([s, next(further)]) if go else s for s, go in zip(steps, go_on, strict=True))
    length = old._length
    if length is not None and new._length is not None:
        length = joined(length, new._length)
    counts = old._counts.copy()
    counts[go_on] += new._counts
    return dataclasses.replace(
        old, span=(old.span[0], new.span[1]), _recorded=recorded,
        _final=joined(old._final, new._final), _t_final=joined(old._t_final, new._t_final),
        _status=joined(old._status, new._status), _counts=counts, _steps=steps, _length=length,
        _certified=old._certified | joined(old._certified, new._certified),
        _widths=joined(old._widths, new._widths), _enlargements=joined(old._enlargements, new._enlargements),
        **others,
    )  # fmt: skip
