"""The largest learning rates at which gradient descent stays at a minimum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from fastdln.checked import checked
from fastdln.checks import boolean, not_negative, real, shown
from fastdln.losses import Loss
from fastdln.network import check_layer_rates, check_weights
from fastdln.theory import hessian

__all__ = ["step_limit"]


@checked
def step_limit(
    weights: Sequence[ArrayLike],
    loss: Loss,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    layer_rates: Sequence[float] | None = None,
) -> float:
    """Return the learning rate below which descent is stable at a minimum.

    Near a minimum the updates are linear: with the eigenvalues of the Hessian H for lambda, gradient descent and the
    heavy ball are stable iff  eta lambda < 2 (1 + beta), Nesterov's method iff  eta lambda < 2 (1 + beta) / (1 + 2
    beta).  Layer rates D turn H into D^(1/2) H D^(1/2), and weight decay mu adds itself to lambda (survey, arXiv
    2511.10362, section on discrete updates).  The minima of one product differ in this: the balanced ones have the
    largest limit, `rates.step_limit`.

    Parameters
    ----------
    weights : tuple of h arrays, shape (d_i, d_{i-1})
        The minimum, of one network.
    loss : Loss
        The loss, with one target.
    momentum : float
        beta, from 0 to below 1.
    nesterov : bool
        Whether the gradient is taken ahead, at W + beta v.
    weight_decay : float
        mu, as in `fastdln.descend`: layer rates do not multiply it.
    layer_rates : sequence of h floats, optional
        What multiplies the learning rate in each layer; by default 1.

    Returns
    -------
    float
        The limit; infinite where no eigenvalue is positive.

    Raises
    ------
    ValueError
        If an argument is out of range, or weights or loss have batch axes.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> minimum, loss = (np.array([[2.0]]), np.array([[2.0]])), Quadratic([[4.0]])
    >>> step_limit(minimum, loss)
    0.25
    >>> step_limit((np.array([[4.0]]), np.array([[1.0]])), loss)
    0.11764705882352941
    """
    net, arrays = check_weights(weights)
    if arrays[0].ndim > 2 or loss.batch_shape:
        raise ValueError(f"step_limit is for one network and target, not for {arrays[0].shape[:-2]} and {loss!r}")
    beta, ahead = real("momentum", momentum), boolean("nesterov", nesterov)
    if not 0 <= beta < 1:
        raise ValueError(f"momentum must be at least 0 and below 1, not {shown(momentum)}")
    decay = not_negative("weight_decay", weight_decay)
    if layer_rates is None:
        largest = hessian.spectrum(arrays, loss, k=1)[-1] if net.n_parameters > 1 else hessian.spectrum(arrays, loss)[0]
    else:
        rates = np.asarray(check_layer_rates(layer_rates, net.depth))
        roots = np.repeat(np.sqrt(rates), [rows * columns for rows, columns in net.shapes])
        H = hessian.matrix(tuple(W.astype(np.float64) for W in arrays), loss)
        largest = np.linalg.eigvalsh(roots[:, None] * H * roots)[-1]
    sharpness = float(largest) + decay
    factor = (1 + beta) / (1 + 2 * beta) if ahead else 1 + beta
    return 2 * factor / sharpness if sharpness > 0 else np.inf
