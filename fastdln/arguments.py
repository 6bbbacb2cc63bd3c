"""Checks of the arguments of a flow: each returns the value to work with, or says which argument is wrong and why."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.checks import boolean, count, not_negative, number, one_of, positive, sequence, shown
from fastdln.engines.base import Options
from fastdln.engines.choose import NAMES
from fastdln.field import product
from fastdln.integrate.chebyshev import Stabilized
from fastdln.integrate.descent import Descent
from fastdln.integrate.methods import METHODS, Method
from fastdln.integrate.tableau import Tableau
from fastdln.losses import Custom, Loss, Quadratic, check_loss
from fastdln.network import Network, check_layer_rates
from fastdln.observables import LYAPUNOV, NEEDS, OBSERVABLES
from fastdln.resources import cores

__all__ = [
    "boolean",
    "check_options",
    "count",
    "engine",
    "layer_rates",
    "method",
    "not_negative",
    "number",
    "one_of",
    "positive",
    "progress",
    "record",
    "span",
    "starts",
    "step",
    "threads",
    "times",
    "tolerances",
    "tried",
]

MOST_TRIED = 16  # starts
BLOCK = 1 << 16  # entries that are looked at together: no temporary is as large as a batch or a large layer


def starts(network: Network, weights: tuple[NDArray[Any], ...], loss: Loss) -> tuple[NDArray[Any], bool]:
    """Packed starts (n, parameters), and whether one network was given without a batch axis."""
    check_loss(loss)
    lead = weights[0].shape[:-2]
    if len(lead) > 1:
        raise ValueError(f"w0 must have at most one batch axis, not the leading axes {lead}")
    loss.check_product((*lead, network.widths[-1], network.widths[0]))
    packed = np.ascontiguousarray(network.pack(weights))
    n = np.broadcast_shapes(lead, loss.batch_shape)
    if n == (0,):
        raise ValueError("w0 must hold at least one network, not an empty batch")
    return np.ascontiguousarray(np.broadcast_to(packed, (*(n or (1,)), packed.shape[-1]))), not n


def tried(network: Network, start: NDArray[Any], loss: Loss) -> None:
    """Try the functions of a user's loss at the products of some of the starts, spread over the batch."""
    if isinstance(loss, Custom):
        some = np.unique(np.linspace(0, len(start) - 1, MOST_TRIED).round().astype(int))
        loss.try_at(product(network.unpack(start[some])))


def span(span: Any) -> tuple[float, float]:
    try:
        t_0, t_end = span
    except (TypeError, ValueError):
        raise ValueError(f"span must be two times (t_0, t_end), not {shown(span)}") from None
    t_0, t_end = number("span[0]", t_0), number("span[1]", t_end)
    if t_0 == t_end:
        raise ValueError(f"span must not be empty: t_0 = t_end = {t_0!r}")
    if not math.isfinite(t_end - t_0):
        raise ValueError(f"span must have a length that is a number, not {shown(span)}")
    return t_0, t_end


def times(t_eval: ArrayLike | None, t_0: float, t_end: float) -> NDArray[np.float64]:
    if t_eval is None:
        return np.array([t_end])
    times = sequence("t_eval", t_eval)
    if times.ndim != 1:
        raise ValueError(f"t_eval must have one axis, not the shape {times.shape}")
    ahead = times if t_end > t_0 else -times
    if not np.isfinite(times).all() or np.any(np.diff(ahead) <= 0):
        raise ValueError(
            f"t_eval must be finite and strictly monotone from the start {t_0} of the span towards its end {t_end}, "
            f"not {np.array2string(times, threshold=6)}"
        )
    if times.size and not (min(t_0, t_end) <= times.min() and times.max() <= max(t_0, t_end)):
        raise ValueError(f"t_eval must lie within the span ({t_0}, {t_end}), not reach from {times[0]} to {times[-1]}")
    return times


def method(method: Any) -> Method:
    if isinstance(method, Tableau):
        return method
    return METHODS[one_of("method", method, METHODS)]


def engine(engine: Any) -> str:
    return one_of("engine", engine, NAMES)


def record(record: Any) -> tuple[str, ...]:
    if isinstance(record, str):
        record = (record,)
    if not isinstance(record, Iterable):
        raise TypeError(f"record must be a sequence of names of observables, not {shown(record)}")
    names = tuple(one_of("record", name, OBSERVABLES) for name in record)
    return tuple(dict.fromkeys(names))


def progress(progress: Any) -> None:
    if not (isinstance(progress, bool) or callable(progress)):
        raise TypeError(f"progress must be True, False or a function, not {progress!r}")


def layer_rates(layer_rates: Any, depth: int) -> tuple[float, ...] | None:
    return None if layer_rates is None else tuple(map(float, check_layer_rates(layer_rates, depth)))


def step(step: Any, duration: float, max_steps: int) -> float:
    length = positive("step", step)
    steps = math.ceil(duration / length - 1e-7)  # the last step absorbs what rounding leaves over
    if steps > max_steps:
        raise ValueError(f"step = {length} takes {steps} steps over the span, more than max_steps = {max_steps}")
    return length


