"""No trajectory escapes: a bound of every layer for all later times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.checked import checked
from fastdln.field import balance, product
from fastdln.linalg import spectral
from fastdln.losses import Loss, quadratic_of
from fastdln.network import check_weights

__all__ = ["norm_bound"]


@checked
def norm_bound(weights: Sequence[ArrayLike], loss: Loss) -> NDArray[Any]:
    """Bound the spectral norm of every layer for all later times.

    With nu = ||Sigma||_2 + ||Sigma - W(0)||_F and c = max(0, max_i lambda_max(C_i)),

        ||W_i(t)||_2^2 <= nu^(2/h) + (h-1) c + sum_{k=i}^{h-1} max(0, lambda_max(-C_k)),

    so that no trajectory escapes, whatever its start. For unwhitened inputs the residual is measured in
    whitened ones and nu is divided by the least singular value of the root of the input Gram matrix.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The start of the trajectories.
    loss : Loss
        The loss.

    Returns
    -------
    ndarray, shape (..., h)
        Upper bounds of ||W_i(t)||_2 for t >= 0, without weight decay and with equal learning rates; infinite
        where the inputs do not span R^{d_0}.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> norm_bound((np.array([[0.0]]), np.array([[0.0]])), Quadratic([[8.0]]))
    array([4., 4.])
    """
    net, arrays = check_weights(weights)
    nu = _product_bound(product(arrays), loss)
    eigenvalues = [np.linalg.eigvalsh(C) for C in balance(arrays)]
    zero = np.zeros(arrays[0].shape[:-2])
    growth = [np.maximum(values[..., -1], 0) for values in eigenvalues]
    decline = [np.maximum(-values[..., 0], 0) for values in eigenvalues]
    common = nu ** (2 / net.depth) + (net.depth - 1) * np.max([zero, *growth], axis=0)
    squares: NDArray[Any] = np.stack([common + sum(decline[i:], zero) for i in range(net.depth)], axis=-1)
    return np.asarray(np.sqrt(squares))


def _product_bound(W: NDArray[Any], loss: Loss) -> NDArray[np.float64]:
    """The bound nu of ||W(t)||_2 for all matrices at which the loss is at most that of W."""
    form = quadratic_of(loss, "a bound of the product")
    residual = np.sqrt(2 * form.excess(W))
    nu = np.asarray(spectral(form.whitened) + residual)
    if form.input_root is None:
        return nu
    if form.rank < loss.shape[1]:
        return np.full_like(nu, np.inf)
    return np.asarray(nu / np.linalg.svd(form.input_root, compute_uv=False)[-1])
