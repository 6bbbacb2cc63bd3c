"""What the flow conserves, what bounds it, and the structure of A that it may change.

Sources: S. Arora, N. Cohen & E. Hazan, ICML 2018 (balance); B. Bah, H. Rauhut, U. Terstiege & M.
Westdickenberg, Information and Inference 11 (2022) 307-353 (boundedness); the survey, arXiv 2511.10362,
sections on conservation laws, on nilpotency and on convergence.
"""

from __future__ import annotations

from fastdln.field import balance
from fastdln.theory.invariants.boundedness import norm_bound
from fastdln.theory.invariants.conserved import LambdaBalance, corner_rates, imbalance, lambda_balance
from fastdln.theory.invariants.projection import Projection, project
from fastdln.theory.invariants.structure import chains, jordan_blocks, nilpotency, ranks

__all__ = [
    "LambdaBalance",
    "Projection",
    "balance",
    "chains",
    "corner_rates",
    "imbalance",
    "jordan_blocks",
    "lambda_balance",
    "nilpotency",
    "norm_bound",
    "project",
    "ranks",
]
