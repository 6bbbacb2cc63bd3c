"""JAX: lists of matrices, and the parameters of Flax modules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.checks import boolean
from fastdln.interop.named import weights_of
from fastdln.network import Weights, check_weights
from fastdln.resources import optional

__all__ = ["from_jax", "to_jax"]


def to_jax(weights: Sequence[ArrayLike], *, flax: str | None = None, copy: bool = False) -> Any:
    """Make JAX arrays of weights.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights.  Batch axes stay in front, as `jax.vmap` wants them.
    flax : str, optional
        What the layers of a Flax module are called: "Dense" (of ``nn.Dense`` in a compact module), "layers" (of
        ``nn.Sequential``).  The tree is then its parameters, with transposed kernels.
    copy : bool
        Whether the arrays get memory of their own.  Otherwise JAX shares that of the weights where it is aligned as
        JAX asks: do not write to them as long as the arrays are in use.

    Returns
    -------
    list of jax.Array, or dict
        W_1 first, each of shape (..., d_i, d_{i-1}), so that ``W @ x`` is a layer; with `flax` the tree
        ``{"params": {"Dense_0": {"kernel": W_1'}, ...}}`` of kernels of shape (..., d_{i-1}, d_i).

    Raises
    ------
    ImportError
        If JAX is missing, with the command that installs it.
    ValueError
        If the weights are float64 and JAX would round them, as it does by default; or the shapes form no network.

    Examples
    --------
    >>> import fastdln as dln
    >>> weights = dln.inits.gaussian(dln.Network((4, 3, 2)), scale=0.1, rng=0)
    >>> import jax  # doctest: +SKIP
    >>> jax.config.update("jax_enable_x64", True)  # doctest: +SKIP
    >>> dln.interop.to_jax(weights, flax="Dense")["params"]["Dense_0"]["kernel"].shape  # doctest: +SKIP
    (4, 3)
    """
    _, checked = check_weights(weights)
    boolean("copy", copy)
    if not isinstance(flax, str | None):
        raise TypeError(f"flax must be the name of the layers, such as 'Dense', not {flax!r}")
    jax = optional("jax")
    if checked[0].dtype == np.float64 and not jax.config.jax_enable_x64:
        raise ValueError(
            "the weights are float64, which JAX would round to float32: call jax.config.update('jax_enable_x64', True) "
            "first, or give float32"
        )
    if flax is None:
        return [_shared(jax, W, copy) for W in checked]
    kernels = (_shared(jax, W.swapaxes(-1, -2), copy) for W in checked)
    return {"params": {f"{flax}_{i}": {"kernel": kernel} for i, kernel in enumerate(kernels)}}


def from_jax(tree: Any, *, copy: bool = False) -> Weights:
    """Take weights from a tree of arrays, such as the parameters of a Flax module.

    JAX itself is not needed.

    Parameters
    ----------
    tree : list, tuple or mapping of arrays, nested or not
        A sequence holds W_1, ..., W_h.  In a mapping, layers are ordered by the numbers of their names ("Dense_2"
        before "Dense_10"); names that differ in more do not tell an order and are refused.  A ``kernel`` has shape
        (..., d_{i-1}, d_i), as in Flax, and is transposed; any other array has shape (..., d_i, d_{i-1}).  Whether
        there are activations between the layers a tree does not tell.
    copy : bool
        Whether the weights get memory of their own, which may be written to.  Otherwise they are read-only views of
        JAX's memory where that is the CPU's.

    Returns
    -------
    tuple of h ndarrays, shape (..., d_i, d_{i-1})
        The weights.

    Raises
    ------
    TypeError
        If an array does not hold real numbers, or is bfloat16.
    ValueError
        If a layer has a bias, an array is no layer, or the widths do not fit: the message names the layer.

    Examples
    --------
    >>> import numpy as np
    >>> import fastdln as dln
    >>> tree = {"params": {"Dense_0": {"kernel": np.ones((4, 3))}, "Dense_1": {"kernel": np.ones((3, 2))}}}
    >>> [W.shape for W in dln.interop.from_jax(tree)]
    [(3, 4), (2, 3)]
    """
    return weights_of(dict(_leaves(tree, "")), in_order=False, copy=copy)


def _shared(jax: Any, W: NDArray[Any], copy: bool) -> Any:
    # DLPack of NumPy's refuses memory that is read-only, and JAX axes that are reversed or repeated
    if copy or not W.flags.c_contiguous or not W.flags.behaved:
        return jax.numpy.array(W)
    return jax.dlpack.from_dlpack(W)


def _leaves(tree: Any, path: str) -> Iterator[tuple[str, NDArray[Any]]]:
    """Names and arrays, as ``params/Dense_0/kernel``."""
    if isinstance(tree, Mapping | list | tuple):
        for key, item in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
            yield from _leaves(item, f"{path}/{key}" if path else str(key))
    elif tree is not None:  # JAX, too, counts None as nothing
        yield path or "tree", np.asarray(tree)
