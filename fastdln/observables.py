"""What can be recorded along a flow: one table, with a row for each observable, that everything else reads.

Engines write raw records (`RAW`).
An observable follows from one of them, or is an event, which the engines find themselves.
One more that follows from a raw record is a row of `OBSERVABLES` and a line of `fastdln.Trajectories`.
`OUTCOMES` are what is known of every trajectory, whatever is recorded.

Every number follows from its own record alone, so its bits do not depend on which records are derived together.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastdln import measures
from fastdln.linalg import frobenius
from fastdln.losses import Loss
from fastdln.network import Network, Weights
from fastdln.theory.invariants import balance, imbalance
from fastdln.theory.tangent.measures import change

Array = NDArray[Any]
Documented = TypeVar("Documented", bound=Callable[..., Any])

# Numbers that each raw observable takes in a record; engines write these and no others.
RAW: dict[str, Callable[[Network, Loss], int]] = {
    "square_distance": lambda network, loss: 1,  # 2 (L - floor)
    "gradient": lambda network, loss: 1,  # ||grad L||_F
    "length": lambda network, loss: 1,  # of the way so far
    "strengths": lambda network, loss: loss.n_modes,
    "product": lambda network, loss: loss.shape[0] * loss.shape[1],
    "weights": lambda network, loss: network.n_parameters,
}
_FLOAT = np.dtype(np.float64)


@dataclass(frozen=True)
class Context:
    """The flow, or the descent, of the trajectories that records belong to."""

    network: Network
    loss: Loss
    kept: NDArray[np.float64]  # (n or 1, n_t): what weight decay leaves of a balance matrix since a start
    origin: Array  # (n, parameters) weights at that start
    layer_rates: tuple[float, ...] | None

    @cached_property
    def conserved(self) -> Weights:
        """The balance matrices at that start, of shape (n, 1, d_i, d_i)."""
        return balance(self.network.unpack(self.origin[:, None]), self.layer_rates)


class Meaning(NamedTuple):
    """What an array of a dataset or a store holds; its first dimension is the trajectory."""

    dims: tuple[str, ...]
    dtype: np.dtype[Any]
    units: str
    long_name: str


class Need(NamedTuple):
    """Something that not every loss has."""

    has: Callable[[Loss], bool]
    lack: str
    """What is said of a loss that does not have it."""


NEEDS = {
    "modes": Need(lambda loss: loss.n_modes > 0, "has no target with modes"),
    "labels": Need(lambda loss: loss.labels is not None, "has no labels"),
    "curvature": Need(lambda loss: loss.has_curvature, "was made without a curvature"),
    "quadratic": Need(lambda loss: loss.quadratic is not None, "is not quadratic"),
}


def _as_recorded(records: Array, context: Context, times: slice) -> Array:
    return records


def _none(network: Network, loss: Loss) -> int:
    """What was recorded is shown as it is."""
    return 0


def _two(network: Network, loss: Loss) -> int:
    """A number of the record, and what follows from it."""
    return 2


@dataclass(frozen=True)
class Observable:
    """One row: what an observable is, and how it follows from what the engines write."""

    name: str
    dims: tuple[str, ...]
    """Those after the trajectory: "time", "mode" (of the target, or of the product), "interface" (of two layers) and
    "parameter"."""
    long_name: str
    note: str = ""
    """What docstrings say beyond that: a formula, or a remark."""
    units: str = "1"
    raw: str | None = None
    """The raw record that it needs; None for an event."""
    derive: Callable[[Array, Context, slice], Array] = _as_recorded
    """Computes it from the raw records at some of the context's times; by default it is what was recorded."""
    working: Callable[[Network, Loss], int] = _two
    """Working memory: how many numbers are there on the way for each record."""
    needs: tuple[str, ...] = ()
    """What a loss must have for it, of `NEEDS`."""
    descends: bool = False
    """Whether it is for descents, not for flows."""
    double: bool = False
    """Whether it is computed in double precision, whatever that of the weights."""
    dtype: np.dtype[Any] | None = None
    """In a flow; None stands for that of the weights."""

    @property
    def timed(self) -> bool:
        """Whether it is a function of time."""
        return "time" in self.dims

    @property
    def by_layer(self) -> bool:
        """Whether it is shown as one array for each layer."""
        return "parameter" in self.dims

    def shape(self, network: Network, loss: Loss, n_times: int) -> tuple[int, ...]:
        """Its shape for one trajectory."""
        modes = loss.n_modes if "modes" in self.needs else min(loss.shape)
        sizes = {"time": n_times, "mode": modes, "interface": network.depth - 1, "parameter": network.n_parameters}
        return tuple(sizes[dim] for dim in self.dims)

    def precision(self, weights: np.dtype[Any]) -> np.dtype[Any]:
        """Its dtype in the flow of weights of a dtype."""
        return weights if self.dtype is None else self.dtype

    def meanings(self, network: Network, weights: np.dtype[Any]) -> dict[str, Meaning]:
        """The arrays, by name, that it is in a dataset or a store: one, or one for each layer."""
        dtype = self.precision(weights)
        if not self.by_layer:
            return {self.name: Meaning(("trajectory", *self.dims), dtype, self.units, self.long_name)}
        lead = ("trajectory", *self.dims[:-1])
        return {
            f"W{i}": Meaning((*lead, f"layer{i}", f"layer{i - 1}"), dtype, self.units, f"{self.long_name} of layer {i}")
            for i in range(1, network.depth + 1)
        }

    @property
    def doc(self) -> str:
        """The docstring of the attribute that holds it."""
        return f"{self._sentence}, {self._form}." + (f"\n\n{self.note}." if self.note else "")

    @property
    def entry(self) -> str:
        """Its entry in a list of attributes."""
        kind = "tuple of ndarrays" if self.by_layer else "ndarray"
        text = "; ".join(filter(None, (self._sentence, self.note))) + "."
        return f"{self.name} : {kind}, {self._form}, or None\n{textwrap.indent(textwrap.fill(text, 116), '    ')}\n"

    @property
    def _sentence(self) -> str:
        return self.long_name[0].upper() + self.long_name[1:]

    @property
    def _form(self) -> str:
        return f"shape ({', '.join(('n', *(_SIZES[dim] for dim in self.dims)))}{'' if self.dims else ','})"


