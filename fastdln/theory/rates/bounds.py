"""Global exponential bounds of the loss, with their hypotheses checked.

All say that the part E = L - floor of the loss that can vanish falls at least like E(0) exp(-2 rho t). They rest on
dE/dt <= -2 mu E (see `certificate`) with a lower bound of mu that holds for all times; s is the least eigenvalue of the
input Gram matrix, 1 for whitened data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fastdln.checked import checked
from fastdln.checks import reals
from fastdln.field import balance
from fastdln.linalg import Floats
from fastdln.losses import Loss
from fastdln.network import Network, Weights, check_weights
from fastdln.theory.invariants import lambda_balance
from fastdln.theory.rates.certificates import excess, least_gain
from fastdln.theory.whitening import one_target

__all__ = ["Bound", "Bounds", "bound"]


@dataclass(frozen=True)
class Bound:
    """One bound: where it applies, E(t) <= excess exp(-2 exponent t) for all t >= 0.

    Parameters
    ----------
    exponent : float
        rho; NaN where the bound does not apply.
    excess : float
        E at t = 0.
    reason : str
        Why the bound does not apply; empty where it does.
    """

    exponent: float
    excess: float
    reason: str = ""

    def __call__(self, t: ArrayLike) -> Floats:
        """Evaluate the bound at times.

        Parameters
        ----------
        t : array_like
            Times, at least 0.

        Returns
        -------
        ndarray
            Upper bounds of E(t).
        """
        if self.reason:
            raise ValueError(f"this bound does not apply: {self.reason}")
        times = reals("t", t).astype(np.float64)
        if not (times >= 0).all():
            raise ValueError(f"t must be at least 0, not {t!r}")
        return np.asarray(self.excess * np.exp(-2 * self.exponent * times))


@dataclass(frozen=True)
class Bounds:
    """The global bounds for one start.

    Parameters
    ----------
    balanced : Bound
        Balanced layers, and a start nearer to the target than its least singular value.
    two_layers : Bound
        Two layers, by their imbalance.
    lambda_balanced : Bound
        Two square layers, lambda-balanced, and a start as near as for `balanced`.
    """

    balanced: Bound
    two_layers: Bound
    lambda_balanced: Bound

    @property
    def best(self) -> Bound | None:
        """The bound of largest exponent among those that apply."""
        found = [b for b in (self.balanced, self.two_layers, self.lambda_balanced) if not b.reason]
        return max(found, key=lambda b: b.exponent, default=None)


@checked
def bound(weights: Sequence[ArrayLike], loss: Loss) -> Bounds:
    """Bound the loss for all later times, by each theorem whose hypotheses the weights satisfy.

    With c = sigma_min(target) - ||target - W(0)||_F, where sigma_min is the least of all min(d_h, d_0) singular values
    (for unwhitened data the distance is replaced by its bound (2E/s)^(1/2)), C the balance matrix of two layers and
    lambda_k(.) the k-th largest eigenvalue:

    - balanced layers, c > 0: rho = s k c^(2-2/h), k = h if d_0 = d_h, else 1 (S. Arora, N. Cohen, N. Golowich & W. Hu,
      ICLR 2019); one layer: rho = s for any start;
    - two layers: rho = s ([d_1 >= d_2] max(0, lambda_{d_2}(C)) + [d_1 >= d_0] max(0, lambda_{d_0}(-C))) for any start,
      of use where this is positive: imbalance speeds up learning;
    - two layers of equal widths with C = lambda I, c > 0: rho = s (lambda^2 + 4 c^2)^(1/2).

    Parameters
    ----------
    weights : tuple of h arrays, shape (d_i, d_{i-1})
        The weights at t = 0, of one network.
    loss : Loss
        A quadratic loss with one target.

    Returns
    -------
    Bounds
        The bounds, each with its exponent, or with the reason why it does not apply. They hold for the flow with equal
        learning rates and without weight decay.

    Raises
    ------
    ValueError
        If `weights` has batch axes or entries that are not finite, or the loss several targets.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> found = bound((np.eye(2), np.eye(2)), Quadratic(1.5 * np.eye(2)))
    >>> round(found.balanced.exponent, 6), round(found.lambda_balanced.exponent, 6)
    (1.585786, 1.585786)
    >>> found.two_layers.reason
    "W_2' W_2 - W_1 W_1' has neither enough positive nor enough negative eigenvalues"
    >>> found.best([0.0, 1.0]).round(6)
    array([0.25    , 0.010484])
    """
    form = one_target(loss, "bound")
    net, arrays = check_weights(weights)
    if arrays[0].ndim > 2:
        raise ValueError(f"bound is about one network; weights has the batch axes {arrays[0].shape[:-2]}")
    if not all(np.isfinite(W).all() for W in arrays):
        raise ValueError("weights must be finite; they hold NaN or infinite entries")
    arrays = tuple(W.astype(np.float64, copy=False) for W in arrays)
    start, gain = float(excess(arrays, form)), least_gain(form)
    if gain == 0:
        nothing = Bound(np.nan, start, "the inputs do not span R^{d_0}: the loss leaves directions of W at rest")
        return Bounds(nothing, nothing, nothing)
    margin = float(form.modes.sigma[-1] - np.sqrt(2 * start / gain))
    rates = (_balanced(net, arrays, margin), _two_layers(net, arrays), _lambda_balanced(net, arrays, margin))
    return Bounds(*(Bound(gain * x, start) if isinstance(x, float) else Bound(np.nan, start, x) for x in rates))


def _balanced(net: Network, arrays: Weights, margin: float) -> float | str:
    """rho/s, or the reason why there is none."""
    h = net.depth
    if h == 1:
        return 1.0
    found = lambda_balance(arrays)
    size = np.abs(found.lambdas) + found.distances
    if (size > _TOLERANCE * found.sizes).any():
        return f"the layers are not balanced: the largest ||C_i||_2 is about {size.max():.3g}"
    return _far(margin) or (h if net.widths[0] == net.widths[-1] else 1) * margin ** (2 - 2 / h)


def _two_layers(net: Network, arrays: Weights) -> float | str:
    if net.depth != 2:
        return f"the network has {net.depth} layers, not two"
    d_0, d_1, d_2 = net.widths
    (C,) = balance(arrays)
    values = np.linalg.eigvalsh(C)
    rate = max(0.0, values[-d_2]) if d_1 >= d_2 else 0.0
    rate += max(0.0, -values[d_0 - 1]) if d_1 >= d_0 else 0.0
    return float(rate) or "W_2' W_2 - W_1 W_1' has neither enough positive nor enough negative eigenvalues"


def _lambda_balanced(net: Network, arrays: Weights, margin: float) -> float | str:
    if net.depth != 2 or len(set(net.widths)) > 1:
        return f"{net} does not have two layers of equal widths"
    found = lambda_balance(arrays)
    if found.distances[0] > _TOLERANCE * found.sizes[0]:
        return f"the layers are not lambda-balanced: C differs by {found.distances[0]:.3g} from lambda I"
    return _far(margin) or float(np.hypot(found.lambdas[0], 2 * margin))


def _far(margin: float) -> str:
    """The reason that the start is too far from the target, if it is."""
    return "" if margin > 0 else f"the start is too far from the target: its margin c = {margin:.3g} is not positive"


# Of what is exactly balanced, rounding leaves this much relative to the squared norms of the layers.
_TOLERANCE = 1e-10
