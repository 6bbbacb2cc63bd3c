"""The residual network: what a critical point has left to learn, as a network of its own whose product is zero.

Let the product at a critical point be W = U D V' of rank r, and R = Sigma - W. With orthonormal bases N_0 and N_h of
the complements of V and U, and N_i of the null space of U' W_{>i}, every layer maps the span of N_{i-1} into that of
N_i. The residual blocks

    Z_i = N_i' W_i N_{i-1}    and the target    rho = N_h' R N_0

make a network of widths d_i - r with Z_h ... Z_1 = 0, and moving the blocks alone changes the loss of the whole
network as that of the residual one. With z(a, b) = Z_b ... Z_{a+1}, a chain of layers i_1 > ... > i_m is *open* if
z(0, i_m - 1) rho' z(i_1, h) and every connector z(i_{k+1}, i_k - 1) is nonzero. The least m >= 2 of an open chain is
the number of pivots m*: moving the blocks changes <R, W> at order m* and no sooner (survey, arXiv 2511.10362, section
on saddles; for pairs of layers E. Achour, F. Malgouyres & S. Gerchinovitz, arXiv 2107.13289).

Products count as zero up to what relative errors `tol` in the layers would make of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import ArrayLike

from fastdln.field import product, rhs
from fastdln.linalg import Floats, frobenius, spectral
from fastdln.losses import Loss, Quadratic
from fastdln.network import Network, Weights
from fastdln.theory.whitening import Whitened, whiten

__all__ = ["TOLERANCE", "Residual", "one_network", "relative_gradient", "residual", "residual_of"]

TOLERANCE = 1e-7
_BAND = 10.0  # singular values of the product between tol and this multiple are neither zero nor learned


@dataclass(frozen=True)
class Residual:
    """A critical point in whitened inputs, split into what it has learned and its residual network."""

    net: Network
    """The whole network."""
    weights: Weights
    """The critical point in whitened inputs."""
    U: Floats
    """Left singular vectors of the product, shape (d_h, r)."""
    strengths: Floats
    """Singular values of the product, the largest first, shape (r,)."""
    V: Floats
    """Right singular vectors of the product, shape (d_0, r); the largest entry of each is positive."""
    bases: tuple[Floats, ...]
    """N_0, ..., N_h, shape (d_i, d_i - r)."""
    blocks: Weights
    """Z_1, ..., Z_h, shape (d_i - r, d_{i-1} - r)."""
    target: Floats
    """rho, shape (d_h - r, d_0 - r)."""
    tol: float
    """The relative tolerance."""
    errors: tuple[float, ...]
    """What counts as zero: in Sigma, then in W_1, ..., W_h."""

    @property
    def rank(self) -> int:
        """The number r of learned modes."""
        return len(self.strengths)

    @property
    def leading(self) -> bool:
        """Whether no unlearned mode is larger than a learned one."""
        return self.rank == 0 or bool(self.strengths[-1] >= _spectral(self.target) - self.errors[0])

    @property
    def minimum(self) -> bool:
        """Whether the point is a global minimum."""
        return self.leading and (self.rank == self.net.rank or _norm(self.target) <= self.errors[0])

    @cached_property
    def duals(self) -> tuple[Floats, ...]:
        """M_0, ..., M_h, shape (d_i, d_i - r), orthogonal to what the learned modes send through layer i.

        M_i' N_i = I, so that layer i moves by N_i X M_{i-1}' where the block Z_i moves by X, and nothing else does.
        """
        duals = []
        carried = self.V
        for W, N in zip((None, *self.weights), self.bases, strict=True):
            carried = carried if W is None else W @ carried
            Q = _complement(carried)
            duals.append(Q @ np.linalg.inv(N.T @ Q))
        return tuple(duals)

    def chain(self, a: int, b: int) -> Floats:
        """The product z(a, b) = Z_b ... Z_{a+1}; the identity for b = a."""
        result: Floats = np.eye(self.net.widths[a] - self.rank)
        for Z in self.blocks[a:b]:
            result = Z @ result
        return result

    def end(self, low: int, top: int) -> Floats:
        """What a chain from layer `low` up to layer `top` sees of the target, z(0, low - 1) rho' z(top, h)."""
        return self.chain(0, low - 1) @ self.target.T @ self.chain(top, self.net.depth)

    def connects(self, a: int, b: int) -> bool:
        """Whether z(a, b) is nonzero."""
        return _norm(self.chain(a, b)) > self.error(a, b)

    def sees(self, low: int, top: int) -> bool:
        """Whether `end` is nonzero."""
        return _norm(self.end(low, top)) > self.end_error(low, top)

    def error(self, a: int, b: int) -> float:
        """What counts as zero in z(a, b)."""
        return self._error(range(a + 1, b + 1))

    def end_error(self, low: int, top: int) -> float:
        """What counts as zero in `end`."""
        return self._error((0, *range(1, low), *range(top + 1, self.net.depth + 1)))

    def tightened(self, top: int, low: int) -> bool:
        """Whether the pair of layers top > low is no open chain."""
        return not (self.connects(low, top - 1) and self.sees(low, top))

    @cached_property
    def pivots(self) -> int | None:
        """The number m* of layers that must move together for the loss to fall, or None at a minimum.

        It is the least length of an open chain where the learned modes are the leading ones; otherwise 2, for a
        learned mode can be exchanged for a larger one by two layers.
        """
        if self.minimum:
            return None
        if not self.leading:
            return 2
        return min(self._lengths[pair] for pair in self._pairs if pair in self._lengths)

    def open_chains(self) -> Iterator[tuple[int, ...]]:
        """Yield the open chains of m* layers, each from the top down, at a saddle whose learned modes are leading."""
        for low, top in self._pairs:
            if self._lengths.get((low, top)) == self.pivots:
                yield from self._paths(low, top)

    @cached_property
    def _pairs(self) -> list[tuple[int, int]]:
        """The pairs low < top of layers that see the target."""
        h = self.net.depth
        return [(low, top) for low in range(1, h) for top in range(low + 1, h + 1) if self.sees(low, top)]

    @cached_property
    def _lengths(self) -> dict[tuple[int, int], int]:
        """The least number of layers from low to top that connectors join, by pair."""
        h = self.net.depth
        lengths = {(i, i): 1 for i in range(1, h + 1)}
        for low in range(1, h + 1):
            for top in range(low + 1, h + 1):
                reached = [
                    lengths[low, i] + 1 for i in range(low, top) if (low, i) in lengths and self.connects(i, top - 1)
                ]
                if reached:
                    lengths[low, top] = min(reached)
        return lengths

    def _paths(self, low: int, top: int) -> Iterator[tuple[int, ...]]:
        """The shortest sequences of layers from `top` down to `low` that connectors join."""
        if low == top:
            yield (top,)
            return
        for i in range(low, top):
            if self._lengths.get((low, i)) == self._lengths[low, top] - 1 and self.connects(i, top - 1):
                for path in self._paths(low, i):
                    yield (top, *path)

    def _error(self, factors: Sequence[int]) -> float:
        """What errors in the target (factor 0) and the blocks may change of a product of them."""
        sizes = [_norm(self.blocks[i - 1] if i else self.target) for i in factors]
        return prod(size + self.errors[i] for size, i in zip(sizes, factors, strict=True)) - prod(sizes)