_SIZES = {"time": "n_t", "mode": "r", "interface": "h-1", "parameter": "d_i, d_{i-1}"}  # as docstrings tell them


def _loss(records: Array, context: Context, times: slice) -> Array:
    return context.loss.floor + 0.5 * records[..., 0]


def _number(records: Array, context: Context, times: slice) -> Array:
    return records[..., 0]


def _singular_values(records: Array, context: Context, times: slice) -> Array:
    products = records.reshape(*records.shape[:-1], *context.loss.shape)
    values = np.full((*records.shape[:-1], min(context.loss.shape)), np.nan, records.dtype)
    there = np.isfinite(records).all(axis=-1)
    values[there] = np.linalg.svd(products[there], compute_uv=False)
    return values


def _of_values(measure: Callable[[Array], Array]) -> Callable[[Array, Context, slice], Array]:
    """What follows from the singular values of the product."""
    return lambda records, context, times: measure(_singular_values(records, context, times))


def _of_each(
    measure: Callable[[Array, Network, Loss], Array], *size: Callable[[Network], int]
) -> Callable[[Array, Context, slice], Array]:
    """What is computed of the records that are finite, each with its own target."""

    def derive(records: Array, context: Context, times: slice) -> Array:
        network, loss = context.network, context.loss
        values = np.full((*records.shape[:-1], *(count(network) for count in size)), np.nan)
        there = np.isfinite(records).all(axis=-1)
        if there.any():
            own = loss[np.nonzero(there)[0]] if loss.batch_shape else loss
            values[there] = measure(records[there], network, own)
        return values

    return derive


def _tangent_drift(records: Array, context: Context, times: slice) -> Array:
    start = context.origin[:, None].astype(np.float64, copy=False)
    return change(context.network.unpack(records), context.network.unpack(start))


