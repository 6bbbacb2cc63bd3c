"""Reduction of wide networks to narrow ones with the same flow, or nearly so.

The gradient flow moves W_i only between subspaces B_{i-1} and B_i that follow from its start: they are closed under
all layers and their transposes, and contain what the loss sees. In them it is the flow of a network with the widths
dim B_i, and everything outside of them stands still. `reduce` finds them, `fastdln.flow` with ``engine="reduced"``
integrates in them trajectory by trajectory. (Survey, arXiv 2511.10362, sections on invariant sets and on the
adjacency matrix: the subspaces are the least invariant one of A and A' that contains the ends of the target.)

Generic networks that are deep and wide have no narrower one with their flow. But the subspaces that some sweeps reach
(`krylov`) hold most of what moves, and what they lack is measured without the wide network (`defect`).
"""

from fastdln.theory.reduction.bounds import widths
from fastdln.theory.reduction.closure import Decision
from fastdln.theory.reduction.network import Reduction, reduce

__all__ = ["Decision", "Reduction", "reduce", "widths"]
