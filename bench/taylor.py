"""What Taylor series would cost beside DOP853, by counting: ``python -m bench.taylor``.

The right-hand side is a polynomial, so that the Taylor coefficients of a solution come from products of matrices by a
recursion: coefficient k of a product A B is sum_{j <= k} A_j B_{k-j}.  Order p takes p (p + 1) / 2 times the products
of a right-hand side.  Steps are as long as the last two terms allow (Jorba and Zou, Exp. Math. 14 (2005) 99-117), in
the error norm of `fastdln.flow`.  For each tolerance the orders are compared with DOP853 at the same error of the final
weights: flops of products, and of stages and error estimates of DOP853 (those of Taylor's polynomials are left out).
A ratio above 1 says that DOP853 needs less.
"""

from __future__ import annotations

import argparse

import numpy as np

import fastdln as dln
from bench.rounds import Progress
from bench.workloads import WORKLOADS, Workload
from fastdln.integrate.tableaus import DOP853
from fastdln.kernels.products.program import program

ORDERS = (8, 10, 12, 15, 18, 22)


def coefficients(weights: list[np.ndarray], sigma: np.ndarray, order: int) -> list[np.ndarray]:
    """Taylor coefficients 0..order of every layer of a batch, shape (order + 1, n, d_i, d_{i-1})."""
    series = [np.zeros((order + 1, *W.shape)) for W in weights]
    for terms, W in zip(series, weights, strict=True):
        terms[0] = W
    transposed = [np.swapaxes(terms, -1, -2) for terms in series]
    prefixes = [np.zeros((*terms.shape[:-1], sigma.shape[1])) for terms in series]  # W_i...W_1
    prefixes[0] = series[0]
    lefts = [np.zeros_like(prefix) for prefix in prefixes]  # W_{>i}' R

    def convolve(a: np.ndarray, b: np.ndarray, k: int) -> np.ndarray:
        return np.matmul(a[: k + 1], b[k::-1]).sum(0)

    for k in range(order):
        for i in range(1, len(series)):
            prefixes[i][k] = convolve(series[i], prefixes[i - 1], k)
        lefts[-1][k] = (sigma if k == 0 else 0.0) - prefixes[-1][k]
        for i in range(len(series) - 1, 0, -1):
            lefts[i - 1][k] = convolve(transposed[i], lefts[i], k)
            series[i][k + 1] = convolve(lefts[i], np.swapaxes(prefixes[i - 1], -1, -2), k) / (k + 1)
        series[0][k + 1] = lefts[0][k] / (k + 1)
    return series


def taylor(
    starts: tuple[np.ndarray, ...], sigma: np.ndarray, t_end: float, order: int, rtol: float
) -> tuple[list[np.ndarray], float]:
    """Final weights, and the steps of a trajectory in the mean."""
    weights, n = list(starts), len(starts[0])
    t, steps = np.zeros(n), np.zeros(n)

    def length(series: list[np.ndarray], k: int) -> np.ndarray:
        """The step at which term k is as large as the tolerance."""
        scaled = [terms[k] / (1e-3 * rtol + rtol * np.abs(terms[0])) for terms in series]
        return np.max([np.sqrt(np.mean(x**2, axis=(1, 2))) for x in scaled], axis=0) ** (-1 / k)

    while (t < t_end).any():
        series = coefficients(weights, sigma, order)
        h = 0.9 * np.minimum(length(series, order), length(series, order - 1))
        last = h >= t_end - t
        h = np.where(last, t_end - t, h)
        for i, terms in enumerate(series):
            weights[i] = terms[order]
            for term in terms[order - 1 :: -1]:
                weights[i] = term + h[:, None, None] * weights[i]
        steps += t < t_end
        t = np.where(last, t_end, t + h)
    return weights, float(steps.mean())


def largest(found: list[np.ndarray], exact: tuple[np.ndarray, ...]) -> float:
    return max(float(np.abs(V - W).max()) for V, W in zip(found, exact, strict=True))


def compare(workload: Workload, trajectories: int, tolerances: list[float]) -> None:
    loss, starts = workload.loss(), workload.starts(trajectories)
    span = (0.0, workload.t_end)
    exact = dln.flow(starts, loss, span, method="dop853", rtol=1e-14, atol=1e-17).final
    plan = program(workload.widths)
    weights = sum(e != 0 for row in (*DOP853.rows[1 : DOP853.stages], *DOP853.errors) for e in row)
    sums = 2 * plan.layers[-1] * weights / (DOP853.stages - 1)
    errors, costs = [], []
    for rtol in 10.0 ** -np.arange(6, 14):
        sol = dln.flow(starts, loss, span, method="dop853", rtol=rtol)
        errors.append(largest(list(sol.final), exact))
        costs.append(sol.n_rhs.mean() * (plan.flops + sums))
    errors = list(np.minimum.accumulate(errors))
    print(f"\nwidths {workload.name}: tolerance, order, steps, error of the final weights, flops in units of DOP853's")
    progress = Progress()
    for rtol in tolerances:
        for order in ORDERS:
            progress.say(f"{workload.name}: tolerance {rtol:.0e}, order {order}")
            found, steps = taylor(starts, loss.target, workload.t_end, order, rtol)
            error, cost = largest(found, exact), steps * order * (order + 1) / 2 * plan.flops
            other = np.exp(np.interp(np.log(error), np.log(errors[::-1]), np.log(costs[::-1])))
            progress.clear()
            print(f"{rtol:8.0e} {order:4d} {steps:7.1f} {error:10.1e} {cost / other:8.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", nargs="+", choices=WORKLOADS, default=["4-4-4-4", "8-8-8-8"])
    parser.add_argument("--trajectories", type=int, default=6)
    parser.add_argument("--tolerances", nargs="+", type=float, default=[1e-9, 1e-11])
    arguments = parser.parse_args()
    for name in arguments.widths:
        compare(WORKLOADS[name], arguments.trajectories, arguments.tolerances)


if __name__ == "__main__":
    main()
