"""What can be recorded along a flow: how each observable follows from what the engines write.

Observables are derived in blocks of records (`derive`): balance matrices, say, may be far larger than the weights they
follow from.  Every number follows from its own record alone, so blocks do not change its bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.base import RAW, Problem
from fastdln.engines.memory import block_bytes, blocks
from fastdln.losses import Loss
from fastdln.network import Network, Weights
from fastdln.theory.invariants import balance, imbalance

Array = NDArray[Any]


@dataclass(frozen=True)
class Context:
    """The flow of the trajectories that records belong to."""

    network: Network
    loss: Loss
    elapsed: NDArray[np.float64]  # (n_t,) times, signed, since the start whose balance is conserved
    origin: Array  # (n, parameters) weights at that start
    weight_decay: float
    layer_rates: tuple[float, ...] | None

    @cached_property
    def conserved(self) -> Weights:
        """The balance matrices at that start, of shape (n, 1, d_i, d_i)."""
        return balance(self.network.unpack(self.origin[:, None]), self.layer_rates)


@dataclass(frozen=True)
class Observable:
    """One observable: the raw record it needs, its shape behind (trajectory, time), and how it is computed.

    It is computed from the records at some of the context's times; ``working`` tells how many numbers are there on the
    way for each of them.
    """

    raw: str
    shape: Callable[[Network, Loss], tuple[int, ...]]
    derive: Callable[[Array, Context, slice], Array]
    working: Callable[[Network], int] = lambda network: 2


def _loss(records: Array, context: Context, times: slice) -> Array:
    return context.loss.floor + 0.5 * records[..., 0]


def _grad_norm(records: Array, context: Context, times: slice) -> Array:
    return np.sqrt(records[..., 0])


def _singular_values(records: Array, context: Context, times: slice) -> Array:
    products = records.reshape(*records.shape[:-1], *context.loss.shape)
    values = np.full((*records.shape[:-1], min(context.loss.shape)), np.nan, records.dtype)
    there = np.isfinite(records).all(axis=-1)
    values[there] = np.linalg.svd(products[there], compute_uv=False)
    return values


def _imbalance(records: Array, context: Context, times: slice) -> Array:
    values = imbalance(context.network.unpack(records)).max(axis=-1, initial=0.0)
    return np.where(np.isnan(records[..., 0]), np.nan, values)


def _drift(records: Array, context: Context, times: slice) -> Array:
    """max_i ||C_i(t) - e^(-2 mu (t - t_0)) C_i(t_0)||_F: what the integrator lost of what the flow conserves."""
    elapsed = context.elapsed[times]
    shrink = np.exp(-2 * context.weight_decay * elapsed).astype(records.dtype)[:, None, None]
    worst = np.where(np.isnan(records[..., 0]), np.nan, np.zeros((), records.dtype))
    now = balance(context.network.unpack(records), context.layer_rates)
    for C, C_0 in zip(now, context.conserved, strict=True):
        with np.errstate(over="ignore", invalid="ignore"):
            worst = np.maximum(worst, np.linalg.norm(C - shrink * C_0, axis=(-2, -1)))
    return worst


def _as_recorded(records: Array, context: Context, times: slice) -> Array:
    return records


def _scalar(network: Network, loss: Loss) -> tuple[int, ...]:
    return ()


def _modes(network: Network, loss: Loss) -> tuple[int, ...]:
    return (loss.n_modes,)


def _rank(network: Network, loss: Loss) -> tuple[int, ...]:
    return (min(loss.shape),)


def _parameters(network: Network, loss: Loss) -> tuple[int, ...]:
    return (network.n_parameters,)


def _products(network: Network) -> int:
    """Those that are finite, and their singular values."""
    return 2 * network.widths[0] * network.widths[-1]


def _balances(network: Network) -> int:
    """Balance matrices, and two of their size while they are computed or looked at."""
    squares = [d**2 for d in network.widths[1:-1]]
    return 2 + sum(squares) + 2 * max(squares, default=0)


def _two_balances(network: Network) -> int:
    """The same, and those at the start."""
    return _balances(network) + sum(d**2 for d in network.widths[1:-1])


OBSERVABLES = {
    "loss": Observable("square_distance", _scalar, _loss),
    "grad_norm": Observable("square_gradient", _scalar, _grad_norm),
    "strengths": Observable("strengths", _modes, _as_recorded),
    "singular_values": Observable("product", _rank, _singular_values, _products),
    "imbalance": Observable("weights", _scalar, _imbalance, _balances),
    "drift": Observable("weights", _scalar, _drift, _two_balances),
    "weights": Observable("weights", _parameters, _as_recorded),
}
LEARNING_TIMES = "learning_times"  # an event, not a function of time: the engines find it themselves
NAMES = (*OBSERVABLES, LEARNING_TIMES)


def derive(field: Observable, records: Array, context: Context, rows: slice | NDArray[np.intp], out: Array) -> None:
    """Derive an observable of the trajectories ``rows``, whose raw records these are, into the array of all."""
    record_bytes = field.working(context.network) * records.itemsize
    for own, moments in blocks(len(records), len(context.elapsed), record_bytes):
        place = _within(rows, own)
        part = replace(context, origin=context.origin[place])
        for times in moments:
            out[place, times] = field.derive(records[own, times], part, times)


def derived_bytes(fields: Iterable[Observable], problem: Problem) -> int:
    """Bytes that are taken on the way where these observables are derived, one after another."""
    return max(
        (
            block_bytes(problem.n, len(problem.times), field.working(problem.network) * problem.start.itemsize)
            for field in fields
        ),
        default=0,
    )


def _within(rows: slice | NDArray[np.intp], part: slice) -> slice | NDArray[np.intp]:
    """A part of some rows."""
    return slice(rows.start + part.start, rows.start + part.stop) if isinstance(rows, slice) else rows[part]


def raw_records(names: tuple[str, ...]) -> tuple[str, ...]:
    """What the engines must write for the observables ``names``."""
    wanted = {OBSERVABLES[name].raw for name in names if name in OBSERVABLES}
    return tuple(name for name in RAW if name in wanted)