def one_network(weights: Sequence[ArrayLike], whitened: Whitened, what: str) -> tuple[Network, Weights]:
    """Bring one finite network into whitened inputs, for the function or notion named ``what``."""
    net, arrays = whitened.there(weights)
    if arrays[0].ndim > 2:
        raise ValueError(f"{what} is of one network; weights has the batch axes {arrays[0].shape[:-2]}")
    for i, W in enumerate(arrays, start=1):
        if not np.isfinite(W).all():
            raise ValueError(f"weights must be finite; W_{i} is not")
    return net, arrays


def relative_gradient(weights: Weights, loss: Quadratic) -> Floats:
    """Compute max_i ||dL/dW_i||_F / (||Sigma||_2 prod_{k != i} max(||W_k||_2, ||Sigma||_2^(1/h))).

    The weights are in whitened inputs, and may have batch axes. Where Sigma = 0, the product of all ||W_k||_2 takes
    the place of its norm.
    """
    gradient = np.stack([frobenius(G) for G in rhs(weights, loss)], axis=-1)
    norms = np.stack([spectral(W) for W in weights], axis=-1)
    sigma = np.linalg.norm(loss.target, 2)
    sizes = np.maximum(norms, sigma ** (1 / len(weights)))
    others = [np.delete(sizes, i, axis=-1).prod(axis=-1) for i in range(len(weights))]
    whole = sigma if sigma > 0 else norms.prod(axis=-1, keepdims=True)
    scale = np.stack(others, axis=-1) * whole
    # 0/0 stands for a gradient that vanishes with its scale.
    ratio = np.divide(gradient, scale, out=np.where(gradient > 0, np.inf, 0.0), where=scale > 0)
    return np.asarray(ratio.max(axis=-1))