def threads(threads: Any) -> int:
    if threads is None:
        return cores()
    return count("threads", threads)


def tolerances(atol: Any, start: NDArray[Any], network: Network, loss: Loss, rtol: float) -> NDArray[np.float64]:
    """Absolute tolerance of each trajectory."""
    if atol is not None:
        return np.full(len(start), not_negative("atol", atol))
    least = np.full(len(start), np.inf)
    for W in network.unpack(start):
        entries = W.reshape(len(start), -1)
        together = max(1, BLOCK // entries.shape[1])
        for first in range(0, len(start), together):
            rows = slice(first, first + together)
            least[rows] = np.minimum(least[rows], _root_mean_square(entries[rows]))
    norm = np.zeros(1) if loss.modes is None else loss.modes.sigma[..., 0]
    norm = np.broadcast_to(norm, len(start)) ** (1 / network.depth)
    least = np.where(np.isfinite(least), least, np.where(norm > 0, norm, 1.0))
    return 1e-3 * rtol * least


def _root_mean_square(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Root mean square of each row; infinite where it is zero or not finite."""
    blocks = [rows[:, k : k + BLOCK] for k in range(0, rows.shape[1], BLOCK)]
    largest = np.max([np.abs(block).max(axis=1) for block in blocks], axis=0).astype(np.float64)
    usable = (largest > 0) & np.isfinite(largest)
    unit = np.where(usable, largest, 1.0)[:, None]  # so that no square overflows or vanishes
    with np.errstate(invalid="ignore", over="ignore"):
        squares = sum(np.square(block / unit).sum(axis=1) for block in blocks)
        size = largest * np.sqrt(squares / rows.shape[1])
    return np.where(usable, size, np.inf)


def check_options(options: Options, loss: Loss, forward: bool, dtype: np.dtype[Any]) -> None:
    """Refuse options, each right by itself, that do not go together."""
    method = options.method
    check_record(options.record, loss)
    if isinstance(method, Descent):
        if LYAPUNOV in options.record and method.samples:
            raise ValueError(f"{LYAPUNOV!r} cannot be recorded with batch_size: it is that of updates for all samples")
        if options.engine not in ("auto", "lanes", "dense", "wide"):
            raise ValueError(
                f"engine={options.engine!r} does not descend: leave engine out, or take lanes, dense or wide"
            )
        return
    for name in options.record:
        if OBSERVABLES[name].descends:
            raise ValueError(f"{name!r} cannot be recorded along a flow: it is for descents")
    if isinstance(method, Stabilized):
        if options.step is not None:
            raise ValueError(f"method {method.name!r} chooses its own steps: give an explicit method with step=...")
        if options.engine == "wide":
            raise ValueError(f"the engine 'wide' has explicit methods only, not {method.name!r}: leave engine out")
    elif not method.adaptive and options.step is None:
        raise ValueError(f"method {method.name!r} has no error estimate: give step=... for fixed steps")
    if options.modified:
        _check_modified(options, loss)
    if options.certify:
        _check_certify(options, loss, forward)
    if options.rtol < 4 * np.finfo(dtype).eps:
        raise ValueError(f"rtol must be at least {4 * np.finfo(dtype).eps:.1e} in {dtype}, not {options.rtol!r}")


def check_record(record: tuple[str, ...], loss: Loss) -> None:
    """Refuse observables that a loss does not have."""
    for name in record:
        for need in OBSERVABLES[name].needs:
            if not NEEDS[need].has(loss):
                raise ValueError(f"{name!r} cannot be recorded: {loss!r} {NEEDS[need].lack}")


def _check_modified(options: Options, loss: Loss) -> None:
    """Refuse what no modified flow has."""
    if options.engine not in ("auto", "lanes", "dense"):
        raise ValueError(
            f"engine={options.engine!r} has no products with the Hessian within a flow: leave engine out, or take "
            "lanes or dense"
        )
    if isinstance(loss, Custom):
        raise ValueError(f"a modified flow needs a curvature that is compiled, and {loss!r} has none")
    if options.certify:
        raise ValueError("certify=True is for the flow itself, not for a modified one")


def _check_certify(options: Options, loss: Loss, forward: bool) -> None:
    """Refuse what no certificate speaks of."""
    stop = None if options.stop_gradient is None and options.stop_loss is None else "a Stop"
    for argument, given, expected in (
        ("loss", None if isinstance(loss, Quadratic) else type(loss).__name__, "Quadratic"),
        ("span", None if forward else "a decreasing one", "an increasing one"),
        ("weight_decay", options.weight_decay or None, "0"),
        ("stop", stop, "None"),
        ("step", options.step, "None"),
        ("history", options.history or None, "False"),
    ):
        if given is not None:
            raise ValueError(f"certify=True needs {argument} to be {expected}, not {given}")
