"""Files of weights: safetensors, which other libraries read, and NumPy's npz.  Neither can execute anything."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.interop.named import weights_of
from fastdln.network import Weights, check_weights
from fastdln.resources import optional, require_memory
from fastdln.results.archive import naming, opened

__all__ = ["load_npz", "load_safetensors", "save_npz", "save_safetensors"]

_DTYPES = ("F64", "F32", "F16")


def save_safetensors(weights: Sequence[ArrayLike], path: str | PathLike[str]) -> None:
    """Write weights to a safetensors file, with the names of a PyTorch ``nn.Sequential``.

    ``module.load_state_dict(safetensors.torch.load_file(path))`` reads it.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights; they may have batch axes.
    path : path
        The file; an existing one is replaced.

    Raises
    ------
    ImportError
        If safetensors is missing, with the command that installs it.

    Examples
    --------
    >>> import tempfile
    >>> import fastdln as dln
    >>> weights = dln.inits.gaussian(dln.Network((4, 3, 2)), scale=0.1, rng=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     dln.interop.save_safetensors(weights, f"{folder}/net.safetensors")
    ...     again = dln.interop.load_safetensors(f"{folder}/net.safetensors")
    >>> (again[0] == weights[0]).all()
    np.True_
    """
    _, checked = check_weights(weights)
    # of memory in another order it would write the numbers as they lie
    tensors = {f"{i}.weight": np.ascontiguousarray(W) for i, W in enumerate(checked)}
    optional("safetensors.numpy", "interop").save_file(tensors, Path(path))


def load_safetensors(path: str | PathLike[str]) -> Weights:
    """Read the weights of a network from a safetensors file.

    Parameters
    ----------
    path : path
        The file: of `save_safetensors`, or of any network of linear layers whose names differ in nothing but numbers.
        What is called ``kernel`` is transposed, as in `from_jax`.

    Returns
    -------
    tuple of h ndarrays, shape (..., d_i, d_{i-1})
        The weights.

    Raises
    ------
    ImportError
        If safetensors is missing, with the command that installs it.
    ValueError
        If the file is damaged or of another kind, has biases or other things than layers, or its widths do not fit.
    MemoryError
        If it does not fit into the memory that is free.

    Examples
    --------
    >>> import tempfile
    >>> import fastdln as dln
    >>> weights = dln.inits.gaussian(dln.Network((4, 3, 2)), scale=0.1, rng=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     dln.interop.save_safetensors(weights, f"{folder}/net.safetensors")
    ...     [W.shape for W in dln.interop.load_safetensors(f"{folder}/net.safetensors")]
    [(3, 4), (2, 3)]
    """
    safetensors = optional("safetensors", "interop")
    require_memory(Path(path).stat().st_size, str(path), "it cannot be read here")
    with naming(path, "the weights of a deep linear network"), safetensors.safe_open(path, framework="numpy") as file:
        arrays = {name: _tensor(file, name) for name in file.keys()}  # noqa: SIM118  it is no mapping
        return weights_of(arrays, in_order=False)


def save_npz(weights: Sequence[ArrayLike], path: str | PathLike[str]) -> None:
    """Write weights to an ``.npz`` file, as arrays W_1 to W_h.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        The weights; they may have batch axes.
    path : path
        The file; an existing one is replaced.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import fastdln as dln
    >>> weights = dln.inits.gaussian(dln.Network((4, 3, 2)), scale=0.1, rng=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     dln.interop.save_npz(weights, f"{folder}/net.npz")
    ...     np.load(f"{folder}/net.npz")["W_1"].shape
    (3, 4)
    """
    _, checked = check_weights(weights)
    arrays: dict[str, Any] = {f"W_{i}": W for i, W in enumerate(checked, start=1)}
    with Path(path).open("wb") as file:  # a file object: NumPy would append .npz to a name
        np.savez(file, allow_pickle=False, **arrays)


def load_npz(path: str | PathLike[str]) -> Weights:
    """Read the weights of a network from an ``.npz`` file, without pickle.

    Parameters
    ----------
    path : path
        The file: of `save_npz`, or of arrays whose names differ in nothing but numbers, such as those of
        ``np.savez(path, *weights)``.

    Returns
    -------
    tuple of h ndarrays, shape (..., d_i, d_{i-1})
        The weights.

    Raises
    ------
    ValueError
        If the file is damaged or of another kind, has biases or other things than layers, or its widths do not fit.
    MemoryError
        If it does not fit into the memory that is free.

    Examples
    --------
    >>> import tempfile
    >>> import fastdln as dln
    >>> weights = dln.inits.gaussian(dln.Network((4, 3, 2)), scale=0.1, rng=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     dln.interop.save_npz(weights, f"{folder}/net.npz")
    ...     [W.shape for W in dln.interop.load_npz(f"{folder}/net.npz")]
    [(3, 4), (2, 3)]
    """
    with opened(path, "the weights of a deep linear network") as archive:
        return weights_of(archive.read(archive.names), in_order=False)


def _tensor(file: Any, name: str) -> NDArray[Any]:
    dtype = file.get_slice(name).get_dtype()
    if dtype not in _DTYPES:
        raise ValueError(f"layer {name!r} has dtype {dtype}; expected {', '.join(_DTYPES)}")
    return np.asarray(file.get_tensor(name))
