"""PyTorch: ``nn.Sequential`` of ``nn.Linear`` without biases, and state dicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.checks import boolean, shown
from fastdln.interop.named import one_network, weights_of
from fastdln.network import Weights
from fastdln.resources import optional

__all__ = ["from_torch", "to_torch"]


def to_torch(weights: Sequence[ArrayLike], *, copy: bool = False) -> Any:
    """Make a PyTorch module of weights.

    The weight of its i-th layer is W_i, with the dtype of the weights.
    It shares memory with W_i where that is contiguous and may be written to: training the module then changes W_i in
    place.

    Parameters
    ----------
    weights : tuple of h arrays, shape (d_i, d_{i-1})
        The weights of one network; of a batch take one, ``tuple(W[k] for W in weights)``.
    copy : bool
        Whether the module gets memory of its own.

    Returns
    -------
    torch.nn.Sequential
        Of one ``nn.Linear(bias=False)`` per layer, on the CPU.

    Raises
    ------
    ImportError
        If PyTorch is missing, with the command that installs it.
    ValueError
        If there are batch axes, or the shapes form no network.

    Examples
    --------
    >>> import fastdln as dln
    >>> weights = dln.inits.gaussian(dln.Network((4, 3, 2)), scale=0.1, rng=0)
    >>> dln.interop.to_torch(weights)  # doctest: +SKIP
    Sequential(
      (0): Linear(in_features=4, out_features=3, bias=False)
      (1): Linear(in_features=3, out_features=2, bias=False)
    )
    """
    checked = one_network(weights, "to_torch")
    boolean("copy", copy)
    torch = optional("torch")
    layers = []
    for W in checked:
        rows, columns = W.shape
        # on no device, as its initial weights are not wanted
        layer = torch.nn.Linear(columns, rows, bias=False, device="meta")
        layer.weight = torch.nn.Parameter(torch.from_dlpack(np.array(W) if copy or not _shareable(W) else W))
        layers.append(layer)
    return torch.nn.Sequential(*layers)


def from_torch(module: Any, *, copy: bool = False) -> Weights:
    """Take the weights of a PyTorch module or of a state dict.

    On the CPU they share memory with the module: training it changes them in place.

    Parameters
    ----------
    module : torch.nn.Module or mapping of str to torch.Tensor
        An ``nn.Linear``, an ``nn.Sequential`` of such, nested or not, or the ``state_dict()`` of any module.  Layers
        of a state dict are ordered by their numbers, or, where names differ in more, as they come.  Whether there are
        activations between them it does not tell.  Tensors with leading axes (`torch.func.stack_module_state`) give
        a batch.
    copy : bool
        Whether the weights get memory of their own.

    Returns
    -------
    tuple of h ndarrays, shape (..., d_i, d_{i-1})
        The weights.

    Raises
    ------
    TypeError
        If a module is neither linear nor made of linear layers alone, or a dtype is none of NumPy's real ones.
    ValueError
        If a layer has a bias, two layers share their weight, or the widths do not fit: the message names the layer.

    Examples
    --------
    >>> import fastdln as dln
    >>> weights = dln.inits.gaussian(dln.Network((4, 3, 2)), scale=0.1, rng=0)
    >>> module = dln.interop.to_torch(weights)  # doctest: +SKIP
    >>> (dln.interop.from_torch(module)[0] == weights[0]).all()  # doctest: +SKIP
    np.True_
    """
    torch = optional("torch")
    if isinstance(module, torch.nn.Module):
        tensors = dict(_linear(torch, module, ""))
        seen: dict[int, str] = {}
        for name, tensor in tensors.items():
            if (first := seen.setdefault(id(tensor), name)) != name:
                raise ValueError(f"layers {first!r} and {name!r} share their weight; expected layers of their own")
    elif isinstance(module, Mapping):
        tensors = dict(module)
    else:
        raise TypeError(f"module must be a torch.nn.Module or a state dict, not {shown(module)}")
    return weights_of({n: _array(torch, n, tensor) for n, tensor in tensors.items()}, in_order=True, copy=copy)


def _shareable(W: NDArray[Any]) -> bool:
    # Of other strides PyTorch may end the process; that memory is read-only it forgets.
    return W.flags.forc and W.flags.behaved


def _linear(torch: Any, module: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """The weights and biases of linear layers, in the order in which they are applied."""
    nn, name = torch.nn, prefix.removesuffix(".") or "module"
    if isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward:
        yield f"{prefix}weight", module.weight
        if module.bias is not None:
            yield f"{prefix}bias", module.bias
    elif isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        for own, child in module._modules.items():  # children() leaves out a layer that is there twice
            yield from _linear(torch, child, f"{prefix}{own}.")
    elif not isinstance(module, nn.Identity):
        raise TypeError(
            f"{name!r} is a {type(module).__name__}; expected nn.Linear without bias, in nn.Sequential: if all that it "
            "does is linear, give its state_dict()"
        )


def _array(torch: Any, name: str, tensor: Any) -> Any:
    if not isinstance(tensor, torch.Tensor):
        return tensor
    try:
        return np.from_dlpack(tensor.detach().cpu().resolve_neg())
    except (BufferError, RuntimeError) as error:
        raise TypeError(f"layer {name!r} has dtype {tensor.dtype}; expected float32 or float64 ({error})") from None