def _imbalance(records: Array, context: Context, times: slice) -> Array:
    values = imbalance(context.network.unpack(records)).max(axis=-1, initial=0.0)
    return np.where(np.isnan(records[..., 0]), np.nan, values)


def _drift(records: Array, context: Context, times: slice) -> Array:
    """max_i ||C_i(t) - kept C_i(t_0)||_F: what the integrator lost of what the flow conserves."""
    shrink = context.kept[:, times].astype(records.dtype)[..., None, None]
    worst = np.where(np.isnan(records[..., 0]), np.nan, np.zeros((), records.dtype))
    now = balance(context.network.unpack(records), context.layer_rates)
    for C, C_0 in zip(now, context.conserved, strict=True):
        with np.errstate(over="ignore", invalid="ignore"):
            worst = np.maximum(worst, frobenius(C - shrink * C_0))
    return worst


def _products(network: Network, loss: Loss) -> int:
    """Those that are finite, and their singular values."""
    return 2 * network.widths[0] * network.widths[-1]


def _balances(network: Network, loss: Loss) -> int:
    """Balance matrices, and two of their size while they are computed or looked at."""
    squares = [d**2 for d in network.widths[1:-1]]
    return 2 + sum(squares) + 2 * max(squares, default=0)


def _two_balances(network: Network, loss: Loss) -> int:
    """The same, and those at the start."""
    return _balances(network, loss) + sum(d**2 for d in network.widths[1:-1])


_ROWS = (
    Observable("loss", ("time",), "loss", raw="square_distance", derive=_loss),
    Observable(
        "grad_norm", ("time",), "Frobenius norm of the gradient of the loss", "||grad L||_F",
        raw="gradient", derive=_number, working=_none,
    ),
    Observable(
        "strengths", ("time", "mode"), "strength u_j' W v_j of each mode of the target", raw="strengths",
        needs=("modes",),
    ),
    Observable(
        "singular_values", ("time", "mode"), "singular values of the product", raw="product",
        derive=_singular_values, working=_products,
    ),
    Observable(
        "effective_rank", ("time",), "effective rank of the product",
        "exp of the entropy of s / sum s, s its singular values", raw="product",
        derive=_of_values(measures.effective_rank), working=_products,
    ),
    Observable(
        "stable_rank", ("time",), "stable rank of the product", "||P||_F^2 / ||P||_2^2", raw="product",
        derive=_of_values(measures.stable_rank), working=_products,
    ),
    Observable(
        "nuclear_norm", ("time",), "nuclear norm of the product", "the sum of its singular values", raw="product",
        derive=_of_values(measures.nuclear_norm), working=_products,
    ),
    Observable(
        "margin", ("time",), "least margin of the samples, over the Frobenius norm of the product",
        "the least Y o P X over samples and outputs, of classes the least gap to the next class, over ||P||_F",
        raw="product", derive=_of_each(measures.margin), working=measures.outputs, needs=("labels",), double=True,
    ),
    Observable(
        "accuracy", ("time",), "share of the samples that are classified as their labels say",
        "those whose class has a larger output than all others; of signs, the outputs of the right sign",
        raw="product", derive=_of_each(measures.accuracy), working=measures.outputs, needs=("labels",), double=True,
    ),
    Observable(
        "weight_norm", ("time",), "Frobenius norm of the weights", "of all layers together", raw="weights",
        derive=lambda records, context, times: measures.length(records), working=measures.weights,
    ),
    Observable(
        "path_length", ("time",), "length of the way so far",
        "the integral of ||dW/dt||_F, of all layers together, from the start; of a descent the sum of "
        "||W_{k+1} - W_k||_F", raw="length", derive=_number, working=_none,
    ),
    Observable(
        "layer_alignment", ("time", "interface"), "alignment of successive layers",
        "|<v, u>|, v the leading right singular vector of W_{i+1}, u the leading left one of W_i; NaN where one of the "
        "layers vanishes", raw="weights",
        derive=_of_each(measures.layer_alignment, lambda network: network.depth - 1),
        working=measures.leading_vectors, double=True,
    ),
    Observable(
        "sharpness", ("time",), "sharpness, the largest eigenvalue of the Hessian",
        "to a relative tolerance of 1e-3, by `fastdln.theory.hessian.top`", raw="weights",
        derive=_of_each(measures.sharpness), working=measures.krylov, needs=("curvature",), double=True,
    ),
    Observable(
        "tangent_drift", ("time",), "relative change of the tangent operator",
        "||K(t) - K(t_0)||_F / ||K(t_0)||_F, see `fastdln.theory.tangent.drift`", raw="weights",
        derive=_tangent_drift, working=measures.tangent_change, double=True,
    ),
    Observable(
        "tangent_alignment", ("time",), "alignment of the tangent operator with the residual",
        "see `fastdln.theory.tangent.alignment`", raw="weights", derive=_of_each(measures.tangent_alignment),
        working=measures.tangent_forces, needs=("quadratic",), double=True,
    ),
    Observable(
        "imbalance", ("time",), "largest spectral norm of the balance matrices", "max_i ||C_i||_2", raw="weights",
        derive=_imbalance, working=_balances,
    ),
    Observable(
        "drift", ("time",), "largest change of a balance matrix, Frobenius norm",
        "max_i ||C_i(t) - exp(-2 mu (t - t_0)) C_i(t_0)||_F with the layers' rates divided into C_i", raw="weights",
        derive=_drift, working=_two_balances,
    ),
    Observable(
        "learning_times", ("mode",), "first time a strength reaches sigma/2",
        "NaN where there is none or sigma_j is rounding", units="time", needs=("modes",), dtype=_FLOAT,
    ),
    Observable(
        "lyapunov", (), "largest Lyapunov exponent",
        "Per update, of a descent from record_from on, without the orthogonal gauges; NaN where it did not finish",
        needs=("curvature",), descends=True, dtype=_FLOAT,
    ),
    Observable("weights", ("time", "parameter"), "weights", "each layer's at the times ``t``", raw="weights"),
)  # fmt: skip
OBSERVABLES = {row.name: row for row in _ROWS}
LEARNING_TIMES, LYAPUNOV = "learning_times", "lyapunov"

