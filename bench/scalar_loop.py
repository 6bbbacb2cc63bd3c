"""The natural Numba program: one trajectory after another, plain loops, widths known at run time.

Method, error norm, first step, step control and outputs are those of fastdln, so that a comparison tells what
the vector lanes are worth. Loops run along rows, and the compiler may reorder and contract sums.

A state holds W_1, ..., W_h one after another, each row by row.
"""

from __future__ import annotations

import numba
import numpy as np

compiled = numba.njit(nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})


@compiled
def forward(state, prefixes, widths, offsets):
    """prefixes[i] = W_{i+1}...W_1, of shape (widths[i + 1], widths[0])."""
    inputs = widths[0]
    for i in range(widths[1]):
        for j in range(inputs):
            prefixes[0, i, j] = state[i * inputs + j]
    for layer in range(1, len(widths) - 1):
        rows, inner = widths[layer + 1], widths[layer]
        for i in range(rows):
            for j in range(inputs):
                prefixes[layer, i, j] = 0.0
            for k in range(inner):
                weight = state[offsets[layer] + i * inner + k]
                for j in range(inputs):
                    prefixes[layer, i, j] += weight * prefixes[layer - 1, k, j]


@compiled
def rhs(state, slope, prefixes, backward, sigma, widths, offsets):
    """slope = (W_{i+1}'...W_h') (sigma - W_h...W_1) (W_1'...W_{i-1}') for every layer i."""
    forward(state, prefixes, widths, offsets)
    inputs, depth = widths[0], len(widths) - 1
    now = 0
    for i in range(widths[depth]):
        for j in range(inputs):
            backward[now, i, j] = sigma[i, j] - prefixes[depth - 1, i, j]
    for layer in range(depth - 1, 0, -1):
        rows, inner = widths[layer + 1], widths[layer]
        for i in range(rows):
            for k in range(inner):
                total = 0.0
                for j in range(inputs):
                    total += backward[now, i, j] * prefixes[layer - 1, k, j]
                slope[offsets[layer] + i * inner + k] = total
        for k in range(inner):
            for j in range(inputs):
                backward[1 - now, k, j] = 0.0
        for i in range(rows):
            for k in range(inner):
                weight = state[offsets[layer] + i * inner + k]
                for j in range(inputs):
                    backward[1 - now, k, j] += weight * backward[now, i, j]
        now = 1 - now
    for i in range(widths[1]):
        for j in range(inputs):
            slope[i * inputs + j] = backward[now, i, j]


@compiled
def loss(state, prefixes, sigma, widths, offsets):
    """1/2 ||sigma - W_h...W_1||_F^2."""
    forward(state, prefixes, widths, offsets)
    total = 0.0
    for i in range(widths[-1]):
        for j in range(widths[0]):
            total += (sigma[i, j] - prefixes[len(widths) - 2, i, j]) ** 2
    return 0.5 * total


@compiled
def scaled_norm(vector, before, after, offsets, rtol, atol):
    """The largest over the layers of the RMS of the entries, each over its tolerance."""
    largest = 0.0
    for layer in range(len(offsets) - 1):
        total = 0.0
        for p in range(offsets[layer], offsets[layer + 1]):
            total += (vector[p] / (atol + rtol * max(abs(before[p]), abs(after[p])))) ** 2
        largest = max(largest, np.sqrt(total / (offsets[layer + 1] - offsets[layer])))
    return largest


@compiled
def add_stages(out, state, slopes, weights, count, step):
    """out = state + step sum_{j < count} weights[j] slopes[j]."""
    for p in range(len(state)):
        out[p] = state[p]
    for j in range(count):
        factor = step * weights[j]
        for p in range(len(state)):
            out[p] += factor * slopes[j, p]


@compiled
def solve(starts, sigma, widths, offsets, a, error_weights, dense, order, gains, times, rtol, atol):
    """Integrate every start from times[0] to times[-1] with a pair that has the first-same-as-last property.

    Returns
    -------
    final : (n, entries)
    losses : (n, n_t)
    """
    n, entries = starts.shape
    stages, degree = dense.shape
    widest = widths.max()
    safety = 2.0**gains.safety
    t_end = times[-1]
    final = np.empty((n, entries))
    losses = np.empty((n, len(times)))
    prefixes = np.empty((len(widths) - 1, widest, widest))
    backward = np.empty((2, widest, widest))
    slopes = np.empty((stages, entries))
    trial = np.empty(entries)
    error = np.empty(entries)
    between = np.empty(entries)
    factors = np.empty(stages)
    for trajectory in range(n):
        state = starts[trajectory].copy()
        t = times[0]
        output = 0
        previous = 1.0
        rejected = False
        rhs(state, slopes[0], prefixes, backward, sigma, widths, offsets)

        # first step: Hairer, Norsett & Wanner, Solving Ordinary Differential Equations I, section II.4
        size = scaled_norm(state, state, state, offsets, rtol, atol)
        slope = scaled_norm(slopes[0], state, state, offsets, rtol, atol)
        step = 0.01 * size / slope
        for p in range(entries):
            trial[p] = state[p] + step * slopes[0, p]
        rhs(trial, slopes[1], prefixes, backward, sigma, widths, offsets)
        for p in range(entries):
            error[p] = slopes[1, p] - slopes[0, p]
        curvature = scaled_norm(error, state, state, offsets, rtol, atol) / step
        step = min(100 * step, (0.01 / max(slope, curvature)) ** (1 / (order + 1)), t_end - t)

        while t < t_end:
            last = step >= t_end - t
            if last:
                step = t_end - t
            for s in range(1, stages):
                add_stages(trial, state, slopes, a[s], s, step)
                rhs(trial, slopes[s], prefixes, backward, sigma, widths, offsets)
            for p in range(entries):
                error[p] = 0.0
            add_stages(error, error, slopes, error_weights, stages, step)
            norm = scaled_norm(error, state, trial, offsets, rtol, atol)
            if norm > 1.0:
                step *= max(gains.least_factor, safety * norm ** (-gains.alpha))
                rejected = True
                continue

            reached = t_end if last else t + step
            while output < len(times) and times[output] <= reached:
                theta = (times[output] - t) / step
                for j in range(stages):
                    factors[j] = 0.0
                    for k in range(degree - 1, -1, -1):
                        factors[j] = theta * (factors[j] + dense[j, k])
                add_stages(between, state, slopes, factors, stages, step)
                losses[trajectory, output] = loss(between, prefixes, sigma, widths, offsets)
                output += 1
            t = reached
            state[:] = trial
            slopes[0] = slopes[stages - 1]
            norm = max(norm, 1e-10)
            growth = safety * norm ** (-gains.alpha) * previous**gains.beta
            step *= min(1.0 if rejected else gains.most_factor, max(gains.least_factor, growth))
            previous = norm
            rejected = False
        final[trajectory] = state
    return final, losses
