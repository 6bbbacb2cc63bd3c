"""Scans: a grid of parameters from a TOML file, integrated into a store that survives crashes."""

from __future__ import annotations

from fastdln.scan.run import scan
from fastdln.scan.spec import SpecError
from fastdln.scan.store import StoreError

__all__ = ["SpecError", "StoreError", "scan"]
