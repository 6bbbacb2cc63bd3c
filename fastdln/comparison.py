"""Gradient descent beside the gradient flow and the modified flow, from the same starts at the same times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.checks import count, positive, sequence, shown
from fastdln.descent import descend
from fastdln.gradient_flow import flow
from fastdln.integrate.status import Status
from fastdln.losses import Loss
from fastdln.modified import modified_flow
from fastdln.network import Network, check_weights
from fastdln.results.trajectories import Trajectories

Floats = NDArray[np.float64]

METHOD, RTOL = "dop853", 1e-10  # of the flows: their error must be far below that of descent


@dataclass(frozen=True, eq=False)
class Comparison:
    """How far gradient descent is from the flow, and from the modified flow.

    For a single network the arrays have no trajectory axis.

    Parameters
    ----------
    learning_rates : ndarray, shape (rates,)
        The learning rates.
    t : ndarray, shape (rates, n_times)
        For each rate the times, which are multiples of it.
    to_flow, to_modified : ndarray, shape (rates, n, n_times)
        Frobenius norms over all layers of the differences from descent; NaN where a descent has diverged or a flow
        has failed.
    """

    learning_rates: Floats
    t: Floats
    to_flow: Floats
    to_modified: Floats

    @property
    def order_flow(self) -> Any:
        """The order in the learning rate of the largest distance from the flow, shape (n,): 1 for small rates."""
        return _order(self.learning_rates, self.to_flow)

    @property
    def order_modified(self) -> Any:
        """The order in the learning rate of the largest distance from the modified flow, shape (n,): 2 for small
        rates."""
        return _order(self.learning_rates, self.to_modified)


def compare(
    w0: Sequence[ArrayLike],
    loss: Loss,
    learning_rates: ArrayLike,
    t_end: float,
    n_times: int = 50,
    weight_decay: float = 0.0,
    layer_rates: Sequence[float] | None = None,
    threads: int | None = None,
) -> Comparison:
    """Compare gradient descent with the gradient flow and the modified flow, at several learning rates.

    At time t = eta k descent is within O(eta) of the flow, and within O(eta^2) of the modified one (survey, arXiv
    2511.10362, section on discrete updates).

    Parameters
    ----------
    w0 : tuple of h arrays, shape (d_i, d_{i-1}) or (n, d_i, d_{i-1})
        Weights at the start, W_1 first.
    loss : Loss
        As for `modified_flow`.
    learning_rates : array_like, shape (rates,)
        The learning rates, each at most t_end / n_times.
    t_end : float
        The end, in the flow's own time.
    n_times : int
        At how many times to compare: those multiples of the rate that are nearest to t_end / n_times, 2 t_end /
        n_times, ..., t_end.
    weight_decay : float
        mu, as in `descend`.
    layer_rates : sequence of h floats, optional
        As in `descend`.
    threads : int, optional
        As in `descend`.

    Returns
    -------
    Comparison
        Distances at these times, and the orders that follow from them.

    Raises
    ------
    ValueError, TypeError
        Where an argument does not fit.

    Examples
    --------
    >>> import fastdln as dln
    >>> start, loss = ([[0.6]], [[0.5]]), dln.Quadratic([[1.0]])
    >>> found = dln.compare(start, loss, [0.02, 0.01, 0.005], t_end=2.0, n_times=10)
    >>> round(float(found.order_flow), 1), round(float(found.order_modified), 1)
    (1.0, 2.0)
    """
    network, weights = check_weights(w0)
    start = tuple(W.astype(np.float64) for W in weights)
    rates = np.array(sequence("learning_rates", learning_rates), np.float64)
    end, times = positive("t_end", t_end), count("n_times", n_times)
    if rates.ndim != 1 or not rates.size or not (np.isfinite(rates) & (rates > 0) & (rates <= end / times)).all():
        raise ValueError(
            f"learning_rates must be a sequence of numbers above 0, at most t_end / n_times = {end / times:.6g}, "
            f"not {shown(learning_rates)}"
        )
    given = {"weight_decay": weight_decay, "layer_rates": layer_rates, "threads": threads}
    moments, to_flow, to_modified = [], list[Floats](), list[Floats]()
    for rate in rates:
        updates = np.rint(np.arange(1, times + 1) * (end / times) / rate).astype(np.int64)
        t = rate * updates
        how = {"t_eval": t, "method": METHOD, "rtol": RTOL, "record": ("weights",), **given}
        states = np.stack(list(_descended(network, start, loss, float(rate), updates, given)), axis=-2)
        flows = (
            flow(start, loss, (0.0, t[-1]), **how),
            modified_flow(start, loss, float(rate), (0.0, t[-1]), **how),
        )
        for found, sol in zip((to_flow, to_modified), flows, strict=True):
            found.append(np.linalg.norm(states - network.pack(sol.weights), axis=-1))
        moments.append(t)
    return Comparison(rates, np.array(moments), np.array(to_flow), np.array(to_modified))


def _descended(
    network: Network, start: tuple[NDArray[Any], ...], loss: Loss, rate: float, updates: NDArray[np.int64],
    given: dict[str, Any],
) -> Iterator[Floats]:  # fmt: skip
    """The states of a descent after so many updates, (..., parameters); NaN where it has diverged."""
    sol: Trajectories | None = None
    done = 0
    for k in updates:
        if sol is None:
            sol = descend(start, loss, rate, int(k), record=(), record_from=int(k), **given)
        elif (np.asarray(sol.status) == Status.FINISHED).any():
            sol = sol.extend(int(k) - done, threads=given["threads"])
        done = int(k)
        came = np.asarray(sol.status) == Status.FINISHED
        yield np.where(came[..., None], network.pack(sol.final), np.nan)


def _order(rates: Floats, distances: Floats) -> Any:
    """The slope of the logarithms of the largest distances against those of the rates; NaN where it has none."""
    most = distances.max(axis=-1).reshape(len(rates), -1)
    x = np.log(rates) - np.log(rates).mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = (x[:, None] * np.log(most)).sum(axis=0) / np.square(x).sum()
    return slopes.reshape(distances.shape[1:-1])[()]
