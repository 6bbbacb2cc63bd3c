"""What may be wrong with a store."""

from __future__ import annotations

__all__ = ["StoreError"]


class StoreError(RuntimeError):
    """A store that cannot be used; the message says why, and what to do."""
