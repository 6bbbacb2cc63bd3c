"""Normal forms: of a critical point under gauges, of a critical value, and of a fiber."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from fastdln.checked import checked
from fastdln.field import product
from fastdln.linalg import Floats, spectral, transpose
from fastdln.losses import Loss
from fastdln.network import Network, Weights, check_weights
from fastdln.theory.quotient.gauges import transform
from fastdln.theory.residual import TOLERANCE, Residual, residual
from fastdln.theory.whitening import whiten

__all__ = ["NormalForm", "canonical", "minimal_norm", "normal_form"]


@dataclass(frozen=True)
class NormalForm:
    """A critical point brought to block diagonal form by a gauge.

    Parameters
    ----------
    weights : tuple of h ndarrays, shape (d_i, d_{i-1})
        The transformed weights: blockdiag(D^{1/h}, Z_i) in the hidden layers, [D^{1/h} V'; Z_1] first and
        [U D^{1/h}, Z_h] last.
    gauges : tuple of h-1 ndarrays, shape (d_i, d_i)
        The gauge P that brought them there.
    U : ndarray, shape (d_h, r)
        Left singular vectors of the product.
    strengths : ndarray, shape (r,)
        The singular values D of the product, the largest first: those of the learned modes.
    V : ndarray, shape (d_0, r)
        Right singular vectors of the product; the largest entry of each is positive.
    residual : tuple of h ndarrays
        The residual blocks: Z_1 of shape (d_1 - r, d_0), Z_h of shape (d_h, d_{h-1} - r), and between them Z_i of shape
        (d_i - r, d_{i-1} - r). They multiply to zero.
    """

    weights: Weights
    gauges: tuple[Floats, ...]
    U: Floats
    strengths: Floats
    V: Floats
    residual: Weights

    @property
    def rank(self) -> int:
        """The rank r of the product, the number of learned modes."""
        return len(self.strengths)


@checked
def normal_form(weights: Sequence[ArrayLike], loss: Loss, tol: float = TOLERANCE) -> NormalForm:
    """Bring a critical point to block diagonal form by a gauge.

    With the product W = U D V' of rank r, the columns of B_i = [W_i ... W_1 V D^{-i/h}, N_i], where N_i is an
    orthonormal basis of the null space of U' W_h ... W_{i+1}, are a basis of layer i, and P_i = B_i^{-1} is the gauge.
    Layers that carry modes at very different sizes, or hardly transmit them, give gauges of large condition number.

    Parameters
    ----------
    weights : tuple of h arrays, shape (d_i, d_{i-1})
        One critical point.
    loss : Loss
        The loss, with one target. For unwhitened inputs with root Q of their Gram matrix, the product is W Q and the
        first layer becomes [D^{1/h} V'; Z_1] Q^{-1}.
    tol : float
        How large a gradient, relative to the sizes of the layers and the target, is that of a critical point, and
        which singular values of the product are zero.

    Returns
    -------
    NormalForm
        The transformed weights, the gauge, and the residual blocks.

    Raises
    ------
    TypeError
        If the inputs of the loss cannot be whitened.
    ValueError
        If the point is not critical, or the rank of its product is undecided.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> loss = Quadratic(np.diag([9.0, 4.0, 0.0]))
    >>> form = normal_form((np.diag([1.0, 0.0, 0.0]), np.diag([9.0, 0.0, 5.0])), loss)
    >>> form.rank, abs(form.weights[1]).round(12).tolist()
    (1, [[3.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 5.0]])
    """
    split = residual(weights, loss, "normal_form", tol)
    gauges = _gauges(split)
    first, *others = split.blocks
    *below, last = first @ split.bases[0].T, *others
    return NormalForm(
        weights=transform(weights, gauges),
        gauges=gauges,
        U=split.U,
        strengths=split.strengths,
        V=split.V,
        residual=(*below, split.bases[-1] @ last),
    )


@checked
def canonical(
    weights: Sequence[ArrayLike], loss: Loss, tol: float = TOLERANCE
) -> tuple[Weights, tuple[Floats, ...] | None]:
    """Find the representative of a critical value: the normal form whose residual blocks are zero.

    It is the balanced point with the same product W = U D V', W_1 = [D^{1/h} V'; 0], W_i = blockdiag(D^{1/h}, 0),
    W_h = [U D^{1/h}, 0]: unique up to the signs and the order of the modes, and to rotations among equal singular
    values. A gauge reaches it if and only if every layer, hence every partial product, has the rank r of the product.
    Other critical points are in its fiber, but in another orbit.

    Parameters
    ----------
    weights : tuple of h arrays, shape (d_i, d_{i-1})
        One critical point.
    loss : Loss
        The loss, with one target; for unwhitened inputs W_1 is [D^{1/h} V'; 0] in whitened ones.
    tol : float
        The tolerance of `normal_form`, and how large, relative to its layer, a residual block is that counts as zero.

    Returns
    -------
    weights : tuple of h ndarrays, shape (d_i, d_{i-1})
        The canonical point.
    gauges : tuple of h-1 ndarrays, shape (d_i, d_i), or None
        The gauge that takes `weights` to it; None where there is none.

    Raises
    ------
    TypeError
        If the inputs of the loss cannot be whitened.
    ValueError
        If the point is not critical, or the rank of its product is undecided.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> loss = Quadratic(np.diag([9.0, 4.0, 0.0]))
    >>> point, gauges = canonical((np.diag([1.0, 0.0, 0.0]), np.diag([9.0, 0.0, 0.0])), loss)
    >>> abs(point[1]).round(12)
    array([[3., 0., 0.],
           [0., 0., 0.],
           [0., 0., 0.]])
    >>> canonical((np.diag([1.0, 0.0, 0.0]), np.diag([9.0, 0.0, 5.0])), loss)[1] is None
    True
    """
    split = residual(weights, loss, "canonical", tol)
    point = whiten(loss, "canonical").back(_balanced(split.net, split.U, split.strengths, split.V))
    reached = not any(split.connects(i, i + 1) for i in range(split.net.depth))
    dtype = check_weights(weights)[1][0].dtype
    return tuple(W.astype(dtype, copy=False) for W in point), _gauges(split) if reached else None


def minimal_norm(weights: Sequence[ArrayLike]) -> Weights:
    """Find the point of least norm on a fiber: the balanced one.

    On the fiber of a product W with singular values s_j,

        sum_i ||W_i||_F^2 >= h sum_j s_j^{2/h},    with equality if and only if the weights are balanced.

    Balanced points of a fiber differ by orthogonal gauges; returned is the one whose modes are the first coordinates
    of the hidden layers.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        Any point of the fiber.

    Returns
    -------
    tuple of h ndarrays, shape (..., d_i, d_{i-1})
        The balanced point. Singular values of W that are rounding errors of the product count as zero.

    Examples
    --------
    >>> minimal_norm((np.array([[8.0]]), np.array([[0.5]])))
    (array([[2.]]), array([[2.]]))
    """
    net, arrays = check_weights(weights)
    layers = tuple(W.astype(np.float64, copy=False) for W in arrays)
    U, s, Vt = np.linalg.svd(product(layers), full_matrices=False)
    U, s, V = U[..., : net.rank], s[..., : net.rank], transpose(Vt)[..., : net.rank]
    sizes = np.prod([spectral(W) for W in layers], axis=0)
    rounding = net.depth * max(net.widths) * np.finfo(float).eps * sizes
    point = _balanced(net, U, np.where(s > rounding[..., None], s, 0.0), V)
    return tuple(W.astype(arrays[0].dtype, copy=False) for W in point)


def _gauges(split: Residual) -> tuple[Floats, ...]:
    """The inverses of the bases B_i = [W_i ... W_1 V D^{-i/h}, N_i]."""
    gauges = []
    carried = split.V
    scale = split.strengths ** (-1 / split.net.depth)
    for W, N in zip(split.weights, split.bases[1:-1], strict=False):
        carried = W @ carried * scale
        gauges.append(np.linalg.inv(np.hstack([carried, N])))
    return tuple(gauges)


def _balanced(net: Network, U: Floats, strengths: Floats, V: Floats) -> Weights:
    """The balanced weights with product U diag(strengths) V' whose modes are the first coordinates."""
    frames = [V, *(np.eye(d, strengths.shape[-1]) for d in net.widths[1:-1]), U]
    values = strengths ** (1 / net.depth)
    return tuple((above * values[..., None, :]) @ transpose(below) for below, above in pairwise(frames))
