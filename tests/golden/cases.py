"""Flows whose results are recorded, bit for bit where they are the same on every machine.

Starts and targets are dyadic numbers from integer arithmetic, and what is decomposed is diagonal: so no digit of theirs
hangs on BLAS or LAPACK, whose rounding differs from machine to machine.
Nor is anything recorded that is derived by matrix products of NumPy: singular values, imbalance, drift.

A case keeps its name only as long as it stays as it is; one that is changed takes another name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import fastdln as dln

EVERYTHING = ("loss", "grad_norm", "strengths", "learning_times", "weights")
PLAIN = ("loss", "grad_norm", "weights")
LENGTH = ("path_length",)
REACHED = ("loss", "grad_norm", "strengths", "learning_times")
TIMES = (0.0, 0.125, 0.75, 2.0, 4.0)
METHODS = ("tsit5", "bs3", "dp5", "dop853", "rock", "rkc2", "auto")
ENGINES = ("lanes", "dense")

Widths = tuple[int, ...]


# ---- numbers


def dyadic(shape: tuple[int, ...], stream: int, exponent: int) -> np.ndarray:
    """Numbers k 2^exponent/128, -128 <= k < 128, by SplitMix64 (G. L. Steele, D. Lea, C. H. Flood, OOPSLA 2014)."""
    steps = np.arange(1, np.prod(shape) + 1, dtype=np.uint64) + (np.uint64(stream) << np.uint64(32))
    z = steps * np.uint64(0x9E3779B97F4A7C15)  # wraps, as it is meant to
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return np.ldexp((z >> np.uint64(56)).astype(np.float64) - 128.0, exponent - 7).reshape(shape)


def diagonal(rows: int, columns: int, largest: float = 3.0) -> np.ndarray:
    """The largest number first, each other one less by the same power of two."""
    r = min(rows, columns)
    matrix = np.zeros((rows, columns))
    matrix[range(r), range(r)] = largest - np.ldexp(np.arange(r), -(r - 1).bit_length())
    return matrix


# ---- losses


def full(widths: Widths, n: int) -> dln.Quadratic:
    """A target without structure, whose modes must not be asked for: they come from LAPACK."""
    return dln.Quadratic(dyadic((widths[-1], widths[0]), 100, 0))


def modes(widths: Widths, n: int) -> dln.Quadratic:
    """A target whose modes are the coordinates."""
    return dln.Quadratic(diagonal(widths[-1], widths[0]))


def targets(widths: Widths, n: int) -> dln.Quadratic:
    """One target for each trajectory; the signs of modes differ, too."""
    return dln.Quadratic([diagonal(widths[-1], widths[0], 3.0 + k) * (-1.0) ** k for k in range(n)])


def stiff(widths: Widths, n: int) -> dln.Quadratic:
    """Singular values from 64 down by powers of two."""
    matrix = np.zeros((widths[-1], widths[0]))
    r = min(matrix.shape)
    matrix[range(r), range(r)] = np.ldexp(64.0, -np.arange(r))
    return dln.Quadratic(matrix)


def regression(widths: Widths, n: int) -> dln.Regression:
    """Inputs that are scaled coordinates, in so many samples, a power of 4, that the root of their number is exact."""
    m = 4
    while m <= widths[0]:
        m *= 4
    X = np.sqrt(m) * diagonal(widths[0], m, 2.0)
    Y = np.zeros((widths[-1], m))
    Y[:, : widths[0]] = diagonal(widths[-1], widths[0]) * np.diag(X)
    Y[:, -1] += 0.25 * np.sqrt(m)  # of a sample without inputs: this is left in the end
    return dln.Regression(X, Y)


def power(widths: Widths, n: int) -> dln.Power:
    """A power that is no integer."""
    return dln.Power(dyadic((widths[-1], widths[0]), 101, 0), 2.5)


def huber(widths: Widths, n: int) -> dln.Huber:
    """A threshold that some entries of the error are beyond, one target for each trajectory."""
    return dln.Huber(dyadic((n, widths[-1], widths[0]), 102, 0), 0.25)


def pseudo_huber(widths: Widths, n: int) -> dln.PseudoHuber:
    """The smooth form of it."""
    return dln.PseudoHuber(dyadic((widths[-1], widths[0]), 103, 0), 0.25)


def signed(widths: Widths) -> tuple[np.ndarray, np.ndarray]:
    """Inputs of 11 samples, as no vector divides, and labels."""
    X, Y = dyadic((widths[0], 11), 104, 1), dyadic((widths[-1], 11), 105, 0)
    return X, np.where(Y < 0, -1.0, 1.0)


def logistic(widths: Widths, n: int) -> dln.Logistic:
    """Labels without structure."""
    return dln.Logistic(*signed(widths))


def exponential(widths: Widths, n: int) -> dln.Exponential:
    """Labels without structure."""
    return dln.Exponential(*signed(widths))


def softmax(widths: Widths, n: int) -> dln.SoftmaxCrossEntropy:
    """Classes that take turns."""
    return dln.SoftmaxCrossEntropy(signed(widths)[0], np.arange(11) % widths[-1])


def masked(widths: Widths, n: int) -> dln.Masked:
    """Weights of which some are zero, one target for each trajectory."""
    shape = (n, widths[-1], widths[0])
    weights = np.maximum(dyadic(shape, 107, 0), 0.0)
    weights[:, 0, 0] = 1.0
    return dln.Masked(dyadic(shape, 106, 0), weights)


def sensing(widths: Widths, n: int) -> dln.Sensing:
    """So many measurements, a power of 4, that the root of their number is exact."""
    return dln.Sensing(dyadic((16, widths[-1], widths[0]), 108, 0), dyadic((16,), 109, 0))


# ---- starts


def generic(widths: Widths, n: int | None, exponent: int) -> list[np.ndarray]:
    """Layers without structure; without a batch axis where n is None."""
    lead = () if n is None else (n,)
    pairs = zip(widths[1:], widths[:-1], strict=True)
    return [dyadic((*lead, *shape), layer, exponent) for layer, shape in enumerate(pairs)]


def with_nan(widths: Widths, n: int, exponent: int) -> list[np.ndarray]:
    """One of the networks is no network of numbers."""
    layers = generic(widths, n, exponent)
    layers[1][n // 2, 0, 0] = np.nan
    return layers


def with_zeros(widths: Widths, n: int, exponent: int) -> list[np.ndarray]:
    """The first layer of all networks is zero, and all layers of the last one."""
    layers = generic(widths, n, exponent)
    for i, W in enumerate(layers):
        W[slice(None) if i == 0 else -1] = 0.0
    return layers


def single(widths: Widths, n: int, exponent: int) -> list[np.ndarray]:
    """One network for all targets, or alone."""
    return generic(widths, None, exponent)


# ---- flows


@dataclass(frozen=True)
class Case:
    """A flow: n networks whose entries are below 2^exponent."""

    widths: Widths
    engine: str
    method: str | dln.Tableau = "tsit5"
    loss: Callable[[Widths, int], dln.Loss] = modes
    n: int = 3
    exponent: int = -1
    start: Callable[[Widths, int, int], list[np.ndarray]] = generic
    dtype: type = np.float64
    span: tuple[float, float] = (0.0, 4.0)
    times: tuple[float, ...] = TIMES
    record: tuple[str, ...] = EVERYTHING
    then: float | None = None  # go on to this time
    options: dict[str, Any] = field(default_factory=dict)

    def run(self) -> dln.Trajectories:
        """Integrate it."""
        w0 = [W.astype(self.dtype) for W in self.start(self.widths, self.n, self.exponent)]
        sol = dln.flow(
            w0, self.loss(self.widths, self.n), self.span, self.times, self.method, record=self.record,
            engine=self.engine, **({"atol": 1e-9} | self.options),
        )  # fmt: skip
        return sol if self.then is None else sol.extend(self.then)


@dataclass(frozen=True)
class Descent(Case):
    """Descents from such starts."""

    steps: int = 40
    rate: Any = 0.0625

    def run(self) -> dln.Trajectories:
        """Take the steps."""
        w0 = [W.astype(self.dtype) for W in self.start(self.widths, self.n, self.exponent)]
        sol = dln.descend(
            w0, self.loss(self.widths, self.n), self.rate, self.steps, record=self.record, engine=self.engine,
            **({"record_every": 9} | self.options),
        )  # fmt: skip
        return sol if self.then is None else sol.extend(self.then)


HEUN = dln.Tableau("heun", order=2, a=[[], [1]], b=[1 / 2, 1 / 2])
BOGACKI = dln.Tableau(
    "no end slope", order=2, a=[[], [1 / 2], [-1, 2]], b=[1 / 6, 2 / 3, 1 / 6], errors=[[1 / 6, -1 / 3, 1 / 6]]
)
SHAPES = {
    (1, 1, 1): 0, (2, 3, 2): 0, (5, 7, 3, 6): -1, (8, 8, 8, 8, 8): -1, (9, 2, 9): -1, (16, 16, 16, 16): -2,
    (20, 30, 10): -2, (32, 24, 32): -2, (64, 32, 10): -3,
}  # fmt: skip
SMALL, SQUARE = (2, 3, 2), (4, 4, 4, 4)
BACK = {"span": (0.0, -0.5), "times": (0.0, -0.125, -0.5)}
STIFF = {"loss": stiff, "times": (0.0, 0.03125, 0.25, 1.0, 3.0, 8.0), "span": (0.0, 8.0)}

EXACT: dict[str, Case] = {
    **{
        f"{'-'.join(map(str, widths))} {engine}": Case(widths, engine, exponent=exponent)
        for widths, exponent in SHAPES.items()
        for engine in ENGINES
    },
    **{
        f"{method} {engine}": Case(SQUARE, engine, method, full, record=PLAIN)
        for method in METHODS
        for engine in ENGINES
    },
    **{
        f"length {method} {engine}": Case(SQUARE, engine, method, full, record=LENGTH)
        for method in ("bs3", "tsit5", "dop853", "rkc2")
        for engine in ENGINES
    },
    "length of a stiff flow": Case((5, 4, 3), "lanes", "auto", record=LENGTH, **STIFF),
    "length single precision": Case(SQUARE, "lanes", "rock", full, record=LENGTH, dtype=np.float32,
                                    options={"rtol": 1e-4}),
    "length extended": Case(SQUARE, "dense", record=LENGTH, then=5.0, options={"weight_decay": 0.125}),
    "length of a descent": Descent(SQUARE, "lanes", record=LENGTH, options={"momentum": 0.5}),
    # ---- terms of the flow
    "decay lanes": Case((5, 7, 6), "lanes", options={"weight_decay": 0.125}),
    "decay dense": Case((5, 7, 6), "dense", "dop853", options={"weight_decay": 0.125}),
    "rates lanes": Case((3, 5, 4), "lanes", "dp5", options={"layer_rates": (0.5, 2.0)}),
    "rates decay dense": Case(SQUARE, "dense", options={"layer_rates": (0.5, 2.0, 1.0), "weight_decay": 0.0625}),
    "rates decay rock": Case(SQUARE, "lanes", "rock", options={"layer_rates": (0.5, 2.0, 1.0), "weight_decay": 0.5}),
    "backward lanes": Case((3, 5, 4), "lanes", **BACK),
    "backward dense": Case((3, 5, 4), "dense", "dop853", **BACK),
    "blow-up lanes": Case(SMALL, "lanes", "dop853", span=(0.0, -8.0), times=(-0.5, -8.0), exponent=1),
    "blow-up dense": Case(SMALL, "dense", span=(0.0, -8.0), times=(-0.5, -8.0), exponent=1),
    "overflow lanes": Case(SMALL, "lanes", HEUN, span=(0.0, -8.0), exponent=1, times=(-8.0,), options={"step": 0.5}),
    # ---- losses
    "targets lanes": Case((4, 5, 3), "lanes", loss=targets),
    "targets dense": Case((4, 5, 3), "dense", "dop853", targets, n=4),
    "targets of one start": Case((4, 5, 3), "lanes", "rock", targets, n=5, start=single),
    "regression lanes": Case((3, 5, 4), "lanes", loss=regression),
    "regression dense": Case((7, 5, 4), "dense", "dop853", regression),
    "regression bottleneck": Case((9, 2, 9), "lanes", loss=regression),
    "regression rock": Case((5, 6, 4), "dense", "rock", regression),
    **{
        f"{loss.__name__} {engine}": Case((5, 4, 6, 3), engine, method, loss, record=PLAIN)
        for loss in (power, huber, pseudo_huber, masked, sensing, logistic, exponential, softmax)
        for engine, method in (("lanes", "tsit5"), ("dense", "dop853"))
    },
    "logistic rock": Case((5, 4, 3), "lanes", "rock", logistic, record=PLAIN, options={"weight_decay": 0.5}),
    "masked of one layer": Case((5, 3), "lanes", loss=masked, record=PLAIN),
    "sensing of one layer": Case((5, 3), "dense", loss=sensing, record=PLAIN),
    "many masked": Case(SMALL, "lanes", loss=masked, n=4100, span=(0.0, 1.0), times=(1.0,), record=PLAIN),
    "single precision sensing": Case(
        (5, 4, 3), "lanes", loss=sensing, record=PLAIN, dtype=np.float32, options={"rtol": 1e-4}
    ),
    "softmax of one layer": Case((5, 3), "lanes", loss=softmax, record=PLAIN),
    "many hubers": Case(SMALL, "lanes", loss=pseudo_huber, n=4100, span=(0.0, 1.0), times=(1.0,), record=PLAIN),
    # ---- precision
    "single precision softmax": Case(
        (5, 4, 3), "dense", loss=softmax, record=PLAIN, dtype=np.float32, options={"rtol": 1e-4}
    ),
    "single precision lanes": Case(SQUARE, "lanes", dtype=np.float32, options={"rtol": 1e-4}),
    "single precision dense": Case((20, 30, 10), "dense", "dop853", exponent=-2, dtype=np.float32),
    "single precision rock": Case(SQUARE, "lanes", "rock", dtype=np.float32, options={"rtol": 1e-3}),
    # ---- tolerances and steps
    "small start lanes": Case(
        (3, 4, 3), "lanes", "dop853", exponent=-20, span=(0.0, 16.0), times=(2.0, 9.0, 16.0), options={"atol": None}
    ),
    "small start dense": Case(
        (4, 4, 4), "dense", exponent=-20, span=(0.0, 16.0), times=(2.0, 9.0, 16.0), options={"atol": None}
    ),
    "small start auto": Case(
        (4, 4, 4), "lanes", "auto", exponent=-20, span=(0.0, 32.0), times=(9.0, 32.0), options={"atol": None}
    ),
    **{
        f"small deep start {engine}": Case(
            (2, 3, 3, 3, 3, 2), engine, method, full, exponent=-200, record=PLAIN, options={"atol": None}
        )
        for engine, method in (("lanes", "tsit5"), ("dense", "rock"))
    },
    "zeros lanes": Case((3, 5, 4), "lanes", start=with_zeros, options={"atol": None}),
    "zeros dense": Case((3, 5, 4), "dense", "rock", start=with_zeros, options={"atol": None}),
    "tight": Case(SQUARE, "dense", "dop853", full, record=PLAIN, options={"rtol": 1e-12, "atol": 1e-14}),
    "loose": Case(SQUARE, "lanes", "bs3", full, record=PLAIN, options={"rtol": 1e-2, "atol": 1e-3}),
    "fixed steps lanes": Case(SQUARE, "lanes", HEUN, options={"step": 0.03125, "history": True}),
    "fixed steps dense": Case(SQUARE, "dense", HEUN, options={"step": 0.03}),
    "fixed steps dop853": Case(SQUARE, "lanes", "dop853", options={"step": 0.0625}),
    "tableau lanes": Case((3, 5, 4), "lanes", BOGACKI, options={"rtol": 1e-4}),
    "tableau dense": Case((3, 5, 4), "dense", BOGACKI, options={"rtol": 1e-4}),
    "history lanes": Case((5, 7, 6), "lanes", "dop853", exponent=0, options={"history": True}),
    "history dense": Case((5, 7, 6), "dense", "rock", exponent=0, options={"history": True}),
    "extended": Case(SQUARE, "lanes", then=5.5),
    # ---- ends
    "stop at gradient lanes": Case((3, 5, 4), "lanes", options={"stop": dln.Stop(grad_norm=0.125)}),
    "stop at loss dense": Case((3, 5, 4), "dense", "dop853", options={"stop": dln.Stop(loss=0.5)}),
    "stop at either rock": Case(SQUARE, "lanes", "rock", options={"stop": dln.Stop(grad_norm=0.125, loss=0.25)}),
    "few steps lanes": Case(SQUARE, "lanes", options={"max_steps": 7}),
    "few steps dense": Case(SQUARE, "dense", "rock", options={"max_steps": 3}),
    "not a number lanes": Case(SQUARE, "lanes", n=7, start=with_nan),
    "not a number dense": Case(SQUARE, "dense", "dop853", start=with_nan),
    "certified lanes": Case((3, 5, 4), "lanes", span=(0.0, 64.0), times=(1.0, 64.0), options={"certify": True}),
    "certified dense": Case(
        (3, 5, 4), "dense", "dop853", span=(0.0, 64.0), times=(1.0, 64.0), options={"certify": True}
    ),
    "certified rock": Case((3, 5, 4), "lanes", "rock", span=(0.0, 64.0), times=(1.0,), options={"certify": True}),
    # ---- stiff flows: records between long steps, and the change of method
    **{
        f"stiff {method} {engine}": Case(SQUARE, engine, method, **STIFF)
        for method in ("tsit5", "dop853", "rock", "auto")
        for engine in ENGINES
    },
    **{
        f"logistic stiff {engine}": Case(
            (3, 4, 2), engine, "auto", logistic, span=(0.0, 1024.0), times=(16.0, 1024.0), record=PLAIN
        )
        for engine in ENGINES
    },
    **{
        f"rkc2 alone {engine}": Case(SQUARE, engine, "rkc2", **(STIFF | {"record": REACHED})) for engine in ENGINES
    },
    # ---- choices: straight-line code for many small networks, engines by widths and method
    "many lanes": Case(SMALL, "lanes", n=4100, span=(0.0, 1.0), times=(0.25, 1.0)),
    "many decaying": Case(
        SMALL, "lanes", "bs3", full, n=4100, span=(0.0, 0.5), times=(0.5,), record=PLAIN,
        options={"weight_decay": 0.25, "rtol": 1e-3},
    ),
    "many stiff": Case(SMALL, "lanes", "rock", n=4100, span=(0.0, 1.0), times=(1.0,), options={"rtol": 1e-3}),
    "chosen for few entries": Case(SQUARE, "auto", start=single),
    "chosen for many stages": Case((8, 8, 8, 8, 8), "auto", "rock"),
    # ---- descents
    **{f"descent {engine}": Descent((5, 7, 3, 6), engine) for engine in ENGINES},
    **{
        f"descent {way} {engine}": Descent(SQUARE, engine, options={"momentum": 0.75, "weight_decay": 0.125} | options)
        for way, options in (
            ("heavy ball", {}), ("nesterov", {"nesterov": True}), ("rates", {"layer_rates": (0.5, 2.0, 1.0)})
        )
        for engine in ENGINES
    },
    **{
        f"descent {loss.__name__} {engine}": Descent((5, 4, 6, 3), engine, loss=loss, record=PLAIN, options=options)
        for loss, options in (
            (huber, {}), (regression, {"batch_size": 3, "rng": 1}),
            (softmax, {"batch_size": 4, "rng": 2, "momentum": 0.5}),
        )
        for engine in ENGINES
    },
    "descent of its own": Descent(
        SQUARE, "lanes", rate=dln.schedules.cosine([0.03125, 0.0625, 0.125], 40, warmup=5),
        options={"momentum": [0.0, 0.5, 0.75], "weight_decay": [0.25, 0.0, 0.125]},
    ),
    "descent single precision": Descent(SQUARE, "lanes", dtype=np.float32, options={"momentum": 0.5}),
    "descent diverges": Descent(SQUARE, "lanes", rate=[0.5, 1.0, 2.0], exponent=1, start=single),
    "descent stops": Descent(SQUARE, "dense", options={"stop": dln.Stop(loss=0.5)}),
    "descent extended": Descent(SQUARE, "lanes", then=21, options={"momentum": 0.5}),
    "many descents": Descent(SMALL, "lanes", n=4100, options={"momentum": 0.5}),
}  # fmt: skip


# ---- what passes through BLAS


@dataclass(frozen=True)
class Compared:
    """A flow whose results depend on the machine, and how far they may be from the recorded ones."""

    case: Case
    values: float  # relative to the largest of each array
    counts: float  # relative


COMPARED: dict[str, Compared] = {
    "reduced": Compared(Case((3, 40, 4), "reduced", exponent=-2, record=REACHED), 1e-9, 0.02),
    "wide": Compared(Case((64, 256, 10), "wide", n=2, exponent=-4, record=REACHED), 1e-9, 0.02),
    "krylov": Compared(
        Case((2, 120, 120, 2), "reduced", n=2, exponent=-3, record=REACHED, options={"rtol": 1e-5}), 1e-5, 0.02
    ),
}
