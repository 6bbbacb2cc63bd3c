"""What can be recorded along a flow: how each observable follows from what the engines write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.problem import RAW
from fastdln.losses import Loss
from fastdln.network import Network
from fastdln.theory.invariants import balance, imbalance

Array = NDArray[Any]


@dataclass(frozen=True)
class Context:
    """The flow that a chunk of records belongs to."""

    network: Network
    loss: Loss
    elapsed: NDArray[np.float64]  # (n_t,) times, signed, since the start whose balance is conserved
    origin: Array  # (n, parameters) weights at that start
    weight_decay: float
    layer_rates: tuple[float, ...] | None


@dataclass(frozen=True)
class Observable:
    """One observable: the raw record it needs, its shape behind (trajectory, time), and how it is computed."""

    raw: str
    shape: Callable[[Network, Loss], tuple[int, ...]]
    derive: Callable[[Array, Context], Array]


def _loss(records: Array, context: Context) -> Array:
    return context.loss.floor + 0.5 * records[..., 0]


def _singular_values(records: Array, context: Context) -> Array:
    products = records.reshape(*records.shape[:-1], *context.loss.shape)
    values = np.full((*records.shape[:-1], min(context.loss.shape)), np.nan, records.dtype)
    there = np.isfinite(records).all(axis=-1)
    values[there] = np.linalg.svd(products[there], compute_uv=False)
    return values


def _imbalance(records: Array, context: Context) -> Array:
    values = imbalance(context.network.unpack(records)).max(axis=-1, initial=0.0)
    return np.where(np.isnan(records[..., 0]), np.nan, values)


def _drift(records: Array, context: Context) -> Array:
    """max_i ||C_i(t) - e^(-2 mu (t - t_0)) C_i(t_0)||_F: what the integrator lost of what the flow conserves."""
    unpack = context.network.unpack
    shrink = np.exp(-2 * context.weight_decay * context.elapsed).astype(records.dtype)[:, None, None]
    worst = np.where(np.isnan(records[..., 0]), np.nan, np.zeros((), records.dtype))
    now = balance(unpack(records), context.layer_rates)
    then = balance(unpack(context.origin[:, None]), context.layer_rates)
    for C, C_0 in zip(now, then, strict=True):
        with np.errstate(over="ignore", invalid="ignore"):
            worst = np.maximum(worst, np.linalg.norm(C - shrink * C_0, axis=(-2, -1)))
    return worst


def _as_recorded(records: Array, context: Context) -> Array:
    return records


def _scalar(network: Network, loss: Loss) -> tuple[int, ...]:
    return ()


def _modes(network: Network, loss: Loss) -> tuple[int, ...]:
    return (loss.n_modes,)


def _rank(network: Network, loss: Loss) -> tuple[int, ...]:
    return (min(loss.shape),)


def _parameters(network: Network, loss: Loss) -> tuple[int, ...]:
    return (network.n_parameters,)


OBSERVABLES = {
    "loss": Observable("square_distance", _scalar, _loss),
    "grad_norm": Observable("square_gradient", _scalar, lambda records, _: np.sqrt(records[..., 0])),
    "strengths": Observable("strengths", _modes, _as_recorded),
    "singular_values": Observable("product", _rank, _singular_values),
    "imbalance": Observable("weights", _scalar, _imbalance),
    "drift": Observable("weights", _scalar, _drift),
    "weights": Observable("weights", _parameters, _as_recorded),
}
LEARNING_TIMES = "learning_times"  # an event, not a function of time: the engines find it themselves
NAMES = (*OBSERVABLES, LEARNING_TIMES)


def raw_records(names: tuple[str, ...]) -> tuple[str, ...]:
    """What the engines must write for the observables ``names``."""
    wanted = {OBSERVABLES[name].raw for name in names if name in OBSERVABLES}
    return tuple(name for name in RAW if name in wanted)
