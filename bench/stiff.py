"""Stiff flows: right-hand sides and errors of every method, and what ``auto`` costs where nothing is stiff.

``python -m bench.stiff``: counts, free of noise, with the columns of Jacobians counted for SciPy's LSODA and BDF,
medians over the starts, and the final error ||W - W*|| in units of rtol ||W*||.
``python -m bench.stiff --times``: ratios of wall time from interleaved rounds on one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

import fastdln as dln

NET = dln.Network((8, 8, 8, 8))
METHODS = ("tsit5", "rock", "rkc2", "auto")
SCIPY = ("LSODA", "BDF")
TOLERANCES = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
SPECTRA = {
    "100 ... 1": np.linspace(100.0, 1.0, 8),
    "100 ... 1, geometric": np.geomspace(100.0, 1.0, 8),
    "4 ... 1": np.linspace(4.0, 1.0, 8),
}


def loss_of(sigma: np.ndarray) -> dln.Quadratic:
    return dln.Quadratic.from_singular_values(sigma, shape=(8, 8), rng=0)


def norm(weights: Any) -> np.ndarray:
    return np.sqrt(sum(np.square(W).sum(axis=(-2, -1)) for W in weights))


def relative(weights: Any, reference: Any) -> np.ndarray:
    return norm([a - b for a, b in zip(weights, reference, strict=True)]) / norm(reference)


def scipy_runs(method: str, w0: Any, loss: dln.Quadratic, t_end: float, rtol: float, reference: Any) -> tuple[Any, Any]:
    """Calls of the right-hand side, those for columns of Jacobians included, and errors, one a start."""
    calls, finals = [], []
    for k in range(len(w0[0])):
        start, count = tuple(W[k] for W in w0), 0

        def field(_: float, y: np.ndarray) -> np.ndarray:
            nonlocal count
            count += 1
            return NET.pack(dln.rhs(NET.unpack(y), loss))

        atol = 1e-3 * rtol * min(np.sqrt(np.square(W).mean()) for W in start)
        found = solve_ivp(field, (0.0, t_end), NET.pack(start), method, rtol=rtol, atol=atol)
        calls.append(count)
        finals.append(found.y[:, -1])
    return calls, relative(NET.unpack(np.array(finals)), reference)


def table(name: str, t_end: float, starts: int) -> None:
    loss, w0 = loss_of(SPECTRA[name]), dln.inits.gaussian(NET, 0.6, size=starts, rng=0)
    reference = dln.flow(w0, loss, (0.0, t_end), [], "dop853", 1e-12, max_steps=10**7).final
    print(f"\nsingular values {name}, t = {t_end:g}: right-hand sides, medians of {starts} starts (error/rtol)")
    print("rtol   " + "".join(f"{method:>18}" for method in METHODS + SCIPY))
    for rtol in TOLERANCES:
        cells = []
        for method in METHODS:
            if method == "rkc2" and rtol < 1e-7:
                cells.append("-")
                continue
            sol = dln.flow(w0, loss, (0.0, t_end), [], method, rtol, max_steps=10**7)
            assert sol.success.all()
            cells.append(f"{np.median(sol.n_rhs):.0f} ({np.median(relative(sol.final, reference)) / rtol:.2g})")
        for method in SCIPY:
            calls, errors = scipy_runs(method, w0, loss, t_end, rtol, reference)
            cells.append(f"{np.median(calls):.0f} ({np.median(errors) / rtol:.2g})")
        print(f"{rtol:<7.0e}" + "".join(f"{cell:>18}" for cell in cells), flush=True)


def ratio(a: dict[str, Any], b: dict[str, Any], rounds: int, **problem: Any) -> str:
    """Median of wall time of ``b`` over ``a``, and their counts."""
    seconds: list[list[float]] = [[], []]
    counts = [dln.flow(**problem, **options, threads=1).n_rhs.mean() for options in (a, b)]
    for _ in range(rounds):
        for spent, options in zip(seconds, (a, b), strict=True):
            start = time.perf_counter()
            dln.flow(**problem, **options, threads=1)
            spent.append(time.perf_counter() - start)
    quotients = [y / x for x, y in zip(*seconds, strict=True)]
    return f"{statistics.median(quotients):6.3f} of the time, {counts[1] / counts[0]:6.3f} of the right-hand sides"


def problem_of(widths: tuple[int, ...], n: int, largest: float, t_end: float) -> dict[str, Any]:
    shape = (widths[-1], widths[0])
    return {
        "w0": dln.inits.gaussian(dln.Network(widths), 0.6, size=n, rng=0),
        "loss": dln.Quadratic.from_singular_values(np.linspace(largest, 1.0, min(shape)), shape=shape, rng=0),
        "span": (0.0, t_end),
        "t_eval": np.linspace(0, t_end, 16),
    }


def times(rounds: int) -> None:
    print(f"wall time on one thread, medians of {rounds} interleaved rounds")
    for widths, n in (((4, 4, 4, 4), 1000), ((8, 8, 8, 8), 300), ((16, 16, 16), 100), ((128, 128, 128), 1)):
        problem = problem_of(widths, n, 4.0, 3.0)
        found = ratio({"method": "tsit5", "rtol": 1e-8}, {"method": "auto", "rtol": 1e-8}, rounds, **problem)
        print(f"{'-'.join(map(str, widths)):12s} not stiff, rtol 1e-8: auto takes {found} of tsit5", flush=True)
    for widths, n in (((4, 4, 4, 4), 64), ((8, 8, 8, 8), 32), ((64, 64, 64), 1)):
        problem = problem_of(widths, n, 100.0, 20.0)
        name = f"{'-'.join(map(str, widths)):12s} 100 ... 1"
        for rtol in (1e-4, 1e-6):
            for method in ("rock", "auto"):
                found = ratio({"method": "tsit5", "rtol": rtol}, {"method": method, "rtol": rtol}, rounds, **problem)
                print(f"{name}, rtol {rtol:g}: {method} takes {found} of tsit5", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--times", action="store_true", help="ratios of wall time instead of counts")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    if arguments.times:
        times(arguments.rounds)
        return
    for name, t_end in (("100 ... 1", 20.0), ("100 ... 1", 200.0), ("100 ... 1, geometric", 20.0), ("4 ... 1", 20.0)):
        table(name, t_end, arguments.starts)


if __name__ == "__main__":
    main()
