"""Reading which modes a critical point has learned."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import SupportsIndex

from fastdln.network import Network

__all__ = ["read_learned"]


def read_learned(learned: Iterable[SupportsIndex], net: Network, n_modes: int, rank: int) -> tuple[int, ...]:
    """Validate the learned modes of a critical point.

    Parameters
    ----------
    learned : iterable of int
        The modes, 0-based, in any order.
    net : Network
        The network.
    n_modes : int
        The number of modes of the target.
    rank : int
        How many of them have a positive singular value.

    Returns
    -------
    tuple of int
        The modes in order.

    Raises
    ------
    TypeError
        If a mode is not an integer.
    ValueError
        If there is no critical point with these modes: the message says why.
    """
    if isinstance(learned, str | bytes) or not isinstance(learned, Iterable):
        raise TypeError(f"learned must be a sequence of modes such as (0, 2), not {learned!r}")
    given = list(learned)
    try:
        S = tuple(sorted(map(operator.index, given)))
    except TypeError:
        raise TypeError(f"learned must hold integers, not {given!r}") from None
    if len(set(S)) < len(S):
        raise ValueError(f"learned names a mode twice: {S}")
    if S and not (S[0] >= 0 and S[-1] < n_modes):
        raise ValueError(f"learned is {S}; {net} has the modes 0 to {n_modes - 1}")
    if S and S[-1] >= rank:
        raise ValueError(
            f"learned names mode {S[-1]}, whose sigma is zero: such a mode is never learned; the target has rank {rank}"
        )
    if len(S) > net.rank:
        raise ValueError(f"learned names {len(S)} modes; a product of {net} has rank at most r_max = {net.rank}")
    if net.depth == 1 and len(S) < rank:
        raise ValueError(
            f"learned is {S}, but with one layer the only critical point is the target, which has learned "
            f"the modes {tuple(range(rank))}"
        )
    return S
