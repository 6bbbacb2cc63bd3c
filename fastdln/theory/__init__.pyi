# The chapters, for checkers and editors: `__init__.py` loads them when they are first used.
from fastdln import claims as claims
from fastdln.theory import (
    adjacency as adjacency,
    descent as descent,
    exact as exact,
    hessian as hessian,
    invariants as invariants,
    itinerary as itinerary,
    landscape as landscape,
    quotient as quotient,
    rates as rates,
    reduction as reduction,
    saddles as saddles,
    tangent as tangent,
)
