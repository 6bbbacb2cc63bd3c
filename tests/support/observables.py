"""The observables of the table, as tests ask for them."""

from __future__ import annotations

from fastdln.observables import OBSERVABLES

ALL = tuple(name for name, row in OBSERVABLES.items() if "labels" not in row.needs and not row.descends)
"""Those of a flow with a quadratic loss."""
TIMED = tuple(name for name in ALL if OBSERVABLES[name].timed)
NUMBERS = tuple(name for name in TIMED if not OBSERVABLES[name].by_layer)
"""Functions of time that are one array."""
_RATIOS = {"effective_rank", "stable_rank", "layer_alignment", "tangent_drift", "tangent_alignment"}
STEADY = tuple(name for name in NUMBERS if name not in {*_RATIOS, "sharpness"})
"""Those that change as little as the weights: no ratios of what may vanish, and nothing that is iterated."""
