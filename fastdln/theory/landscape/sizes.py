"""The hypotheses of the theory of landscapes, and the dimension of the set of global minima.

Sources: survey, arXiv 2511.10362, sections on critical points and on level sets; M. Trager, K. Kohn & J. Bruna,
ICLR 2020 (the fibers of the product).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import comb

import numpy as np

from fastdln.checked import checked
from fastdln.linalg import Floats
from fastdln.losses import Loss
from fastdln.network import Network
from fastdln.theory.landscape.spectrum import RTOL, Spectrum, open_landscape

__all__ = ["Assumptions", "assumptions", "codimension", "dimension", "level_set_bound"]

# As many sums as are sorted to decide whether they are distinct: 32 MB.
_MOST_SUMS = 4_000_000


@dataclass(frozen=True)
class Assumptions:
    """Which hypotheses of the theory a network and a target fulfil.

    Parameters
    ----------
    size : bool
        The widths do not increase from input to output, d_0 >= d_1 >= ... >= d_h: the level sets then have at least
        the dimension `level_set_bound`.
    full_rank : bool
        Sigma has rank min(d_0, d_h).
    distinct_values : bool
        No two of the positive sigma_j are equal: the learned modes of a critical point are a set, not a subspace.
    distinct_sums : bool or None
        No two sets of at most r_max modes with positive sigma have the same sum of sigma_j^2: critical values and
        learned sets are one-to-one. None where there are too many sets to decide.
    reached_rank : bool
        rank Sigma >= r_max: the product of a global minimum has the full rank r_max.
    unique_product : bool
        All global minima have the same product: rank Sigma <= r_max or sigma_r > sigma_{r+1} with r = r_max.
    """

    size: bool
    full_rank: bool
    distinct_values: bool
    distinct_sums: bool | None
    reached_rank: bool
    unique_product: bool


@checked
def assumptions(net: Network, loss: Loss, rtol: float = RTOL) -> Assumptions:
    """Decide which hypotheses of the theory hold.

    Sums of sigma_j^2 are sorted where there are up to 4 million sets of at most r_max modes. Beyond that
    `distinct_sums` is False where singular values are equal, and where there are more than 1/rtol sets, because two
    of their sums must then be equal within the tolerance; otherwise it is None.

    Parameters
    ----------
    net : Network
        The network.
    loss : Loss
        The loss, with one target; for unwhitened data Sigma is the whitened target.
    rtol : float
        Singular values count as equal or zero within `rtol` times the largest, and sums of squares as equal within
        `rtol` times the sum of all.

    Returns
    -------
    Assumptions
        The verdicts.

    Raises
    ------
    TypeError
        If the inputs of the loss do not span R^{d_0}, or an argument is of the wrong kind.
    ValueError
        If the loss has several targets, or its shape is not that of the products of the network.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> loss = Quadratic.from_singular_values((5, 4, 3), shape=(3, 3))
    >>> found = assumptions(Network((3, 3, 3)), loss)
    >>> found.size, found.distinct_values, found.distinct_sums  # 5^2 = 4^2 + 3^2
    (True, True, False)
    >>> assumptions(Network((3, 1, 3)), loss).distinct_sums
    True
    """
    _, modes = open_landscape(net, loss, "assumptions", rtol)
    minimum = modes.leading(net.rank)
    return Assumptions(
        size=all(below >= above for below, above in pairwise(net.widths)),
        full_rank=modes.rank == min(net.widths[0], net.widths[-1]),
        distinct_values=len(modes.levels) == modes.rank,
        distinct_sums=_distinct_sums(modes, min(net.rank, modes.rank), rtol),
        reached_rank=modes.rank >= net.rank,
        unique_product=not ((minimum > 0) & (minimum < modes.multiplicities)).any(),
    )


@checked
def dimension(net: Network, loss: Loss, rtol: float = RTOL) -> int:
    """Compute the dimension of the set of global minima.

    For h >= 2, rank Sigma >= r_max and sigma_r > sigma_{r+1} (r = r_max) it is N - r (d_0 + d_h - r). In general
    let k = min(r_max, rank Sigma). The products of global minima have rank k and form a Grassmannian of dimension
    n (m - n), where n of the m modes with sigma = sigma_k are learned (0 if all are). The weights with one given
    product of rank k have the dimension

        N - k (d_0 + d_h - k) - min sum_{i=1}^h (rho_{i-1} - rho_i) (d_i - rho_i)

    over the ranks d_0 = rho_0 >= rho_1 >= ... >= rho_h = k of the partial products W_i ... W_1: the weights with such
    ranks have the codimension given by the sum. The minimum is 0 if k = r_max.

    Parameters
    ----------
    net : Network
        The network. One layer has one minimum: the dimension is 0.
    loss : Loss
        The loss, with one target; for unwhitened data Sigma is the whitened target.
    rtol : float
        Singular values count as equal or zero within `rtol` times the largest.

    Returns
    -------
    int
        The dimension, the largest one of the pieces if the set has several.

    Raises
    ------
    TypeError
        If the inputs of the loss do not span R^{d_0}, or an argument is of the wrong kind.
    ValueError
        If the loss has several targets, or its shape is not that of the products of the network.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> dimension(Network((4, 4, 4, 4)), Quadratic(np.diag([4.0, 3.0, 2.0, 1.0])))
    32
    >>> dimension(Network((2, 2, 2)), Quadratic(np.zeros((2, 2))))
    5
    """
    _, modes = open_landscape(net, loss, "dimension", rtol)
    k = min(net.rank, modes.rank)
    if net.depth == 1:
        return 0
    learned = modes.leading(k)
    turning = int((learned * (modes.multiplicities - learned)).sum())
    return net.n_parameters - k * (net.widths[0] + net.widths[-1] - k) - _codimension_of_rank(net, k) + turning


@checked
def codimension(net: Network, loss: Loss, rtol: float = RTOL) -> int:
    """Compute the codimension of the set of global minima, N minus its dimension.

    Parameters
    ----------
    net : Network
        The network.
    loss : Loss
        The loss, with one target.
    rtol : float
        Singular values count as equal or zero within `rtol` times the largest.

    Returns
    -------
    int
        The codimension: r (d_0 + d_h - r) under the hypotheses that `dimension` names.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> codimension(Network((4, 1, 3, 5)), Quadratic.from_singular_values((2, 1), shape=(5, 4)))
    8
    """
    return net.n_parameters - dimension(net, loss, rtol)


@checked
def level_set_bound(net: Network) -> int:
    """Compute the lower bound sum_{i=1}^{h-1} d_i^2 of the dimension of level sets.

    It is the dimension of the group of gauges. The set of global minima of a target of rank d_h exceeds it by
    sum_{i=1}^{h-1} (d_i - d_h) (d_{i-1} - d_i); all other level sets have dimension N - 1, since for h >= 2 the loss
    has neither local maxima nor other local minima.

    Parameters
    ----------
    net : Network
        The network, with d_0 >= d_1 >= ... >= d_h.

    Returns
    -------
    int
        The bound.

    Raises
    ------
    ValueError
        If a width is larger than the one before: then gauges have stabilizers, and the bound may fail, as in
        Network((1, 5, 1)), whose minima have dimension 9 < 25.

    Examples
    --------
    >>> level_set_bound(Network((4, 4, 4, 4)))
    32
    """
    for i, (below, above) in enumerate(pairwise(net.widths), start=1):
        if above > below:
            raise ValueError(
                f"the bound needs widths that do not increase from input to output, but {net} has "
                f"d_{i} = {above} > d_{i - 1} = {below}; use dimension(net, loss)"
            )
    return sum(d**2 for d in net.widths[1:-1])


def _codimension_of_rank(net: Network, k: int) -> int:
    """The codimension of the weights with a product of rank k: the minimum over the ranks of the partial products."""
    least = {net.widths[0]: 0}
    for d in (*net.widths[1:-1], None):
        ranks = (k,) if d is None else range(k, d + 1)
        width = net.widths[-1] if d is None else d
        least = {
            rho: min(least[before] + (before - rho) * (width - rho) for before in least if before >= rho)
            for rho in ranks
            if rho <= max(least)
        }
    return least[k]


def _distinct_sums(modes: Spectrum, most: int, rtol: float) -> bool | None:
    squares = (modes.sigma[: modes.rank] / modes.sigma[0]) ** 2 if modes.rank else np.zeros(0)
    sets = sum(comb(modes.rank, size) for size in range(most + 1))
    if most and (len(modes.levels) < modes.rank or sets - 1 > 1 / rtol):
        return False
    if sets > _MOST_SUMS:
        return None
    sums = np.sort(np.concatenate(_subset_sums(squares, most)))
    return bool((np.diff(sums) > rtol * squares.sum()).all())


def _subset_sums(squares: Floats, most: int) -> list[Floats]:
    """The sums over all subsets of each size up to `most`."""
    sums = [np.zeros(1), *(np.zeros(0) for _ in range(most))]
    for square in squares:
        sums = [sums[0], *(np.concatenate([same, smaller + square]) for smaller, same in pairwise(sums))]
    return sums
