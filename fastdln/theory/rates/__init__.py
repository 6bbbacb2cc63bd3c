"""How fast the loss decreases: near a minimum, globally, and as certified by the weights of one moment.

`local` gives the exponent near a minimum, `bound` the global theorems that apply to a start, `certificate` and
`remaining_path` what weights guarantee from now on, `step_limit` the largest stable step of gradient descent.
"""

from __future__ import annotations

from fastdln.theory.rates.bounds import Bound, Bounds, bound
from fastdln.theory.rates.certificates import Certificate, certificate, remaining_path
from fastdln.theory.rates.local import LocalRate, local, step_limit

__all__ = [
    "Bound",
    "Bounds",
    "Certificate",
    "LocalRate",
    "bound",
    "certificate",
    "local",
    "remaining_path",
    "step_limit",
]
