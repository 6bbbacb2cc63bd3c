"""Arrays with names, as other libraries keep them: which are layers, in which order, and which way round."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.checks import boolean, reals
from fastdln.network import Weights, check_weights

__all__ = ["one_network", "weights_of"]

_BIASES = ("bias", "b")


def weights_of(arrays: Mapping[str, Any], *, in_order: bool, copy: bool = False) -> Weights:
    """Make weights of arrays by their names, such as ``2.weight`` or ``params/Dense_0/kernel``.

    Names that differ in nothing but numbers are ordered by these: files and trees sort "10" before "2".  Other names
    have the order of the mapping where that is known to be theirs (``in_order``).
    """
    if not arrays:
        raise ValueError("there are no layers; expected at least one")
    boolean("copy", copy)
    for name in arrays:
        _refuse_others(name)
    layers = [(name, _oriented(name, arrays[name])) for name in _sorted(arrays, in_order)]
    for (before, V), (name, W) in pairwise(layers):
        if W.shape[-1] != V.shape[-2]:
            raise ValueError(
                f"layer {name!r} takes {W.shape[-1]} inputs, but {before!r} before it has {V.shape[-2]} outputs"
            )
    _, weights = check_weights(tuple(W for _, W in layers))
    return tuple(np.array(W) for W in weights) if copy else weights


def one_network(weights: Sequence[ArrayLike], function: str) -> Weights:
    """Check the weights of a single network."""
    _, checked = check_weights(weights)
    if batch := checked[0].shape[:-2]:
        raise ValueError(
            f"the weights have batch axes {batch}; {function} takes one network, such as tuple(W[0] for W in weights)"
        )
    return checked


def _kind(name: str) -> str:
    return re.split(r"[./]", name)[-1]


def _refuse_others(name: str) -> None:
    kind = _kind(name)
    if kind in _BIASES:
        raise ValueError(
            f"layer {name[: -len(kind) - 1]!r} has a bias, {name!r}: deep linear networks have none; make it with "
            "bias=False (PyTorch) or use_bias=False (Flax)"
        )
    if kind not in ("weight", "kernel") and not re.search(r"\d", kind):
        raise ValueError(f"{name!r} is no layer of a deep linear network; expected a 'weight' or a 'kernel'")


def _oriented(name: str, value: Any) -> NDArray[Any]:
    array = reals(f"layer {name!r}", value)
    if array.ndim < 2:
        raise ValueError(f"layer {name!r} has shape {array.shape}; expected a matrix")
    return array.swapaxes(-1, -2) if _kind(name) == "kernel" else array


def _sorted(names: Mapping[str, Any], in_order: bool) -> list[str]:
    """The names from the input to the output."""
    if len({re.sub(r"\d+", "#", name) for name in names}) == 1:
        numbered = sorted((_numbers(name), name) for name in names)
        for (before, left), (after, right) in pairwise(numbered):
            steps = [b - a for a, b in zip(before, after, strict=True) if a != b]
            if len(steps) == 1 and steps[0] > 1:
                raise ValueError(
                    f"there is no layer between {left!r} and {right!r}, but their numbers leave room for one: an "
                    "activation, as in nn.Sequential(Linear, ReLU, Linear)? Deep linear networks have none; if nothing "
                    "is left out, number the layers one after another"
                )
        return [name for _, name in numbered]
    if not in_order:
        raise ValueError(
            f"the names {', '.join(map(repr, names))} do not tell the order of the layers; expected names that differ "
            "in nothing but a number"
        )
    return list(names)


def _numbers(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]
