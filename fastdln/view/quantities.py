"""What a map can show: a number of each trajectory, and what is made of those of a cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.integrate.status import Status
from fastdln.observables import OUTCOMES
from fastdln.scan.ends import last_of
from fastdln.scan.layout import NOT_RUN, Variable
from fastdln.view.reading import Reader

__all__ = ["STATISTICS", "SUCCESSES", "Quantity", "curves", "mode_names", "quantities"]

Floats = NDArray[np.float64]

SUCCESSES = (Status.FINISHED, Status.STOPPED)


def _median(values: Floats) -> float:
    # between two that are infinite there would be no number
    low, high = np.quantile(values, 0.5, method="lower"), np.quantile(values, 0.5, method="higher")
    return float(low if low == high else 0.5 * (low + high))


STATISTICS: dict[str, Callable[[Floats], float]] = {
    "median": _median,
    "mean": lambda values: float(values.mean()),
    "minimum": lambda values: float(values.min()),
    "maximum": lambda values: float(values.max()),
}
"""What is made of the numbers of a cell's trajectories."""


@dataclass(frozen=True)
class Quantity:
    """A number of each trajectory."""

    label: str
    variable: str
    """The array that it is read from."""
    choices: tuple[str, ...]
    """What it is chosen from further, as the modes; nothing for most."""
    of: Callable[[Reader, int, NDArray[Any], int], Floats]
    """Of reader, cell, what the array has of some trajectories of it, and the choice."""
    share: bool = False
    """It is 0 or 1 of each trajectory, failed ones too, so that the mean is all there is to it."""

    def values(self, reader: Reader, cell: int, index: int, choice: int) -> Floats:
        """Return the numbers of a cell's trajectories in a unit.

        Parameters
        ----------
        reader : Reader
            The store.
        cell : int
            The cell.
        index : int
            The unit, a finished one.
        choice : int
            Which of `choices`.

        Returns
        -------
        ndarray, shape (n,)
            Of all trajectories where it is a share, otherwise of those that succeeded. What never came about, as the
            learning of a mode, is infinite.
        """
        values = self.of(reader, cell, reader.own(self.variable, cell, index), choice)
        if self.share:
            return values
        return values[np.isin(reader.own("status", cell, index), SUCCESSES)]

    def reduced(self, values: Floats, statistic: str) -> float:
        """Make one number of those of a cell.

        Parameters
        ----------
        values : ndarray, shape (n,)
            The numbers.
        statistic : str
            One of `STATISTICS`; of shares it is the mean.

        Returns
        -------
        float
            NaN where there is none.
        """
        known = values[~np.isnan(values)]
        if not known.size:
            return float("nan")
        value = STATISTICS["mean" if self.share else statistic](known)
        return value if np.isfinite(value) else float("nan")


def quantities(reader: Reader) -> dict[str, Quantity]:
    """List what can be shown of a store.

    Parameters
    ----------
    reader : Reader
        The store.

    Returns
    -------
    dict of str to Quantity
        What it holds, by a name of its own.
    """
    found: dict[str, Quantity] = {}
    variables = reader.variables
    for name, variable in variables.items():
        if _timed(variable):
            label = f"{_shortly(variable)} at the end"
            found[f"end:{name}"] = Quantity(label, name, _choices(reader, variable), _at_end)
    if "learning_times" in variables:
        modes = mode_names(reader)
        found["learning_times"] = Quantity("learning time", "learning_times", modes, _learning_time)
        found["learned"] = Quantity("number of learned modes", "learning_times", (), _n_learned)
    elif "strengths" in variables:
        found["learned"] = Quantity("number of modes learned at the end", "strengths", (), _n_strong)
    for status in Status:
        label = f"share of {status.name.lower().replace('_', ' ')}"
        found[f"share:{status.name}"] = Quantity(label, "status", (), _share_of(status), share=True)
    for name, variable in variables.items():
        if name != "status" and variable.dims == ("trajectory",):
            flag = name in ("certified", "sequential")
            label = _FLAGS.get(name, variable.long_name)
            found[name] = Quantity(label, name, (), _flag if flag else _itself, share=flag)
    return found


