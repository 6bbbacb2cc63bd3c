"""Saddles: ways out of them and into them (T10).

Every critical point that is no global minimum is a saddle, and from every saddle an arc leads down (survey, arXiv
2511.10362, section on saddles).
"""

from fastdln.theory.saddles.arcs import Arc, escape_arc, escape_arcs
from fastdln.theory.saddles.directions import Directions, stable_directions, unstable_directions
from fastdln.theory.saddles.follow import Path, follow
from fastdln.theory.saddles.starts import invariant_starts, starts

__all__ = [
    "Arc",
    "Directions",
    "Path",
    "escape_arc",
    "escape_arcs",
    "follow",
    "invariant_starts",
    "stable_directions",
    "starts",
    "unstable_directions",
]
