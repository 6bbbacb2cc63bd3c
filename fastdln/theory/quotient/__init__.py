"""The quotient by gauges: fibers of equal product, orbits, and normal forms of critical points (T11).

Invertible matrices P_1, ..., P_{h-1}, one for each hidden layer, act on weights by

    W_i -> P_i W_i P_{i-1}^{-1},    P_0 = P_h = I.

The product and the loss are unchanged, and gradients are covariant; the flow is equivariant for orthogonal gauges only,
because the balance matrices change along a fiber (survey, arXiv 2511.10362, section on the quotient).
"""

from fastdln.theory.quotient.forms import NormalForm, canonical, minimal_norm, normal_form
from fastdln.theory.quotient.gauges import along_fiber, fiber_directions, gauge_motion, random_gauges, transform
from fastdln.theory.quotient.orbits import connecting_gauges, same_fiber, same_orbit

__all__ = [
    "NormalForm",
    "along_fiber",
    "canonical",
    "connecting_gauges",
    "fiber_directions",
    "gauge_motion",
    "minimal_norm",
    "normal_form",
    "random_gauges",
    "same_fiber",
    "same_orbit",
    "transform",
]
