"""Trajectories as an `xarray.Dataset`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastdln.field import TIME_UNITS
from fastdln.resources import optional

if TYPE_CHECKING:
    from fastdln.results.trajectories import Trajectories

LONG_NAMES = {
    "loss": "loss",
    "grad_norm": "norm of the gradient",
    "strengths": "strength of the mode",
    "singular_values": "singular value of the product",
    "imbalance": "largest norm of a balance matrix",
    "drift": "largest change of a balance matrix",
    "learning_times": "time at which the mode reaches half its singular value",
}


def dataset(sol: Trajectories, flags: dict[str, int]) -> Any:
    """Name the dimensions of everything in ``sol``: trajectory, time, mode, and layer0..layerh for nodes.

    ``flags`` are the names and values of the statuses.
    """
    xarray = optional("xarray", "scan")
    lead = () if sol.single else ("trajectory",)
    variables: dict[str, Any] = {}
    for name, inner in (
        ("loss", ("time",)),
        ("grad_norm", ("time",)),
        ("strengths", ("time", "mode")),
        ("singular_values", ("time", "mode")),
        ("imbalance", ("time",)),
        ("drift", ("time",)),
        ("learning_times", ("mode",)),
    ):
        if (values := getattr(sol, name)) is not None:
            variables[name] = ((*lead, *inner), values, {"long_name": LONG_NAMES[name]})
    for prefix, weights, more in (("W", sol.weights, ("time",)), ("final_W", sol.final, ())):
        for i, W in enumerate(weights or (), start=1):
            variables[f"{prefix}{i}"] = ((*lead, *more, f"layer{i}", f"layer{i - 1}"), W)
    meanings = {"flag_values": list(flags.values()), "flag_meanings": " ".join(flags)}
    variables["status"] = (lead, sol.status, meanings)
    variables["t_final"] = (lead, sol.t_final, {"long_name": "end of the trajectory", "units": TIME_UNITS})
    variables["certified"] = (lead, sol.certified, {"long_name": "whether a certificate ended the trajectory"})
    for name in ("n_rhs", "n_accepted", "n_rejected"):
        variables[name] = (lead, getattr(sol, name))
    if "learning_times" in variables:
        variables["learning_times"][2]["units"] = TIME_UNITS
    coordinates = {"time": ("time", sol.t, {"long_name": TIME_UNITS})}
    attributes: dict[str, Any] = {
        "widths": list(sol.network.widths),
        "method": sol.options.method.name,
        "rtol": sol.options.rtol,
    }
    return xarray.Dataset(variables, coordinates, attributes)
