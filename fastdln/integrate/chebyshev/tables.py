"""The methods as the arrays that the kernels read."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdln.integrate.chebyshev import rkc2, rock4
from fastdln.integrate.chebyshev.rkc2 import LEAST2, MOST2

NOISE_SHARE = 0.05  # of rtol, that rounding may come to in a step of ROCK4

# columns of the tables of ROCK4 and RKC2
REACHED_BY, RECURRENCE, STAGE, WEIGHTS, ERRORS, ROCK_COLUMNS = 1, 2, 3, 9, 13, 18
W0, W1, NODE_A, NODE_B, PLACE_A, PLACE_B, THIRD, RKC_COLUMNS = 0, 1, 2, 3, 4, 5, 6, 10


class Tables(NamedTuple):
    """The table of each method, with the columns above."""

    rock: NDArray[np.float64]  # (degrees, ROCK_COLUMNS)
    recurrence: NDArray[np.float64]  # (all degrees', 2): mu, kappa
    rkc: NDArray[np.float64]  # (MOST2 + 1, RKC_COLUMNS), row s
    longest: int  # number of the highest degree of ROCK4 to be used


@functools.lru_cache(maxsize=16)
def tables(rtol: float, dtype: DTypeLike) -> Tables:
    """Lay out the methods; ROCK4 up to the degree at which rounding stays below a small part of the tolerance."""
    methods = rock4.degrees()
    first = np.cumsum([0, *(len(method.mu) for method in methods)])
    rock = [
        (method.stages, method.reach, at, *method.a, *method.b, *method.error)
        for method, at in zip(methods, first[:-1], strict=True)
    ]
    quiet = sum(np.finfo(dtype).eps * method.noise <= NOISE_SHARE * rtol for method in methods)
    return Tables(
        rock=np.array(rock),
        recurrence=np.concatenate([np.stack([method.mu, method.kappa], axis=1) for method in methods]),
        rkc=np.concatenate([np.zeros((LEAST2, RKC_COLUMNS)), rkc2.rows(np.arange(LEAST2, MOST2 + 1))]),
        longest=max(quiet - 1, 0),
    )
