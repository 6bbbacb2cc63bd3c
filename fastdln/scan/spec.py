"""The scan file: its format, and the strict reading of it.

A scan file is TOML. It describes one flow, or one descent, of many networks; **a list where a single value is expected
is an axis of the grid**. Where a list is itself a value (``widths``, ``values``, ``layer_values``, ``lambdas``,
``layer_rates``, ``at``, ``factors``) an axis is a list of lists. For numbers the axis may be a range,
``{start = 0.01, stop = 1.0, count = 5, spacing = "linear" | "log"}``, which stands for the list of its values, of 15
digits: linear unless it says so, both ends among them, integers where both are and integers are expected. One
combination of the values on the axes is a *cell*. ::

    name = "depth-scale"                # ("scan")
    trajectories = 256                  # required: in each cell
    seed = 0                            # of everything random (0)

    [network]
    widths = [[4, 4, 4], [4, 8, 8, 4]]  # required: d_0, ..., d_h

    [target]
    kind = "singular_values"            # required; and, by kind, the keys below
    values = [4.0, 3.0, 2.0, 1.0]

    [loss]                              # (quadratic); the table may be left out
    kind = "huber"                      # required; and, by kind, the keys below
    delta = [0.1, 1.0]

    [init]
    kind = "gaussian"                   # required; and, by kind, the keys below
    scale = [0.01, 0.1, 1.0]

    [flow]
    t_end = 50.0                        # required: a time > 0, or "auto"
    method = "tsit5"                    # these and the following as in `fastdln.flow`
    rtol = 1e-6
    atol = 1e-9                         # (relative to the initial scale)
    max_steps = 100000
    engine = "auto"
    weight_decay = 0.0
    layer_rates = [1.0, 1.0]            # one for each layer (all 1)
    certify = false                     # the variable "certified" then tells the trajectories that it ended

    [schedule]                          # (constant), of descents; the table may be left out
    kind = "cosine"                     # required; and, by kind, the keys below

    [updates]                           # (flow); with "descent" there is no [flow]
    kind = "descent"                    # required; "flow" has no further keys
    steps = 10000                       # required: updates
    nesterov = false                    # these and the following as in `fastdln.descend`
    layer_rates = [1.0, 1.0]            # one for each layer (all 1)
    batch_size = 32                     # (all samples)
    bound = 1e6                         # (relative to the start and the target)
    engine = "auto"
    momentum = 0.0
    weight_decay = 0.0
    learning_rate = [0.01, 0.1]         # required: the peak, where there is a schedule

    [record]
    times = 64                          # so many from 0 to t_end; or
                                        # {count = 64, spacing = "linear" | "log", first = 0.01}; of descents
                                        # {every = 10, from = 0}: updates, and the last
    observables = ["loss", "strengths", "learning_times"]

    [[zip]]                             # none or several: axes that advance together, as one
    axes = ["network.widths", "init.scale"]

A scan is one of flows or one of descents: ``updates.kind`` is no axis. Cells that differ in the coordinates of a plane
of starts, momentum, weight decay and learning rate alone, where these are the last axes, are computed and stored
together, unless batches are drawn, or a target, mask or measurements for each cell: so axes of thousands of learning
rates cost little.

``t_end = "auto"`` stands for 3 mode_time(0.9 s, min(scale, 0.1 s), sigma, h), with `mode_time` of
`fastdln.theory.exact`: three times what a balanced network of depth h, its layers of size ``scale``
(``gain``, ``layer_values``), needs to bring its slowest mode to 0.9 s, s = sigma^(1/h). Here sigma is the
least singular value of the target among those that the network can learn and that exceed 1e-8 of the largest.

``times``: ``first`` is the first time recorded, by default 0 for linear and t_end/1000 for logarithmic
spacing; the last is t_end. ``observables``: any of those of `fastdln.flow`, by default ``["loss",
"learning_times"]``; ``"weights"`` only where the widths do not vary; and

``itinerary``
    What `fastdln.theory.itinerary` reads off each trajectory at the times recorded here: ``n_plateaus``; with the
    dimension ``plateau`` (twice as many as modes, and one; later ones are counted but not kept) ``plateau_value``,
    ``plateau_learned`` (by mode), ``plateau_kind``, ``plateau_entry``, ``plateau_exit`` (infinite where it was not
    left), ``plateau_distance``, ``plateau_grad_norm``; ``learning_order`` (modes, then -1) and ``sequential``. NaN and
    -1 stand where there is no plateau.

The itinerary is one of flows. The store of a descent has the updates done as ``steps`` beside their times ``t``; where
cells record fewer than others, -1 and NaN follow.

Targets, by ``kind``:

``singular_values``
    ``values``: the singular values. ``rng``: an integer that draws random bases (default: modes are
    coordinates).
``data``
    ``path``: a ``.npz`` file with the arrays ``X`` and ``Y`` (other names: give them as the keys ``X`` and
    ``Y``); or no ``path``, and ``X`` and ``Y`` name a ``.npy`` or ``.csv`` file each. ``form``: "whitened"
    for Y X' (X X')^(-1/2), "correlation" for Y X'/m, "regression" for the mean squared error of the data as
    they are; left out where the loss is one of data. ``center``: subtract means first (false). ``samples``:
    "columns" or "rows" ("columns"). Files are looked for from the folder of the scan file, and have to lie in
    it unless ``allow_outside = true``.
``identity``
    ``scale``: its multiple (1).
``random``
    Gaussian entries of standard deviation scale/sqrt(d_0). ``scale`` (1), ``per``: a new one for each
    "trajectory" or one for each "cell" ("trajectory"). ``rank``: a product of Gaussian matrices of that rank, with
    entries as large (all independent).

Losses, by ``kind``:

``quadratic``
    1/2 ||target - W||^2, or what the ``form`` of the data says.
``masked``
    `fastdln.Masked`: ``observed``, how many entries of the target are seen, or a share of them below 1, drawn for each
    cell from the seed; or ``path``, a ``.npy`` or ``.csv`` file with the mask.
``sensing``
    `fastdln.Sensing`: ``measurements``, how many matrices of Gaussian entries of deviation 1 the target is measured
    with, drawn for each cell from the seed; or ``path``, a ``.npz`` file with the matrices ``A`` and, if it is not the
    target that is measured, ``y``. A random target must be one for each cell.
``power``, ``huber``, ``pseudo_huber``
    `fastdln.Power` with ``p``, `fastdln.Huber` and `fastdln.PseudoHuber` with ``delta``.
``regression``, ``logistic``, ``exponential``, ``softmax``
    `fastdln.Regression`, `fastdln.Logistic`, `fastdln.Exponential`, `fastdln.SoftmaxCrossEntropy` of the data X and Y
    of a target of the kind "data" without ``form``; for the last one Y is one row of labels, of d_h classes.

Initial conditions, by ``kind`` (see `fastdln.inits`):

``gaussian``, ``uniform``, ``identity``, ``balanced``
    ``scale``.
``orthogonal``
    ``gain``.
``delta_balanced``
    ``delta``.
``lambda_balanced``
    ``lambdas``: h - 1 numbers. ``scale``.
``aligned``, ``decoupled``
    ``layer_values``: a number, or r numbers; as an axis also matrices of h rows.

``plane``
    ``a``, ``b``: coordinates in a plane; as two axes they make a map of what ends where. The plane is W + a U + b V, of
    the arrays W1, ..., Wh, U1, ... and V1, ... of ``path``, a ``.npz`` file; or ``modes`` names two modes, and in all
    layers these have the values a and b, the others 0, as for ``decoupled``.

Schedules of learning rates, by ``kind`` (see `fastdln.schedules`):

``constant``
    None.
``cosine``
    ``warmup``: updates (0). ``least``: a part of the peak (0).
``linear``
    Down to 0 after the last update.
``steps``
    ``at``: the updates from which on the rate is ``factor`` times what it was.
``cycle``
    ``factors``: of the learning rate, again and again.

A grid has at most 2^20 cells, a network at most 1024 widths, a scan file at most 8 MiB. What would not fit into memory
is refused before anything is built.

``kind`` may be an axis too: each kind then takes the keys that it knows. The axes of the grid are ordered as
the tables and keys are above, whatever their order in the file. In the store an axis has the name of its key,
or ``table_key`` where two axes share the key, and for ``updates_steps``; tied axes have the name of the first.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from fastdln.engines.choose import NAMES
from fastdln.integrate.methods import METHODS
from fastdln.observables import OBSERVABLES
from fastdln.scan.derived import DERIVED
from fastdln.scan.kinds import LOSSES, STARTS, TARGETS, Count, Natural, Network, Nonnegative, Positive, Seed, Strict

__all__ = [
    "DEFAULTS",
    "DESCENT",
    "TABLES",
    "Document",
    "Range",
    "Record",
    "SpecError",
    "Times",
    "Updates",
    "Zip",
]

_OBSERVABLES = (*OBSERVABLES, *DERIVED)

DESCENT = "descent"
"""The kind of updates that are no flow."""

MOST_VALUES = 2**20
"""Of a range: as many as a grid has cells."""


class SpecError(ValueError):
    """A scan file that cannot be run; the message names the key, what was given and what is expected."""


Method: TypeAlias = Literal[tuple(METHODS)]  # type: ignore[valid-type]
Engine: TypeAlias = Literal[NAMES]  # type: ignore[valid-type]


class Flow(Strict, frozen=True):
    """``[flow]``."""

    t_end: Positive | Literal["auto"]
    method: Method = "tsit5"
    rtol: Positive = 1e-6
    atol: Nonnegative | None = None
    max_steps: Count = 100_000
    engine: Engine = "auto"
    weight_decay: Nonnegative = 0.0
    layer_rates: Annotated[tuple[Positive, ...], Meta(min_length=1)] | None = None
    certify: bool = False


class Constant(Strict, tag="constant", tag_field="kind", frozen=True):
    """No schedule."""


class Cosine(Strict, tag="cosine", tag_field="kind", frozen=True):
    """`fastdln.schedules.cosine`."""

    warmup: Natural = 0
    least: Annotated[float, Meta(ge=0, le=1)] = 0.0


class Linear(Strict, tag="linear", tag_field="kind", frozen=True):
    """`fastdln.schedules.linear`."""


class Steps(Strict, tag="steps", tag_field="kind", frozen=True):
    """`fastdln.schedules.steps`."""

    at: Annotated[tuple[Count, ...], Meta(min_length=1)]
    factor: Nonnegative


class Cycle(Strict, tag="cycle", tag_field="kind", frozen=True):
    """`fastdln.schedules.cycle`, in units of the learning rate."""

    factors: Annotated[tuple[Nonnegative, ...], Meta(min_length=1)]


class OfFlow(Strict, tag="flow", tag_field="kind", frozen=True):
    """``[updates]`` of a flow: those of its method."""


class Descent(Strict, tag=DESCENT, tag_field="kind", frozen=True, kw_only=True):
    """``[updates]`` of a descent."""

    steps: Count
    nesterov: bool = False
    layer_rates: Annotated[tuple[Positive, ...], Meta(min_length=1)] | None = None
    batch_size: Count | None = None
    bound: Positive | None = None
    engine: Literal["auto", "lanes", "dense"] = "auto"
    # what may differ within a batch stands last: cells that differ in it alone are neighbours
    momentum: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    weight_decay: Nonnegative = 0.0
    learning_rate: Positive


class Updates(Strict, frozen=True):
    """``times`` of ``[record]`` of a descent."""

    every: Count = 1
    first: Natural = msgspec.field(default=0, name="from")


class Times(Strict, frozen=True):
    """``times`` of ``[record]``."""

    count: Count
    spacing: Literal["linear", "log"] = "linear"
    first: Nonnegative | None = None


class Record(Strict, frozen=True):
    """``[record]``."""

    times: Times | Updates
    observables: tuple[Literal[_OBSERVABLES], ...] = ("loss", "learning_times")  # type: ignore[valid-type]


class Range(Strict, frozen=True):
    """An axis of evenly spaced numbers."""

    start: int | float
    stop: int | float
    count: Annotated[int, Meta(ge=2, le=MOST_VALUES)]
    spacing: Literal["linear", "log"] = "linear"


class Zip(Strict, frozen=True):
    """``[[zip]]``."""

    axes: Annotated[tuple[str, ...], Meta(min_length=2)]


# The tables whose keys may be axes: the forms of each, told apart by their key `kind`.
TABLES: dict[str, tuple[type[Strict], ...]] = {
    "network": (Network,),
    "target": TARGETS,
    "loss": LOSSES,
    "init": STARTS,
    "flow": (Flow,),
    "schedule": (Constant, Cosine, Linear, Steps, Cycle),
    "updates": (OfFlow, Descent),
}


# Tables that may be left out, and what they then are; the normal form leaves them out, too.
DEFAULTS: dict[str, dict[str, Any]] = {
    "loss": {"kind": "quadratic"},
    "schedule": {"kind": "constant"},
    "updates": {"kind": "flow"},
}


class Document(Struct, frozen=True):
    """A scan file that has been read: every value of the right type, every default filled in."""

    name: str
    trajectories: Count
    seed: Seed
    tables: dict[str, dict[str, Any]]
    """The tables of the grid: the value of each key (a tuple where it has parts), or the list of its values
    where it is an axis."""
    axes: tuple[str, ...]
    """The keys, as "table.key", that are axes."""
    record: Record
    zips: tuple[Zip, ...] = ()

    @property
    def descends(self) -> bool:
        """Whether it is a scan of descents."""
        return bool(self.tables["updates"]["kind"] == DESCENT)

    def normalised(self) -> dict[str, Any]:
        """Say the same as a scan file would, with every default filled in."""
        plain = msgspec.to_builtins(self)
        given = {name: table for name, table in plain["tables"].items() if table != DEFAULTS.get(name)}
        tables = {**given, "record": plain["record"]}
        head = {key: plain[key] for key in ("name", "trajectories", "seed")}
        return dict(_plain({**head, **tables, "zip": plain["zips"]}))


def _plain(value: Any) -> Any:
    # TOML has no null (a key without a value is a key left out), and JSON no tuples.
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
