"""What a scan of descents gives to `fastdln.descend`: rates with their schedules, and the updates that are recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.exponents import LEAST_UPDATES
from fastdln.integrate import schedules
from fastdln.integrate.descent import Descent, updates_recorded
from fastdln.integrate.schedules import Schedule
from fastdln.observables import LYAPUNOV
from fastdln.scan import spec
from fastdln.scan.kinds import Strict
from fastdln.scan.plan import GridPoint
from fastdln.scan.spec import SpecError

__all__ = ["VARYING", "arguments", "check_exponent", "recorded", "settings", "times"]

Floats = NDArray[np.float64]

VARYING = ("momentum", "weight_decay", "learning_rate")
"""Keys of [updates] that may differ within a batch."""


def arguments(
    points: Sequence[GridPoint], size: int, record: spec.Record, most: int | None = None
) -> dict[str, Any]:  # fmt: skip
    """Say what `fastdln.descend` is to do in cells that differ in `VARYING` alone.

    Parameters
    ----------
    points : sequence of GridPoint
        The cells.
    size : int
        Trajectories of each.
    record : Record
        What is recorded.
    most : int, optional
        Fewer updates than the scan file wants.

    Returns
    -------
    dict of str to object
        Its arguments beyond weights, loss, observables, and draws.
    """
    updates, record_times = settings(points[0]), record.times
    assert isinstance(record_times, spec.Updates)
    steps = updates.steps if most is None else min(most, updates.steps)
    rate, momentum, decay = (
        np.repeat([getattr(settings(point), key) for point in points], size)
        if len(points) > 1
        else getattr(updates, key)
        for key in ("learning_rate", "momentum", "weight_decay")
    )
    return {
        "learning_rate": _schedule(points[0].schedule, rate, updates.steps),
        "steps": steps,
        "momentum": momentum,
        "nesterov": updates.nesterov,
        "weight_decay": decay,
        "layer_rates": updates.layer_rates,
        "batch_size": updates.batch_size,
        "bound": updates.bound,
        "engine": updates.engine,
        "record_every": record_times.every,
        "record_from": min(record_times.first, steps),
    }


def settings(point: GridPoint) -> spec.Descent:
    """Return what the scan file says of the updates of a cell.

    Parameters
    ----------
    point : GridPoint
        The cell, one of descents.

    Returns
    -------
    spec.Descent
        The table.
    """
    assert isinstance(point.updates, spec.Descent)
    return point.updates


def recorded(point: GridPoint, record: spec.Updates) -> NDArray[np.int64]:
    """Tell the updates that are recorded in a cell.

    Parameters
    ----------
    point : GridPoint
        The cell.
    record : Updates
        What the scan file says of them.

    Returns
    -------
    ndarray of int
        How many have been done at each record.
    """
    steps = settings(point).steps
    if record.first > steps:
        raise SpecError(f"record.times.from = {record.first}: expected an update from 0 to updates.steps = {steps}")
    return updates_recorded(record.first, record.every, steps)


def check_exponent(point: GridPoint, record: spec.Times | spec.Updates) -> None:
    """Refuse a Lyapunov exponent of too few updates.

    Parameters
    ----------
    point : GridPoint
        The cell.
    record : Updates
        What the scan file says of the updates that are recorded.
    """
    assert isinstance(record, spec.Updates)
    if settings(point).steps - record.first < LEAST_UPDATES:
        raise SpecError(
            f"record.times.from = {record.first}: {LYAPUNOV!r} needs at least {LEAST_UPDATES} updates from there to "
            f"updates.steps = {settings(point).steps}"
        )


def times(point: GridPoint, record: spec.Updates) -> Floats:
    """Tell the times of the updates that are recorded in a cell.

    Parameters
    ----------
    point : GridPoint
        The cell.
    record : Updates
        What the scan file says of them.

    Returns
    -------
    ndarray
        The times, those of `fastdln.Trajectories`.
    """
    updates = settings(point)
    schedule = _schedule(point.schedule, updates.learning_rate, updates.steps)
    rate, momentum = np.float64(updates.learning_rate), np.float64(updates.momentum)
    found: Floats = Descent(schedule).times(recorded(point, record), rate, momentum)  # type: ignore[arg-type]
    return found


def _schedule(table: Strict, peak: Any, steps: int) -> Schedule:
    match table:
        case spec.Cosine():
            return schedules.cosine(peak, steps, table.warmup, table.least)
        case spec.Linear():
            return schedules.linear(peak, steps)
        case spec.Steps():
            return schedules.steps(peak, table.at, table.factor)
        case spec.Cycle():
            return replace(schedules.cycle(table.factors), peak=np.array(peak, np.float64))
        case _:
            return schedules.rates(peak)
