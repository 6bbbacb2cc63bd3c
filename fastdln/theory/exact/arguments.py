"""The arguments of exact solutions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from fastdln.checks import reals, shown
from fastdln.linalg import Floats
from fastdln.losses import Loss
from fastdln.network import Network, Weights, check_weights
from fastdln.theory.whitening import one_target

__all__ = ["finite_weights", "real_numbers", "times", "whitened_target"]


def times(t: ArrayLike) -> Floats:
    """Validate times: one, or a list of them, each finite."""
    (checked,) = real_numbers(t=t)
    if checked.ndim > 1:
        raise ValueError(f"t has shape {checked.shape}; expected a number or a list of times, (n_t,)")
    return checked


def real_numbers(**arguments: ArrayLike) -> list[Floats]:
    """Validate arguments by name, and broadcast them."""
    arrays = {}
    for name, argument in arguments.items():
        refusal = f"{name} must hold finite real numbers, not {shown(argument)}"
        try:
            arrays[name] = reals(name, argument)
        except TypeError:
            raise ValueError(refusal) from None
        if not np.isfinite(arrays[name]).all():
            raise ValueError(refusal)
    try:
        return [a.astype(np.float64) for a in np.broadcast_arrays(*arrays.values())]
    except ValueError:
        shapes = ", ".join(f"{name}: {array.shape}" for name, array in arrays.items())
        raise ValueError(f"the arguments do not broadcast ({shapes})") from None


def whitened_target(loss: Loss, what: str) -> Floats:
    """Return the target of a loss that is 1/2 ||Sigma - W||_F^2 up to a constant; refuse any other."""
    form = one_target(loss, what)
    if form.input_gram is not None:
        raise TypeError(
            f"{what} needs whitened data, where the loss is 1/2 ||Sigma - W||_F^2, not {loss!r} with inputs as they "
            f"are: use Quadratic.from_data(X, Y)"
        )
    return form.target


def finite_weights(weights: Sequence[ArrayLike], loss: Loss, depth: int) -> tuple[Network, Weights]:
    """Validate weights of a given depth for the loss, and bring them to float64."""
    net, arrays = check_weights(weights)
    if net.depth != depth:
        raise ValueError(f"weights has {net.depth} layers; expected {depth}")
    loss.check_product((*arrays[0].shape[:-2], net.widths[-1], net.widths[0]))
    if not all(np.isfinite(W).all() for W in arrays):
        raise ValueError("weights must be finite; they hold NaN or infinite entries")
    return net, tuple(W.astype(np.float64, copy=False) for W in arrays)
