"""The kinds of a scan file's targets, losses and starts, as msgspec reads them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

__all__ = [
    "LOSSES",
    "STARTS",
    "TARGETS",
    "Aligned",
    "Balanced",
    "Count",
    "Data",
    "Decoupled",
    "DeltaBalanced",
    "Exponential",
    "FromFile",
    "Gaussian",
    "Huber",
    "Identity",
    "IdentityLayers",
    "LambdaBalanced",
    "LayerValues",
    "Logistic",
    "Masked",
    "MeanSquare",
    "Natural",
    "Network",
    "Nonnegative",
    "Orthogonal",
    "Plane",
    "Positive",
    "Power",
    "PseudoHuber",
    "Random",
    "Sampled",
    "Scaled",
    "Seed",
    "Sensing",
    "SingularValues",
    "Softmax",
    "Squared",
    "Strict",
    "Uniform",
]

Positive = Annotated[float, Meta(gt=0)]
Nonnegative = Annotated[float, Meta(ge=0)]
Natural = Annotated[int, Meta(ge=0, le=2**53)]
Count = Annotated[int, Meta(ge=1, le=2**53)]  # kernels count in float64
Seed = Annotated[int, Meta(ge=0)]
Numbers = Annotated[tuple[float, ...], Meta(min_length=1)]
Share = Annotated[float, Meta(gt=0, lt=1)]

MOST_WIDTHS = 1024
"""Of a network: the code that is compiled for it grows with its depth."""


class Strict(Struct, forbid_unknown_fields=True, frozen=True):
    """A table of the file: other keys are errors."""


class Network(Strict, frozen=True):
    """``[network]``."""

    widths: Annotated[tuple[Count, ...], Meta(min_length=2, max_length=MOST_WIDTHS)]


class SingularValues(Strict, tag="singular_values", tag_field="kind", frozen=True):
    """A target with given singular values."""

    values: Annotated[tuple[Nonnegative, ...], Meta(min_length=1)]
    rng: Seed | None = None


class Data(Strict, tag="data", tag_field="kind", frozen=True):
    """A target from data in files."""

    form: Literal["whitened", "correlation", "regression"] | None = None
    path: str | None = None
    X: str = "X"
    Y: str = "Y"
    center: bool = False
    samples: Literal["columns", "rows"] = "columns"
    allow_outside: bool = False


class Identity(Strict, tag="identity", tag_field="kind", frozen=True):
    """A multiple of the identity."""

    scale: Positive = 1.0


class Random(Strict, tag="random", tag_field="kind", frozen=True):
    """A Gaussian target."""

    scale: Positive = 1.0
    per: Literal["trajectory", "cell"] = "trajectory"
    rank: Count | None = None


class Squared(Strict, tag="quadratic", tag_field="kind", frozen=True):
    """`fastdln.Quadratic`, or what the form of the data says."""


class FromFile(Strict, frozen=True):
    """What losses and starts have in common that a file may tell."""

    path: str | None = None
    allow_outside: bool = False


class Masked(FromFile, tag="masked", tag_field="kind", frozen=True):
    """`fastdln.Masked`."""

    observed: Count | Share | None = None


class Sensing(FromFile, tag="sensing", tag_field="kind", frozen=True):
    """`fastdln.Sensing`."""

    measurements: Count | None = None


class Power(Strict, tag="power", tag_field="kind", frozen=True):
    """`fastdln.Power`."""

    p: Annotated[float, Meta(gt=1)]


class Huber(Strict, tag="huber", tag_field="kind", frozen=True):
    """`fastdln.Huber`."""

    delta: Positive


class PseudoHuber(Strict, tag="pseudo_huber", tag_field="kind", frozen=True):
    """`fastdln.PseudoHuber`."""

    delta: Positive


class Sampled(Strict, frozen=True):
    """What losses of data have in common."""


class MeanSquare(Sampled, tag="regression", tag_field="kind", frozen=True):
    """`fastdln.Regression`."""


class Logistic(Sampled, tag="logistic", tag_field="kind", frozen=True):
    """`fastdln.Logistic`."""


class Exponential(Sampled, tag="exponential", tag_field="kind", frozen=True):
    """`fastdln.Exponential`."""


class Softmax(Sampled, tag="softmax", tag_field="kind", frozen=True):
    """`fastdln.SoftmaxCrossEntropy`."""


class Scaled(Strict, frozen=True):
    """What initial conditions with a scale have in common."""

    scale: Nonnegative


class Gaussian(Scaled, tag="gaussian", tag_field="kind", frozen=True):
    """`fastdln.inits.gaussian`."""


class Uniform(Scaled, tag="uniform", tag_field="kind", frozen=True):
    """`fastdln.inits.uniform`."""


class IdentityLayers(Scaled, tag="identity", tag_field="kind", frozen=True):
    """`fastdln.inits.identity`."""


class Balanced(Scaled, tag="balanced", tag_field="kind", frozen=True):
    """`fastdln.inits.balanced`."""


class Orthogonal(Strict, tag="orthogonal", tag_field="kind", frozen=True):
    """`fastdln.inits.orthogonal`."""

    gain: Nonnegative


class DeltaBalanced(Strict, tag="delta_balanced", tag_field="kind", frozen=True):
    """`fastdln.inits.delta_balanced`."""

    delta: Nonnegative


class LambdaBalanced(Scaled, tag="lambda_balanced", tag_field="kind", frozen=True):
    """`fastdln.inits.lambda_balanced`."""

    lambdas: Numbers


class LayerValues(Strict, frozen=True):
    """What initial conditions given by the singular values of the layers have in common."""

    layer_values: float | Annotated[tuple[float | Numbers, ...], Meta(min_length=1)]


class Aligned(LayerValues, tag="aligned", tag_field="kind", frozen=True):
    """`fastdln.inits.aligned`."""


class Decoupled(LayerValues, tag="decoupled", tag_field="kind", frozen=True):
    """`fastdln.inits.decoupled`."""


class Plane(FromFile, tag="plane", tag_field="kind", frozen=True, kw_only=True):
    """`fastdln.inits.plane`."""

    modes: tuple[Natural, Natural] | None = None
    # what may differ within a batch stands last: cells that differ in it alone are neighbours
    a: float
    b: float


TARGETS = (SingularValues, Data, Identity, Random)
"""The kinds of ``[target]``."""

LOSSES = (Squared, Masked, Sensing, Power, Huber, PseudoHuber, MeanSquare, Logistic, Exponential, Softmax)
"""The kinds of ``[loss]``."""

STARTS = (
    Gaussian,
    Uniform,
    IdentityLayers,
    Balanced,
    Orthogonal,
    DeltaBalanced,
    LambdaBalanced,
    Aligned,
    Decoupled,
    Plane,
)
"""The kinds of ``[init]``."""
