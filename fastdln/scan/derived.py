"""What a scan stores beyond what `fastdln.flow` records: read off the trajectories of a unit while they are there.

The observables that this needs are recorded for the unit, and stored only where the scan file asks for them too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdln.losses import Loss
from fastdln.network import Network
from fastdln.observables import OBSERVABLES, Meaning
from fastdln.results.trajectories import Trajectories
from fastdln.theory import itinerary
from fastdln.theory.itinerary.result import KINDS

__all__ = ["DERIVED", "FLAGS", "arrays", "extra_bytes", "most_plateaus", "recorded"]


Arrays = dict[str, NDArray[Any]]


class Derived(NamedTuple):
    """An observable that is derived."""

    meanings: dict[str, Meaning]
    """The arrays that it adds to the store."""
    needs: Callable[[Loss], tuple[str, ...]]
    """The observables of `fastdln.flow` that it follows from."""
    derive: Callable[[Trajectories], Arrays]
    """The arrays of a unit."""


def recorded(names: Sequence[str], loss: Loss) -> tuple[str, ...]:
    """Name what `fastdln.flow` must record for the observables of a scan.

    Parameters
    ----------
    names : sequence of str
        The observables.
    loss : Loss
        The loss.

    Returns
    -------
    tuple of str
        For its argument ``record``.
    """
    needed = [name for wanted in names for name in (DERIVED[wanted].needs(loss) if wanted in DERIVED else (wanted,))]
    return tuple(dict.fromkeys(needed))


def arrays(names: Sequence[str], sol: Trajectories) -> Arrays:
    """Derive what the observables of a scan add to the store.

    Parameters
    ----------
    names : sequence of str
        The observables.
    sol : Trajectories
        The trajectories of a unit.

    Returns
    -------
    dict of str to ndarray, shape (size, ...)
        The arrays by name.
    """
    return {key: values for name in names if name in DERIVED for key, values in DERIVED[name].derive(sol).items()}


def extra_bytes(names: Sequence[str], loss: Loss, network: Network, n_times: int) -> int:
    """Count what is recorded of a trajectory without being stored.

    Parameters
    ----------
    names : sequence of str
        The observables of a scan.
    loss : Loss
        The loss.
    network : Network
        The network.
    n_times : int
        The number of recorded times.

    Returns
    -------
    int
        Bytes.
    """
    extra = (OBSERVABLES[name] for name in recorded(names, loss) if name not in names)
    return sum(8 * prod(row.shape(network, loss, n_times)) for row in extra)


def most_plateaus(n_modes: int) -> int:
    """Choose how many plateaus of a trajectory are kept: each mode may be learned, or exchanged for a larger one.

    Parameters
    ----------
    n_modes : int
        The number of modes.

    Returns
    -------
    int
        Twice that, and one.
    """
    return 2 * n_modes + 1


def _itinerary(sol: Trajectories) -> Arrays:
    way = itinerary.itinerary(sol)
    most = most_plateaus(way.order.shape[1])
    kinds = np.full(way.kind.shape, -1, np.int8)
    for code, kind in enumerate(KINDS):
        kinds[way.kind == kind] = code
    stored: Arrays = {
        "plateau_value": way.value,
        "plateau_learned": way.counts,
        "plateau_kind": kinds,
        "plateau_entry": way.entry,
        "plateau_exit": way.exit,
        "plateau_distance": way.distance,
        "plateau_grad_norm": way.grad_norm,
    }
    return {
        "n_plateaus": way.n_plateaus,
        **{name: values[:, :most] for name, values in stored.items()},
        "learning_order": way.order,
        "sequential": way.sequential.astype(np.int8),
    }


_FLOAT = np.dtype(np.float64)
_MODES = ("trajectory", "mode")
_PLATEAU = ("trajectory", "plateau")

DERIVED = {
    "itinerary": Derived(
        {
            "n_plateaus": Meaning(("trajectory",), np.dtype(np.int16), "1", "number of plateaus; the first are kept"),
            "plateau_value": Meaning(_PLATEAU, _FLOAT, "1", "critical value of the loss"),
            "plateau_learned": Meaning(
                (*_PLATEAU, "mode"), np.dtype(np.int16), "1",
                "whether the mode is learned; the number of learned modes among those of equal singular value",
            ),
            "plateau_kind": Meaning(_PLATEAU, np.dtype(np.int8), "", "kind of the critical points nearby"),
            "plateau_entry": Meaning(_PLATEAU, _FLOAT, "time", "time of entry"),
            "plateau_exit": Meaning(_PLATEAU, _FLOAT, "time", "time of exit, infinite where it was not left"),
            "plateau_distance": Meaning(_PLATEAU, _FLOAT, "1", "least distance of the product from the critical one"),
            "plateau_grad_norm": Meaning(_PLATEAU, _FLOAT, "1", "least norm of the gradient"),
            "learning_order": Meaning(_MODES, np.dtype(np.int16), "1", "modes as they were learned; -1"),
            "sequential": Meaning(("trajectory",), np.dtype(np.int8), "", "modes were learned, and never two at once"),
        },
        itinerary.records,
        _itinerary,
    ),
}  # fmt: skip

FLAGS = {
    "plateau_kind": {"NONE": -1} | {kind.upper(): code for code, kind in enumerate(KINDS)},
    "sequential": {"NOT_RUN": -1, "NO": 0, "YES": 1},
}
"""What the numbers in an array of codes mean."""
