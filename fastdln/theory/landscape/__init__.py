"""The loss landscape: critical values, critical points and their kinds, the size of the set of minima, slices.

Sources: P. Baldi & K. Hornik, Neural Networks 2 (1989) 53-58; E. M. Achour, F. Malgouyres & S. Gerchinovitz, Journal
of Machine Learning Research 25 (2024) 242; survey, arXiv 2511.10362, sections on critical points and on level sets.
"""

from __future__ import annotations

from fastdln.theory.landscape.classification import CriticalPoint, classify
from fastdln.theory.landscape.points import critical_point
from fastdln.theory.landscape.refinement import refine
from fastdln.theory.landscape.sizes import Assumptions, assumptions, codimension, dimension, level_set_bound
from fastdln.theory.landscape.slices import slice
from fastdln.theory.landscape.values import CriticalValue, critical_values

__all__ = [
    "Assumptions",
    "CriticalPoint",
    "CriticalValue",
    "assumptions",
    "classify",
    "codimension",
    "critical_point",
    "critical_values",
    "dimension",
    "level_set_bound",
    "refine",
    "slice",
]
