"""Continuous output as polynomials: y(t + theta h) = y + h sum_j (sum_d P[j, d] theta^(d+1)) k_j."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.polynomial import Polynomial

Rows = tuple[tuple[float, ...], ...]


def hermite(b: Sequence[float]) -> Rows:
    """The cubic through the states and slopes at both ends of a step of weights ``b``; the last slope comes after them.

    With D = y(t + h) - y(t) = h sum_j b_j k_j it is D (3 theta^2 - 2 theta^3) + h k_first (theta - 2 theta^2 + theta^3)
    + h k_last (theta^3 - theta^2).
    """
    rows = np.zeros((len(b) + 1, 3))
    rows[:-1, 1], rows[:-1, 2] = 3 * np.asarray(b), -2 * np.asarray(b)
    rows[0] += (1, -2, 1)
    rows[-1] += (0, -1, 1)
    return tuple(tuple(map(float, row)) for row in rows)


def nested_form(b: Sequence[float], d: Sequence[Sequence[float]]) -> Rows:
    """Output of DOP853, from its nested form in theta and 1 - theta (Hairer, Norsett and Wanner, II.6).

    y + theta (F0 + (1 - theta)(F1 + theta (F2 + (1 - theta)(F3 + ...)))) with F0 = h sum_j b_j k_j,
    F1 = h k_first - F0, F2 = 2 F0 - h (k_first + k_last) and further F = h sum_j d_j k_j.
    """
    stages = len(d[0])
    last = len(b)  # the slope at the end of the step
    forms = np.zeros((3 + len(d), stages))
    forms[0, :last] = b
    forms[1] = -forms[0]
    forms[1, 0] += 1
    forms[2] = 2 * forms[0]
    forms[2, [0, last]] -= 1
    forms[3:] = d
    theta, rest = Polynomial([0, 1]), Polynomial([1, -1])
    rows = []
    for j in range(stages):
        value = Polynomial([0.0])
        for i in reversed(range(len(forms))):
            value = (value + forms[i, j]) * (rest if i % 2 else theta)
        row = np.zeros(len(forms) + 1)
        row[: len(value.coef)] = value.coef
        rows.append(tuple(map(float, row[1:])))
    return tuple(rows)
