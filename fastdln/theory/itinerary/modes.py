"""The modes of a target as an itinerary sees them: equal singular values stand together, vanishing ones for nothing.

Modes with equal singular values span one subspace, of which critical points learn any part: only the sum of their
strengths has a meaning, and how many of them are learned. So every mode carries the quantities of its group. Groups
of one are the rule, and for these all formulas are those of single modes.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastdln.linalg import Floats

__all__ = ["Modes", "total"]

_EQUAL = 1e-9  # of the largest singular value: what lies nearer together is one
_ZERO = 1e-12  # of the largest singular value: what is below is rounding


@dataclass(frozen=True)
class Modes:
    """Modes of one target or of n, along the first axis: arrays of shape (r, 1 or n)."""

    sigma: Floats
    """Singular values."""
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
    def grouped(cls, sigma: Floats, rank: int, depth: int) -> Modes:
        """Group the singular values ``sigma``, shape (r,) or (n, r), the largest first."""
        sigma = np.ascontiguousarray(np.atleast_2d(sigma).T)
        active = sigma > _ZERO * sigma[0]
        apart = (sigma[:-1] - sigma[1:] > _EQUAL * sigma[0]) | ~active[1:]
        group = np.cumsum(np.pad(apart, [(1, 0), (0, 0)]), axis=0)
        same = group[:, None] == group
        before = np.tri(len(sigma), k=-1, dtype=bool)[..., None]
        return cls(sigma, active, group, same.sum(axis=1), (same & before).sum(axis=1), rank, depth)

    def of(self, trajectory: NDArray[np.intp]) -> Modes:
        """The modes of the targets of some trajectories; one target stays one."""
        if self.sigma.shape[1] == 1:
            return self
        return Modes(
            self.sigma[:, trajectory], self.active[:, trajectory], self.group[:, trajectory], self.size[:, trajectory],
            self.member[:, trajectory], self.rank, self.depth,
        )  # fmt: skip

    def sums(self, strengths: Floats) -> Floats:
        """The sum of the strengths in the group of each mode; strengths are (r, n, n_t)."""
        if (self.size == 1).all():
            return strengths
        group = self.group[..., None]
        return np.stack([total(np.where(group == own, strengths, 0.0)) for own in group])


def total(values: Floats) -> Floats:
    """Sum over the modes, one after another: `numpy.sum` groups them by how many trajectories there are."""
    return np.asarray(functools.reduce(np.add, values))
