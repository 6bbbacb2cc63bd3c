"""Orthonormal bases of matrices whose rows are of very different sizes."""

from __future__ import annotations

import numpy as np

from fastdln.linalg import Floats

__all__ = ["graded_basis"]


def graded_basis(log_size: Floats, rows: Floats) -> Floats:
    """Find orthonormal columns that span those of diag(exp(log_size)) rows, whatever the sizes.

    Householder's method with complete pivoting is accurate for each row relative to its own size (A. J. Cox & N. J.
    Higham, in Numerical Analysis 1997, 57-73). Here it works on the rows without their sizes, whose ratios to that of
    the pivot are all it needs, so that nothing overflows. What cancels in a row down to its rounding is taken for zero:
    otherwise a large size would blow it up.

    Parameters
    ----------
    log_size : ndarray, shape (n, N)
        Logarithms of the sizes.
    rows : ndarray, shape (n, N, m)
        The rows, N >= m, of rank m together.

    Returns
    -------
    ndarray, shape (n, N, m)
        The columns of each matrix.
    """
    rows = rows.copy()
    batch = np.arange(len(rows))
    rounding = 4 * rows.shape[1] * np.finfo(float).eps * np.abs(rows).max(axis=-1, keepdims=True)
    open_rows, open_columns = np.ones(rows.shape[:2], bool), np.ones(rows.shape[::2], bool)
    reflectors = []
    for _ in range(rows.shape[-1]):
        with np.errstate(divide="ignore"):
            log_entries = log_size[..., None] + np.log(np.abs(rows))
        log_entries[~(open_rows[..., None] & open_columns[:, None])] = -np.inf
        pivot, column = np.divmod(log_entries.reshape(len(rows), -1).argmax(axis=-1), rows.shape[-1])
        # Entries relative to the pivot, hence at most 1: by two factors, neither of which overflows.
        half = np.exp(np.minimum((log_size - log_size[batch, pivot][:, None]) / 2, 300))[..., None]
        relative = half * (rows / rows[batch, pivot, column][:, None, None]) * half * open_rows[..., None]
        v = relative[batch, :, column]
        head = v[batch, pivot]
        norm = np.linalg.norm(v, axis=-1)
        v[batch, pivot] += head * norm
        factor = 1 / (norm * (norm + 1))
        reflectors.append((v, factor, pivot))
        open_rows[batch, pivot] = False
        open_columns[batch, column] = False
        shift = factor[:, None] * np.einsum("ni,nij->nj", v, relative) * open_columns
        rows -= rows[batch, :, column][..., None] * shift[:, None]
        rows[np.abs(rows) <= rounding] = 0
    basis = np.zeros_like(rows)
    for k, (v, factor, pivot) in reversed(list(enumerate(reflectors))):
        basis[batch, pivot, k] = 1
        basis -= (factor[:, None] * v)[..., None] * np.einsum("ni,nij->nj", v, basis)[:, None]
    return basis
