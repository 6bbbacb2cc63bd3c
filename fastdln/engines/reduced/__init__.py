"""Flows of wide networks by way of narrow ones, exactly or within the tolerance."""
