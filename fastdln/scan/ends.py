"""What recorded curves end with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["last_of"]


def last_of(curves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the last number of each curve: that of its last record, as cells may have fewer than others.

    Parameters
    ----------
    curves : ndarray, shape (..., n_t)
        The curves; NaN where there is no record.

    Returns
    -------
    ndarray, shape (...)
        NaN for a curve without a number.
    """
    there = np.isfinite(curves)
    last = curves.shape[-1] - 1 - there[..., ::-1].argmax(axis=-1)
    found: NDArray[np.float64] = np.take_along_axis(curves, last[..., None], axis=-1)[..., 0]
    return found
