"""What computed flows must follow though no error norm sees it: modes hidden behind learned ones (T19)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.integrate import solve_ivp

from fastdln.claims.registry import claim
from fastdln.gradient_flow import flow
from fastdln.linalg import Floats, haar
from fastdln.losses import Quadratic

_LEARNED, _HIDDEN = 0.01, 1.0  # singular values
_RTOL = 1e-6


def _network(rng: np.random.Generator, depth: int, small: float, rotated: bool) -> tuple[list[Floats], Quadratic]:
    """Two modes, one learned and one small in the outer layers, of order one in those between."""
    frames = [haar(rng.standard_normal((2, 2))) if rotated else np.eye(2) for _ in range(depth + 1)]
    ends = np.diag([_LEARNED**0.5, small])
    layers = [ends, *[np.eye(2)] * (depth - 2), ends]
    weights = [frames[i + 1] @ W @ frames[i].T for i, W in enumerate(layers)]
    return weights, Quadratic(frames[-1] @ np.diag([_LEARNED, _HIDDEN]) @ frames[0].T)


def _time(depth: int, small: float) -> float:
    """When the hidden mode is learned: the logarithms of its layers, integrated with rtol 1e-12."""

    def field(t: float, y: Floats) -> Floats:
        w: Floats = np.exp(y)
        slope: Floats = (w.prod() / w) * (_HIDDEN - w.prod()) / w
        return slope

    def learned(t: float, y: Floats) -> float:
        return float(y.sum() - np.log(_HIDDEN / 2))

    learned.terminal = True  # type: ignore[attr-defined]
    start = np.log([small, *[1.0] * (depth - 2), small])
    return float(solve_ivp(field, (0, 1e6), start, "DOP853", rtol=1e-12, atol=1e-12, events=learned).t_events[0][0])


@claim(
    "hidden-modes-are-followed",
    "T19",
    statement="A mode far below the tolerance, behind a learned one, is learned at its own time: steps follow growth "
    "that no error norm sees, at the rate ||T||_2, T_ij = ||W_{<j} R' W_{>i}|| ||W_{i-1} ... W_{j+1}||.",
    hypotheses="outer layers small in the mode, those between of order one",
    instances="flows of 2, 3, 4 and 6 layers with the default atol, from 1e-6, 1e-10 and 1e-12, diagonal and rotated, "
    "by tsit5, dp5, dop853 and rock: the error of the learning time in units of 10 rtol, with rounding",
    tolerance=1.0,
)
def _followed(rng: np.random.Generator) -> Iterator[float]:
    for depth in (2, 3, 4, 6):
        for small in (1e-6, 1e-10, 1e-12):
            time = _time(depth, small)
            for rotated in (False, True):
                weights, loss = _network(rng, depth, small, rotated)
                for method in ("tsit5", "dp5", "dop853", "rock"):
                    sol = flow(weights, loss, (0.0, 3 * time), method=method, rtol=_RTOL, record=("learning_times",))
                    yield float(abs(sol.learning_times[0] / time - 1)) / (10 * _RTOL + 1e-16 / small)


@_followed.outside("fixed steps, which are as long as they are told")
def _(rng: np.random.Generator) -> float:
    weights, loss = _network(rng, 3, 1e-10, True)
    sol = flow(weights, loss, (0.0, 80.0), step=1.0, record=("learning_times",))
    return float(abs(sol.learning_times[0] / _time(3, 1e-10) - 1)) / (10 * _RTOL)
