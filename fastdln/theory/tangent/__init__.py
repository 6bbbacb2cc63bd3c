"""The tangent operator: how the product moves, and whether that changes.

The product follows dW/dt = K[R], R = -dL/dW, with

    K[R] = sum_i W_{>i} W_{>i}' R W_{<i}' W_{<i},

the neural tangent kernel of the network between entries of the product. On vec(R), the *columns* of R one below
the other, it is the symmetric positive semidefinite matrix

    K = sum_i (W_{<i}' W_{<i}) (x) (W_{>i} W_{>i}') = J J'

with the Jacobian J of the product by the weights. Hence dL/dt = -<R, K[R]> = -||grad L||^2. Learning is *lazy* where K
hardly changes along the flow, and linear then; it is *rich* where K itself is learned (A. Jacot, F. Gabriel &
C. Hongler, NeurIPS 2018; L. Chizat, E. Oyallon & F. Bach, NeurIPS 2019; S. Arora, N. Cohen & E. Hazan, ICML 2018, for K
here; survey, arXiv 2511.10362, section on convergence).
"""

from __future__ import annotations

from fastdln.theory.tangent.measures import alignment, drift, laziness
from fastdln.theory.tangent.operators import apply, matrix, operator, spectrum

__all__ = ["alignment", "apply", "drift", "laziness", "matrix", "operator", "spectrum"]
