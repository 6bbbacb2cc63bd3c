"""Gradient descent on a batch of networks as others would write it; all return the states after so many updates.

A start is one flat state, W_1 first, each matrix row by row.  Every program is given the same batch, target, learning
rate and number of updates, and computes in f64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import fastdln as dln
from bench import scalar_loop

Descend = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Descent:
    """A batch of networks of some widths, its target, and what is done to it."""

    widths: tuple[int, ...]
    sigma: np.ndarray
    learning_rate: float
    updates: int

    @property
    def network(self) -> dln.Network:
        return dln.Network(self.widths)

    def layers(self, states: np.ndarray) -> list[np.ndarray]:
        """The layers of states, each in one piece."""
        return [np.ascontiguousarray(W) for W in self.network.unpack(states)]

    def states(self, layers: list[Any]) -> np.ndarray:
        """The states that layers make up."""
        return self.network.pack(tuple(np.asarray(W) for W in layers))


def fastdln(task: Descent) -> Descend:
    loss = dln.Quadratic(task.sigma)

    def descend(states: np.ndarray) -> np.ndarray:
        sol = dln.descend(
            task.network.unpack(states), loss, task.learning_rate, task.updates, record=(), record_every=task.updates,
            threads=1,
        )  # fmt: skip
        return task.network.pack(sol.final)

    return descend


def torch_autograd(task: Descent) -> Descend:
    """The loop of every tutorial, batched: forward, ``backward``, ``optimizer.step``."""
    import torch

    torch.set_num_threads(1)
    sigma = torch.as_tensor(task.sigma)

    def descend(states: np.ndarray) -> np.ndarray:
        layers = [torch.tensor(W, requires_grad=True) for W in task.layers(states)]
        optimizer = torch.optim.SGD(layers, lr=task.learning_rate)
        for _ in range(task.updates):
            optimizer.zero_grad()
            product = layers[0]
            for W in layers[1:]:
                product = W @ product
            (0.5 * ((sigma - product) ** 2).sum()).backward()
            optimizer.step()
        return task.states([W.detach().numpy() for W in layers])

    return descend


def torch_bmm(task: Descent) -> Descend:
    """The gradient written out with ``torch.bmm``, updates in place by ``baddbmm_``."""
    import torch

    torch.set_num_threads(1)
    sigma = torch.as_tensor(task.sigma)

    def descend(states: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            layers = [torch.tensor(W) for W in task.layers(states)]
            target = sigma.expand(len(states), *sigma.shape)
            for _ in range(task.updates):
                prefixes = [layers[0]]
                for W in layers[1:]:
                    prefixes.append(torch.bmm(W, prefixes[-1]))
                left = target - prefixes[-1]
                for i in range(len(layers) - 1, 0, -1):
                    below = torch.bmm(layers[i].transpose(1, 2), left)
                    layers[i].baddbmm_(left, prefixes[i - 1].transpose(1, 2), alpha=task.learning_rate)
                    left = below
                layers[0].add_(left, alpha=task.learning_rate)
            return task.states([W.numpy() for W in layers])

    return descend


def jax_vmap(task: Descent) -> Descend:
    """``jax.grad`` of one network's loss, ``vmap`` over the batch, all updates in one compiled loop."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_platforms", "cpu")
    sigma = jnp.asarray(task.sigma)

    def loss(layers: list[Any]) -> Any:
        product = layers[0]
        for W in layers[1:]:
            product = W @ product
        return 0.5 * jnp.sum((sigma - product) ** 2)

    gradient = jax.vmap(jax.grad(loss))

    def update(_: int, layers: list[Any]) -> list[Any]:
        return [W - task.learning_rate * G for W, G in zip(layers, gradient(layers), strict=True)]

    run = jax.jit(lambda layers: jax.lax.fori_loop(0, task.updates, update, layers))

    def descend(states: np.ndarray) -> np.ndarray:
        return task.states(run([jnp.asarray(W) for W in task.layers(states)]))

    return descend


def numpy_batched(task: Descent) -> Descend:
    """The gradient written out with stacked ``matmul``."""

    def descend(states: np.ndarray) -> np.ndarray:
        layers = [W.copy() for W in task.layers(states)]
        for _ in range(task.updates):
            prefixes = [layers[0]]
            for W in layers[1:]:
                prefixes.append(W @ prefixes[-1])
            left = task.sigma - prefixes[-1]
            for i in range(len(layers) - 1, -1, -1):
                below = layers[i].swapaxes(1, 2) @ left
                layers[i] += task.learning_rate * (left @ prefixes[i - 1].swapaxes(1, 2) if i else left)
                left = below
        return task.states(layers)

    return descend


@scalar_loop.compiled
def _scalar_updates(states, sigma, widths, offsets, learning_rate, updates):  # type: ignore[no-untyped-def]
    widest = widths.max()
    prefixes = np.empty((len(widths) - 1, widest, widest))
    backward = np.empty((2, widest, widest))
    slope = np.empty(states.shape[1])
    for trajectory in range(len(states)):
        state = states[trajectory]
        for _ in range(updates):
            scalar_loop.rhs(state, slope, prefixes, backward, sigma, widths, offsets)
            for p in range(len(state)):
                state[p] += learning_rate * slope[p]


def numba_scalar(task: Descent) -> Descend:
    """Plain loops, one network after another."""
    sizes = [rows * columns for rows, columns in task.network.shapes]
    offsets, widths = np.concatenate([[0], np.cumsum(sizes)]), np.array(task.widths)

    def descend(states: np.ndarray) -> np.ndarray:
        states = states.copy()
        _scalar_updates(states, task.sigma, widths, offsets, task.learning_rate, task.updates)
        return states

    return descend


DESCENTS: dict[str, Callable[[Descent], Descend]] = {
    "fastdln": fastdln,
    "PyTorch, autograd": torch_autograd,
    "PyTorch, bmm": torch_bmm,
    "JAX, vmap and jit": jax_vmap,
    "NumPy, batched": numpy_batched,
    "scalar Numba loop": numba_scalar,
}
