"""The numerics revision: which numbers this version computes.

A scan promises the same bits whatever interrupted it, so its store has to know by which arithmetic it was begun.
The version of the package does not tell: most versions leave every bit as it was.
"""

from __future__ import annotations

__all__ = ["NUMERICS"]

NUMERICS = 4
"""Raise it by one whenever the result of a flow moves on purpose, be it by one bit, and say here what moved:
``python -m tests.golden --rewrite "what moved"`` does so, and records the new bits.

1
    Everything before there was a revision, that is, stores of format 1.
2
    Growth that no error norm sees is followed at every depth; records and learning times of dop853 and rock come from
    steps within the step where continuous output is wrong there.
3
    RKC2's coefficients are the same on every machine: with AVX-512 one row of its table in twenty differed in the last
    digits. Elsewhere nothing moved.
4
    method="auto" sees the stiffness of losses that are not quadratic; gradient norms, and the spectral radii of
    stabilized methods, are right where squares underflow or overflow.
"""
