"""Stiff flows: right-hand sides and errors of every method, and what ``auto`` costs where nothing is stiff.

``python -m bench.stiff``: counts, free of noise, with the columns of Jacobians counted for SciPy's LSODA and BDF,
medians over the starts, and the final error ||W - W*|| in units of rtol ||W*||.
``python -m bench.stiff --times``: ratios of CPU time on one thread, both methods in turns (`bench.rounds`).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

import fastdln as dln
from bench.rounds import Progress, cell, keeper, vectors
from bench.workloads import STIFF, Workload

METHODS = ("tsit5", "rock", "rkc2", "auto")
SCIPY = ("LSODA", "BDF")
TOLERANCES = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8)


def norm(weights: Any) -> np.ndarray:
    return np.sqrt(sum(np.square(W).sum(axis=(-2, -1)) for W in weights))


def relative(weights: Any, reference: Any) -> np.ndarray:
    return norm([a - b for a, b in zip(weights, reference, strict=True)]) / norm(reference)


def scipy_runs(method: str, w0: Any, loss: dln.Quadratic, t_end: float, rtol: float, reference: Any) -> tuple[Any, Any]:
    """Calls of the right-hand side, those for columns of Jacobians included, and errors, one a start."""
    net = dln.Network((w0[0].shape[-1], *(W.shape[-2] for W in w0)))
    calls, finals = [], []
    for k in range(len(w0[0])):
        start, count = tuple(W[k] for W in w0), 0

        def field(_: float, y: np.ndarray) -> np.ndarray:
            nonlocal count
            count += 1
            return net.pack(dln.rhs(net.unpack(y), loss))

        atol = 1e-3 * rtol * min(np.sqrt(np.square(W).mean()) for W in start)
        found = solve_ivp(field, (0.0, t_end), net.pack(start), method, rtol=rtol, atol=atol)
        calls.append(count)
        finals.append(found.y[:, -1])
    return calls, relative(net.unpack(np.array(finals)), reference)


def table(name: str, t_end: float, tolerances: Sequence[float], starts: int) -> None:
    loss, w0 = STIFF[name].loss(), STIFF[name].starts(starts)
    progress = Progress()
    progress.say(f"singular values {name}, t = {t_end:g}: the reference")
    reference = dln.flow(w0, loss, (0.0, t_end), [], "dop853", 1e-12, max_steps=10**7).final
    progress.clear()
    print(f"\nsingular values {name}, t = {t_end:g}: right-hand sides, medians of {starts} starts (error/rtol)")
    print("rtol   " + "".join(f"{method:>18}" for method in METHODS + SCIPY))
    for rtol in tolerances:
        cells = []
        for method in METHODS:
            progress.say(f"rtol {rtol:.0e}, {method}")
            if method == "rkc2" and rtol < 1e-7:
                cells.append("-")
                continue
            sol = dln.flow(w0, loss, (0.0, t_end), [], method, rtol, max_steps=10**7)
            assert sol.success.all()
            cells.append(f"{np.median(sol.n_rhs):.0f} ({np.median(relative(sol.final, reference)) / rtol:.2g})")
        for method in SCIPY:
            progress.say(f"rtol {rtol:.0e}, {method}")
            calls, errors = scipy_runs(method, w0, loss, t_end, rtol, reference)
            cells.append(f"{np.median(calls):.0f} ({np.median(errors) / rtol:.2g})")
        progress.clear()
        print(f"{rtol:<7.0e}" + "".join(f"{cell:>18}" for cell in cells), flush=True)


def ratio(workload: Workload, a: str, b: str, rtol: float, rounds: int) -> str:
    """CPU time of method ``b`` over that of ``a``, and the ratio of their counts."""
    w0, loss = workload.starts(), workload.loss()
    counts = [workload.run(w0, loss, method=method, rtol=rtol).n_rhs.mean() for method in (a, b)]

    def seconds(method: str) -> float:
        start = time.process_time()
        workload.run(w0, loss, method=method, rtol=rtol)
        return time.process_time() - start

    found = keeper().keep(lambda: (seconds(a), seconds(b)), rounds, f"{workload.name}, {b}")
    quotients = cell((y / x for x, y in found.rows), ".3f")
    return f"{quotients} of the time, {counts[1] / counts[0]:6.3f} of the right-hand sides ({found})"


def times(rounds: int) -> None:
    print(f"{vectors()}; CPU time on one thread in units of that of tsit5, medians and spreads of {rounds} rounds")
    for widths, n in (((4, 4, 4, 4), 1000), ((8, 8, 8, 8), 300), ((16, 16, 16), 100), ((128, 128, 128), 1)):
        found = ratio(Workload(widths, n, t_end=3.0, n_times=16), "tsit5", "auto", 1e-8, rounds)
        print(f"{'-'.join(map(str, widths)):12s} not stiff, rtol 1e-8: auto takes {found}", flush=True)
    for widths, n in (((4, 4, 4, 4), 64), ((8, 8, 8, 8), 32), ((64, 64, 64), 1)):
        workload = Workload(widths, n, n_times=16, sigma=(100.0, 1.0))
        name = f"{'-'.join(map(str, widths)):12s} 100 ... 1"
        for rtol in (1e-4, 1e-6):
            for method in ("rock", "auto"):
                found = ratio(workload, "tsit5", method, rtol, rounds)
                print(f"{name}, rtol {rtol:g}: {method} takes {found}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--tolerances", nargs="+", type=float, default=TOLERANCES)
    parser.add_argument("--longest", type=float, default=200.0, help="leave out longer spans")
    parser.add_argument("--times", action="store_true", help="ratios of wall time instead of counts")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    if arguments.times:
        times(arguments.rounds)
        return
    for name, t_end in (("100 ... 1", 20.0), ("100 ... 1", 200.0), ("100 ... 1, geometric", 20.0), ("4 ... 1", 20.0)):
        if t_end <= arguments.longest:
            table(name, t_end, arguments.tolerances, arguments.starts)


if __name__ == "__main__":
    main()
