"""When a function first passes zero within a step: the search of `fastdln.kernels.learning`, for any function."""

from __future__ import annotations

from collections.abc import Callable

from fastdln.kernels.learning import ITERATIONS, NOWHERE, TOLERANCE, next_fraction, summit


def first_passing(excess: Callable[[float], float], start: float, middle: float, end: float) -> float | None:
    """First theta in [0, 1] with excess(theta) >= 0, or None; the values at 0, 1/2 and 1 are known."""
    if start >= 0:
        return 0.0
    if middle >= 0:
        return _crossing(excess, 0.0, start, 0.5, middle)
    if end >= 0:
        return _crossing(excess, 0.5, middle, 1.0, end)
    vertex = summit.py_func(start, middle, end)
    if vertex != NOWHERE and (top := excess(vertex)) >= 0:
        below = (0.5, middle) if vertex > 0.5 else (0.0, start)
        return _crossing(excess, *below, vertex, top)
    return None


def _crossing(excess: Callable[[float], float], b: float, fb: float, a: float, fa: float) -> float:
    t = fa / (fa - fb)  # the secant, from a towards b
    for _ in range(ITERATIONS):
        x = a + t * (b - a)
        fx = excess(x)
        if (fx >= 0) == (fa >= 0):
            c, fc = a, fa
        else:
            c, fc = b, fb
            b, fb = a, fa
        a, fa = x, fx
        if abs(b - a) < TOLERANCE or fx == 0:
            break
        t = next_fraction.py_func(a, fa, b, fb, c, fc)
    return a
