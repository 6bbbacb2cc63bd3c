"""How the loss approaches its least value near a minimum, and which steps of descent are stable there."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from fastdln.checked import checked
from fastdln.field import product, rhs
from fastdln.linalg import Floats
from fastdln.losses import Loss, quadratic_of
from fastdln.network import Network, Weights, check_weights
from fastdln.theory import hessian
from fastdln.theory.invariants import imbalance
from fastdln.theory.whitening import one_target

__all__ = ["LocalRate", "local", "step_limit"]


@dataclass(frozen=True)
class LocalRate:
    """How trajectories that end in a minimum approach it.

    Parameters
    ----------
    exponent : float
        rho, the least positive eigenvalue of the Hessian, 0 where there is none; also ``float(rate)``.
    tail : {"exponential", "algebraic", "undetermined"}
        "exponential": L - L_min ~ exp(-2 rho t). "algebraic": L - L_min ~ t^(-power), whatever rho. "undetermined":
        the Hessian does not tell.
    power : float
        h/(h-1) where the tail is algebraic, else NaN.
    """

    exponent: float
    tail: Literal["exponential", "algebraic", "undetermined"]
    power: float = np.nan

    def __float__(self) -> float:
        return self.exponent


@checked
def local(weights: Sequence[ArrayLike], loss: Loss, tol: float = 1e-6) -> LocalRate:
    """Find the exponent with which trajectories approach a global minimum.

    Where the product has the largest rank r_max that the network allows, or every change of the product is possible to
    first order, the minima near by form a manifold on whose normal space the Hessian is positive: the tail is
    exponential. At balanced minima rho is the least positive entry of `hessian.minimum_spectrum`, for example
    h sigma_r^(2-2/h) if d_0 = d_h = r_max = r. Where the rank of the target is below r_max, the network has directions
    with nothing to learn: balanced, they fade like s' = -s^(2h-1), and the tail is algebraic, L - L_min ~ t^(-h/(h-1));
    generic imbalance makes it exponential (survey, arXiv 2511.10362, section on convergence).

    Parameters
    ----------
    weights : tuple of h arrays, shape (d_i, d_{i-1})
        A global minimum, of one network, of the loss over all networks of these widths.
    loss : Loss
        A quadratic loss with one target.
    tol : float
        How large the gradient may be relative to its factors.

    Returns
    -------
    LocalRate
        The exponent, and the kind of the tail.

    Raises
    ------
    ValueError
        If the weights are not at a global minimum, have batch axes, or the loss several targets.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> local((np.diag([2.0, 1.0]), np.diag([2.0, 1.0])), Quadratic(np.diag([4.0, 1.0])))
    LocalRate(exponent=2.0, tail='exponential', power=nan)
    >>> local((np.zeros((1, 1)), np.zeros((1, 1))), Quadratic([[0.0]]))
    LocalRate(exponent=0.0, tail='algebraic', power=2.0)
    """
    form = one_target(loss, "local")
    net, arrays = check_weights(weights)
    if arrays[0].ndim > 2:
        raise ValueError(f"local is about one network; weights has the batch axes {arrays[0].shape[:-2]}")
    arrays = tuple(W.astype(np.float64, copy=False) for W in arrays)
    loss.check_product((net.widths[-1], net.widths[0]))
    values = hessian.spectrum(arrays, loss)
    sigma = np.asarray(np.linalg.svd(form.whitened, compute_uv=False), dtype=np.float64)
    _require_minimum(net, arrays, loss, sigma, values, tol)

    h, d_h, d_0 = net.depth, net.widths[-1], net.widths[0] if form.input_gram is None else int(form.rank)
    r_max, rank = min(net.rank, d_0), int((sigma > tol * sigma[0]).sum())
    if h > 1 and rank >= r_max:
        tied = np.abs(sigma - sigma[r_max - 1]) <= tol * sigma[0]
        learned = int(tied[:r_max].sum())
        positive = r_max * (d_0 + d_h - r_max) - learned * int(tied[r_max:].sum())
        return LocalRate(float(values[-positive]), "exponential")
    found = values[values > tol * max(values[-1], 0.0)]
    exponent = float(found[0]) if len(found) else 0.0
    if len(found) == d_0 * d_h:
        return LocalRate(exponent, "exponential")
    if (imbalance(arrays) <= tol * max(np.linalg.norm(W, 2) ** 2 for W in arrays)).all():
        return LocalRate(exponent, "algebraic", h / (h - 1))
    return LocalRate(exponent, "undetermined")


@checked
def step_limit(loss: Loss, depth: int) -> float:
    """Return the largest stable learning rate of gradient descent at a balanced minimum.

    It is 2 over the largest eigenvalue of the Hessian there, which is h sigma_1^(2-2/h) for whitened data, and for
    unwhitened ones, with the input Gram matrix S and the product W = target, the norm of

        sum_{i=1}^h ||W||_2^(2(h-i)/h) S^(1/2) (W' W)^((i-1)/h) S^(1/2).

    No other minimum of product W has a smaller one for whitened data (survey, arXiv 2511.10362, section on discrete
    updates).

    Parameters
    ----------
    loss : Loss
        A quadratic loss with one target, whose rank the hidden widths admit.
    depth : int
        Number of layers h, at least 1.

    Returns
    -------
    float
        The learning rate below which the minimum is stable; infinite where the Hessian is zero.

    Raises
    ------
    ValueError
        If the loss has several targets, or `depth` is less than 1.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> step_limit(Quadratic([[4.0]]), depth=2)
    0.25
    """
    form = one_target(loss, "step_limit")
    h = operator.index(depth)
    if h < 1:
        raise ValueError(f"depth must be an integer of at least 1, not {depth!r}")
    _, sigma, V = form.modes
    root = np.eye(loss.shape[1]) if form.input_root is None else form.input_root
    rooted = root @ V
    total = sigma[0] ** (2 - 2 / h) * (root @ root)
    for i in range(2, h + 1):
        total = total + sigma[0] ** (2 * (h - i) / h) * (rooted * sigma ** (2 * (i - 1) / h)) @ rooted.T
    sharpness = float(np.linalg.norm(total, 2))
    return 2 / sharpness if sharpness > 0 else np.inf


def _require_minimum(net: Network, arrays: Weights, loss: Loss, sigma: Floats, values: Floats, tol: float) -> None:
    """Refuse weights that are not at a global minimum over all networks of the same widths."""
    root = quadratic_of(loss, "local").input_root
    norms = np.array([np.linalg.norm(W, 2) for W in arrays])
    unit = sigma[0] * (1.0 if root is None else np.linalg.norm(root, 2))
    unit = unit or norms.max() ** net.depth or 1.0
    norms = np.maximum(norms, unit ** (1 / net.depth))
    gradient = max(np.linalg.norm(F) / np.delete(norms, i).prod() for i, F in enumerate(rhs(arrays, loss))) / unit
    if not gradient <= tol:
        raise ValueError(
            f"weights must be at a global minimum, but the gradient is {gradient:.2g} relative to its factors, above "
            f"tol = {tol:.2g}"
        )
    found = np.linalg.svd(product(arrays) @ (np.eye(net.widths[0]) if root is None else root))[1]
    wanted = np.where(np.arange(len(sigma)) < net.rank, sigma, 0.0)
    learned = np.abs(found - wanted) <= np.where(wanted > tol * sigma[0], 1e-3 * wanted, np.inf)
    if not learned.all() or values[0] < -10 * tol * np.abs(values).max():
        raise ValueError(
            f"weights must be at a global minimum, whose product has the singular values {wanted.round(6).tolist()}, "
            f"but they are at a saddle, where it has {found.round(6).tolist()}"
        )
