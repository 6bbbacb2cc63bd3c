"""What each trajectory met on its way: plateaus at critical values, the modes learned, and their order.

Mode j is *learned* when its strength u_j' W v_j passes sigma_j/2. A *plateau* is a stretch of a trajectory where every
strength is near 0 or sigma_j and the loss hardly changes per unit of log time: there the product is near the critical
one with the set S of learned modes, W_S = U_S diag(sigma_S) V_S', and the loss near the critical value
1/2 sum_{j not in S} sigma_j^2. Learning is *sequential* where no two modes are under way, between 10 % and 90 % of
sigma_j, at once (survey, arXiv 2511.10362, sections on critical points, on decoupled dynamics and on saddle-to-saddle
behaviour; A. Saxe, J. McClelland & S. Ganguli, ICLR 2014; A. Jacot et al., arXiv 2106.15933).

All of it is read off recorded observables, for all trajectories at once. The 2^r sets are never enumerated.
"""

from __future__ import annotations

from fastdln.theory.itinerary.reading import records
from fastdln.theory.itinerary.result import Itinerary
from fastdln.theory.itinerary.saddles import kinds
from fastdln.theory.itinerary.way import itinerary

__all__ = ["Itinerary", "itinerary", "kinds", "records"]