def residual(weights: Sequence[ArrayLike], loss: Loss, what: str, tol: float = TOLERANCE) -> Residual:
    """Split a critical point for the function or notion named ``what``, or refuse a point that is not critical."""
    whitened = whiten(loss, what)
    net, arrays = one_network(weights, whitened, what)
    gradient = float(relative_gradient(arrays, whitened.loss))
    if not gradient <= tol:
        raise ValueError(
            f"{what} is of a critical point, and weights is none: its gradient is {gradient:.2g} relative to the sizes "
            f"of the layers and the target, above {tol:.2g}"
        )
    return residual_of(net, arrays, whitened.loss, tol)


def residual_of(net: Network, weights: Weights, loss: Quadratic, tol: float = TOLERANCE) -> Residual:
    """Split weights in whitened inputs that are known to be critical.

    Raises
    ------
    ValueError
        If a singular value of the product is neither zero nor clearly learned.
    """
    sigma = float(np.linalg.norm(loss.target, 2))
    W = product(weights)
    U, s, Vt = np.linalg.svd(W)
    undecided = (s > tol * sigma) & (s <= _BAND * tol * sigma)
    if undecided.any():
        raise ValueError(
            f"the rank of the product is undecided: its singular value {s[undecided][0]:.2g} is within "
            f"{tol:.2g} to {_BAND * tol:.2g} of ||Sigma||_2 = {sigma:.2g}; refine the critical point first"
        )
    r = int((s > tol * sigma).sum()) if sigma > 0 else 0
    learned, strengths, inputs = U[:, :r], s[:r], Vt[:r].T
    sign = np.copysign(1.0, np.take_along_axis(inputs, np.abs(inputs).argmax(axis=0, keepdims=True), axis=0))
    bases = [U[:, r:]]
    pulled = learned
    for layer in reversed(weights[1:]):
        pulled = layer.T @ pulled  # W_{>i}' U
        bases.append(_complement(pulled))
    bases.append(Vt[r:].T)
    bases.reverse()
    blocks = tuple(above.T @ layer @ below for below, layer, above in zip(bases[:-1], weights, bases[1:], strict=True))
    floor = sigma ** (1 / net.depth)
    return Residual(
        net=net,
        weights=weights,
        U=learned * sign,
        strengths=strengths,
        V=inputs * sign,
        bases=tuple(bases),
        blocks=blocks,
        target=bases[-1].T @ (loss.target - W) @ bases[0],
        tol=tol,
        # Where Sigma = 0 whatever is left of it is rounding.
        errors=(tol * sigma if sigma > 0 else np.inf, *(tol * max(_spectral(layer), floor) for layer in weights)),
    )


def _complement(columns: Floats) -> Floats:
    """An orthonormal basis of the complement of independent columns."""
    return np.linalg.qr(columns, mode="complete")[0][:, columns.shape[1] :]


def _norm(matrix: Floats) -> float:
    return float(np.linalg.norm(matrix))


def _spectral(matrix: Floats) -> float:
    return float(np.linalg.norm(matrix, 2)) if matrix.size else 0.0
