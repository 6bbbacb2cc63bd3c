"""The critical values of the loss: one for each set of modes that a critical point can have learned.

At a critical point the product is W = U_S diag(sigma_S) V_S' for a set S of at most r_max modes with positive
sigma, and L = floor + 1/2 sum_{j not in S} sigma_j^2 (P. Baldi & K. Hornik, Neural Networks 2 (1989) 53-58; survey,
arXiv 2511.10362, section on critical points).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass

from fastdln.checked import checked
from fastdln.losses import Loss
from fastdln.network import Network
from fastdln.theory.landscape.spectrum import RTOL, Spectrum, open_landscape

__all__ = ["CriticalValue", "critical_values"]


@dataclass(frozen=True)
class CriticalValue:
    """A value of the loss at critical points, and the modes learned there.

    Parameters
    ----------
    learned : tuple of int
        The learned modes, 0-based, in increasing order. Where only some of several modes with equal sigma are learned,
        the critical points form one connected family, whose learned subspace turns among these modes: the leading
        ones stand for all.
    value : float
        The loss there.
    multiplicity : int
        The number of sets of modes in that family; 1 where `learned` is the only one.
    """

    learned: tuple[int, ...]
    value: float
    multiplicity: int = 1


@checked
def critical_values(net: Network, loss: Loss, rtol: float = RTOL) -> Iterator[CriticalValue]:
    """Iterate over the critical values of the loss by increasing value, lazily.

    The learned sets are searched best first: each set but the leading one of its size is reached from exactly one
    other, of no larger value, by exchanging a mode for one of the next smaller sigma. The first values come at once,
    and k of them take O(k log k) steps, however many sets there are.

    Parameters
    ----------
    net : Network
        The network; sets have at most r_max modes. One layer has one critical point, which has learned all modes.
    loss : Loss
        The loss, with one target; for unwhitened data the modes are those of the whitened target.
    rtol : float
        Singular values that differ by at most `rtol` times the largest count as equal, those below it as zero.

    Returns
    -------
    iterator of CriticalValue
        Learned sets with their values. Sets that have the same value although their sigma differ come one after
        the other, always in the same order.

    Raises
    ------
    TypeError
        If the inputs of the loss do not span R^{d_0}, or an argument is of the wrong kind.
    ValueError
        If the loss has several targets, or its shape is not that of the products of the network.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> loss = Quadratic.from_singular_values((3, 2, 1), shape=(3, 3))
    >>> for critical in critical_values(Network((3, 1, 3)), loss):
    ...     print(critical.learned, critical.value)
    (0,) 2.5
    (1,) 5.0
    (2,) 6.5
    () 7.0
    """
    white, modes = open_landscape(net, loss, "critical_values", rtol)
    most = min(net.rank, modes.rank)
    return _best_first(modes, range(most if net.depth == 1 else 0, most + 1), white.floor)


def _best_first(modes: Spectrum, sizes: range, floor: float) -> Iterator[CriticalValue]:
    sizes_of_levels = modes.multiplicities.tolist()
    heap = [_entry(modes, tuple(modes.leading(size).tolist()), floor) for size in sizes]
    heapq.heapify(heap)
    while heap:
        value, learned, counts = heapq.heappop(heap)
        sets = math.prod(map(math.comb, sizes_of_levels, counts))
        yield CriticalValue(learned, value, sets)
        for successor in _successors(counts, sizes_of_levels):
            heapq.heappush(heap, _entry(modes, successor, floor))


def _entry(modes: Spectrum, counts: tuple[int, ...], floor: float) -> tuple[float, tuple[int, ...], tuple[int, ...]]:
    """The value, the leading representative and the number of learned modes in each level."""
    learned = tuple(j for level, count in zip(modes.levels, counts, strict=True) for j in level[:count])
    chosen = set(learned)
    # fsum rounds the exact sum: values do not depend on the order of the modes, and respect that of the exact ones.
    missing = math.fsum(float(s) ** 2 for j, s in enumerate(modes.sigma) if j not in chosen)
    return floor + 0.5 * missing, learned, counts


def _successors(counts: tuple[int, ...], sizes: list[int]) -> Iterator[tuple[int, ...]]:
    """The sets whose predecessor this is.

    The predecessor of a set takes the first of its modes after a gap (a level that is not fully learned) back to the
    level before. So a successor moves one mode from a level c to c+1, which must then be the first level after a gap:
    c is the level before the gap, the gap itself, or the first level after it if that has one learned mode only.
    """
    gap = next((c for c, size in enumerate(sizes) if counts[c] < size), None)
    if gap is None:
        return
    behind = next((c for c in range(gap + 1, len(sizes)) if counts[c]), None)
    origins = [gap - 1] if gap else []
    if counts[gap]:
        origins.append(gap)
    if behind is not None and counts[behind] == 1:
        origins.append(behind)
    for c in origins:
        if c + 1 < len(sizes) and counts[c + 1] < sizes[c + 1]:
            moved = list(counts)
            moved[c] -= 1
            moved[c + 1] += 1
            yield tuple(moved)
