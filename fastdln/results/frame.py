"""Trajectories as a `pandas.DataFrame`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastdln.checks import one_of
from fastdln.integrate.status import Status
from fastdln.observables import OBSERVABLES, OUTCOMES
from fastdln.resources import optional, require_memory

if TYPE_CHECKING:
    from fastdln.results.trajectories import Trajectories

__all__ = ["frame"]

TIME, TRAJECTORY = "time", "trajectory"


def frame(sol: Trajectories, per: str) -> Any:
    """One row per trajectory and time, or per trajectory; see `Trajectories.to_dataframe`."""
    one_of("per", per, (TIME, TRAJECTORY))
    pandas = optional("pandas", "scan")
    n = len(sol)
    times = sol.t if sol.steps is None else sol.steps
    rows = n * len(times) if per == TIME else n
    columns: dict[str, Any] = {}
    if per == TRAJECTORY:
        columns |= {name: np.atleast_1d(getattr(sol, name)) for name in OUTCOMES}
        columns["status"] = pandas.Categorical.from_codes(columns["status"], [status.name for status in Status])
    elif sol.steps is not None:
        columns["t"] = np.broadcast_to(sol.t, (n, len(times))).reshape(rows)
    for name in sol.options.record:
        if not OBSERVABLES[name].by_layer and (TIME in OBSERVABLES[name].dims) == (per == TIME):
            columns |= _columns(name, sol._recorded[name], rows)
    require_memory(rows * 8 * (len(columns) + 2), "the data frame", "select fewer trajectories")
    index = pandas.RangeIndex(n, name=TRAJECTORY)
    if per == TIME:
        index = pandas.Index(times, name=TIME)
        if not sol.single:
            index = pandas.MultiIndex.from_product([range(n), times], names=[TRAJECTORY, TIME])
    return pandas.DataFrame(columns, index)


def _columns(name: str, values: NDArray[Any], rows: int) -> dict[str, NDArray[Any]]:
    """A column, or one for each mode or each interface of two layers."""
    if OBSERVABLES[name].dims[-1:] not in ((), (TIME,)):
        return {f"{name.removesuffix('s')}_{k}": column for k, column in enumerate(values.reshape(rows, -1).T)}
    return {name: values.reshape(rows)}
