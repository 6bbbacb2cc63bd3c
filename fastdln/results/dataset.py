"""Trajectories as arrays with names and meanings, and as an `xarray.Dataset`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from fastdln.field import TIME_UNITS
from fastdln.observables import OBSERVABLES, OUTCOMES, Meaning
from fastdln.resources import optional

if TYPE_CHECKING:
    from fastdln.results.trajectories import Trajectories

__all__ = ["arrays", "dataset"]

_UNITS = {"time": TIME_UNITS}  # said in full, where no store of a scan says what time is meant


def arrays(sol: Trajectories) -> dict[str, NDArray[Any]]:
    """What became of the trajectories and what was recorded of them, by the names of `_meanings`."""
    named = {name: getattr(sol, name) for name in OUTCOMES}
    for name in sol.options.record:
        values = getattr(sol, name)
        layers = values if OBSERVABLES[name].by_layer else (values,)
        named |= dict(zip(_of_observable(sol, name), layers, strict=True))
    return named


def dataset(sol: Trajectories, flags: dict[str, int]) -> Any:
    """Name the dimensions of everything in ``sol``: trajectory, time, mode, and layer0..layerh for nodes.

    ``flags`` are the names and values of the statuses.
    """
    xarray = optional("xarray", "scan")
    meanings = dict(OUTCOMES)
    for name in sol.options.record:
        meanings |= _of_observable(sol, name)
    lead = () if sol.single else ("trajectory",)
    variables: dict[str, Any] = {
        name: ((*lead, *meanings[name].dims[1:]), values, _attributes(meanings[name]))
        for name, values in arrays(sol).items()
    }
    for i, W in enumerate(sol.final, start=1):
        variables[f"final_W{i}"] = ((*lead, f"layer{i}", f"layer{i - 1}"), W)
    variables["status"][2].update(flag_values=list(flags.values()), flag_meanings=" ".join(flags))
    coordinates: dict[str, Any] = {
        "time": ("time", sol.t if sol.steps is None else sol.steps, {"long_name": TIME_UNITS})
    }
    if sol.steps is not None:
        coordinates["time"][2]["long_name"] = "updates done"
        coordinates["t"] = (("trajectory", "time") if sol.varied else ("time",), sol.t, {"long_name": TIME_UNITS})
    attributes: dict[str, Any] = {
        "widths": list(sol.network.widths),
        "method": sol.options.method.name,
        "rtol": sol.options.rtol,
    }
    return xarray.Dataset(variables, coordinates, attributes)


def _of_observable(sol: Trajectories, name: str) -> dict[str, Meaning]:
    return OBSERVABLES[name].meanings(sol.network, sol.final[0].dtype)


def _attributes(meaning: Meaning) -> dict[str, str]:
    units = {"units": _UNITS.get(meaning.units, meaning.units)} if meaning.units else {}
    return {"long_name": meaning.long_name, **units}
