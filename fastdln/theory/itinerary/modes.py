"""The modes of a target as an itinerary sees them: equal singular values stand together, vanishing ones for nothing.

Modes with equal singular values span one subspace, of which critical points learn any part: only the sum of their
strengths has a meaning, and how many of them are learned. So every mode carries the quantities of its group. Groups
of one are the rule, and for these all formulas are those of single modes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.linalg import Floats

__all__ = ["Modes"]

_EQUAL = 1e-9  # of the largest singular value: what lies nearer together is one
_ZERO = 1e-12  # of the largest singular value: what is below is rounding


@dataclass(frozen=True)
class Modes:
    """Modes of one target, with a leading axis of 1, or of n targets."""

    sigma: Floats
    """Singular values, shape (1 or n, r)."""
    active: NDArray[np.bool_]
    """Whether the singular value is not zero."""
    group: NDArray[np.intp]
    """Number of the group that the mode belongs to, counted from the largest singular value."""
    size: NDArray[np.intp]
    """Modes in its group."""
    member: NDArray[np.intp]
    """Its place in its group, from 0."""
    rank: int
    """The largest rank of the product."""
    depth: int
    """The number of layers."""

    @classmethod
    def of(cls, sigma: Floats, rank: int, depth: int) -> Modes:
        """Group the singular values ``sigma`` of each target, the largest first."""
        active = sigma > _ZERO * sigma[:, :1]
        apart = (sigma[:, :-1] - sigma[:, 1:] > _EQUAL * sigma[:, :1]) | ~active[:, 1:]
        group = np.cumsum(np.pad(apart, [(0, 0), (1, 0)]), axis=-1)
        same = group[:, :, None] == group[:, None, :]
        return cls(sigma, active, group, same.sum(axis=-1), np.tril(same, -1).sum(axis=-1), rank, depth)

    def of_trajectories(self, index: NDArray[np.intp]) -> Modes:
        """The modes of the targets of some trajectories; one target stays one."""
        if len(self.sigma) == 1:
            return self
        rows = {name: getattr(self, name)[index] for name in ("sigma", "active", "group", "size", "member")}
        return Modes(**rows, rank=self.rank, depth=self.depth)

    def along(self, values: NDArray[Any], axes: int) -> NDArray[Any]:
        """Bring values of the modes against arrays with ``axes`` further axes between trajectory and mode."""
        return values.reshape(len(values), *(1,) * axes, -1)

    def sums(self, strengths: Floats) -> Floats:
        """The sum of the strengths in the group of each mode; strengths are (n, ..., r)."""
        if (self.size == 1).all():
            return strengths
        group = self.along(self.group, strengths.ndim - 2)
        sums = np.zeros_like(strengths)
        for i in range(strengths.shape[-1]):
            sums += np.where(group == group[..., i : i + 1], strengths[..., i : i + 1], 0.0)
        return sums
