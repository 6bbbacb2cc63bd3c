"""Weights to and from other libraries and their files: PyTorch, JAX and Flax, safetensors, npz.

Here as there, a layer is a matrix of shape (outputs, inputs): W_i is the ``weight`` of the i-th ``nn.Linear``.
Flax alone keeps its transpose, a ``kernel`` of shape (inputs, outputs); what is called so is transposed on the way.

float64 stays float64, and float32 stays float32.
Where the other library allows it, both sides share one memory, and what is written on one side is seen on the other;
``copy=True`` keeps them apart.
Deep linear networks have neither biases nor activations: a module, tree or file with anything but linear layers is
refused, and the message names the layer.
"""

from __future__ import annotations

from fastdln.interop.files import load_npz, load_safetensors, save_npz, save_safetensors
from fastdln.interop.pytorch import from_torch, to_torch
from fastdln.interop.trees import from_jax, to_jax

__all__ = [
    "from_jax",
    "from_torch",
    "load_npz",
    "load_safetensors",
    "save_npz",
    "save_safetensors",
    "to_jax",
    "to_torch",
]
