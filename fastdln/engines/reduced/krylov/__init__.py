"""A wide network by way of a narrow one that has nearly its flow, checked along the way.

The network that is reduced to level L of its Krylov subspaces (`fastdln.theory.reduction.krylov`) is integrated in legs
of some steps. Beside it, over the same times and with the same steps, goes a rough one: the same network with nothing
beyond level K = L - max(1, h - 2) moving. All that the rough network lacks lies within level L
(`fastdln.theory.reduction.defect`), so the difference of the two is the error of the rough one, propagated by the flow
itself: growth near saddles, learning times and records included. The finer one, whose results are kept, is closer
still. What may grow beyond level L, where neither looks, is bounded by the defect and by the norms of the layers.

After each leg this estimate is held against the tolerance. Where it is larger the leg is forgotten: back to a good
checkpoint, with more levels; or, where a network with more levels no longer pays, with the wide network itself. The
rough network takes its error with it over an enlargement, so that nothing that happened before is lost sight of.
"""

from fastdln.engines.reduced.krylov.levels import first_level, last_level, promises
from fastdln.engines.reduced.krylov.trajectory import Approximate

__all__ = ["Approximate", "first_level", "last_level", "promises"]
