"""Discrete updates: where gradient descent is stable, and what one mode of it does beyond (T15).

Below the limit of stability gradient descent ends in the minimum, like the flow.  Beyond it a balanced mode oscillates:
its cycles double their period again and again, become chaotic, and at last escape (survey, arXiv 2511.10362, section on
discrete updates).
"""

from __future__ import annotations

from fastdln.theory.descent.exponents import ModeExponents, mode_exponents
from fastdln.theory.descent.limits import step_limit
from fastdln.theory.descent.scalar import Cycle, cascade, cycles, mode_map

__all__ = ["Cycle", "ModeExponents", "cascade", "cycles", "mode_exponents", "mode_map", "step_limit"]
