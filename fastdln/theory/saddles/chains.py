"""Moving the layers of an open chain: directions along which the loss of a nonstrict saddle falls.

Let i_1 > ... > i_m be an open chain of the least length m = m* >= 3, and let layer i_k move by t_k V_k with V_k of rank
one: in the residual network V_k = x_k y_k', where (x_1, y_m) is a pair of singular vectors of the end
E = z(0, i_m - 1) rho' z(i_1, h), and (y_k, x_{k+1}) one of the connector z(i_{k+1}, i_k - 1). Then <R, W> gains
g t_1 ... t_m with g > 0. Any set of these layers may change W, but because m is least

    * sets that skip a layer of the chain between others change nothing, since a shorter chain would be open;
    * connectors other than the first make z(i_{k+1}, h) = 0, and other than the last z(0, i_k - 1) = 0,

so that every change of W contains the interior layers i_2, ..., i_{m-1}. With w its size when they move alone,

    m >= 5:  L falls like -g alpha^m along t_k = alpha / sqrt(m);
    m = 4:   like -(g u (1/2 - u) - w^2 u^2 / 2) alpha^4 along t_2 = t_3 = u^(1/2) alpha, t_1 = t_4 =
             (1/2 - u)^(1/2) alpha;
    m = 3:   like -g alpha^3 if the connectors can be chosen so that w = 0; otherwise layer i_2 must follow as alpha^2,
             and L falls like -(g e - w^2 e^2) alpha^4 / 2 along alpha/2^(1/2), e alpha^2, alpha/2^(1/2).

(Survey, arXiv 2511.10362, section on saddles.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from math import prod

import numpy as np

from fastdln.linalg import Floats
from fastdln.network import Weights
from fastdln.theory.residual import Residual
from fastdln.theory.whitening import Whitened

__all__ = ["Motion", "chain_motions"]

_MOST_CHAINS = 64  # of the open chains that are compared
_QUIET = 1e-6  # how much of a connector must be left when it is kept from changing W


@dataclass(frozen=True)
class Motion:
    """An arc A + sum_i alpha^{p_i} V_i, in the coordinates of the loss."""

    directions: Weights
    """V_i; the layers with p_i = 1 together are of unit Frobenius norm, the others of at most that."""
    powers: tuple[int, ...]
    """p_i, 1 also where V_i = 0."""
    order: int
    """The power of alpha with which the loss falls."""
    descent: float
    """The coefficient of -alpha^order."""


def chain_motions(split: Residual, whitened: Whitened) -> list[Motion]:
    """Find how an open chain of least length lowers the loss, by each mode that it sees, the steepest first.

    Of the open chains that is taken along which the loss falls with the least order, and there the fastest.
    """

    def steepness(motion: Motion) -> tuple[int, float]:
        return motion.order, -motion.descent

    motions = [
        [_motion(split, whitened, chain, j) for j in range(_modes(split, chain))]
        for chain in islice(split.open_chains(), _MOST_CHAINS)
    ]
    return sorted(min(motions, key=lambda along: min(map(steepness, along))), key=steepness)


def _modes(split: Residual, chain: Sequence[int]) -> int:
    """The rank of the end of a chain."""
    low, top = chain[-1], chain[0]
    return max(1, int((_singular(split.end(low, top)) > split.end_error(low, top)).sum()))


def _motion(split: Residual, whitened: Whitened, chain: Sequence[int], j: int) -> Motion:
    """Move an open chain by the singular pair j of its end."""
    Y, e, Xt = np.linalg.svd(split.end(chain[-1], chain[0]))
    connectors = [split.chain(low, top - 1) for top, low in pairwise(chain)]
    variants = [connectors]
    if len(chain) == 3:
        quiet = [
            [connectors[0] @ _kernel(split, chain[1], split.net.depth), connectors[1]],
            [connectors[0], _cokernel(split, 0, chain[1] - 1) @ connectors[1]],
        ]
        variants = [
            variant
            for variant in quiet
            if all(np.linalg.norm(C) > _QUIET * np.linalg.norm(D) for C, D in zip(variant, connectors, strict=True))
        ] or variants
    found = [_along(split, whitened, chain, float(e[j]), Y[:, j], Xt[j], joined) for joined in variants]
    return min(found, key=lambda motion: (motion.order, -motion.descent))


def _along(
    split: Residual,
    whitened: Whitened,
    chain: Sequence[int],
    e: float,
    last: Floats,
    first: Floats,
    connectors: Sequence[Floats],
) -> Motion:
    """Move the layers of a chain along the leading singular pairs of its connectors."""
    pairs = [np.linalg.svd(C) for C in connectors]
    x = [first, *(Vt[0] for _, _, Vt in pairs)]
    y = [*(U[:, 0] for U, _, _ in pairs), last]
    c = [float(s[0]) for _, s, _ in pairs]
    moved = [np.zeros(W.shape) for W in split.weights]
    for i, right, left in zip(chain, x, y, strict=True):
        moved[i - 1] = np.outer(split.bases[i] @ right, split.duals[i - 1] @ left)
    directions = list(whitened.back(tuple(moved)))
    n = [1 / float(np.linalg.norm(directions[i - 1])) for i in chain]
    above = float(np.linalg.norm(split.chain(chain[1], split.net.depth) @ x[1]))
    below = float(np.linalg.norm(y[-2] @ split.chain(0, chain[-2] - 1)))
    g, w = e * prod(c) * prod(n), above * prod(c[1:-1]) * below * prod(n[1:-1])
    shares, second, order, descent = _share(len(chain), g, w, split.tol)
    powers = [1] * split.net.depth
    for i, share, norm in zip(chain, shares, n, strict=True):
        directions[i - 1] = directions[i - 1] * (share * norm)
    if second:
        powers[chain[1] - 1] = 2
    return Motion(tuple(directions), tuple(powers), order, descent)


def _share(m: int, g: float, w: float, tol: float) -> tuple[list[float], bool, int, float]:
    """Share a unit step among the m layers.

    Returns
    -------
    shares : list of float
        t_k / alpha^{p_k}.
    second : bool
        Whether the second layer moves as alpha^2.
    order : int
        The power of alpha with which the loss falls.
    descent : float
        Its coefficient.
    """
    if m == 3 and w > tol * g:
        e = min(1.0, g / (2 * w**2))
        return [0.5**0.5, e, 0.5**0.5], True, 4, (g * e - (w * e) ** 2) / 2
    if m == 4:
        u = g / (4 * g + 2 * w**2)
        return [(0.5 - u) ** 0.5, u**0.5, u**0.5, (0.5 - u) ** 0.5], False, 4, g**2 / (16 * g + 8 * w**2)
    return [m**-0.5] * m, False, m, g * m ** (-m / 2)


def _kernel(split: Residual, a: int, b: int) -> Floats:
    """The projection on the kernel of z(a, b)."""
    chain = split.chain(a, b)
    _, s, Vt = np.linalg.svd(chain)
    seen = Vt[: int((s > split.error(a, b)).sum())]
    return np.asarray(np.eye(chain.shape[1]) - seen.T @ seen)


def _cokernel(split: Residual, a: int, b: int) -> Floats:
    """The projection on the complement of the range of z(a, b)."""
    chain = split.chain(a, b)
    U, s, _ = np.linalg.svd(chain)
    reached = U[:, : int((s > split.error(a, b)).sum())]
    return np.asarray(np.eye(chain.shape[0]) - reached @ reached.T)


def _singular(matrix: Floats) -> Floats:
    return np.asarray(np.linalg.svd(matrix, compute_uv=False))
