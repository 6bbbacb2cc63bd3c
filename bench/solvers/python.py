"""Solvers in NumPy: SciPy one trajectory after another, and Tsit5 on the whole batch."""

from __future__ import annotations

import numpy as np

from bench.solvers.task import Solve, Task
from fastdln.integrate.control import gains
from fastdln.integrate.tableaus import TSIT5


def scipy_loop(task: Task, method: str = "RK45") -> Solve:
    from scipy.integrate import solve_ivp

    rhs, loss = task.field(np)
    times = task.workload.times

    def solve(starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        paths = [
            solve_ivp(
                lambda t, y: rhs(y), (times[0], times[-1]), start, method=method, t_eval=times,
                rtol=task.rtol, atol=task.atol,
            ).y.T
            for start in starts
        ]  # fmt: skip
        return np.array([path[-1] for path in paths]), np.array([loss(path) for path in paths])

    return solve


def batched(task: Task) -> Solve:
    """Every operation on all trajectories that are not finished yet, each with its own step."""
    rhs, loss = task.field(np)
    times, gain = task.workload.times, gains(TSIT5)
    dense, error_weights = np.array(TSIT5.dense), np.array(TSIT5.errors[0])

    def scale(y: np.ndarray) -> np.ndarray:
        return task.atol + task.rtol * np.abs(y)

    def norm(x: np.ndarray) -> np.ndarray:
        return np.sqrt(np.mean(x**2, axis=-1))

    def solve(starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        final, losses = np.empty_like(starts), np.empty((len(starts), len(times)))
        due = np.append(times, np.inf)
        rows, y, t = np.arange(len(starts)), starts, np.zeros(len(starts))
        output = np.zeros(len(starts), int)
        slope = rhs(y)
        h = 0.01 * norm(y / scale(y)) / norm(slope / scale(y))
        while len(rows):
            last = h >= times[-1] - t
            h = np.where(last, times[-1] - t, h)
            slopes = np.empty((TSIT5.stages, *y.shape))
            slopes[0] = slope
            for s, row in enumerate(TSIT5.rows[1:], 1):
                z = y + h[:, None] * np.tensordot(row, slopes[:s], 1)
                slopes[s] = rhs(z)
            wrong = h[:, None] * np.tensordot(error_weights, slopes, 1)
            error = np.maximum(norm(wrong / np.maximum(scale(y), scale(z))), 1e-10)
            accepted = error <= 1
            reached = np.where(last, times[-1], t + h)
            while (now := np.flatnonzero(accepted & (due[output] <= reached))).size:
                theta = (due[output[now]] - t[now]) / h[now]
                powers = theta ** np.arange(1, dense.shape[1] + 1)[:, None]
                between = y[now] + h[now, None] * np.einsum("sn,snp->np", dense @ powers, slopes[:, now])
                losses[rows[now], output[now]] = loss(between)
                output[now] += 1
            factor = 2.0**gain.safety * error ** (-1 / (TSIT5.error_order + 1))
            h = h * np.clip(factor, gain.least_factor, np.where(accepted, gain.most_factor, 1.0))
            y = np.where(accepted[:, None], z, y)
            slope = np.where(accepted[:, None], slopes[-1], slope)
            t = np.where(accepted, reached, t)
            over = t >= times[-1]
            final[rows[over]] = y[over]
            rows, y, t, output, slope, h = (x[~over] for x in (rows, y, t, output, slope, h))
        return final, losses

    return solve
