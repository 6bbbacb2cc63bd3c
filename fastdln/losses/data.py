"""Checks of what losses are made from: targets, and samples with their inputs."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fastdln.checks import real, reals
from fastdln.linalg import Floats

__all__ = ["decompose_inputs", "finite", "samples", "targets"]


def targets(name: str, values: ArrayLike) -> Floats:
    """One target, or n of them."""
    found = finite(name, values)
    if found.ndim not in (2, 3) or 0 in found.shape:
        raise ValueError(f"{name} has shape {found.shape}; expected (d_h, d_0) or (n, d_h, d_0)")
    return found


def decompose_inputs(X: Floats, rcond: float | None) -> tuple[Floats, Floats, Floats]:
    """Thin SVD X = P diag(S) Q', cut at the numerical rank."""
    P, s, Qt = np.linalg.svd(X, full_matrices=False)
    cut = max(X.shape) * np.finfo(float).eps if rcond is None else rcond
    if not 0 <= real("rcond", cut) < np.inf:
        raise ValueError(f"rcond must be at least 0 and finite, not {rcond!r}")
    rank = int((s > cut * s[0]).sum())
    return P[:, :rank], s[:rank], Qt[:rank]


def samples(X: ArrayLike, Y: ArrayLike, center: bool) -> tuple[Floats, Floats]:
    inputs, outputs = finite("X", X), finite("Y", Y)
    for name, array, width in (("X", inputs, "d_0"), ("Y", outputs, "d_h")):
        if array.ndim != 2 or 0 in array.shape:
            raise ValueError(f"{name} has shape {array.shape}; expected ({width}, m), one sample a column")
    if inputs.shape[1] != outputs.shape[1]:
        raise ValueError(
            f"X has shape {inputs.shape} and Y has shape {outputs.shape}; expected (d_0, m) and (d_h, m) "
            f"with one sample a column (transpose arrays that hold one sample a row)"
        )
    if center:
        inputs = inputs - inputs.mean(axis=1, keepdims=True)
        outputs = outputs - outputs.mean(axis=1, keepdims=True)
    return inputs, outputs


def finite(name: str, values: ArrayLike) -> Floats:
    array = reals(name, values)
    bad = ~np.isfinite(array)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"{name} must be finite, but {name}[{', '.join(map(str, first))}] = {array[first]}")
    return np.array(array, dtype=np.float64, order="C")
