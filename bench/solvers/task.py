"""What every solver is given: a workload, its target and explicit tolerances."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

import fastdln as dln
from bench.workloads import Workload

Solve = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Task:
    """A workload with what every solver needs of it: the target and explicit tolerances."""

    workload: Workload
    sigma: np.ndarray
    rtol: float
    atol: float

    @classmethod
    def of(cls, workload: Workload, rtol: float) -> Task:
        """The task with an atol that any solver can be given: about fastdln's default for such starts."""
        smallest = min(np.sqrt(np.mean(W**2)) for W in workload.starts(100))
        return cls(workload, np.ascontiguousarray(workload.loss().target), rtol, 1e-3 * rtol * float(smallest))

    @property
    def network(self) -> dln.Network:
        return dln.Network(self.workload.widths)

    @property
    def layout(self) -> tuple[np.ndarray, np.ndarray]:
        """Widths, and where each layer begins in a state, with the length of a state behind."""
        sizes = [rows * columns for rows, columns in self.network.shapes]
        return np.array(self.workload.widths), np.concatenate([[0], np.cumsum(sizes)])

    def field(self, xp: ModuleType) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
        """Right-hand side and loss of states (..., entries) in NumPy, jax.numpy or torch."""
        shapes, sigma = self.network.shapes, xp.asarray(self.sigma.copy())  # PyTorch wants to be able to write
        ends = np.cumsum([rows * columns for rows, columns in shapes])

        def prefixes(state: Any) -> tuple[list[Any], list[Any]]:
            weights = [
                state[..., end - rows * columns : end].reshape((*state.shape[:-1], rows, columns))
                for (rows, columns), end in zip(shapes, ends, strict=True)
            ]
            products = weights[:1]
            for W in weights[1:]:
                products.append(W @ products[-1])
            return weights, products

        def rhs(state: Any) -> Any:
            weights, products = prefixes(state)
            left = sigma - products[-1]
            slopes = []
            for i in range(len(weights) - 1, 0, -1):
                slopes.append(left @ xp.swapaxes(products[i - 1], -1, -2))
                left = xp.swapaxes(weights[i], -1, -2) @ left
            slopes.append(left)
            return xp.concatenate([s.reshape((*state.shape[:-1], -1)) for s in slopes[::-1]], axis=-1)

        def loss(state: Any) -> Any:
            return 0.5 * ((sigma - prefixes(state)[1][-1]) ** 2).sum((-1, -2))

        return rhs, loss
