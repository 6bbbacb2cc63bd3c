"""Wide networks by way of narrow ones that have their flow, or nearly."""

from fastdln.engines.reduced.run import Reduced

__all__ = ["Reduced"]
