"""The words of public functions: one parameter name means one thing everywhere, and is checked in one place."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np

from fastdln import checks
from fastdln.losses import check_loss
from fastdln.network import Network

__all__ = ["checked"]

P = ParamSpec("P")
R = TypeVar("R")


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Let a public function refuse arguments that are not of the kind that their names say.

    What a value has to be beyond that (its range, its fit to other arguments) the function says itself.

    Parameters
    ----------
    function : callable
        The function; parameters that are None by default may be None.

    Returns
    -------
    callable
        The same, with its arguments checked.

    Examples
    --------
    >>> @checked
    ... def widest(net, tol=0.0):
    ...     return max(net.widths)
    >>> widest((3, 4, 3))
    Traceback (most recent call last):
    TypeError: net must be a Network, not tuple
    """
    signature = inspect.signature(function)
    known = {name: KINDS[name] for name in signature.parameters if name in KINDS}
    optional = {name for name, parameter in signature.parameters.items() if parameter.default is None}

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            if name in known and not (value is None and name in optional):
                known[name](name, value)
        return function(*args, **kwargs)

    return call


def _network(name: str, value: Any) -> None:
    if not isinstance(value, Network):
        raise TypeError(f"{name} must be a Network, not {type(value).__name__}")


def _loss(name: str, value: Any) -> None:
    check_loss(value)


def _tolerance(name: str, value: Any) -> None:
    """A relative tolerance."""
    if not 0 <= checks.real(name, value) < 1:
        raise ValueError(f"{name} must be at least 0 and below 1, not {checks.shown(value)}")


def _size(name: str, value: Any) -> None:
    if checks.integer(name, value) > MOST:
        raise ValueError(f"{name} must be at most 2^31, not {checks.shown(value)}")


def _several(name: str, value: Any) -> None:
    if not isinstance(value, tuple | list | np.ndarray):
        raise TypeError(f"{name} must be a tuple or list, not {type(value).__name__}")


MOST = 2**31  # trajectories, or layers, at once

KINDS: dict[str, Callable[[str, Any], object]] = {
    "net": _network,
    "loss": _loss,
    "rng": checks.seed,
    **dict.fromkeys(
        ("scale", "gain", "delta", "radius", "epsilon", "condition", "alpha", "t_max", "weight_decay"), checks.real
    ),
    **dict.fromkeys(("tol", "rtol"), _tolerance),
    **dict.fromkeys(("size", "depth"), _size),
    **dict.fromkeys(("first", "k", "i", "max_legs", "max_iterations"), checks.integer),
    **dict.fromkeys(("balance", "chains", "grids"), _several),
    **dict.fromkeys(("sparse", "transverse"), checks.boolean),
    **dict.fromkeys(("layer_values", "lambdas", "product", "product0", "direction"), checks.reals),
}
