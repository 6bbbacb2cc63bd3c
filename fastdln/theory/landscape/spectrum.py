"""The modes of one landscape, grouped by equal singular values: what every question about critical points rests on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fastdln.linalg import Floats
from fastdln.losses import Loss
from fastdln.network import Network, Weights
from fastdln.theory.landscape.parts import size
from fastdln.theory.whitening import Whitened, whiten

__all__ = ["RTOL", "Spectrum", "check_sizes", "check_tolerance", "in_units", "open_landscape", "spectrum"]

# Singular values of targets in random bases, and of whitened data, are right to about 1e-15 of the largest.
RTOL = 1e-12
# Where the norms of the layers multiply to more, their products may overflow.
_LARGEST = 1e150


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The modes of a target; those of one *level* have the same positive singular value."""

    U: Floats
    """Output directions, shape (d_h, k), k = min(d_0, d_h)."""
    sigma: Floats
    """Singular values, the largest first, shape (k,)."""
    V: Floats
    """Input directions, shape (d_0, k)."""
    levels: tuple[range, ...]
    """The modes of each level, the largest value first; modes of value zero are in none."""

    @property
    def rank(self) -> int:
        """The number of modes with a positive value."""
        return self.levels[-1].stop if self.levels else 0

    @cached_property
    def multiplicities(self) -> NDArray[np.intp]:
        """The number of modes in each level."""
        return np.array([len(level) for level in self.levels], dtype=np.intp)

    def leading(self, count: int) -> NDArray[np.intp]:
        """How many modes of each level are among the `count` leading ones."""
        return np.array([min(max(count - level.start, 0), len(level)) for level in self.levels], dtype=np.intp)


def spectrum(white: Whitened, rtol: float) -> Spectrum:
    """Group the modes of a target: values closer than `rtol` times the largest are equal, those below it zero."""
    U, values, V = white.loss.modes
    cut = rtol * values[0]
    positive = int((values > cut).sum())
    steps = [j for j in range(1, positive) if values[j - 1] - values[j] > cut]
    bounds = [0, *steps, positive] if positive else []
    return Spectrum(U, values, V, tuple(range(start, stop) for start, stop in pairwise(bounds)))


def open_landscape(net: Network, loss: Loss, what: str, rtol: float) -> tuple[Whitened, Spectrum]:
    """Validate the arguments of `what`, a function of a network and a loss with one target."""
    check_tolerance("rtol", rtol)
    white = whiten(loss, what)
    if loss.shape != (net.widths[-1], net.widths[0]):
        raise ValueError(
            f"the target of the loss has shape {loss.shape}; {net} has products of shape "
            f"(d_h, d_0) = {(net.widths[-1], net.widths[0])}"
        )
    return white, spectrum(white, rtol)


def check_tolerance(name: str, value: float) -> None:
    """Refuse what is not a relative tolerance."""
    if not 0 < value <= 0.01:
        raise ValueError(f"{name} must be a relative tolerance in (0, 0.01], not {value!r}")


def in_units(layers: Weights, Sigma: Floats) -> tuple[Weights, Floats, Floats]:
    """Scale to ||Sigma||_2 = 1, and tell the unit of the weights, ||Sigma||_2^(1/h).

    Where Sigma = 0 the unit is the norm of the largest layer of each point (1 if all are zero).
    """
    top = float(np.linalg.norm(Sigma, 2))
    if top > 0:
        unit = np.asarray(top ** (1 / len(layers)))
        return tuple(W / unit for W in layers), Sigma / top, unit
    largest = np.max([size(W) for W in layers], axis=0)
    unit = np.where(largest > 0, largest, 1)[..., None, None]
    return tuple(W / unit for W in layers), Sigma, unit


def check_sizes(layers: Weights) -> None:
    """Refuse weights that are not finite or so large that products of layers, in units of `in_units`, overflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        good = np.asarray(np.prod([np.maximum(size(W), 1) for W in layers], axis=0) < _LARGEST)
    if not good.all():
        k = tuple(map(int, np.argwhere(~good)[0]))
        where = f" at index {k} of the batch" if k else ""
        raise ValueError(f"weights must be finite, and products of layers must not overflow; those{where} break this")
