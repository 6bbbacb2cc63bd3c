"""A few eigenvalues at both ends of the spectrum of a large symmetric operator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastdln.linalg import Floats

__all__ = ["extreme_eigenvalues"]

MOST_STEPS = 1000
MOST_VECTORS, KEPT = 40, 8  # of a space, and of those at each end that a restart keeps; times k + 2

Rows = Callable[[Floats], Floats]


def extreme_eigenvalues(multiply: Rows, project: Rows, n: int, k: int, tol: float = 1e-10) -> Floats:
    """Compute the k least and the k largest eigenvalues of an operator, on the range of a projection.

    Block Lanczos with full orthogonalization and thick restarts: the space grows by the residuals of the wanted Ritz
    vectors of both ends, which it thus approximates at once. The blocks are wider than k, so that eigenvalues of any
    multiplicity are found k times; every new vector is projected, so that rounding cannot bring back what is left out.

    Parameters
    ----------
    multiply : callable
        H, applied to vectors (m, n), one a row.
    project : callable
        An orthogonal projection that commutes with H, applied likewise.
    n : int
        The dimension.
    k : int
        How many eigenvalues of each end.
    tol : float
        Residual, relative to the norm of H, at which an eigenvalue is found.

    Returns
    -------
    ndarray, shape (2 k,)
        The eigenvalues, the least first.
    """
    side = k + 2
    space = images = np.zeros((0, n))
    small = np.zeros((0, 0))  # H on the space
    fresh = np.random.default_rng(0).standard_normal((2 * side, n))
    for _ in range(MOST_STEPS):
        fresh = _orthonormal(project(fresh), space)
        space, images = np.concatenate([space, fresh]), np.concatenate([images, multiply(fresh)])
        corner = images @ fresh.T
        small = np.concatenate([np.concatenate([small, corner[: len(small)]], axis=1), corner.T])
        values, vectors = np.linalg.eigh(small)
        wanted = np.r_[:side, len(values) - side : len(values)]
        norm = np.abs(values).max()
        residuals = vectors[:, wanted].T @ images - values[wanted, None] * (vectors[:, wanted].T @ space)
        sizes = np.linalg.norm(residuals, axis=1)
        if (sizes[np.r_[:k, len(sizes) - k : len(sizes)]] <= tol * norm).all():
            return np.asarray(values[np.r_[:k, len(values) - k : len(values)]])
        fresh = residuals[sizes > 0.1 * tol * norm]
        if len(space) + len(fresh) > MOST_VECTORS * side:
            kept = np.r_[: KEPT * side, len(values) - KEPT * side : len(values)]
            space, images, small = vectors[:, kept].T @ space, vectors[:, kept].T @ images, np.diag(values[kept])
    raise RuntimeError(
        f"the {k} extreme eigenvalues were not found to {tol} of the norm in {MOST_STEPS} steps: they are clustered; "
        "ask for the whole spectrum (k=None), or for fewer"
    )


def _orthonormal(rows: Floats, space: Floats) -> Floats:
    """An orthonormal basis of what rows add to a space; directions that add nothing but rounding are dropped."""
    sizes = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows[sizes[:, 0] > 0] / sizes[sizes[:, 0] > 0]
    for _ in range(2):
        rows = rows - (rows @ space.T) @ space
        _, values, basis = np.linalg.svd(rows, full_matrices=False)
        rows = basis[values > 1e-8]
    return rows
