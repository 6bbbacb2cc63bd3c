"""Wide networks reduced to Krylov subspaces, beside the factored engine: ``python -m bench.krylov``.

Gaussian starts of widths (10, N, ..., N, 10), loss recorded at 8 times, learning times too, one thread. Each engine
takes the loosest tolerance (half decades) at which its weights at the end are right to ``--error``: the largest
||W_i - exact||_F / ||exact - start||_F over the layers, against DOP853 at 1e-12 with the factored engine. Then the two
take turns in each round (`bench.rounds`); printed are median times, their ratio, tolerances and errors, and what the
reduced network came to.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import fastdln as dln
from bench.rounds import cell, keeper, middle, vectors

END = 10  # width of input and output
TOLERANCES = [10 ** (-k / 2) for k in range(6, 23)]
Weights = tuple[np.ndarray, ...]


class Case:
    """A start and a target."""

    def __init__(self, width: int, depth: int, scale: float, t_end: float, method: str) -> None:
        network = dln.Network((END, *[width] * (depth - 1), END))
        self.start = dln.inits.gaussian(network, scale, rng=0)
        self.loss = dln.Quadratic.from_singular_values(np.linspace(4.0, 1.0, END), shape=(END, END), rng=0)
        self.t_end, self.method = t_end, method
        self.exact = self.flow("wide", 1e-12, "dop853").final

    def flow(self, engine: str, rtol: float, method: str | None = None) -> dln.Trajectories:
        """The flow of one engine."""
        return dln.flow(
            self.start, self.loss, (0.0, self.t_end), np.linspace(0, self.t_end, 8), method=method or self.method,
            rtol=rtol, record=("loss", "learning_times"), engine=engine, threads=1,
        )  # fmt: skip

    def error(self, found: Weights) -> float:
        """The largest error of a layer, relative to how far it has moved."""
        return max(
            float(np.linalg.norm((V - W).ravel()) / np.linalg.norm((W - W_0).ravel()))
            for V, W, W_0 in zip(found, self.exact, self.start, strict=True)
        )

    def tolerance(self, engine: str, error: float, loosest: float) -> tuple[float, float]:
        """The loosest tolerance at which an engine is accurate enough, and its error there."""
        for rtol in (x for x in TOLERANCES if x <= 1.01 * loosest):
            found = self.error(self.flow(engine, rtol).final)
            if found <= error:
                break
        return rtol, found

    def seconds(self, engine: str, rtol: float) -> float:
        """CPU seconds of one trajectory, which neighbours hardly touch; its weights are let go."""
        start = time.process_time()
        self.flow(engine, rtol)
        return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", nargs="+", type=int, default=[512, 1024, 2048, 4096])
    parser.add_argument("--depths", nargs="+", type=int, default=[3, 4])
    parser.add_argument("--scale", type=float, default=0.7)
    parser.add_argument("--t-end", type=float, default=1.0)
    parser.add_argument("--method", default="tsit5")
    parser.add_argument("--error", type=float, default=1e-8)
    parser.add_argument("--loosest", type=float, default=1e-6, help="the tolerance to try first")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{vectors()}; CPU time of one thread, medians and spreads of {arguments.rounds} rounds")
    print(f"scale {arguments.scale}, t = {arguments.t_end}, {arguments.method}")
    print("depth    N  wide [s]  reduced [s]       ratio  rtol, wide  reduced  error, wide  reduced   widths, enlarged")
    for depth in arguments.depths:
        for width in arguments.widths:
            label = f"depth {depth}, N = {width}"
            keeper().progress.say(f"{label}: looking for the tolerances")
            case = Case(width, depth, arguments.scale, arguments.t_end, arguments.method)
            chosen = {
                engine: case.tolerance(engine, arguments.error, arguments.loosest) for engine in ("wide", "reduced")
            }

            def measure(case: Case = case, chosen: dict[str, tuple[float, float]] = chosen) -> list[float]:
                return [case.seconds(engine, rtol) for engine, (rtol, _) in chosen.items()]

            kept = keeper().keep(measure, arguments.rounds, label)
            wide, narrow = (middle(times)[0] for times in zip(*kept.rows, strict=True))
            ratio = cell((a / b for a, b in kept.rows), ".1f")
            (rtol, error), (narrow_rtol, narrow_error) = chosen["wide"], chosen["reduced"]
            sol = case.flow("reduced", narrow_rtol)
            print(
                f"{depth:5d} {width:5d} {wide:8.2f} {narrow:12.3f} {ratio:>12s} {rtol:11.1e} {narrow_rtol:8.1e} "
                f"{error:12.1e} {narrow_error:8.1e}   {'-'.join(map(str, sol.integrated_widths))}, {sol.enlargements}"
                f"   {kept}",
                flush=True,
            )


if __name__ == "__main__":
    main()
