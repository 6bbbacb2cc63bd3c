"""The Hessian of the loss in the space of weights: products, matrix, spectra, inertia, bounds.

For W the product and R = -dL/dW, the second derivative of L along V = (V_1, ..., V_h) is ||D||^2 (in the metric of the
inputs), D = sum_i W_{>i} V_i W_{<i}, minus the curvature of the product map seen by the residual, 2 <R, sum over i > j
of W_{>i} V_i W_{i-1} ... W_{j+1} V_j W_{<j}> (survey, arXiv 2511.10362, section on the Hessian).
"""

from __future__ import annotations

from fastdln.theory.hessian.bound import norm_bound
from fastdln.theory.hessian.closed import canonical_spectrum, minimum_spectrum
from fastdln.theory.hessian.dense import matrix
from fastdln.theory.hessian.leading import top
from fastdln.theory.hessian.products import apply, operator
from fastdln.theory.hessian.spectrum import Inertia, index, spectrum

__all__ = [
    "Inertia",
    "apply",
    "canonical_spectrum",
    "index",
    "matrix",
    "minimum_spectrum",
    "norm_bound",
    "operator",
    "spectrum",
    "top",
]
