"""Where entries are: one number in every lane each, in the arena of a thread."""

from __future__ import annotations

from fastdln.kernels.machine.compile import part
from fastdln.kernels.machine.memory import peek


@part
def place(w, address):
    """Index in the arena of an address."""
    return (address - w.arena) // w.item


@part
def fill(w, arena, address, value):
    """One number in every lane of an entry."""
    e = place(w, address)
    for l in range(w.lanes):
        arena[e + l] = value


@part
def mask(w, arena, bits):
    """The mask of the lanes ``bits``."""
    e = place(w, w.at.mask)
    for l in range(w.lanes):
        arena[e + l] = 1.0 if (bits >> l) & 1 else 0.0


@part
def layer(w, i):
    """Bytes of a state before layer i, counted from 0, and before the next one."""
    return peek(w.layer.first, i) * w.entry, peek(w.layer.first, i + 1) * w.entry


@part
def scratch(w, entries):
    """Address of scratch after a number of entries."""
    return w.at.scratch + entries * w.entry


@part
def slope_at(w, j):
    """Address of slope number j of a step."""
    return peek(w.method.slopes, j)
