"""NumPy twins of the stabilized methods: one step each, for any right-hand side."""

from __future__ import annotations

import functools

import numpy as np


def rock4_step(field, y, slope, h, method):
    """Return the end of the step, its slope and its error."""
    before, g = y, y + h * method.mu[0] * slope
    for mu, kappa in zip(method.mu[1:], method.kappa[1:], strict=True):
        before, g = g, h * mu * field(g) + (1 + kappa) * g - kappa * before
    a21, a31, a32, a41, a42, a43 = method.a
    k1 = field(g)
    k2 = field(g + h * a21 * k1)
    k3 = field(g + h * (a31 * k1 + a32 * k2))
    k4 = field(g + h * (a41 * k1 + a42 * k2 + a43 * k3))
    z = g + h * sum(b * k for b, k in zip(method.b, (k1, k2, k3, k4), strict=True))
    end = field(z)
    return z, end, h * sum(e * k for e, k in zip(method.error, (k1, k2, k3, k4, end), strict=True))


@functools.cache
def polynomials(s, x):
    """Return T_j(x) and b_j = T_j''(x)/T_j'(x)^2 of RKC2 for j <= s."""
    T = [np.polynomial.Chebyshev.basis(j) for j in range(s + 1)]
    return [t(x) for t in T], [1 / (4 * x**2)] * 2 + [t.deriv(2)(x) / t.deriv()(x) ** 2 for t in T[2:]]


def rkc2_step(field, y, slope, h, s, method):
    """Return all stages, y first, and the error."""
    x, scale = method.w0, method.w1
    T, b = polynomials(s, x)
    g = [y, y + h * b[1] * scale * slope]
    for j in range(2, s + 1):
        mu, nu, m = 2 * b[j] * x / b[j - 1], -b[j] / b[j - 2], 2 * b[j] * scale / b[j - 1]
        step = field(g[-1]) - (1 - b[j - 1] * T[j - 1]) * slope
        g.append((1 - mu - nu) * y + mu * g[-1] + nu * g[-2] + h * m * step)
    ends = (g[0], g[method.nodes[0]], g[method.nodes[1]], g[-1])
    return g, sum(w * state for w, state in zip(method.weights, ends, strict=True))
