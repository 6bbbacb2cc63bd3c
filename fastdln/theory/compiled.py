"""Batches in the form that compiled evaluations take, and which networks they are for.

Whether a network is evaluated over lanes depends on its widths alone, never on the batch: nor do results. A single
network gains nothing from lanes, and at the largest widths that they take it loses a few times against BLAS; batches
gain from eight networks on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.kernels.products.rows import CUSTOM
from fastdln.kernels.products.tangent import Evaluation
from fastdln.losses import Loss, quadratic_of

__all__ = ["constants", "rows", "suits"]

# Entries of four networks in f64 up to which lanes are taken: they stay in a second-level cache (widths of about 50).
LANES_BYTES = 1 << 20


def suits(evaluation: Evaluation) -> bool:
    """Tell whether a network is small enough for lanes, and its loss has functions of ours only."""
    return evaluation.map != CUSTOM and 4 * 8 * sum(evaluation.sizes) <= LANES_BYTES


def rows(arrays: Iterable[NDArray[Any]], batch: tuple[int, ...], dtype: np.dtype[Any]) -> list[NDArray[Any]]:
    """Bring matrices (..., rows, columns) to (n, rows, columns), or to (1, rows, columns) where they have no batch."""
    found = []
    for A in arrays:
        if A.ndim > 2:
            A = np.broadcast_to(A, (*batch, *A.shape[-2:]))
        found.append(np.ascontiguousarray(A.reshape(-1, *A.shape[-2:]), dtype))
    return found


def constants(evaluation: Evaluation, loss: Loss) -> list[NDArray[Any]]:
    """What an evaluation needs to know of the loss."""
    if loss.mapped is not None:
        named = loss.mapped.constants()
    else:
        form, identity = quadratic_of(loss, "a compiled evaluation"), np.eye(loss.shape[1])
        named = {
            "cross": -form.cross,
            "gram": identity if form.input_gram is None else form.input_gram,
            "root": identity if form.input_root is None else form.input_root,
            "whitened": form.whitened,
        }
    return [named[name] for name in evaluation.constants]
