"""One landscape in whitened inputs, where every quadratic loss reads L = floor + 1/2 ||Sigma - W||_F^2.

For unwhitened data with the input Gram matrix S = S^(1/2) S^(1/2) invertible, the change of coordinates
W_1 -> W_1 S^(1/2) turns the regression loss into that of whitened data, with Sigma = Sigma_yx S^(-1/2). It is linear
and invertible, so critical points, their values, kinds and inertia are the same; the flow, which depends on the
metric, is not. The modes are those of the whitened target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fastdln.linalg import Floats
from fastdln.losses import Loss, Quadratic, QuadraticForm, quadratic_of
from fastdln.network import Network, Weights, check_weights

__all__ = ["Whitened", "one_target", "whiten"]


@dataclass(frozen=True)
class Whitened:
    """A loss in whitened inputs, and the way there and back for weights."""

    loss: Quadratic
    """1/2 ||Sigma - W||_F^2."""
    floor: float
    """What the loss has beyond that."""
    root: Floats | None
    """S^(1/2), or None for the identity."""
    inverse_root: Floats | None
    """S^(-1/2), or None for the identity."""

    def there(self, weights: Sequence[ArrayLike]) -> tuple[Network, Weights]:
        """Validate weights for the loss, in float64, and bring them into whitened inputs."""
        net, arrays = check_weights(weights)
        first, *others = (W.astype(np.float64, copy=False) for W in arrays)
        self.loss.check_product((*first.shape[:-2], net.widths[-1], net.widths[0]))
        return net, (first if self.root is None else first @ self.root, *others)

    def back(self, weights: Weights) -> Weights:
        """Bring weights back from whitened inputs."""
        first, *others = weights
        return (first if self.inverse_root is None else first @ self.inverse_root, *others)


def one_target(loss: Loss, what: str) -> QuadraticForm:
    """The form of a loss, for ``what`` about one landscape; refuse many targets, and a loss that is not quadratic."""
    if loss.batch_shape:
        raise ValueError(
            f"{what} is about one landscape; the loss has {loss.batch_shape[0]} targets: select one, as loss[0]"
        )
    return quadratic_of(loss, what)


def whiten(loss: Loss, what: str) -> Whitened:
    """Bring a loss with one target into whitened inputs, for the function or notion named ``what``.

    Raises
    ------
    TypeError
        If the inputs do not span R^{d_0}: then the loss does not depend on all of W, and no change of coordinates
        brings it to 1/2 ||Sigma - W||_F^2.
    ValueError
        If the loss has several targets, or is not quadratic.
    """
    form = one_target(loss, what)
    if form.input_gram is None or form.input_root is None:
        return Whitened(Quadratic(form.target), form.floor, None, None)
    if form.data_rank is not None and form.data_rank < loss.shape[1]:
        raise TypeError(
            f"{what} needs whitened data, and these inputs cannot be whitened: X X' has rank {form.data_rank}, "
            f"below d_0 = {loss.shape[1]}; project the inputs on their span, or use Quadratic.from_data(X, Y)"
        )
    inverse = np.linalg.inv(form.input_root)
    return Whitened(Quadratic(form.whitened), form.floor, form.input_root, (inverse + inverse.T) / 2)
