"""The observables of the table, as tests ask for them."""

from __future__ import annotations

from fastdln.observables import OBSERVABLES

ALL = tuple(OBSERVABLES)
TIMED = tuple(name for name, row in OBSERVABLES.items() if row.timed)
NUMBERS = tuple(name for name in TIMED if not OBSERVABLES[name].by_layer)
"""Functions of time that are one array."""
