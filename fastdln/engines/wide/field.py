"""The right-hand side of one network whose weights are known as mixes of factors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.base import Problem
from fastdln.engines.wide.factored import Factored
from fastdln.engines.wide.layers import Formed, Held, Layer
from fastdln.engines.wide.terms import START, Mix
from fastdln.engines.wide.thin import Matrix, thin
from fastdln.engines.wide.workers import Workers
from fastdln.network import Network

FACTORED_FROM = 2  # times the rank of a slope: the least side of a layer that is not formed


def meeting(widths: tuple[int, ...]) -> int:
    """Where products from the input and from the output meet.

    Layer m is read once, for both; all others twice.  0 or h + 1: the products of the narrower end go through all
    layers, which is best where the other end is wide.  A column of a product counts for about half of the reading.
    """
    d, h = widths, len(widths) - 1
    rank = min(d[0], d[h])

    def cost(m: int) -> int:
        below = sum(d[i] * d[i - 1] * (4 + d[0] + rank) for i in range(1, min(m, h + 1)))
        above = sum(d[i] * d[i - 1] * (4 + d[h] + rank) for i in range(m + 1, h + 1))
        return below + above + (d[m] * d[m - 1] * (2 + d[0] + d[h]) if 1 <= m <= h else 0)

    return min(range(1, h + 2) if d[0] <= d[h] else range(h + 1), key=cost)


def factored(network: Network) -> tuple[bool, ...]:
    """Which layers are kept as factors."""
    rank = min(network.widths[0], network.widths[-1])
    return tuple(min(shape) > FACTORED_FROM * rank for shape in network.shapes)


def residual_at(problem: Problem, target: int, dtype: np.dtype[np.floating]) -> Callable[[Matrix], Matrix]:
    """What tells R = -dL/dW of a product."""
    loss, form = problem.loss, problem.loss.quadratic
    if form is None:
        own = loss[target] if loss.batch_shape else loss
        return lambda product: -own.grad(product)
    cross = form.cross.reshape(-1, *loss.shape)[target].astype(dtype)
    gram = None if form.input_gram is None else form.input_gram.astype(dtype)
    return lambda product: cross - (product if gram is None else product @ gram)


def layers_of(
    problem: Problem, state: Matrix, atol: float, slopes: int, workers: Workers
) -> list[Layer]:  # fmt: skip
    """The layers of a flow, which lie in ``state``."""
    network = problem.network
    d_0, d_h = network.widths[0], network.widths[-1]
    rates = problem.options.layer_rates or (1.0,) * network.depth
    return [
        Factored(W, slopes, min(d_0, d_h), rate, problem.options.rtol, atol, d_0 <= d_h, workers)
        if thick
        else Formed(W, slopes, rate, problem.options.rtol, atol)
        for W, rate, thick in zip(network.unpack(state), rates, factored(network), strict=True)
    ]


H = TypeVar("H", bound=Held)


class Field(Generic[H]):
    """Slopes of the flow, and the product of the weights, at the stages of a step.

    Attributes
    ----------
    product : ndarray, shape (d_h, d_0)
        W at the last stage that was looked at, or whose slope was evaluated.
    """

    def __init__(self, problem: Problem, target: int, layers: Sequence[H]) -> None:
        network, dtype = problem.network, problem.start.dtype
        d_0, d_h = network.widths[0], network.widths[-1]
        self._depth = network.depth
        self._narrow_input = d_0 <= d_h
        self._meeting = meeting(network.widths)
        # the products of no layer, where they are needed: never of a wide end
        self._rights = {0: np.eye(d_0, dtype=dtype)} if self._meeting > 0 else {}
        self._lefts = {self._depth: np.eye(d_h, dtype=dtype)} if self._meeting <= self._depth else {}
        self._residual_at = residual_at(problem, target, dtype)
        self.layers = layers
        self.product = np.zeros((d_h, d_0), dtype)
        self.dtype = dtype
        self._factors: list[tuple[Matrix, Matrix]] = []
        self._met: tuple[dict[int, Matrix], dict[int, Matrix]] = {}, {}

    def slope(self, stage: Mix, l: int) -> None:
        """Evaluate slope number l at a stage."""
        self.meet(stage)
        self.complete(l)

    def meet(self, stage: Mix) -> None:
        """Evaluate the product at a stage, and half of what a slope there consists of."""
        self._met = self._meet(stage, whole=True)

    def complete(self, l: int, residual: Matrix | None = None) -> None:
        """Evaluate slope number l where products met last, with R = -dL/dW of the loss or another."""
        h, m = self._depth, self._meeting
        R = self._residual_at(self.product) if residual is None else residual
        rights, lefts = (half.copy() for half in self._met)
        if self._narrow_input:
            lefts = {j: _times(R.T, V) for j, V in lefts.items()}
            lefts.setdefault(h, np.ascontiguousarray(R.T))
        else:
            rights = {j: _times(R, F) for j, F in rights.items()}
            rights.setdefault(0, R)
        for i in range(m + 1, h):
            rights[i] = self._layer(i).product(rights[i - 1], None)[0]
        for i in range(m - 1, 1, -1):
            lefts[i - 1] = self._layer(i).product(None, lefts[i])[1]
        self._factors = [(lefts[i], rights[i - 1]) for i in range(1, h + 1)]
        for layer, (left, right) in zip(self.layers, self._factors, strict=True):
            layer.keep(l, left, right)

    def factors(self, i: int) -> tuple[Matrix, Matrix]:
        """P and Q, transposed, of layer i = 1..h in the slope P Q' that was evaluated last."""
        return self._factors[i - 1]

    def look(self, stage: Mix) -> None:
        """Evaluate the product at a stage."""
        self._meet(stage, whole=False)

    def gradient_norm(self, l: int) -> float:
        """||grad L||_F where slope number l was evaluated."""
        return math.hypot(*(layer.gradient_norm(l) for layer in self.layers))

    def form(self, stage: Mix, out: NDArray[np.floating], network: Network) -> None:
        """Write the weights at a stage to a flat array."""
        for layer, W in zip(self.layers, network.unpack(out), strict=True):
            layer.form(stage, W)

    def below(self) -> list[Matrix]:
        """W_i ... W_1 for i = 0..h, transposed, at the beginning of the step."""
        products: list[Matrix] = [np.eye(self.product.shape[1], dtype=self.product.dtype)]
        for layer in self.layers:
            layer.at(START)
            products.append(layer.product(products[-1], None)[0])
        return products

    def above(self) -> list[Matrix]:
        """(W_h ... W_{i+1})' for i = 0..h, transposed, at the beginning of the step."""
        products: list[Matrix] = [np.eye(len(self.product), dtype=self.product.dtype)]
        for layer in reversed(self.layers):
            layer.at(START)
            products.append(layer.product(None, products[-1])[1])
        return products[::-1]

    def _meet(self, stage: Mix, whole: bool) -> tuple[dict[int, Matrix], dict[int, Matrix]]:
        """W_{<=i} and W_{>i}' (transposed) from both ends to where they meet; ``whole``: and one beyond it."""
        h, m = self._depth, self._meeting
        for layer in self.layers:
            layer.at(stage)
        rights, lefts = self._rights.copy(), self._lefts.copy()
        for i in range(1, min(m, h + 1)):
            rights[i] = self._layer(i).product(rights[i - 1], None)[0]
        for i in range(h, m, -1):
            lefts[i - 1] = self._layer(i).product(None, lefts[i])[1]
        if 1 <= m <= h:
            below = lefts[m] if whole and m > 1 else None
            rights[m], beyond = self._layer(m).product(rights[m - 1], below)
            if below is not None:
                lefts[m - 1] = beyond
            self.product = lefts[m] @ rights[m].T
        else:
            self.product = lefts[0] if m == 0 else rights[h].T
        return rights, lefts

    def _layer(self, i: int) -> H:
        return self.layers[i - 1]


def _times(matrix: Matrix, columns: Matrix) -> Matrix:
    """A product with thin columns, laid out as these."""
    return np.matmul(matrix, columns, out=thin(len(matrix), columns.shape[1], columns.dtype))
