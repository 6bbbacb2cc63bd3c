"""Saddles: ways out of them and into them (T10)."""

from fastdln.theory.saddles.arcs import Arc, escape_arc, escape_arcs

__all__ = ["Arc", "escape_arc", "escape_arcs"]