# What is told of every trajectory: attributes of `fastdln.Trajectories` as well.
OUTCOMES = {
    "status": Meaning(("trajectory",), np.dtype(np.int8), "", "outcome of the integration"),
    "t_final": Meaning(("trajectory",), _FLOAT, "time", "time reached"),
    "n_rhs": Meaning(("trajectory",), np.dtype(np.int64), "1", "evaluations of the right-hand side"),
    "n_accepted": Meaning(("trajectory",), np.dtype(np.int64), "1", "accepted steps"),
    "n_rejected": Meaning(("trajectory",), np.dtype(np.int64), "1", "rejected steps"),
    "certified": Meaning(("trajectory",), np.dtype(np.bool_), "", "whether a certificate ended the integration"),
}


def raw_records(names: tuple[str, ...]) -> tuple[str, ...]:
    """What the engines must write for the observables ``names``."""
    wanted = {OBSERVABLES[name].raw for name in names}
    return tuple(name for name in RAW if name in wanted)


def documented(item: Documented) -> Documented:
    """Write the observables into a docstring: their names where it speaks of them, and before other attributes."""
    if item.__doc__ is not None:
        names = ", ".join(f'"{name}"' for name in OBSERVABLES)
        text = "\n".join(
            _filled(line.replace(_NAMES, names)) if _NAMES in line else line
            for line in inspect.cleandoc(item.__doc__).split("\n")
        )
        item.__doc__ = text.replace(_ATTRIBUTES, _ATTRIBUTES + "".join(row.entry for row in _ROWS))
    return item


def _filled(line: str) -> str:
    """A long line as several, each indented as it is."""
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(line, 116, subsequent_indent=indent)


_NAMES = "the names in `fastdln.observables.OBSERVABLES`"
_ATTRIBUTES = "Attributes\n----------\n"
