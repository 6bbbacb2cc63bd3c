"""What the certified finish saves, and what it costs where it saves nothing: ``python -m bench.certified``.

Right-hand sides and seconds with and without it, in turns in one process, for spans that end soon and late, of modes
between 4 and 1 and, stiff, between 100 and 1. How far the certified weights are from the others at the end of the span
is in units of rtol times the root mean square of the smallest layer; the others have errors of their own.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import fastdln as dln

# widths, largest singular value, trajectories at t_end = 20; ten times the span gets a fraction of them
CASES = (((4, 4, 4, 4), 4.0, 2048), ((8, 8, 8, 8), 4.0, 512), ((8, 8, 8, 8), 100.0, 128), ((16, 16, 16), 4.0, 128))
SPANS = {20.0: 1, 200.0: 4, 2000.0: 16}
RTOL = 1e-6


def measure(widths: tuple[int, ...], largest: float, t_end: float, n: int, rounds: int, method: str) -> str:
    """One line of the table."""
    shape = (widths[-1], widths[0])
    loss = dln.Quadratic.from_singular_values(np.geomspace(largest, 1.0, min(shape)), shape=shape, rng=0)
    w0 = dln.inits.gaussian(dln.Network(widths), 0.6, size=n, rng=0)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    found = {}
    for _ in range(rounds):
        for certify in seconds:
            start = time.perf_counter()
            found[certify] = dln.flow(
                w0, loss, (0.0, t_end), None, method, RTOL, max_steps=10**8, certify=certify, threads=1
            )  # fmt: skip
            seconds[certify].append(time.perf_counter() - start)
    sol, plain = found[True], found[False]
    ratio = np.median(np.array(seconds[False]) / seconds[True])
    size = np.min([np.sqrt(np.mean(W**2, axis=(-2, -1))) for W in plain.final], axis=0)
    moved = np.sqrt(sum(((a - b) ** 2).sum((-2, -1)) for a, b in zip(sol.final, plain.final, strict=True)))
    return (
        f"{'-'.join(map(str, widths)):<10} {largest:>5g}..1 {t_end:>6g} {n:>6} {sol.certified.mean():>8.0%}"
        f" {plain.n_rhs.mean():>10.0f} {sol.n_rhs.mean():>9.0f} {plain.n_rhs.mean() / sol.n_rhs.mean():>7.2f}"
        f" {np.median(seconds[False]):>9.3f} {np.median(seconds[True]):>8.3f} {ratio:>7.2f}"
        f" {np.max(moved / size) / RTOL:>8.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--method", default="tsit5")
    parser.add_argument("--longest", type=float, default=2000.0, help="leave out longer spans")
    arguments = parser.parse_args()
    print(
        f"{'widths':<10} {'sigma':>8} {'t_end':>6} {'n':>6} {'certif.':>8} {'n_rhs':>10} {'certify':>9} {'gain':>7}"
        f" {'seconds':>9} {'certify':>8} {'gain':>7} {'moved':>8}"
    )
    for widths, largest, n in CASES:
        for t_end, fraction in SPANS.items():
            if t_end <= arguments.longest:
                measure(widths, largest, 1.0, 8, 1, arguments.method)  # compiles
                size = max(8, n // fraction**2)
                print(measure(widths, largest, t_end, size, arguments.rounds, arguments.method), flush=True)


if __name__ == "__main__":
    main()