def curves(reader: Reader) -> dict[str, Quantity]:
    """List what can be drawn over time.

    Parameters
    ----------
    reader : Reader
        The store.

    Returns
    -------
    dict of str to Quantity
        By the name of the array; the loss first, where it was recorded.
    """
    timed = [v for v in reader.variables.values() if _timed(v)]
    ordered = sorted(timed, key=lambda v: v.name != "loss")
    return {v.name: Quantity(_shortly(v), v.name, _choices(reader, v), _curve) for v in ordered}


def mode_names(reader: Reader) -> tuple[str, ...]:
    """Name the modes, by their singular values too where all cells have the same.

    Parameters
    ----------
    reader : Reader
        The store.

    Returns
    -------
    tuple of str
        As in "mode 0 (σ = 4)".
    """
    sigma = reader.fixed("sigma")
    same = (sigma == sigma[:1]).all(axis=0)
    return tuple(f"mode {j} (σ = {sigma[0, j]:.3g})" if same[j] else f"mode {j}" for j in range(reader.layout.n_modes))


def _timed(variable: Variable) -> bool:
    """Whether it is a curve, or a few of them."""
    return variable.dims[1:2] == ("time",) and variable.dims[2:] in ((), ("mode",), ("interface",))


def _shortly(variable: Variable) -> str:
    # what a mode is stands beside it
    return {"strengths": "strength of a mode", "singular_values": "singular value of the product"}.get(
        variable.name, variable.long_name
    )


def _choices(reader: Reader, variable: Variable) -> tuple[str, ...]:
    match variable.dims[2:]:
        case ("interface",):
            return tuple(f"layers {i} and {i + 1}" for i in range(1, variable.shape[-1] + 1))
        case ("mode",) if variable.name == "strengths":
            return mode_names(reader)
        case ("mode",):
            return tuple(f"number {j}" for j in range(variable.shape[-1]))
        case _:
            return ()


def _curve(reader: Reader, cell: int, block: NDArray[Any], choice: int) -> Floats:
    chosen = block[..., choice] if block.ndim == 3 else block
    return np.asarray(chosen, np.float64)


def _at_end(reader: Reader, cell: int, block: NDArray[Any], choice: int) -> Floats:
    return last_of(_curve(reader, cell, block, choice))


def _learning_time(reader: Reader, cell: int, block: NDArray[Any], choice: int) -> Floats:
    """A mode that was not learned counts as later than all."""
    times = block[:, choice]
    return np.asarray(np.where(np.isnan(times), np.inf, times), np.float64)


def _n_learned(reader: Reader, cell: int, block: NDArray[Any], choice: int) -> Floats:
    return np.asarray(np.isfinite(block).sum(axis=1), np.float64)


def _n_strong(reader: Reader, cell: int, block: NDArray[Any], choice: int) -> Floats:
    sigma = reader.fixed("sigma")[cell]
    ends = last_of(np.moveaxis(block, 1, 2))
    return np.asarray(((ends >= 0.5 * sigma) & (sigma > 0)).sum(axis=1), np.float64)


def _share_of(status: Status) -> Callable[[Reader, int, NDArray[Any], int], Floats]:
    return lambda reader, cell, block, choice: (block == status).astype(np.float64)


def _flag(reader: Reader, cell: int, block: NDArray[Any], choice: int) -> Floats:
    return np.where(block == NOT_RUN, np.nan, block.astype(np.float64))


def _itself(reader: Reader, cell: int, block: NDArray[Any], choice: int) -> Floats:
    return block.astype(np.float64)


_FLAGS = {
    "sequential": "share that learned one mode after another",
    "certified": f"share for which this holds: {OUTCOMES['certified'].long_name}",
}
