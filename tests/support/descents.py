"""A plain NumPy twin of `fastdln.descend`, in extended precision, one trajectory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any

import numpy as np

from fastdln.integrate.draws import WORD, below, philox

Array = np.ndarray[Any, Any]
Slope = Callable[[Array], Array]  # dL/dW of the product


def long(x: Any) -> Array:
    """In extended precision."""
    return np.asarray(x, np.longdouble)


def quadratic(sigma: Any) -> Slope:
    return lambda W: W - long(sigma)


def power(sigma: Any, p: float) -> Slope:
    return lambda W: np.sign(W - sigma) * np.abs(W - sigma) ** (p - 1)


def huber(sigma: Any, delta: float) -> Slope:
    return lambda W: np.clip(W - sigma, -delta, delta)


def pseudo_huber(sigma: Any, delta: float) -> Slope:
    return lambda W: (W - sigma) / np.sqrt(1 + ((W - sigma) / delta) ** 2)


def regression(X: Any, Y: Any) -> Slope:
    X, Y = long(X), long(Y)
    return lambda W: (W @ X - Y) @ X.T / X.shape[1]


def logistic(X: Any, Y: Any) -> Slope:
    X, Y = long(X), long(Y)
    return lambda W: -(Y / (1 + np.exp(Y * (W @ X)))) @ X.T / X.shape[1]


def exponential(X: Any, Y: Any) -> Slope:
    X, Y = long(X), long(Y)
    return lambda W: -(Y * np.exp(-Y * (W @ X))) @ X.T / X.shape[1]


def softmax(X: Any, labels: Any, n: int) -> Slope:
    X, Y = long(X), long(np.arange(n)[:, None] == labels)

    def slope(W: Array) -> Array:
        Z = np.exp(W @ X)
        return (Z / Z.sum(axis=0) - Y) @ X.T / X.shape[1]

    return slope


def gradients(weights: Sequence[Array], slope: Slope) -> list[Array]:
    """dL/dW_i = W_{>i}' dL/dW W_{<i}'."""
    S = slope(reduce(np.matmul, weights[::-1]))
    return [
        reduce(np.matmul, [*(W.T for W in weights[i + 1 :]), S, *(W.T for W in weights[:i])])
        for i in range(len(weights))
    ]


def descent(
    w0: Sequence[Any],
    slope: Slope | Iterator[Slope],
    rates: Sequence[float],
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    layer_rates: Sequence[float] | None = None,
) -> list[list[Array]]:
    """The states of a descent with these rates, its start first: v <- beta v - eta (dL/dW + mu W), W <- W + v."""
    W = [long(x) for x in w0]
    v = [np.zeros_like(x) for x in W]
    states = [W]
    for eta in map(np.longdouble, rates):
        at = [x + momentum * u for x, u in zip(W, v, strict=True)] if nesterov else W
        G = gradients(at, next(slope) if isinstance(slope, Iterator) else slope)
        factors = layer_rates or (1.0,) * len(W)
        v = [momentum * u - eta * (c * g + weight_decay * x) for u, c, g, x in zip(v, factors, G, at, strict=True)]
        W = [x + u for x, u in zip(W, v, strict=True)]
        states.append(W)
    return states


def order(n: int, key: tuple[int, int], stream: int, epoch: int) -> list[int]:
    """The order of the samples in an epoch: Fisher and Yates, from the end."""
    words = (word for block in range(1 << 20) for word in philox(block, epoch, stream & WORD, stream >> 32, *key))
    places, i = list(range(n)), n - 1
    while i > 0:
        j = below(next(words), i + 1)
        if j >= 0:
            places[i], places[j] = places[j], places[i]
            i -= 1
    return places


def batches(n: int, size: int, key: tuple[int, int], stream: int) -> Iterator[list[int]]:
    """The samples of one update after another."""
    epoch = 0
    while True:
        places = order(n, key, stream, epoch)
        yield from (places[first : first + size] for first in range(0, n, size))
        epoch += 1
